//! Reading an inference request, with its tensors as JSON or as bytes behind it.

use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::tensors::{OUTPUTS, TEXT};
use crate::{
    api_error::{ApiError, Code},
    body,
};

/// The header that tells where the JSON ends and the bytes of the tensors begin.
pub(super) const JSON_LENGTH_HEADER: &str = "inference-header-content-length";

/// What was asked.
#[derive(Debug)]
pub(super) struct Request {
    pub id: Option<String>,
    pub texts: Vec<String>,
    pub outputs: Vec<WantedOutput>,
}

/// An output that the client wants, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WantedOutput {
    pub name: &'static str,
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
    let outputs = wanted(&raw)?;
    Ok(Request { id: raw.id, texts, outputs })
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(Code::Invalid, message)
}

fn texts(inputs: &[RawInput], binary: &[u8]) -> Result<Vec<String>, ApiError> {
    let [input] = inputs else {
        return Err(invalid(format!("the model has one input, {TEXT:?}, but {} were sent", inputs.len())));
    };
    if input.name != TEXT {
        return Err(invalid(format!("the model's input is {TEXT:?}, not {:?}", input.name)));
    }
    if input.datatype != "BYTES" {
        return Err(invalid(format!("input {TEXT:?} has the data type BYTES, not {}", input.datatype)));
    }
    let texts = match input.parameters.get("binary_data_size") {
        Some(size) => {
            if size.as_u64() != Some(binary.len() as u64) {
                let message =
                    format!("binary_data_size is {size}, but {} bytes follow the JSON", binary.len());
                return Err(ApiError::new(Code::Malformed, message));
            }
            from_binary(binary)?
        }
        None if !binary.is_empty() => {
            return Err(ApiError::new(
                Code::Malformed,
                "bytes follow the JSON, but no input has binary_data_size",
            ));
        }
        None => {
            let mut texts = Vec::new();
            let data = input.data.as_ref().ok_or_else(|| invalid(format!("input {TEXT:?} has no data")))?;
            from_json(data, 0, &mut texts)?;
            texts
        }
    };
    let elements = input.shape.iter().try_fold(1u64, |product, &axis| product.checked_mul(axis));
    if elements != Some(texts.len() as u64) {
        return Err(invalid(format!(
            "the shape {:?} does not have the {} texts sent",
            input.shape,
            texts.len()
        )));
    }
    if texts.is_empty() {
        return Err(invalid("there is no text to answer"));
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

/// The outputs that were asked for; all if none were.
fn wanted(raw: &RawRequest) -> Result<Vec<WantedOutput>, ApiError> {
    let flag = |parameters: &Map<String, Value>, name: &str| parameters.get(name).and_then(Value::as_bool);
    let all_binary = flag(&raw.parameters, "binary_data_output").unwrap_or(false);
    if raw.outputs.is_empty() {
        return Ok(OUTPUTS.map(|(name, _)| WantedOutput { name, binary: all_binary }).into());
    }
    raw.outputs
        .iter()
        .map(|output| {
            let known = OUTPUTS.iter().find(|(name, _)| *name == output.name);
            let (name, _) =
                known.ok_or_else(|| invalid(format!("the model has no output {:?}", output.name)))?;
            Ok(WantedOutput { name, binary: flag(&output.parameters, "binary_data").unwrap_or(all_binary) })
        })
        .collect()
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
