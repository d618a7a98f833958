//! A spec with the home of its models: what nearly every command starts from.

use crate::cli::SpecArguments;
use anyhow::{Context, Result, bail};
use refit_predictor::{EngineConfig, Engines};
use refit_spec::{DeviceChoice, Spec};
use refit_store::Store;
use std::path::{Path, PathBuf};

/// Where everything is.
pub struct Home {
    /// What the model is.
    pub spec: Spec,
    /// The file it was read from.
    pub spec_path: PathBuf,
    /// Store and artifacts.
    pub path: PathBuf,
    /// Downloads, computed features, engines.
    pub cache: PathBuf,
}

impl Home {
    /// Reads and checks the spec.
    ///
    /// # Errors
    /// Every problem of the spec at once.
    pub fn open(arguments: &SpecArguments, cache: Option<PathBuf>) -> Result<Self> {
        let spec_path = std::path::absolute(&arguments.spec)?;
        let text = std::fs::read_to_string(&spec_path).with_context(|| {
            format!("{} cannot be read; name the file that says what the model is", arguments.spec.display())
        })?;
        let folder = spec_path.parent().map(Path::to_owned).unwrap_or_default();
        let start = arguments.folder.clone().unwrap_or_else(|| folder.clone());
        let spec = Spec::parse(&text, &start).with_context(|| format!("{}", arguments.spec.display()))?;
        let path = match &arguments.home {
            Some(home) => std::path::absolute(home)?,
            None => folder.join(".refit"),
        };
        let cache = cache.unwrap_or_else(refit_spec::default_cache);
        Ok(Self { spec, spec_path, path, cache })
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.spec.model.name
    }

    /// The engines of this machine, on the processor: what is measured, compared and exported is what processors serve.
    pub fn engines(&self) -> Engines {
        let library = self.spec.serve.onnxruntime.as_ref().map(|library| self.spec.base_dir.join(library));
        Engines::discover(&EngineConfig {
            cache: self.cache.clone(),
            onnxruntime_library: library,
            device: DeviceChoice::Cpu,
        })
    }

    /// Opens the store.
    ///
    /// # Errors
    /// When the home cannot be written, or the store is damaged or of a newer refit.
    pub async fn store(&self) -> Result<Store> {
        Ok(Store::open_home(&self.path).await?)
    }

    /// The folder that a version's artifact has, or will have.
    #[cfg(feature = "train")]
    pub fn artifact(&self, version: &str) -> PathBuf {
        self.path.join("artifacts").join(self.model()).join(version)
    }

    /// The artifact of `version`, or of the one that serves.
    ///
    /// # Errors
    /// When there is none.
    pub async fn artifact_of(&self, version: Option<&str>) -> Result<(String, PathBuf)> {
        let store = self.store().await?;
        let version = match version {
            Some(version) => version.to_owned(),
            None => match store.deployment(self.model()).await?.champion {
                Some(champion) => champion.version,
                None => {
                    bail!("no version of {} serves yet: train one, or name one with --version", self.model())
                }
            },
        };
        let found = store.version(self.model(), &version).await?;
        let artifact =
            found.artifact.with_context(|| format!("version {version} was never trained to its end"))?;
        Ok((version, self.path.join(artifact)))
    }
}

/// Runs the asynchronous part of a command.
///
/// # Errors
/// Those of `work`.
pub fn block_on<R>(work: impl Future<Output = Result<R>>) -> Result<R> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}
