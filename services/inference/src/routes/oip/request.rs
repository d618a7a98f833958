//! Reading an inference request, with its tensors as JSON or as bytes behind it.

use std::collections::HashSet;

use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    api_error::{ApiError, Code},
    body,
    oip::{DataType, Elements, InferRequest, InputTensor, SHARED_MEMORY, input_type, unsupported},
};

/// The header that tells where the JSON ends and the bytes of the tensors begin.
pub(super) const JSON_LENGTH_HEADER: &str = "inference-header-content-length";

/// How the answer is to be written.
#[derive(Debug)]
pub(super) struct Form {
    /// What the client calls its request.
    pub id: Option<String>,
    /// Whether outputs that say nothing about it are to be binary.
    all_binary: bool,
    /// Outputs for which it is the other way round.
    exceptions: HashSet<String>,
}

impl Form {
    pub fn is_binary(&self, output: &str) -> bool {
        self.all_binary != self.exceptions.contains(output)
    }
}

#[derive(Deserialize)]
struct RawRequest {
    id: Option<String>,
    #[serde(default)]
    parameters: Map<String, Value>,
    inputs: Vec<RawInput>,
    #[serde(default)]
    outputs: Vec<RawOutput>,
}

#[derive(Deserialize)]
struct RawInput {
    name: String,
    shape: Vec<u64>,
    datatype: String,
    #[serde(default)]
    parameters: Map<String, Value>,
    data: Option<Value>,
}

#[derive(Deserialize)]
struct RawOutput {
    name: String,
    #[serde(default)]
    parameters: Map<String, Value>,
}

pub(super) fn decode(headers: &HeaderMap, bytes: &[u8]) -> Result<(InferRequest, Form), ApiError> {
    let (raw, mut binary): (RawRequest, &[u8]) = match headers.get(JSON_LENGTH_HEADER) {
        None => (body::json(headers, bytes)?, &[]),
        Some(value) => {
            let length = value.to_str().ok().and_then(|text| text.parse::<usize>().ok());
            let (json, binary) =
                length.and_then(|length| bytes.split_at_checked(length)).ok_or_else(|| {
                    let message = "Inference-Header-Content-Length is not the length of the body's JSON part";
                    ApiError::new(Code::Malformed, message)
                })?;
            (body::parse(json)?, binary)
        }
    };
    let inputs: Vec<InputTensor> =
        raw.inputs.into_iter().map(|input| tensor(input, &mut binary)).collect::<Result<_, _>>()?;
    if !binary.is_empty() {
        return Err(ApiError::new(
            Code::Malformed,
            "bytes follow the JSON that belong to no input's binary_data_size",
        ));
    }
    let form = form(raw.id, &raw.parameters, &raw.outputs)?;
    let outputs = raw.outputs.into_iter().map(|output| output.name).collect();
    Ok((InferRequest { inputs, outputs }, form))
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(Code::Invalid, message)
}

/// An input; its bytes, if it has any, are taken from the front of `binary`.
fn tensor(input: RawInput, binary: &mut &[u8]) -> Result<InputTensor, ApiError> {
    let RawInput { name, shape, datatype, parameters, data } = input;
    let datatype = input_type(&name, &datatype)?;
    refuse_parameters(&parameters)?;
    let elements = match parameters.get("binary_data_size") {
        Some(size) => {
            let length = size.as_u64().and_then(|size| usize::try_from(size).ok());
            let parts = length.and_then(|length| binary.split_at_checked(length));
            let (own, rest) = parts.ok_or_else(|| {
                let message =
                    format!("binary_data_size is {size}, but {} bytes follow the JSON", binary.len());
                ApiError::new(Code::Malformed, message)
            })?;
            *binary = rest;
            Elements::from_raw(&name, datatype, own)?
        }
        None => {
            let data = data.ok_or_else(|| invalid(format!("input {name:?} has no data")))?;
            from_json(&name, datatype, &data)?
        }
    };
    Ok(InputTensor { name, shape, elements })
}

fn from_json(name: &str, datatype: DataType, data: &Value) -> Result<Elements, ApiError> {
    let mut leaves = Vec::new();
    flatten(data, 0, &mut leaves);
    let wrong = |what: &str| invalid(format!("the data of {name:?} must be {what}"));
    match datatype {
        DataType::Bytes => {
            let texts = leaves.into_iter().map(|leaf| leaf.as_str().map(str::to_owned));
            texts.collect::<Option<_>>().map(Elements::Bytes).ok_or_else(|| wrong("strings"))
        }
        DataType::Int64 => {
            let numbers = leaves.into_iter().map(Value::as_i64);
            numbers.collect::<Option<_>>().map(Elements::Int64).ok_or_else(|| wrong("whole numbers"))
        }
        DataType::Fp32 => {
            let numbers = leaves.into_iter().map(|leaf| leaf.as_f64().map(|number| number as f32));
            numbers.collect::<Option<_>>().map(Elements::Fp32).ok_or_else(|| wrong("numbers"))
        }
    }
}

/// The elements of lists of any depth up to a sensible one; a deeper list counts as an element, which is of no type.
fn flatten<'a>(data: &'a Value, depth: usize, leaves: &mut Vec<&'a Value>) {
    match data {
        Value::Array(elements) if depth < 8 => {
            elements.iter().for_each(|element| flatten(element, depth + 1, leaves));
        }
        leaf => leaves.push(leaf),
    }
}

/// What changes the meaning of a tensor and is not understood must not be passed over.
fn refuse_parameters(parameters: &Map<String, Value>) -> Result<(), ApiError> {
    if parameters.contains_key("shared_memory_region") {
        return Err(unsupported(SHARED_MEMORY));
    }
    if parameters.get("classification").and_then(Value::as_u64).is_some_and(|count| count > 0) {
        return Err(unsupported("the classification extension"));
    }
    Ok(())
}

fn form(
    id: Option<String>,
    parameters: &Map<String, Value>,
    outputs: &[RawOutput],
) -> Result<Form, ApiError> {
    let flag = |parameters: &Map<String, Value>, name: &str| parameters.get(name).and_then(Value::as_bool);
    let all_binary = flag(parameters, "binary_data_output").unwrap_or(false);
    let mut exceptions = HashSet::new();
    for output in outputs {
        refuse_parameters(&output.parameters)?;
        if flag(&output.parameters, "binary_data").is_some_and(|binary| binary != all_binary) {
            exceptions.insert(output.name.clone());
        }
    }
    Ok(Form { id, all_binary, exceptions })
}
