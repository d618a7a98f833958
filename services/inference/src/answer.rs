//! From texts to answers: choose the version, queue, wait.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::{
    api_error::{ApiError, Code},
    app::App,
    queue::Refused,
    routing::{Model, Routing},
    workers::{Answer, Failure, Job, Text},
};

/// What a request asks.
pub(crate) struct Question<'a> {
    pub model: &'a Model,
    /// Only this version, if it serves.
    pub version: Option<&'a str>,
    /// What makes the same version answer again while a canary is tried; the text itself if there is none.
    pub key: Option<&'a str>,
    pub texts: Vec<Text>,
    /// When the request came in.
    pub accepted: Instant,
}

/// Answers all texts, in their order, or none. When this is dropped (the client has left), texts that still wait are
/// not computed.
pub(crate) async fn answer(app: &App, question: Question<'_>) -> Result<Vec<Answer>, ApiError> {
    let capacity = app.queue.capacity();
    if question.texts.len() > capacity {
        let message = format!("a request may hold at most {capacity} texts, not {}", question.texts.len());
        return Err(ApiError::new(Code::Invalid, message));
    }
    let deadline = question.accepted + app.deadline;
    let routing = question.model.routing();
    let mut replies = Vec::with_capacity(question.texts.len());
    let mut jobs = Vec::with_capacity(question.texts.len());
    for text in question.texts {
        let key = question.key.unwrap_or(&text.text);
        let (serving, role) = choose(&routing, &question.model.name, question.version, key)?;
        let (reply, receiver) = oneshot::channel();
        let (model, accepted) = (Arc::clone(&serving.model), question.accepted);
        jobs.push(Job { text, model, role, accepted, queued: Instant::now(), deadline, reply });
        replies.push(receiver);
    }
    app.queue.push_all(jobs).map_err(|refused| match refused {
        Refused::Full => ApiError::new(Code::Overloaded, "too many texts are waiting: try again in a second"),
        Refused::Closed => ApiError::new(Code::Unavailable, "the service is stopping"),
    })?;
    tokio::time::timeout_at(deadline.into(), collect(replies))
        .await
        .unwrap_or_else(|_| Err(late(app.deadline)))
}

fn choose<'a>(
    routing: &'a Routing,
    model: &str,
    version: Option<&str>,
    key: &str,
) -> Result<(&'a crate::routing::Serving, refit_store::Role), ApiError> {
    match version {
        Some(version) => routing.version(version).ok_or_else(|| {
            ApiError::new(Code::NotFound, format!("version {version:?} of model {model:?} is not served"))
        }),
        None => routing.pick(key).ok_or_else(|| {
            ApiError::new(Code::Unavailable, format!("no version of model {model:?} is ready yet"))
        }),
    }
}

async fn collect(replies: Vec<oneshot::Receiver<Result<Answer, Failure>>>) -> Result<Vec<Answer>, ApiError> {
    let mut answers = Vec::with_capacity(replies.len());
    for (index, reply) in replies.into_iter().enumerate() {
        let failed =
            || ApiError::new(Code::Internal, "the model failed on a text: the service's log says why");
        match reply.await {
            Ok(Ok(answer)) => answers.push(answer),
            Ok(Err(Failure::Late)) => {
                return Err(ApiError::new(Code::Unavailable, "the deadline passed while the text waited"));
            }
            Ok(Err(Failure::Text(reason))) => {
                return Err(ApiError::new(Code::Invalid, format!("text {index} cannot be read: {reason}")));
            }
            Ok(Err(Failure::Engine)) | Err(_) => return Err(failed()),
        }
    }
    Ok(answers)
}

fn late(deadline: Duration) -> ApiError {
    let seconds = deadline.as_secs_f64();
    ApiError::new(Code::Unavailable, format!("no answer within the deadline of {seconds} s"))
}
