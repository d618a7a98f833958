use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use ort::{
    environment::Environment,
    logging::LogLevel,
    session::{RunOptions, Session as RuntimeSession, SessionInputValue, builder::GraphOptimizationLevel},
    value::{Outlet, ValueType},
};
use refit_engine::{
    Device, EngineError, Model, ModelSource, Port, Session, SessionOptions, Tensor, arrange, without_panic,
};

use crate::{
    NAME, OnnxRuntime, cuda,
    tensor::{data_type, from_runtime, to_runtime},
    weights::SharedWeights,
};

/// A session of ONNX Runtime. It is never run from two threads at once: [`Session::fork`] makes another one.
pub(crate) struct OrtSession {
    session: Runs,
    inputs: Arc<[Port]>,
    outputs: Arc<[Port]>,
    recipe: Arc<Recipe>,
    /// Whether the next run gives back what larger ones needed.
    shrinks: bool,
}

/// How runs come to a session of the library.
enum Runs {
    /// It is this one's own.
    Own(RuntimeSession),
    /// All sessions of a model on a GPU have the same one and take turns: with one each, the GPU would hold the weights as
    /// often, and compute no faster.
    InTurn(Arc<Mutex<RuntimeSession>>),
}

/// What it takes to make the same session again.
struct Recipe {
    environment: Environment,
    device: Device,
    model: Source,
    /// `None` on a GPU: what is lent lies in the processor's memory, which its kernels cannot read.
    weights: Option<SharedWeights>,
    options: SessionOptions,
}

/// Where the model is read from, once more for every session.
pub(crate) enum Source {
    File(PathBuf),
    Bytes(Bytes),
}

impl Source {
    fn path(&self) -> Option<PathBuf> {
        match self {
            Self::File(path) => Some(path.clone()),
            Self::Bytes(_) => None,
        }
    }
}

impl OrtSession {
    pub(crate) fn load(
        runtime: &OnnxRuntime,
        model: ModelSource<'_>,
        options: &SessionOptions,
    ) -> Result<Self, EngineError> {
        let model = match model {
            ModelSource::File(path) => Source::File(path.to_path_buf()),
            ModelSource::Bytes(bytes) => Source::Bytes(Bytes::copy_from_slice(bytes)),
        };
        let (environment, device) = (runtime.environment.clone(), runtime.device);
        let weights = match device {
            Device::Cpu => {
                let failed = |reason| EngineError::Load { engine: NAME, path: model.path(), reason };
                Some(without_panic(|| SharedWeights::of(&model)).map_err(failed)?)
            }
            Device::Cuda => None,
        };
        let recipe = Recipe { environment, device, model, weights, options: *options };
        Self::from_recipe(Arc::new(recipe), options.threads)
    }

    fn from_recipe(recipe: Arc<Recipe>, threads: usize) -> Result<Self, EngineError> {
        let failed = |reason: String| EngineError::Load { engine: NAME, path: recipe.model.path(), reason };
        let session = without_panic(|| recipe.build(threads.max(1))).map_err(failed)?;
        let session = session.map_err(|error| failed(one_line(&error)))?;
        let inputs = session.inputs().iter().map(port).collect();
        let outputs = session.outputs().iter().map(port).collect();
        let session = match recipe.device {
            Device::Cpu => Runs::Own(session),
            Device::Cuda => Runs::InTurn(Arc::new(Mutex::new(session))),
        };
        Ok(Self { session, inputs, outputs, recipe, shrinks: false })
    }

    /// Another one that takes turns with this one; `None` where each has its own.
    fn in_turn(&self) -> Option<Self> {
        let Runs::InTurn(session) = &self.session else { return None };
        Some(Self {
            session: Runs::InTurn(Arc::clone(session)),
            inputs: Arc::clone(&self.inputs),
            outputs: Arc::clone(&self.outputs),
            recipe: Arc::clone(&self.recipe),
            shrinks: false,
        })
    }
}

