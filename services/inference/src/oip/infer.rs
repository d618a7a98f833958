//! An inference request, from its tensors to those of the answer.

use std::{sync::Arc, time::Instant};

use refit_predictor::{Answer as Said, Span};
use refit_spec::Task;

use super::{
    names::{EMBEDDING, LOGITS, MODEL_VERSION, PREDICTION_ID, PROBABILITIES, outputs, raw_outputs},
    tensor::{Elements, InputTensor, OutputTensor},
    texts::texts,
};
use crate::{
    answer::{Question, answer},
    api_error::{ApiError, Code},
    app::App,
    job::Answer,
    routes::predict::describe_entities,
    routing::Model,
};

/// What was asked, however it came.
#[derive(Debug)]
pub(crate) struct InferRequest {
    pub inputs: Vec<InputTensor>,
    /// None stands for all outputs of the model.
    pub outputs: Vec<String>,
}

/// A request to a model, or to one of its versions.
pub(crate) struct InferCall<'a> {
    pub model: &'a Model,
    pub version: Option<&'a str>,
    /// What makes the same version answer again while a canary is tried.
    pub key: Option<&'a str>,
    pub request: InferRequest,
    /// When the request came in.
    pub accepted: Instant,
}

/// The tensors of the answer, in the order in which they were asked for.
#[derive(Debug)]
pub(crate) struct InferResponse {
    /// Absent where texts were answered by different versions, while a canary is tried.
    pub version: Option<Arc<str>>,
    pub outputs: Vec<OutputTensor>,
}

/// Answers a request as a whole, or not at all.
pub(crate) async fn infer(app: &App, call: InferCall<'_>) -> Result<InferResponse, ApiError> {
    let InferCall { model, version, key, request, accepted } = call;
    app.awake(model).await?;
    let task = task_of(model, version)?;
    let texts = texts(task, request.inputs)?;
    let of_tokens = texts.iter().any(|text| text.tokens.is_some());
    let wanted = choose(task, of_tokens, request.outputs)?;
    let answers = answer(app, Question { model, version, key, texts, accepted }).await?;
    let labels = all_labels(&answers);
    let version = match answers.as_slice() {
        [first, rest @ ..] if rest.iter().all(|answer| answer.version == first.version) => {
            Some(Arc::clone(&first.version))
        }
        _ => None,
    };
    let no_embedding = |answer: &Answer| answer.prediction.embedding.is_empty();
    if wanted.iter().any(|name| name == EMBEDDING) && answers.iter().any(no_embedding) {
        return Err(ApiError::new(Code::Invalid, format!("the model does not give its {EMBEDDING:?}")));
    }
    let outputs = wanted.into_iter().map(|name| output(name, &answers, &labels)).collect();
    Ok(InferResponse { version, outputs })
}

/// What the version that is asked does; all versions of a model do the same.
fn task_of(model: &Model, version: Option<&str>) -> Result<Task, ApiError> {
    let routing = model.routing();
    let canary = || routing.canary.as_ref().map(|(canary, _)| canary);
    let serving = super::serving(&routing, &model.name, version).or_else(|error| match version {
        None => canary().ok_or(error),
        Some(_) => Err(error),
    })?;
    Ok(serving.model.predictor.task())
}

/// The outputs that a model for `task` is to give: those wanted, or the usual ones. Of tokens it gives what it computes;
/// there is no id to give feedback by, since there is no text that could be trained on.
fn choose(task: Task, of_tokens: bool, wanted: Vec<String>) -> Result<Vec<String>, ApiError> {
    let raw = raw_outputs(task).iter().map(|(name, _)| *name);
    let (usual, known): (Vec<&str>, Vec<&str>) = if of_tokens {
        let first = if task == Task::Embedding { EMBEDDING } else { LOGITS };
        (vec![first, MODEL_VERSION], [EMBEDDING, MODEL_VERSION].into_iter().chain(raw).collect())
    } else {
        let usual: Vec<&str> = outputs(task).into_iter().map(|(name, _)| name).collect();
        (usual.clone(), usual.into_iter().chain(raw).collect())
    };
    if wanted.is_empty() {
        return Ok(usual.into_iter().map(str::to_owned).collect());
    }
    match wanted.iter().find(|wanted| !known.contains(&wanted.as_str())) {
        Some(output) if of_tokens => {
            Err(ApiError::new(Code::Invalid, format!("the model has no output {output:?} for tokens")))
        }
        Some(output) => Err(ApiError::new(Code::Invalid, format!("the model has no output {output:?}"))),
        None => Ok(wanted),
    }
}

