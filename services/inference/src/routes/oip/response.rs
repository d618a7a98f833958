//! Writing an inference response.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::request::{Form, JSON_LENGTH_HEADER};
use crate::{
    api_error::{ApiError, Code},
    oip::{Elements, InferResponse, OutputTensor},
};

pub(super) fn encode(model: &str, form: &Form, answer: InferResponse) -> Result<Response, ApiError> {
    let mut binary = Vec::new();
    let any_binary = answer.outputs.iter().any(|output| form.is_binary(&output.name));
    let outputs: Vec<Value> =
        answer.outputs.into_iter().map(|output| entry(output, form, &mut binary)).collect();
    let mut head = json!({ "model_name": model, "outputs": outputs });
    if let Some(id) = &form.id {
        head["id"] = json!(id);
    }
    if let Some(version) = answer.version {
        head["model_version"] = json!(&*version);
    }
    let mut body = serde_json::to_vec(&head)
        .map_err(|_| ApiError::new(Code::Internal, "the answer cannot be written as JSON"))?;
    if !any_binary {
        return Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response());
    }
    let length = body.len().to_string();
    body.append(&mut binary);
    let kind = (header::CONTENT_TYPE.as_str(), "application/octet-stream");
    Ok(([kind, (JSON_LENGTH_HEADER, &length)], body).into_response())
}

/// An output with its elements, or with their number of bytes if they follow the JSON.
fn entry(output: OutputTensor, form: &Form, binary: &mut Vec<u8>) -> Value {
    let OutputTensor { name, shape, elements, labels } = output;
    let mut entry = json!({ "name": name, "datatype": elements.datatype().name(), "shape": shape });
    if let Some(labels) = labels {
        entry["parameters"]["labels"] = json!(labels);
    }
    if form.is_binary(&name) {
        let start = binary.len();
        elements.append_to(binary);
        entry["parameters"]["binary_data_size"] = json!(binary.len() - start);
    } else {
        entry["data"] = match elements {
            Elements::Bytes(texts) => json!(texts),
            Elements::Fp32(values) => json!(values),
            Elements::Int64(values) => json!(values),
        };
    }
    entry
}