impl Recipe {
    fn build(&self, threads: usize) -> ort::Result<RuntimeSession> {
        let builder = RuntimeSession::builder(&self.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(threads)?
            .with_inter_threads(1)?
            // Threads of one run meet after every operator, sooner than the system would wake them; between runs
            // they must not burn the cores that other sessions need.
            .with_intra_op_spinning(threads > 1)?
            .with_config_entry("session.force_spinning_stop", "1")?
            // Errors come back to the caller, who reports them once.
            .with_log_level(LogLevel::Fatal)?
            // It keeps a plan for every shape it has seen, and texts come in hundreds of lengths.
            .with_memory_pattern(false)?;
        let mut builder = match &self.weights {
            Some(weights) => weights.lend(builder)?,
            None => builder.with_execution_providers([cuda::provider()])?,
        };
        match &self.model {
            Source::File(path) => builder.commit_from_file(path),
            Source::Bytes(bytes) => builder.commit_from_memory(bytes),
        }
    }
}

impl Session for OrtSession {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, EngineError> {
        let values = arrange(&self.inputs, inputs)?;
        let outputs = &self.outputs;
        let shrinks = std::mem::take(&mut self.shrinks);
        let work = || match &mut self.session {
            Runs::Own(session) => run(session, outputs, &values, shrinks),
            Runs::InTurn(session) => {
                run(&mut session.lock().unwrap_or_else(PoisonError::into_inner), outputs, &values, false)
            }
        };
        without_panic(work).unwrap_or_else(|reason| Err(EngineError::Run { engine: NAME, reason }))
    }

    fn shrink(&mut self) {
        self.shrinks = true;
    }

    fn model(&self) -> Arc<dyn Model> {
        Arc::new(Shared { recipe: Arc::clone(&self.recipe), in_turn: self.in_turn() })
    }
}

/// A recipe by which several sessions are made, or the session that they all use.
struct Shared {
    recipe: Arc<Recipe>,
    in_turn: Option<OrtSession>,
}

impl Model for Shared {
    fn session(&self) -> Result<Box<dyn Session>, EngineError> {
        if let Some(session) = self.in_turn.as_ref().and_then(OrtSession::in_turn) {
            return Ok(Box::new(session));
        }
        Ok(Box::new(OrtSession::from_recipe(Arc::clone(&self.recipe), self.recipe.options.threads)?))
    }

    fn rows_are_independent(&self) -> bool {
        true
    }

    fn wide_session(&self, threads: usize) -> Result<Option<Box<dyn Session>>, EngineError> {
        match self.recipe.device {
            Device::Cpu => Ok(Some(Box::new(OrtSession::from_recipe(Arc::clone(&self.recipe), threads)?))),
            // Its threads are not the processor's.
            Device::Cuda => Ok(None),
        }
    }
}

fn run(
    session: &mut RuntimeSession,
    outputs: &[Port],
    inputs: &[&Tensor],
    shrinks: bool,
) -> Result<Vec<(String, Tensor)>, EngineError> {
    let failed = |error: ort::Error| EngineError::Run { engine: NAME, reason: one_line(&error) };
    let values: Vec<SessionInputValue<'_>> =
        inputs.iter().map(|tensor| to_runtime(tensor)).collect::<ort::Result<_>>().map_err(failed)?;
    let shrinking = if shrinks { Some(shrinking().map_err(failed)?) } else { None };
    let results = match &shrinking {
        Some(options) => session.run_with_options(&values[..], options),
        None => session.run(&values[..]),
    };
    let results = results.map_err(failed)?;
    outputs.iter().enumerate().map(|(index, port)| from_runtime(port, &results[index])).collect()
}

/// How a run gives back what its session's arena holds beyond its first block: a key of ONNX Runtime's
/// `onnxruntime_run_options_config_keys.h`, where `cpu:0` is the arena of a session here.
fn shrinking() -> ort::Result<RunOptions> {
    let mut options = RunOptions::new()?;
    options.set("memory.enable_memory_arena_shrinkage", "cpu:0")?;
    Ok(options)
}

fn port(outlet: &Outlet) -> Port {
    let (dtype, shape) = match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } => {
            (data_type(*ty), shape.iter().map(|&axis| usize::try_from(axis).ok()).collect())
        }
        _ => (None, Vec::new()),
    };
    Port { name: outlet.name().to_owned(), dtype, shape }
}

/// ONNX Runtime's messages come with line breaks.
fn one_line<R>(error: &ort::Error<R>) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
