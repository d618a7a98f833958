//! What there is: the server, a model's inputs and outputs, and whether it answers.

use refit_spec::Task;

use super::{
    awake, model,
    names::{
        ATTENTION_MASK, EMBEDDING, INPUT_IDS, LOGITS, PAIR, PROBABILITIES, TEXT, TOKEN_TYPE_IDS, outputs,
        raw_outputs, reads_tokens,
    },
    serving,
    tensor::DataType,
};
use crate::{
    api_error::ApiError,
    app::App,
    routing::{Residence, Serving},
};

/// The server's name.
pub(crate) const SERVER: &str = "refit";

/// What it speaks beyond the protocol's core.
pub(crate) const EXTENSIONS: [&str; 4] =
    ["binary_tensor_data", "model_repository", "model_configuration", "statistics"];

/// An input or output of a model.
pub(crate) struct Port {
    pub name: &'static str,
    pub datatype: DataType,
    /// -1 where an axis is of any length; the first one counts texts.
    pub shape: Vec<i64>,
    /// Whether a request may do without this input.
    pub optional: bool,
}

/// A model as a client has to know it.
pub(crate) struct ModelMetadata {
    pub name: String,
    /// Those that serve.
    pub versions: Vec<String>,
    pub platform: String,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
}

/// A model that is loaded on demand is loaded for it: nothing else knows.
pub(crate) async fn model_metadata(
    app: &App,
    name: &str,
    version: Option<&str>,
) -> Result<ModelMetadata, ApiError> {
    let routing = awake(app, name).await?;
    let serving = serving(&routing, name, version)?;
    Ok(ModelMetadata {
        name: name.to_owned(),
        versions: routing.serving().map(|(serving, _)| serving.model.version.to_string()).collect(),
        platform: platform(serving),
        inputs: inputs(serving.model.predictor.task()),
        outputs: output_ports(serving),
    })
}

/// Whether requests should be sent to a model, or to one version of it: it answers, or its next request loads it.
pub(crate) fn is_model_ready(app: &App, name: &str, version: Option<&str>) -> Result<bool, ApiError> {
    let model = model(app, name)?;
    let routing = model.routing();
    let ready = match version {
        Some(version) => routing.version(version).is_some(),
        None => routing.champion.is_some() || model.residence() == Residence::OnDemand,
    };
    Ok(ready && !app.is_draining())
}

pub(super) fn platform(serving: &Serving) -> String {
    format!("refit_{}", serving.model.predictor.choice().engine)
}

pub(super) fn inputs(task: Task) -> Vec<Port> {
    let optional = reads_tokens(task);
    let text = |name| Port { name, datatype: DataType::Bytes, shape: vec![-1], optional };
    let tokens = |name| Port { name, datatype: DataType::Int64, shape: vec![-1, -1], optional };
    let mut ports = vec![text(TEXT)];
    if task == Task::QuestionAnswering {
        ports.push(text(PAIR));
    }
    if optional {
        ports.extend([INPUT_IDS, ATTENTION_MASK, TOKEN_TYPE_IDS].map(tokens));
    }
    ports
}

pub(super) fn output_ports(serving: &Serving) -> Vec<Port> {
    let task = serving.model.predictor.task();
    let labels = i64::try_from(serving.model.labels.len()).unwrap_or(-1);
    let port = |(name, datatype)| {
        let shape = match name {
            LOGITS if task == Task::Regression => vec![-1, 1],
            PROBABILITIES | LOGITS => vec![-1, labels],
            EMBEDDING => vec![-1, -1],
            _ => vec![-1],
        };
        Port { name, datatype, shape, optional: false }
    };
    outputs(task).into_iter().chain(raw_outputs(task).iter().copied()).map(port).collect()
}
