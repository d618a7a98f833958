use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use ort::{
    environment::Environment,
    logging::LogLevel,
    session::{Session as RuntimeSession, SessionInputValue, builder::GraphOptimizationLevel},
    value::{Outlet, ValueType},
};
use refit_engine::{
    EngineError, Model, ModelSource, Port, Session, SessionOptions, Tensor, arrange, without_panic,
};

use crate::{
    NAME, OnnxRuntime,
    tensor::{data_type, from_runtime, to_runtime},
    weights::SharedWeights,
};

/// A session of ONNX Runtime. It is never run from two threads at once: [`Session::fork`] makes another one.
pub(crate) struct OrtSession {
    session: RuntimeSession,
    inputs: Arc<[Port]>,
    outputs: Arc<[Port]>,
    recipe: Arc<Recipe>,
}

/// What it takes to make the same session again.
struct Recipe {
    environment: Environment,
    model: Source,
    weights: SharedWeights,
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
        let path = model.path();
        let weights = without_panic(|| SharedWeights::of(&model)).map_err(|reason| EngineError::Load {
            engine: NAME,
            path,
            reason,
        })?;
        let environment = runtime.environment.clone();
        Self::from_recipe(
            Arc::new(Recipe { environment, model, weights, options: *options }),
            options.threads,
        )
    }

    fn from_recipe(recipe: Arc<Recipe>, threads: usize) -> Result<Self, EngineError> {
        let failed = |reason: String| EngineError::Load { engine: NAME, path: recipe.model.path(), reason };
        let session = without_panic(|| recipe.build(threads.max(1))).map_err(failed)?;
        let session = session.map_err(|error| failed(one_line(&error)))?;
        let inputs = session.inputs().iter().map(port).collect();
        let outputs = session.outputs().iter().map(port).collect();
        Ok(Self { session, inputs, outputs, recipe })
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
        let mut builder = self.weights.lend(builder)?;
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
        without_panic(|| run(&mut self.session, &self.outputs, &values))
            .unwrap_or_else(|reason| Err(EngineError::Run { engine: NAME, reason }))
    }

    fn model(&self) -> Arc<dyn Model> {
        Arc::new(Shared(Arc::clone(&self.recipe)))
    }
}

/// A recipe by which several sessions are made.
struct Shared(Arc<Recipe>);

impl Model for Shared {
    fn session(&self) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(OrtSession::from_recipe(Arc::clone(&self.0), self.0.options.threads)?))
    }

    fn rows_are_independent(&self) -> bool {
        true
    }

    fn wide_session(&self, threads: usize) -> Result<Option<Box<dyn Session>>, EngineError> {
        Ok(Some(Box::new(OrtSession::from_recipe(Arc::clone(&self.0), threads)?)))
    }
}

fn run(
    session: &mut RuntimeSession,
    outputs: &[Port],
    inputs: &[&Tensor],
) -> Result<Vec<(String, Tensor)>, EngineError> {
    let failed = |error: ort::Error| EngineError::Run { engine: NAME, reason: one_line(&error) };
    let values: Vec<SessionInputValue<'_>> =
        inputs.iter().map(|tensor| to_runtime(tensor)).collect::<ort::Result<_>>().map_err(failed)?;
    let results = session.run(&values[..]).map_err(failed)?;
    outputs.iter().enumerate().map(|(index, port)| from_runtime(port, &results[index])).collect()
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
