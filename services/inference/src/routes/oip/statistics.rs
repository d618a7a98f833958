//! `GET /v2/models/stats`, `/v2/models/{name}/stats` and `/v2/models/{name}/versions/{version}/stats`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Value, json};

use crate::{
    api_error::ApiError,
    app::App,
    oip::{self, Duration, VersionStatistics},
};

pub(crate) async fn all(State(app): State<Arc<App>>) -> Result<Json<Value>, ApiError> {
    oip::statistics(&app, None, None).map(describe)
}

pub(crate) async fn model(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    oip::statistics(&app, Some(&name), None).map(describe)
}

pub(crate) async fn version(
    State(app): State<Arc<App>>,
    Path((name, version)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    oip::statistics(&app, Some(&name), Some(&version)).map(describe)
}

fn describe(statistics: Vec<VersionStatistics>) -> Json<Value> {
    let duration = |duration: Duration| json!({ "count": duration.count, "ns": duration.ns });
    let one = |it: &VersionStatistics| {
        json!({
            "name": it.name,
            "version": it.version,
            "inference_count": it.success.count,
            "execution_count": it.compute.count,
            "inference_stats": {
                "success": duration(it.success),
                "fail": duration(it.fail),
                "queue": duration(it.queue),
                "compute_input": duration(it.tokenize),
                "compute_infer": duration(it.compute),
            },
        })
    };
    Json(json!({ "model_stats": statistics.iter().map(one).collect::<Vec<_>>() }))
}