/// The labels that head the columns of the probabilities. Versions may have different ones.
fn all_labels(answers: &[Answer]) -> Vec<Arc<str>> {
    let mut labels: Vec<Arc<str>> = Vec::new();
    let mut seen: Option<&Arc<[Arc<str>]>> = None;
    for answer in answers {
        if seen.is_some_and(|seen| Arc::ptr_eq(seen, &answer.labels)) {
            continue;
        }
        seen = Some(&answer.labels);
        for label in answer.labels.iter() {
            if !labels.contains(label) {
                labels.push(Arc::clone(label));
            }
        }
    }
    labels
}

fn output(name: String, answers: &[Answer], labels: &[Arc<str>]) -> OutputTensor {
    let elements = elements(&name, answers, labels);
    let (count, mut heads) = (answers.len(), None);
    let shape = match name.as_str() {
        PROBABILITIES => {
            let names: Vec<&str> = labels.iter().map(|label| &**label).collect();
            heads = Some(serde_json::Value::from(names).to_string());
            vec![count, labels.len()]
        }
        EMBEDDING => vec![count, answers.first().map_or(0, |answer| answer.prediction.embedding.len())],
        LOGITS => vec![count, answers.first().map_or(0, |answer| answer.prediction.logits.len())],
        _ => vec![count],
    };
    OutputTensor { name, shape, elements, labels: heads }
}

fn elements(name: &str, answers: &[Answer], labels: &[Arc<str>]) -> Elements {
    let text = |of: fn(&Answer) -> String| Elements::Bytes(answers.iter().map(of).collect());
    let place = |of: fn(&Span) -> usize| {
        // -1 where there is no answer.
        let place =
            |answer: &Answer| span(answer).and_then(|span| i64::try_from(of(span)).ok()).unwrap_or(-1);
        Elements::Int64(answers.iter().map(place).collect())
    };
    let numbers = |of: fn(&Answer) -> f32| Elements::Fp32(answers.iter().map(of).collect());
    match name {
        "label" | "labels" | "answer" => text(|answer| answer.prediction.answer.short()),
        "entities" => text(|answer| match &answer.prediction.answer {
            Said::Entities { entities, .. } => describe_entities(entities).to_string(),
            _ => "[]".to_owned(),
        }),
        "value" => numbers(|answer| match answer.prediction.answer {
            Said::Number(number) => number as f32,
            _ => f32::NAN,
        }),
        "start" => place(|span| span.start),
        "end" => place(|span| span.end),
        "probability" => numbers(|answer| span(answer).map_or(0.0, |span| span.probability)),
        EMBEDDING => all(answers.iter().map(|answer| answer.prediction.embedding.as_slice())),
        LOGITS => all(answers.iter().map(|answer| answer.prediction.logits.as_slice())),
        PREDICTION_ID => text(|answer| answer.id.to_string()),
        PROBABILITIES => Elements::Fp32(
            answers.iter().flat_map(|answer| labels.iter().map(|label| probability(answer, label))).collect(),
        ),
        _ => text(|answer| answer.version.to_string()),
    }
}

fn span(answer: &Answer) -> Option<&Span> {
    match &answer.prediction.answer {
        Said::Span(span) => span.as_ref(),
        _ => None,
    }
}

fn all<'a>(rows: impl Iterator<Item = &'a [f32]>) -> Elements {
    Elements::Fp32(rows.flatten().copied().collect())
}

/// A version gives a label that it does not have no probability.
fn probability(answer: &Answer, label: &Arc<str>) -> f32 {
    let column = answer.labels.iter().position(|own| own == label);
    column.and_then(|column| answer.prediction.answer.probabilities().get(column)).copied().unwrap_or(0.0)
}
