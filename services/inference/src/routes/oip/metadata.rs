//! `GET /v2`, `GET /v2/models/{name}` and `GET /v2/models/{name}/config`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use refit_engine::Device;
use serde_json::{Value, json};

use crate::{
    api_error::ApiError,
    app::App,
    oip::{self, DataType, Port},
};

pub(crate) async fn server() -> Json<Value> {
    let version = env!("CARGO_PKG_VERSION");
    Json(json!({ "name": oip::SERVER, "version": version, "extensions": oip::EXTENSIONS }))
}

pub(crate) async fn model(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    describe(&app, &name, None).await
}

pub(crate) async fn version(
    State(app): State<Arc<App>>,
    Path((name, version)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    describe(&app, &name, Some(&version)).await
}

pub(crate) async fn config(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    configuration(&app, &name, None).await
}

pub(crate) async fn version_config(
    State(app): State<Arc<App>>,
    Path((name, version)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    configuration(&app, &name, Some(&version)).await
}

async fn describe(app: &App, name: &str, version: Option<&str>) -> Result<Json<Value>, ApiError> {
    let metadata = oip::model_metadata(app, name, version).await?;
    let port =
        |port: &Port| json!({ "name": port.name, "datatype": port.datatype.name(), "shape": port.shape });
    Ok(Json(json!({
        "name": metadata.name,
        "versions": metadata.versions,
        "platform": metadata.platform,
        "inputs": metadata.inputs.iter().map(port).collect::<Vec<_>>(),
        "outputs": metadata.outputs.iter().map(port).collect::<Vec<_>>(),
    })))
}

async fn configuration(app: &App, name: &str, version: Option<&str>) -> Result<Json<Value>, ApiError> {
    let config = oip::config(app, name, version).await?;
    let port =
        |port: &Port| json!({ "name": port.name, "data_type": type_name(port.datatype), "dims": port.shape });
    let input = |it: &Port| {
        let mut described = port(it);
        described["optional"] = json!(it.optional);
        described
    };
    let parameters: serde_json::Map<String, Value> = config
        .parameters
        .into_iter()
        .map(|(name, value)| (name.to_owned(), json!({ "string_value": value })))
        .collect();
    let kind = match config.device {
        Device::Cpu => "KIND_CPU",
        Device::Cuda => "KIND_GPU",
    };
    Ok(Json(json!({
        "name": config.name,
        "platform": config.platform,
        "backend": config.backend,
        "max_batch_size": 0,
        "input": config.inputs.iter().map(input).collect::<Vec<_>>(),
        "output": config.outputs.iter().map(port).collect::<Vec<_>>(),
        "instance_group": [{ "name": config.name, "kind": kind, "count": config.instances }],
        "parameters": parameters,
    })))
}

/// A data type as configurations write it.
fn type_name(datatype: DataType) -> &'static str {
    match datatype {
        DataType::Bytes => "TYPE_STRING",
        DataType::Int64 => "TYPE_INT64",
        DataType::Fp32 => "TYPE_FP32",
    }
}
