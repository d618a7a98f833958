//! ONNX Runtime behind the engine contract. Its library is loaded at run time, if there is one, so that refit builds
//! and runs without it: [`find_library`] looks where it may be, [`install`] fetches it. Of the two builds the one for
//! NVIDIA GPUs ([`Build::Cuda`]) can compute on the processor too; [`OnnxRuntime::on_cuda`] moves it to the GPU.

mod cuda;
mod environment;
mod install;
mod library;
mod session;
mod tensor;
mod weights;

use std::path::{Path, PathBuf};

use refit_engine::{Device, Engine, EngineError, ModelSource, Session, SessionOptions, without_panic};

pub use cuda::NoCuda;
pub use install::{InstallError, install, install_build};
pub use library::{Build, DEFAULT_VERSION, Library, Origin, find_library, find_library_of, library_folder};

/// The engine's name in manifests, metrics and configuration.
pub const NAME: &str = "onnxruntime";

/// ONNX Runtime with its library loaded.
#[derive(Clone, Debug)]
pub struct OnnxRuntime {
    environment: ort::environment::Environment,
    version: String,
    library: PathBuf,
    device: Device,
}

impl OnnxRuntime {
    /// Loads the library at `path`. A process can hold one ONNX Runtime only: asking again for the same library
    /// gives the same one, asking for another is an error.
    pub fn from_library(path: &Path) -> Result<Self, EngineError> {
        let loaded = without_panic(|| environment::load(path));
        let unavailable = |reason| EngineError::Unavailable { engine: NAME, reason };
        loaded.map_err(unavailable)?.map_err(unavailable)
    }

    /// The ONNX Runtime that this process has loaded, if it has.
    pub fn loaded() -> Option<Self> {
        environment::loaded()
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

    fn device(&self) -> Device {
        self.device
    }

    fn load(
        &self,
        model: ModelSource<'_>,
        options: &SessionOptions,
    ) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(session::OrtSession::load(self, model, options)?))
    }
}
