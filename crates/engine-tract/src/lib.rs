//! tract behind the engine contract: pure Rust, nothing to install.
//!
//! Batch and sequence stay symbolic, so one plan serves every shape. The plan holds the weights; sessions share it.

mod session;
mod tensor;

use std::{fs::File, io, sync::Arc};

use refit_engine::{Engine, EngineError, ModelSource, Session, SessionOptions, without_panic};
use tract_onnx::{
    pb::ModelProto,
    prelude::{Framework, InferenceModelExt, IntoRunnable, TractResult, TypedRunnableModel},
    tract_core::internal::{TractError, ensure},
};

use crate::session::TractSession;

/// The engine's name in manifests, metrics and configuration.
pub const NAME: &str = "tract";

/// The version that is built in; `Cargo.toml` pins it and a test compares the two.
pub const VERSION: &str = "0.23.9";

/// tract. Always available.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tract;

impl Engine for Tract {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> &str {
        VERSION
    }

    /// tract computes on the calling thread, whatever `options` ask for.
    fn load(
        &self,
        model: ModelSource<'_>,
        _options: &SessionOptions,
    ) -> Result<Box<dyn Session>, EngineError> {
        let failed = |reason: String| EngineError::Load {
            engine: NAME,
            path: match model {
                ModelSource::File(path) => Some(path.to_path_buf()),
                ModelSource::Bytes(_) => None,
            },
            reason,
        };
        let loaded = without_panic(|| build(model)).map_err(failed)?;
        let session = loaded.map_err(|error| failed(one_line(&error)))?;
        Ok(Box::new(session))
    }
}

fn build(source: ModelSource<'_>) -> TractResult<TractSession> {
    // Shapes written by exporters are hints, and where they are wrong tract would refuse a model that runs.
    let onnx = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
    let (proto, folder) = match source {
        ModelSource::Bytes(mut bytes) => (onnx.proto_model_for_read(&mut bytes)?, None),
        ModelSource::File(path) => {
            let folder = path.parent().and_then(|folder| folder.to_str());
            (onnx.proto_model_for_read(&mut io::BufReader::new(File::open(path)?))?, folder)
        }
    };
    let (input_names, output_names) = port_names(&proto);
    let parsed = onnx.parse(&proto, folder)?;
    ensure!(
        parsed.unresolved_inputs.is_empty(),
        "its nodes read values that nothing produces: {}",
        parsed.unresolved_inputs.join(", ")
    );
    // The bytes would otherwise stay in memory beside the weights while the plan is made.
    drop(proto);
    let plan: Arc<TypedRunnableModel> =
        parsed.model.into_typed()?.into_decluttered()?.into_optimized()?.into_runnable()?;
    TractSession::new(plan, &input_names, &output_names)
}

/// The names of the graph's inputs (those that no initializer gives a value) and outputs.
fn port_names(proto: &ModelProto) -> (Vec<String>, Vec<String>) {
    let Some(graph) = &proto.graph else { return (Vec::new(), Vec::new()) };
    let is_initializer = |name: &str| graph.initializer.iter().any(|tensor| tensor.name == name);
    let inputs = graph.input.iter().map(|input| input.name.clone()).filter(|name| !is_initializer(name));
    let outputs = graph.output.iter().map(|output| output.name.clone());
    (inputs.collect(), outputs.collect())
}

/// An error and its causes as one line: they come with line breaks and repeat each other.
fn one_line(error: &TractError) -> String {
    let mut causes: Vec<String> = error.chain().map(|cause| cause.to_string().replace('\n', " ")).collect();
    causes.dedup();
    causes.join(": ")
}
