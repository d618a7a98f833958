use super::{ApiError, Context};
use crate::TrainerError;
use crate::queue::{Refusal, Submission};
use crate::run::{Run, is_id};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use refit_spec::Spec;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;

/// What is submitted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRun {
    /// The text of `refit.toml`.
    spec: String,
    /// An id of the caller's: the same id with the same content is the same run.
    id: Option<String>,
    /// Where relative paths of the spec start, on the machine of the service.
    folder: Option<PathBuf>,
    /// `champion` or `pretrained`.
    start: Option<String>,
    /// Further labelled rows, `{"text", "label"}` a line.
    additional: Option<String>,
}

pub async fn submit(
    State(context): State<Context>,
    body: Result<Json<NewRun>, JsonRejection>,
) -> Result<Response, ApiError> {
    let unusable = |message: String| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, message);
    let Json(new) = body.map_err(|error| ApiError::new(error.status(), error.body_text()))?;
    if let Some(id) = new.id.as_deref().filter(|id| !is_id(id)) {
        let rule = "an id has at most 100 letters, digits, dots, hyphens and underscores";
        return Err(unusable(format!("{id:?} is no id of a run: {rule}")));
    }
    let start = new.start.unwrap_or_else(|| "pretrained".to_owned());
    if !["champion", "pretrained"].contains(&start.as_str()) {
        return Err(unusable(format!("start is {start:?}: write \"champion\" or \"pretrained\"")));
    }
    let folder = new.folder.unwrap_or_else(|| context.queue.config.home.clone());
    if !folder.is_absolute() {
        return Err(unusable(format!("{} is not an absolute path of this machine", folder.display())));
    }
    let spec = Spec::parse(&new.spec, &folder).map_err(|problems| unusable(problems.to_string()))?;
    let submission = Submission {
        id: new.id,
        model: spec.model.name,
        spec: new.spec,
        folder,
        start,
        additional: new.additional,
    };
    let queue = context.queue.clone();
    let run = on_disk(move || queue.submit(submission)).await?.map_err(|refusal| {
        let status = match &refusal {
            Refusal::Other { .. } => StatusCode::CONFLICT,
            Refusal::Full { .. } => StatusCode::TOO_MANY_REQUESTS,
            Refusal::Disk(error) => return failed(error),
        };
        ApiError::new(status, refusal.to_string())
    })?;
    Ok((StatusCode::ACCEPTED, Json(answer(&run))).into_response())
}

pub async fn list(State(context): State<Context>) -> Json<Value> {
    Json(json!({ "runs": context.queue.list().iter().map(answer).collect::<Vec<_>>() }))
}

pub async fn one(State(context): State<Context>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let run = context.queue.get(&id).ok_or_else(|| ApiError::unknown(&id))?;
    Ok(Json(answer(&run)))
}

pub async fn cancel(State(context): State<Context>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let (queue, asked) = (context.queue.clone(), id.clone());
    let run = on_disk(move || queue.cancel(&asked)).await?.map_err(|error| failed(&error))?;
    Ok(Json(answer(&run.ok_or_else(|| ApiError::unknown(&id))?)))
}

pub async fn log(State(context): State<Context>, Path(id): Path<String>) -> Result<Response, ApiError> {
    context.queue.get(&id).ok_or_else(|| ApiError::unknown(&id))?;
    let text = tokio::fs::read(context.queue.files(&id).log()).await.unwrap_or_default();
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

/// A run as it is answered: what callers need, and no paths of the machine but the artifact's.
pub fn answer(run: &Run) -> Value {
    json!({
        "id": run.id, "model": run.model, "status": run.status, "submitted_at": run.submitted_at,
        "started_at": run.started_at, "ended_at": run.ended_at, "attempts": run.attempts,
        "device": run.device, "cancelling": run.cancel && !run.status.is_final(), "error": run.error,
        "outcome": run.outcome,
    })
}

/// Work that waits for the disk, away from the threads that answer.
async fn on_disk<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

fn failed(error: &TrainerError) -> ApiError {
    tracing::error!(cause = ?std::error::Error::source(error), "{error}");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the run cannot be kept: the service's log says why")
}
