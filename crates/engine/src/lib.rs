//! The contract of an inference engine: load an ONNX model, get sessions, run tensors through them.
//!
//! A session belongs to one thread at a time. Sessions made by [`Session::fork`] share one copy of the weights, so
//! a pool of single-threaded sessions costs little more memory than one.

mod device;
mod error;
mod guard;
mod port;
mod tensor;

use std::{path::Path, sync::Arc};

pub use device::Device;
pub use error::EngineError;
pub use guard::without_panic;
pub use port::{Port, arrange};
pub use tensor::{DataType, Tensor, TensorData};

/// Something that runs ONNX models.
pub trait Engine: Send + Sync {
    /// The engine's name as the manifest, the metrics and the configuration spell it: `tract`, `onnxruntime`.
    fn name(&self) -> &'static str;

    /// The engine's own version, such as `1.31.1`.
    fn version(&self) -> &str;

    /// What its sessions compute on.
    fn device(&self) -> Device {
        Device::Cpu
    }

    /// Loads a model and prepares it to run.
    fn load(&self, model: ModelSource<'_>, options: &SessionOptions)
    -> Result<Box<dyn Session>, EngineError>;
}

/// A loaded model that one thread runs.
pub trait Session: Send {
    /// The model's inputs in the order of its file.
    fn inputs(&self) -> &[Port];

    /// The model's outputs in the order of its file.
    fn outputs(&self) -> &[Port];

    /// Runs the model once.
    ///
    /// Inputs are matched by name and must be exactly those of [`Session::inputs`], in any order. Outputs come in
    /// the order of [`Session::outputs`].
    fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, EngineError>;

    /// Lets the next run give back working memory that only larger runs before it needed. Nothing where the engine keeps
    /// none.
    fn shrink(&mut self) {}

    /// The loaded model, from which more sessions can be made when this one is in use.
    fn model(&self) -> Arc<dyn Model>;

    /// Another session over the same weights, for another thread.
    fn fork(&self) -> Result<Box<dyn Session>, EngineError> {
        self.model().session()
    }
}

/// What the sessions of one loaded model share.
pub trait Model: Send + Sync {
    /// Another session for another thread.
    fn session(&self) -> Result<Box<dyn Session>, EngineError>;

    /// Whether the rows of a batch come out as they would alone. Kernels that change with the shape do not promise it.
    fn rows_are_independent(&self) -> bool {
        false
    }

    /// A session whose runs are spread over so many threads of its own, for a text that has the machine to itself.
    /// `None` where the engine computes on the calling thread whatever it is asked for.
    fn wide_session(&self, _threads: usize) -> Result<Option<Box<dyn Session>>, EngineError> {
        Ok(None)
    }
}

/// Where a model comes from. A file is preferred: engines find external data beside it and need not hold the bytes.
#[derive(Clone, Copy, Debug)]
pub enum ModelSource<'a> {
    /// The bytes of an ONNX file without external data.
    Bytes(&'a [u8]),
    /// The path of an ONNX file.
    File(&'a Path),
}

impl<'a> From<&'a Path> for ModelSource<'a> {
    fn from(path: &'a Path) -> Self {
        Self::File(path)
    }
}

impl<'a> From<&'a [u8]> for ModelSource<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

/// How a session runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// Threads that work on one run. Engines without threads of their own (tract) always use one.
    pub threads: usize,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self { threads: 1 }
    }
}
