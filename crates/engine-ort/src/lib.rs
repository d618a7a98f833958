//! ONNX Runtime behind the engine contract. Its library is loaded at run time, if there is one, so that refit builds
//! and runs without it: [`find_library`] looks where it may be, [`install`] fetches it.

mod environment;
mod install;
mod library;
mod session;
mod tensor;
mod weights;

use std::path::{Path, PathBuf};

use refit_engine::{Engine, EngineError, ModelSource, Session, SessionOptions, without_panic};

pub use install::{InstallError, install};
pub use library::{DEFAULT_VERSION, Library, Origin, find_library, library_folder};

/// The engine's name in manifests, metrics and configuration.
pub const NAME: &str = "onnxruntime";

/// ONNX Runtime with its library loaded.
#[derive(Clone, Debug)]
pub struct OnnxRuntime {
    environment: ort::environment::Environment,
    version: String,
    library: PathBuf,
}

impl OnnxRuntime {
    /// Loads the library at `path`. A process can hold one ONNX Runtime only: asking again for the same library
    /// gives the same one, asking for another is an error.
    pub fn from_library(path: &Path) -> Result<Self, EngineError> {
        let loaded = without_panic(|| environment::load(path));
        let unavailable = |reason| EngineError::Unavailable { engine: NAME, reason };
        loaded.map_err(unavailable)?.map_err(unavailable)
    }

    /// ONNX Runtime's environment, for what this crate does not offer. There is one a process.
    pub fn environment(&self) -> &ort::environment::Environment {
        &self.environment
    }

    /// The library's path.
    pub fn library(&self) -> &Path {
        &self.library
    }
}

impl Engine for OnnxRuntime {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn load(
        &self,
        model: ModelSource<'_>,
        options: &SessionOptions,
    ) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(session::OrtSession::load(self, model, options)?))
    }
}
