//! Writing an inference response.

use std::sync::Arc;

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use refit_predictor::{Answer as Said, Span};
use refit_spec::Task;
use serde_json::{Value, json};

use super::{
    request::{JSON_LENGTH_HEADER, WantedOutput},
    tensors::{EMBEDDING, PREDICTION_ID, PROBABILITIES, outputs},
};
use crate::{
    api_error::{ApiError, Code},
    routes::predict::describe_entities,
    workers::Answer,
};

/// The elements of an output.
enum Elements {
    Bytes(Vec<String>),
    Fp32(Vec<f32>),
    Int64(Vec<i64>),
}

/// The outputs that a model for `task` is to give: those wanted, or all.
pub(super) fn choose(
    task: Task,
    wanted: Vec<WantedOutput>,
    all_binary: bool,
) -> Result<Vec<WantedOutput>, ApiError> {
    let known = outputs(task);
    if wanted.is_empty() {
        let output = |(name, _): (&str, &str)| WantedOutput { name: name.to_owned(), binary: all_binary };
        return Ok(known.into_iter().map(output).collect());
    }
    match wanted.iter().find(|output| !known.iter().any(|(name, _)| *name == output.name)) {
        Some(output) => {
            Err(ApiError::new(Code::Invalid, format!("the model has no output {:?}", output.name)))
        }
        None => Ok(wanted),
    }
}

pub(super) fn encode(
    model: &str,
    id: Option<&str>,
    task: Task,
    wanted: &[WantedOutput],
    answers: &[Answer],
) -> Result<Response, ApiError> {
    let labels = all_labels(answers);
    let mut binary = Vec::new();
    let outputs: Vec<Value> = wanted
        .iter()
        .map(|output| {
            let elements = elements(&output.name, answers, &labels);
            let mut entry = describe(task, &output.name, answers, &labels);
            if output.binary {
                let start = binary.len();
                elements.append_to(&mut binary);
                entry["parameters"]["binary_data_size"] = json!(binary.len() - start);
            } else {
                entry["data"] = elements.into_json();
            }
            entry
        })
        .collect();
    let mut head = json!({ "model_name": model, "outputs": outputs });
    if let Some(id) = id {
        head["id"] = json!(id);
    }
    // Texts of one request may be answered by different versions while a canary is tried.
    if let [first, rest @ ..] = answers
        && rest.iter().all(|answer| answer.version == first.version)
    {
        head["model_version"] = json!(&*first.version);
    }
    let mut body = serde_json::to_vec(&head)
        .map_err(|_| ApiError::new(Code::Internal, "the answer cannot be written as JSON"))?;
    if !wanted.iter().any(|output| output.binary) {
        return Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response());
    }
    let length = body.len().to_string();
    body.append(&mut binary);
    let kind = (header::CONTENT_TYPE.as_str(), "application/octet-stream");
    Ok(([kind, (JSON_LENGTH_HEADER, &length)], body).into_response())
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

fn describe(task: Task, name: &str, answers: &[Answer], labels: &[Arc<str>]) -> Value {
    let known = outputs(task);
    let datatype = known.iter().find(|(known, _)| *known == name).map_or("BYTES", |(_, datatype)| datatype);
    let count = answers.len();
    match name {
        PROBABILITIES => {
            let names: Vec<&str> = labels.iter().map(|label| &**label).collect();
            // Parameters are scalars in this protocol, so the list is one string.
            let parameters = json!({ "labels": Value::from(names).to_string() });
            json!({ "name": name, "datatype": datatype, "shape": [count, labels.len()], "parameters": parameters })
        }
        EMBEDDING => {
            let width = answers.first().map_or(0, |answer| vector(answer).len());
            json!({ "name": name, "datatype": datatype, "shape": [count, width] })
        }
        _ => json!({ "name": name, "datatype": datatype, "shape": [count] }),
    }
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
        EMBEDDING => {
            Elements::Fp32(answers.iter().flat_map(|answer| vector(answer).iter().copied()).collect())
        }
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

fn vector(answer: &Answer) -> &[f32] {
    match &answer.prediction.answer {
        Said::Vector(values) => values,
        _ => &[],
    }
}

/// A version gives a label that it does not have no probability.
fn probability(answer: &Answer, label: &Arc<str>) -> f32 {
    let column = answer.labels.iter().position(|own| own == label);
    column.and_then(|column| answer.prediction.answer.probabilities().get(column)).copied().unwrap_or(0.0)
}

impl Elements {
    fn into_json(self) -> Value {
        match self {
            Self::Bytes(texts) => json!(texts),
            Self::Fp32(values) => json!(values),
            Self::Int64(values) => json!(values),
        }
    }

    fn append_to(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Bytes(texts) => {
                for text in texts {
                    bytes.extend((text.len() as u32).to_le_bytes());
                    bytes.extend(text.as_bytes());
                }
            }
            Self::Int64(values) => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Self::Fp32(values) => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
        }
    }
}
