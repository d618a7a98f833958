//! The Open Inference Protocol, version 2, apart from what it travels over: `routes/oip` reads and writes it as JSON with
//! binary tensors, `grpc` as messages. Raw text is a BYTES tensor.

mod config;
mod infer;
mod metadata;
mod names;
mod settings;
mod statistics;
mod tensor;
mod texts;

pub(crate) use config::{ModelConfig, config};
pub(crate) use infer::{InferCall, InferRequest, InferResponse, infer};
pub(crate) use metadata::{EXTENSIONS, Port, SERVER, is_model_ready, model_metadata};
pub(crate) use names::input_type;
pub(crate) use settings::{log_settings, trace_settings};
pub(crate) use statistics::{Duration, VersionStatistics, statistics};
pub(crate) use tensor::{DataType, Elements, InputTensor, OutputTensor, text};

use std::sync::Arc;

use crate::{
    api_error::{ApiError, Code},
    app::App,
    routing::{Model, Routing, Serving},
};

/// What is answered to everything about shared memory, traces and logs that would change something.
pub(crate) fn unsupported(what: &str) -> ApiError {
    ApiError::new(Code::Unsupported, format!("{what} is not supported by this server"))
}

/// Tensors travel in the request.
pub(crate) const SHARED_MEMORY: &str = "shared memory";

/// The version asked for, or the champion.
fn serving<'a>(routing: &'a Routing, name: &str, version: Option<&str>) -> Result<&'a Serving, ApiError> {
    match version {
        Some(version) => routing.version(version).map(|(serving, _)| serving).ok_or_else(|| {
            ApiError::new(Code::NotFound, format!("version {version:?} of model {name:?} is not served"))
        }),
        None => routing.champion.as_ref().ok_or_else(|| {
            ApiError::new(Code::Unavailable, format!("no version of model {name:?} is ready yet"))
        }),
    }
}

fn model(app: &App, name: &str) -> Result<Arc<Model>, ApiError> {
    app.models.get(name).ok_or_else(|| ApiError::unknown_model(name))
}

/// The routing of a model, loaded if it is to be loaded on demand.
async fn awake(app: &App, name: &str) -> Result<Arc<Routing>, ApiError> {
    let model = model(app, name)?;
    app.awake(&model).await?;
    Ok(model.routing())
}
