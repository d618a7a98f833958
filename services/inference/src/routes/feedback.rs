//! `POST /v1/feedback`: the true label of a prediction, or of many.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use refit_store::{Accepted, Feedback, Store, StoreError};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api_error::{ApiError, Code},
    app::App,
    body,
};

#[derive(Deserialize)]
#[serde(untagged)]
enum Given {
    One(Item),
    Many(Vec<Item>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    prediction_id: String,
    label: String,
}

/// The most that one request may hold: they are written in one transaction, which others wait for.
const MAX_ITEMS: usize = 10_000;

/// One label is recorded or refused. Of a list, each is; the answer says which were refused and why, and its status is
/// that of the first refusal if none was recorded.
pub(crate) async fn give(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let Some(store) = &app.store else {
        let message =
            "this process serves an artifact without a store: it keeps no predictions, so no feedback";
        return Err(ApiError::new(Code::NotFound, message));
    };
    let body = body::read(&app, &headers, body).await?;
    let given: Given = body::json(&headers, &body).map_err(explain_shape)?;
    match given {
        Given::One(item) => {
            let result = record(&app, store, vec![item.try_into()?]).await?.remove(0);
            let accepted = result?;
            Ok(Json(json!({ "accepted": 1, "correct": accepted.correct })).into_response())
        }
        Given::Many(items) if items.len() > MAX_ITEMS => {
            Err(ApiError::new(Code::Invalid, format!("a request may hold at most {MAX_ITEMS} labels")))
        }
        Given::Many(items) => {
            let batch: Vec<Feedback> = items.into_iter().map(Feedback::try_from).collect::<Result<_, _>>()?;
            Ok(summarize(record(&app, store, batch).await?))
        }
    }
}

fn summarize(results: Vec<Result<Accepted, StoreError>>) -> Response {
    let mut refused: Vec<Value> = Vec::new();
    let (mut accepted, mut status) = (0, None);
    for (index, result) in results.into_iter().enumerate() {
        match result {
            Ok(_) => accepted += 1,
            Err(error) => {
                let error = ApiError::from(error);
                status = status.or(Some(error.code.status()));
                let code = error.code.status().as_u16();
                refused.push(json!({ "index": index, "status": code, "error": error.message }));
            }
        }
    }
    let status = status.filter(|_| accepted == 0).unwrap_or(StatusCode::OK);
    let mut answer = json!({ "accepted": accepted, "refused": refused });
    if status != StatusCode::OK {
        answer["error"] = json!("none of the labels was recorded");
    }
    (status, Json(answer)).into_response()
}

/// Records labels. A prediction that is unknown may be one that the recorder has not written yet: then it writes all it
/// has, and those labels are tried once more.
async fn record(
    app: &App,
    store: &Store,
    batch: Vec<Feedback>,
) -> Result<Vec<Result<Accepted, StoreError>>, ApiError> {
    let mut results = store.give_feedback_batch(&batch).await?;
    let is_unknown = |result: &Result<_, _>| matches!(result, Err(StoreError::UnknownPrediction { .. }));
    let unknown: Vec<usize> = (0..batch.len()).filter(|&index| is_unknown(&results[index])).collect();
    if let (false, Some(recorder)) = (unknown.is_empty(), &app.outlets.recorder) {
        recorder.flush().await;
        let again: Vec<Feedback> = unknown.iter().map(|&index| batch[index].clone()).collect();
        for (index, result) in unknown.into_iter().zip(store.give_feedback_batch(&again).await?) {
            results[index] = result;
        }
    }
    for accepted in results.iter().flatten() {
        let outcome = if accepted.correct { "correct" } else { "wrong" };
        app.metrics.feedback.with_label_values(&[&accepted.model, &accepted.version, outcome]).inc();
    }
    Ok(results)
}

impl TryFrom<Item> for Feedback {
    type Error = ApiError;

    fn try_from(item: Item) -> Result<Self, ApiError> {
        if item.label.trim().is_empty() {
            return Err(ApiError::new(Code::Invalid, "the label is empty"));
        }
        Ok(Self { prediction_id: item.prediction_id, label: item.label })
    }
}

fn explain_shape(error: ApiError) -> ApiError {
    if error.code != Code::Invalid {
        return error;
    }
    let message = r#"send {"prediction_id": "...", "label": "..."} or a list of these"#;
    ApiError::new(Code::Invalid, message)
}
