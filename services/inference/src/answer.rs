//! From texts to answers: choose the version, look whether the answer is known, queue, wait.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use refit_store::Role;
use tokio::sync::oneshot;

use crate::{
    api_error::{ApiError, Code},
    app::App,
    cache::{Answers, Found},
    job::{Answer, Failure, Job, Said, Text},
    layers::{RequestContext, Trace},
    loaded::LoadedModel,
    routing::{Model, Routing, Serving},
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

/// A text with the version that is to answer it.
struct Asked {
    text: Text,
    model: Arc<LoadedModel>,
    role: Role,
    shadow: Option<Arc<LoadedModel>>,
    accepted: Instant,
    deadline: Instant,
    trace: Option<Trace>,
}

/// Refuses what could not be put into the model's line, before its body is read: under overload most requests end here, and
/// what they cost is taken from the answers of the others. Answers that are kept need no place in the line.
pub(crate) fn room(app: &App, model: &Model) -> Result<(), ApiError> {
    match app.answers {
        None => app.queue.room(&model.name).map_err(ApiError::from),
        Some(_) => Ok(()),
    }
}

/// Answers all texts, in their order, or none. When this is dropped (the client has left), texts that still wait are
/// not computed.
pub(crate) async fn answer(app: &App, question: Question<'_>) -> Result<Vec<Answer>, ApiError> {
    app.limits.check_texts(&question.model.name, app.queue.limits().line, &question.texts)?;
    let deadline = question.accepted + app.deadline;
    let answers = async {
        app.awake(question.model).await?;
        let model = &question.model.name;
        let asked = asked(question, deadline)?;
        match &app.answers {
            None => compute(app, model, asked).await,
            Some(answers) => {
                try_join_all(asked.into_iter().map(|asked| find(app, model, answers, asked))).await
            }
        }
    };
    tokio::time::timeout_at(deadline.into(), answers).await.unwrap_or_else(|_| Err(late(app.deadline)))
}

fn asked(question: Question<'_>, deadline: Instant) -> Result<Vec<Asked>, ApiError> {
    let routing = question.model.routing();
    let trace = RequestContext::current().map(|context| context.trace);
    let asked = |text: Text| {
        let own = text.key();
        let key = question.key.unwrap_or(&own);
        let (serving, role) = choose(&routing, &question.model.name, question.version, key)?;
        let (model, shadow) = (Arc::clone(&serving.model), routing.shadow_for(key).cloned());
        drop(own);
        Ok(Asked { text, model, role, shadow, accepted: question.accepted, deadline, trace })
    };
    question.texts.into_iter().map(asked).collect()
}

/// Computes all texts.
async fn compute(app: &App, model: &Arc<str>, asked: Vec<Asked>) -> Result<Vec<Answer>, ApiError> {
    let mut replies = Vec::with_capacity(asked.len());
    let mut jobs = Vec::with_capacity(asked.len());
    for Asked { text, model, role, shadow, accepted, deadline, trace } in asked {
        let (reply, receiver) = oneshot::channel();
        let queued = Instant::now();
        let limits = Arc::clone(&app.limits);
        jobs.push(Job {
            text,
            windows: None,
            overtaken: 0,
            model,
            role,
            shadow,
            accepted,
            queued,
            deadline,
            limits,
            trace,
            reply,
        });
        replies.push(receiver);
    }
    app.queue.push_all(model, jobs)?;
    collect(replies).await
}

/// Finds the answer to a text where it was or is being computed, else computes it. Each answer is one of its own: it has
/// its id, and is watched and recorded.
async fn find(app: &App, model: &Arc<str>, answers: &Answers, asked: Asked) -> Result<Answer, ApiError> {
    match answers.find(&asked.model, &asked.text).await {
        Found::Answer(prediction) => {
            let Asked { text, model, role, shadow, accepted, trace, .. } = asked;
            model.phases.total.observe(accepted.elapsed().as_secs_f64());
            Ok(app.outlets.answered(Said { model, role, shadow, text, trace }, prediction))
        }
        Found::Duty(duty) => {
            let mut computed = compute(app, model, vec![asked]).await?;
            let answer = computed.pop().ok_or_else(failed)?;
            answers.fulfil(duty, &answer.prediction);
            Ok(answer)
        }
    }
}

fn choose<'a>(
    routing: &'a Routing,
    model: &str,
    version: Option<&str>,
    key: &str,
) -> Result<(&'a Serving, Role), ApiError> {
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
        match reply.await {
            Ok(Ok(answer)) => answers.push(answer),
            Ok(Err(Failure::Late)) => {
                return Err(ApiError::new(Code::Late, "the deadline passed while the text waited"));
            }
            Ok(Err(Failure::TooLong(reason))) => {
                return Err(ApiError::new(Code::TooLarge, format!("text {index} is too long: {reason}")));
            }
            Ok(Err(Failure::Text(reason))) => {
                return Err(ApiError::new(Code::Invalid, format!("text {index} cannot be read: {reason}")));
            }
            Ok(Err(Failure::Engine)) | Err(_) => return Err(failed()),
        }
    }
    Ok(answers)
}

fn failed() -> ApiError {
    ApiError::new(Code::Internal, "the model failed on a text: the service's log says why")
}

/// What a request is told that took longer than it may.
pub(crate) fn late(deadline: Duration) -> ApiError {
    let seconds = deadline.as_secs_f64();
    ApiError::new(Code::Late, format!("no answer within the deadline of {seconds} s"))
}
