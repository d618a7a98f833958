//! Reading an inference request, with its tensors as JSON or as bytes behind it.

use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::tensors::{PAIR, TEXT};
use crate::{
    api_error::{ApiError, Code},
    body,
    workers::Text,
};

/// The header that tells where the JSON ends and the bytes of the tensors begin.
pub(super) const JSON_LENGTH_HEADER: &str = "inference-header-content-length";

/// What was asked.
#[derive(Debug)]
pub(super) struct Request {
    pub id: Option<String>,
    pub texts: Vec<Text>,
    /// None stands for all outputs of the model.
    pub outputs: Vec<WantedOutput>,
    /// Whether outputs that were not named are to be binary.
    pub all_binary: bool,
}

/// An output that the client wants, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WantedOutput {
    pub name: String,
    pub binary: bool,
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

pub(super) fn decode(headers: &HeaderMap, bytes: &[u8]) -> Result<Request, ApiError> {
    let (raw, binary): (RawRequest, &[u8]) = match headers.get(JSON_LENGTH_HEADER) {
        None => (body::json(headers, bytes)?, &[]),
        Some(value) => {
            body::refuse_encoding(headers)?;
            let length = value.to_str().ok().and_then(|text| text.parse::<usize>().ok());
            let (json, binary) =
                length.and_then(|length| bytes.split_at_checked(length)).ok_or_else(|| {
                    let message = "Inference-Header-Content-Length is not the length of the body's JSON part";
                    ApiError::new(Code::Malformed, message)
                })?;
            (body::parse(json)?, binary)
        }
    };
    let texts = texts(&raw.inputs, binary)?;
    let (outputs, all_binary) = wanted(&raw);
    Ok(Request { id: raw.id, texts, outputs, all_binary })
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(Code::Invalid, message)
}

fn texts(inputs: &[RawInput], mut binary: &[u8]) -> Result<Vec<Text>, ApiError> {
    let (mut texts, mut pairs) = (None, None);
    for input in inputs {
        let place = match input.name.as_str() {
            TEXT => &mut texts,
            PAIR => &mut pairs,
            other => return Err(invalid(format!("the inputs are {TEXT:?} and {PAIR:?}, not {other:?}"))),
        };
        if place.replace(elements(input, &mut binary)?).is_some() {
            return Err(invalid(format!("the input {:?} was sent twice", input.name)));
        }
    }
    if !binary.is_empty() {
        return Err(ApiError::new(
            Code::Malformed,
            "bytes follow the JSON that belong to no input's binary_data_size",
        ));
    }
    let texts = texts.ok_or_else(|| invalid(format!("the input {TEXT:?} is missing")))?;
    if texts.is_empty() {
        return Err(invalid("there is no text to answer"));
    }
    let Some(pairs) = pairs else {
        return Ok(texts.into_iter().map(|text| Text { text, pair: None }).collect());
    };
    if pairs.len() != texts.len() {
        return Err(invalid(format!("there are {} texts and {} pairs", texts.len(), pairs.len())));
    }
    Ok(texts.into_iter().zip(pairs).map(|(text, pair)| Text { text, pair: Some(pair) }).collect())
}

/// The elements of one input; its bytes are taken from the front of `binary`.
fn elements(input: &RawInput, binary: &mut &[u8]) -> Result<Vec<String>, ApiError> {
    let name = &input.name;
    if input.datatype != "BYTES" {
        return Err(invalid(format!("input {name:?} has the data type BYTES, not {}", input.datatype)));
    }
    let texts = match input.parameters.get("binary_data_size") {
        Some(size) => {
            let length = size.as_u64().and_then(|size| usize::try_from(size).ok());
            let parts = length.and_then(|length| binary.split_at_checked(length));
            let (own, rest) = parts.ok_or_else(|| {
                let message =
                    format!("binary_data_size is {size}, but {} bytes follow the JSON", binary.len());
                ApiError::new(Code::Malformed, message)
            })?;
            *binary = rest;
            from_binary(own)?
        }
        None => {
            let mut texts = Vec::new();
            let data = input.data.as_ref().ok_or_else(|| invalid(format!("input {name:?} has no data")))?;
            from_json(data, 0, &mut texts)?;
            texts
        }
    };
    let count = input.shape.iter().try_fold(1u64, |product, &axis| product.checked_mul(axis));
    if count != Some(texts.len() as u64) {
        return Err(invalid(format!(
            "the shape {:?} does not have the {} texts sent",
            input.shape,
            texts.len()
        )));
    }
    Ok(texts)
}

/// Elements are strings, in lists of any depth up to a sensible one.
fn from_json(data: &Value, depth: usize, texts: &mut Vec<String>) -> Result<(), ApiError> {
    match data {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(elements) if depth < 8 => {
            for element in elements {
                from_json(element, depth + 1, texts)?;
            }
        }
        _ => return Err(invalid(format!("the data of {TEXT:?} must be strings"))),
    }
    Ok(())
}

/// Each element is its length in four bytes, little-endian, and its bytes.
fn from_binary(mut bytes: &[u8]) -> Result<Vec<String>, ApiError> {
    let malformed = |message: String| ApiError::new(Code::Malformed, message);
    let mut texts = Vec::new();
    while !bytes.is_empty() {
        let short = || malformed(format!("element {} of {TEXT:?} is cut off", texts.len()));
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(short)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (element, rest) = rest.split_at_checked(length).ok_or_else(short)?;
        let text = std::str::from_utf8(element)
            .map_err(|_| malformed(format!("element {} of {TEXT:?} is not UTF-8", texts.len())))?;
        texts.push(text.to_owned());
        bytes = rest;
    }
    Ok(texts)
}

/// The outputs that were asked for, and whether the others are to be binary.
fn wanted(raw: &RawRequest) -> (Vec<WantedOutput>, bool) {
    let flag = |parameters: &Map<String, Value>, name: &str| parameters.get(name).and_then(Value::as_bool);
    let all_binary = flag(&raw.parameters, "binary_data_output").unwrap_or(false);
    let output = |output: &RawOutput| WantedOutput {
        name: output.name.clone(),
        binary: flag(&output.parameters, "binary_data").unwrap_or(all_binary),
    };
    (raw.outputs.iter().map(output).collect(), all_binary)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(text: &[u8]) -> Vec<u8> {
        [&(text.len() as u32).to_le_bytes()[..], text].concat()
    }

    #[test]
    fn binary_elements_are_read_and_bad_ones_refused() {
        let two = [element(b"one"), element("zwei \u{e4}".as_bytes())].concat();
        assert_eq!(from_binary(&two).unwrap(), ["one", "zwei \u{e4}"]);
        assert_eq!(from_binary(&element(b"")).unwrap(), [""]);
        for bad in [&two[..two.len() - 1], &[1, 0], &[255, 255, 255, 255, 1], &element(b"\xff")] {
            assert_eq!(from_binary(bad).unwrap_err().code, Code::Malformed, "{bad:?}");
        }
    }
}
