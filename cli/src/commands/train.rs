//! `refit train`: a run, registered as a candidate.

use crate::cli::TrainArguments;
use crate::heap;
use crate::home::{Home, block_on};
use crate::progress::Progress;
use anyhow::{Context, Result};
use refit_artifact::{Bundle, Manifest};
use refit_store::NewVersion;
use refit_trainer::{TrainOutcome, TrainRequest, train};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

pub fn run(arguments: &TrainArguments, cache: Option<PathBuf>) -> Result<()> {
    let home = Home::open(&arguments.spec, cache)?;
    let outcome = match &arguments.output {
        Some(output) => Registered {
            version: None,
            artifact: output.clone(),
            outcome: make(&home, arguments, output, None, None)?,
        },
        None => register(&home, arguments)?,
    };
    outcome.print(arguments.json)
}

/// A trained model.
pub struct Registered {
    /// Its version, if it was registered.
    pub version: Option<String>,
    /// Its folder.
    pub artifact: PathBuf,
    /// The figures of the run; absent when an earlier process finished it.
    pub outcome: Option<TrainOutcome>,
}

/// Trains and registers. The same run id continues what an earlier process of it began: the version keeps its
/// number, and an artifact that is there and intact is not made again.
///
/// # Errors
/// Those of the run.
pub fn register(home: &Home, arguments: &TrainArguments) -> Result<Registered> {
    let run = arguments.run.clone().unwrap_or_else(|| format!("by-hand-{}", uuid::Uuid::now_v7()));
    let (version, champion) = block_on(async {
        let store = home.store().await?;
        let version = store.reserve_version(home.model(), &run).await?;
        Ok((version, store.deployment(home.model()).await?.champion.map(|champion| champion.version)))
    })?;
    let parent = champion.filter(|_| arguments.start == "champion");
    let artifact = home.artifact(&version);
    let outcome = if Bundle::open(&artifact).is_ok() {
        None
    } else {
        make(home, arguments, &artifact, Some(&version), parent.as_deref())?
    };
    let manifest = Bundle::open(&artifact)?.manifest().clone();
    block_on(async {
        let new = NewVersion {
            model: home.model().to_owned(),
            version: version.clone(),
            artifact: Path::new("artifacts").join(home.model()).join(&version),
            run_id: Some(run),
            parent,
            metrics: metrics(&manifest),
        };
        Ok(home.store().await?.register_version(&new).await?)
    })?;
    Ok(Registered { version: Some(version), artifact, outcome })
}

fn make(
    home: &Home,
    arguments: &TrainArguments,
    output: &Path,
    version: Option<&str>,
    parent: Option<&str>,
) -> Result<Option<TrainOutcome>> {
    heap::keep();
    let engines = home.engines();
    let parent = parent.map(|version| home.artifact(version));
    let spec = if parent.is_some() { home.spec.from_champion() } else { home.spec.clone() };
    let request = TrainRequest {
        spec: &spec,
        cache: &home.cache,
        output,
        version: version.map(str::to_owned),
        additional: arguments.additional.as_deref(),
        champion: parent.as_deref(),
        engines: &engines,
    };
    let mut progress = Progress::new();
    Ok(Some(train(&request, &mut |event| progress.show(event))?))
}

fn metrics(manifest: &Manifest) -> Value {
    serde_json::to_value(&manifest.metrics).unwrap_or_default()
}

impl Registered {
    fn print(&self, as_json: bool) -> Result<()> {
        let bundle = Bundle::open(&self.artifact)?;
        let manifest = bundle.manifest();
        if as_json {
            let outcome = json!({
                "version": self.version, "artifact": self.artifact, "metrics": manifest.metrics,
                "serving": manifest.serving,
            });
            println!("{outcome}");
            return Ok(());
        }
        let figure = |name: &str| manifest.metrics.get(name).copied().unwrap_or(f64::NAN);
        println!(
            "{} {}: accuracy {:.4} ({:.4} to {:.4}) on {} test rows; always the commonest class: {:.4}",
            manifest.model,
            self.version.as_deref().unwrap_or(""),
            figure("accuracy"),
            figure("accuracy_lower"),
            figure("accuracy_upper"),
            figure("rows"),
            figure("baseline_accuracy"),
        );
        println!("{}", manifest.serving.reason);
        let report = bundle.file(refit_artifact::files::REPORT).context("the artifact has no report")?;
        println!("report: {}", report.display());
        Ok(())
    }
}
