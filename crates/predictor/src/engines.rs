use std::{path::PathBuf, sync::Arc};

use refit_engine::Engine;
use refit_engine_ort::{OnnxRuntime, Origin, find_library};
use refit_engine_tract::Tract;

/// Where engines are looked for.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// refit's cache, usually `~/.cache/refit`.
    pub cache: PathBuf,
    /// ONNX Runtime's library, if the configuration names one.
    pub onnxruntime_library: Option<PathBuf>,
}

/// The engines that this process can use, and for each that it cannot, why.
#[derive(Clone)]
pub struct Engines {
    available: Vec<Arc<dyn Engine>>,
    report: Vec<Availability>,
}

/// Whether an engine can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Availability {
    /// The engine's name.
    pub engine: &'static str,
    /// Its version, if it can be used.
    pub version: Option<String>,
    /// Where it was found, or why it cannot be used and what to do.
    pub detail: String,
}

impl Engines {
    /// Looks for all engines. A missing one is no error: tract is always there.
    pub fn discover(config: &EngineConfig) -> Self {
        let mut engines = Self::tract_only();
        match discover_onnxruntime(config) {
            Ok((engine, detail)) => engines.add(Arc::new(engine), detail),
            Err(detail) => {
                engines.report.push(Availability { engine: refit_engine_ort::NAME, version: None, detail });
            }
        }
        engines
    }

    /// tract alone.
    pub fn tract_only() -> Self {
        let mut engines = Self { available: Vec::new(), report: Vec::new() };
        engines.add(Arc::new(Tract), "built in".to_owned());
        engines
    }

    /// The engine of this name, if it can be used.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Engine>> {
        self.available.iter().find(|engine| engine.name() == name)
    }

    /// All engines that can be used.
    pub fn available(&self) -> &[Arc<dyn Engine>] {
        &self.available
    }

    /// Every engine that refit knows, with its version or why it is not there.
    pub fn report(&self) -> &[Availability] {
        &self.report
    }

    /// Why the engine of this name cannot be used.
    pub(crate) fn why_not(&self, name: &str) -> String {
        let known = self.report.iter().find(|availability| availability.engine == name);
        known.map_or_else(|| "refit knows no engine of this name".to_owned(), |entry| entry.detail.clone())
    }

    fn add(&mut self, engine: Arc<dyn Engine>, detail: String) {
        let version = Some(engine.version().to_owned());
        self.report.push(Availability { engine: engine.name(), version, detail });
        self.available.push(engine);
    }
}

fn discover_onnxruntime(config: &EngineConfig) -> Result<(OnnxRuntime, String), String> {
    let library = find_library(config.onnxruntime_library.as_deref(), &config.cache)?;
    let origin = match library.origin {
        Origin::Config => "named by the configuration",
        Origin::Environment => "named by ORT_DYLIB_PATH",
        Origin::Cache => "in refit's cache",
    };
    let detail = format!("{}, {origin}", library.path.display());
    match OnnxRuntime::from_library(&library.path) {
        Ok(engine) => Ok((engine, detail)),
        Err(refit_engine::EngineError::Unavailable { reason, .. }) => Err(reason),
        Err(error) => Err(error.to_string()),
    }
}
