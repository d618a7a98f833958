use std::{path::PathBuf, sync::Arc};

use refit_engine::{Device, Engine};
use refit_engine_ort::{Build, OnnxRuntime, Origin, find_library_of};
use refit_engine_tract::Tract;
use refit_spec::DeviceChoice;

use crate::device::{Computing, decide};

/// Where engines are looked for.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// refit's cache, usually `~/.cache/refit`.
    pub cache: PathBuf,
    /// ONNX Runtime's library, if the configuration names one.
    pub onnxruntime_library: Option<PathBuf>,
    /// What ONNX Runtime is to compute on. tract computes on the processor.
    pub device: DeviceChoice,
}

/// The engines that this process can use, and for each that it cannot, why.
#[derive(Clone)]
pub struct Engines {
    available: Vec<Arc<dyn Engine>>,
    report: Vec<Availability>,
    computing: Result<Computing, String>,
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
    /// Looks for all engines. A missing one is no error: tract is always there. What they compute on, or why it is not
    /// what was asked for, [`Engines::computing`] tells.
    pub fn discover(config: &EngineConfig) -> Self {
        let mut engines = Self::tract_only();
        let found = discover_onnxruntime(config);
        let on_cuda = (config.device != DeviceChoice::Cpu).then(|| match &found {
            Ok((runtime, _)) => runtime.on_cuda().map_err(|reason| reason.to_string()),
            Err(missing) => Err(format!(
                "ONNX Runtime is not available ({missing}); `refit engine install onnxruntime --device cuda` installs the \
                 one for GPUs"
            )),
        });
        engines.computing = decide(config.device, on_cuda.as_ref());
        match (found, on_cuda) {
            (Ok((_, detail)), Some(Ok(runtime))) => {
                engines.add(Arc::new(runtime), format!("{detail}, on the GPU"));
            }
            (Ok((runtime, detail)), _) => engines.add(Arc::new(runtime), detail),
            (Err(detail), _) => {
                engines.report.push(Availability { engine: refit_engine_ort::NAME, version: None, detail });
            }
        }
        engines
    }

    /// tract alone.
    pub fn tract_only() -> Self {
        let computing = decide::<()>(DeviceChoice::Cpu, None);
        let mut engines = Self { available: Vec::new(), report: Vec::new(), computing };
        engines.add(Arc::new(Tract), "built in".to_owned());
        engines
    }

    /// The engine of this name, if it can be used.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Engine>> {
        self.available.iter().find(|engine| engine.name() == name)
    }

    /// What ONNX Runtime computes on, and why; tract computes on the processor whatever this is.
    ///
    /// # Errors
    /// When a GPU was asked for and cannot be used: what is missing and what to do.
    pub fn computing(&self) -> Result<&Computing, &str> {
        self.computing.as_ref().map_err(String::as_str)
    }

    /// The engine that computes on a GPU, if one does.
    pub(crate) fn on_gpu(&self) -> Option<&str> {
        self.available.iter().find(|engine| engine.device() != Device::Cpu).map(|engine| engine.name())
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
    let build = if config.device == DeviceChoice::Cpu { Build::Cpu } else { Build::Cuda };
    let library = find_library_of(build, config.onnxruntime_library.as_deref(), &config.cache)?;
    let origin = match library.origin {
        Origin::Config => "named by the configuration",
        Origin::Environment => "named by ORT_DYLIB_PATH",
        Origin::Cache => "in refit's cache",
    };
    // A process holds one ONNX Runtime. Of two builds in the cache the one that it has is as good.
    let loaded = OnnxRuntime::loaded().filter(|loaded| {
        let cache = config.cache.canonicalize();
        library.origin == Origin::Cache && cache.is_ok_and(|cache| loaded.library().starts_with(cache))
    });
    let path = loaded.map_or(library.path, |loaded| loaded.library().to_path_buf());
    let detail = format!("{}, {origin}", path.display());
    match OnnxRuntime::from_library(&path) {
        Ok(engine) => Ok((engine, detail)),
        Err(refit_engine::EngineError::Unavailable { reason, .. }) => Err(reason),
        Err(error) => Err(error.to_string()),
    }
}
