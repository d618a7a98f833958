//! A model's configuration, in the terms of Triton's clients.

use std::collections::BTreeMap;

use refit_engine::Device;

use super::{
    awake,
    metadata::{Port, inputs, output_ports, platform},
    serving,
};
use crate::{api_error::ApiError, app::App};

/// What runs a model. Its shapes hold the axis of texts themselves, so there is no batch size apart from them.
pub(crate) struct ModelConfig {
    pub name: String,
    pub platform: String,
    /// The engine.
    pub backend: String,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    /// Sessions side by side.
    pub instances: usize,
    /// What they compute on.
    pub device: Device,
    /// What else is to be known, by name.
    pub parameters: BTreeMap<&'static str, String>,
}

/// The configuration of a version, or of the champion.
pub(crate) async fn config(app: &App, name: &str, version: Option<&str>) -> Result<ModelConfig, ApiError> {
    let routing = awake(app, name).await?;
    let serving = serving(&routing, name, version)?;
    let predictor = &serving.model.predictor;
    let choice = predictor.choice();
    let parameters = BTreeMap::from([
        ("version", serving.model.version.to_string()),
        ("task", predictor.task().to_string()),
        ("precision", choice.precision.name().to_owned()),
        ("device", choice.device.name().to_owned()),
        ("engine_version", predictor.engine_version().to_owned()),
        ("engine_reason", choice.reason.clone()),
        ("base", predictor.manifest().base.clone()),
    ]);
    Ok(ModelConfig {
        name: name.to_owned(),
        platform: platform(serving),
        backend: choice.engine.clone(),
        inputs: inputs(predictor.task()),
        outputs: output_ports(serving),
        instances: app.workers,
        device: choice.device,
        parameters,
    })
}
