//! `refit train`: a run, registered as a candidate.

mod remote;

pub use remote::Away;

use crate::cli::training::TrainArguments;
use crate::events::EventLog;
use crate::heap;
use crate::home::{Home, block_on};
use crate::processes::stop_when_asked;
use crate::progress::Progress;
use anyhow::{Context, Result};
use refit_artifact::{Bundle, Manifest};
use refit_spec::{Metric, Task};
use refit_store::{NewVersion, VersionStatus};
use refit_trainer::{Checkpoints, Resume, Running, Stop, TrainOutcome, TrainRequest, train};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Begins the id of a run that nobody named.
const BY_HAND: &str = "by-hand-";

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
    let run = match &arguments.run {
        Some(run) => run.clone(),
        None => block_on(unfinished(home))?.unwrap_or_else(|| format!("{BY_HAND}{}", uuid::Uuid::now_v7())),
    };
    if let Some(url) = &arguments.trainer {
        let outcome = block_on(remote::follow(home, arguments, url, &run))?;
        let version = outcome["version"].as_str().context("the trainer made no version")?.to_owned();
        let artifact = home.artifact(&version);
        Bundle::open(&artifact).with_context(|| {
            format!("the trainer works on another home: start it with --home {}", home.path.display())
        })?;
        return Ok(Registered { version: Some(version), artifact, outcome: None });
    }
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

/// The run by hand that ended early, if there is one: the latest that left a checkpoint and that no process works on.
async fn unfinished(home: &Home) -> Result<Option<String>> {
    let store = home.store().await?;
    let mut versions = store.versions(Some(home.model())).await?;
    versions.sort_by_key(|version| std::cmp::Reverse(version.created_at));
    let unfinished = versions.into_iter().find(|version| {
        version.status == VersionStatus::Reserved
            && version.run_id.as_ref().is_some_and(|run| run.starts_with(BY_HAND))
            && Checkpoints::can_be_taken_up(&Checkpoints::folder_of(&home.artifact(&version.version)))
    });
    Ok(unfinished.and_then(|version| version.run_id))
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
    let resume = match (arguments.resume, arguments.fresh) {
        (true, _) => Resume::Must,
        (_, true) => Resume::Never,
        _ => Resume::IfSame,
    };
    let stop = Stop::default();
    let _listening = stop_when_asked(&stop, arguments.with_parent);
    let mut events = arguments.events.as_deref().map(EventLog::open).transpose()?;
    let request = TrainRequest {
        spec: &spec,
        cache: &home.cache,
        output,
        version: version.map(str::to_owned),
        additional: arguments.additional.as_deref(),
        champion: parent.as_deref(),
        engines: &engines,
        running: Running { resume, stop },
    };
    let mut progress = Progress::new();
    Ok(Some(train(&request, &mut |event| {
        if let Some(events) = &mut events {
            events.write(&event);
        }
        progress.show(event);
    })?))
}

fn metrics(manifest: &Manifest) -> Value {
    serde_json::to_value(&manifest.metrics).unwrap_or_default()
}

impl Registered {
    fn print(&self, as_json: bool) -> Result<()> {
        let bundle = Bundle::open(&self.artifact)?;
        let manifest = bundle.manifest();
        if as_json {
            let made = self.outcome.as_ref();
            let outcome = json!({
                "version": self.version, "artifact": self.artifact, "metrics": manifest.metrics,
                "serving": manifest.serving, "epochs": made.map(|made| &made.curve.epochs),
                "seconds": made.map(|made| made.seconds.iter().copied().collect::<BTreeMap<_, _>>()),
            });
            println!("{outcome}");
            return Ok(());
        }
        let version = self.version.as_deref().unwrap_or("");
        let metrics = &manifest.metrics;
        let task: Task = manifest.task.parse().map_err(anyhow::Error::msg)?;
        let main = if task == Task::TextClassification { Metric::Accuracy } else { task.metrics()[0] };
        let figure = |name: String| metrics.get(&name).copied().unwrap_or(f64::NAN);
        println!(
            "{} {version}: {main} {:.4} ({:.4} to {:.4}) on {} test rows; the baseline has {:.4}",
            manifest.model,
            figure(main.to_string()),
            figure(format!("{main}_lower")),
            figure(format!("{main}_upper")),
            figure("rows".to_owned()),
            figure(format!("baseline_{main}")),
        );
        println!("{}", manifest.serving.reason);
        let report = bundle.file(refit_artifact::files::REPORT).context("the artifact has no report")?;
        println!("report: {}", report.display());
        Ok(())
    }
}
