//! Inference requests and answers as messages. Tensors are typed contents, or raw bytes as Triton's clients send them;
//! the answer has the form of the question.

use std::{collections::HashMap, time::Instant};

use bytes::Bytes;

use super::messages::inference::{
    InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse,
    infer_parameter::ParameterChoice, model_infer_request::InferInputTensor,
    model_infer_response::InferOutputTensor,
};
use crate::{
    api_error::{ApiError, Code},
    app::App,
    oip::{
        self, DataType, Elements, InferCall, InferRequest, InferResponse, InputTensor, OutputTensor,
        SHARED_MEMORY, input_type, text, unsupported,
    },
    routing::Model,
};

type Parameters = HashMap<String, InferParameter>;

/// Answers one request, and counts it as HTTP requests are counted.
pub(super) async fn model_infer(
    app: &App,
    key: Option<&str>,
    request: ModelInferRequest,
) -> Result<ModelInferResponse, ApiError> {
    let model = app.models.get(&request.model_name);
    let result = match &model {
        Some(model) => infer_with(app, model, key, request).await,
        None => Err(ApiError::unknown_model(&request.model_name)),
    };
    let status = result.as_ref().err().map_or(axum::http::StatusCode::OK, |error| error.code.status());
    let label = model.as_ref().map_or("", |model| &*model.name);
    app.metrics.requests.with_label_values(&[label, status.as_str()]).inc();
    result
}

async fn infer_with(
    app: &App,
    model: &Model,
    key: Option<&str>,
    request: ModelInferRequest,
) -> Result<ModelInferResponse, ApiError> {
    let accepted = Instant::now();
    let ModelInferRequest { model_name, model_version, id, inputs, outputs, raw_input_contents: raw, .. } =
        request;
    let is_typed = raw.is_empty();
    for output in &outputs {
        refuse_parameters(&output.parameters)?;
    }
    let request = InferRequest {
        inputs: input_tensors(inputs, &raw)?,
        outputs: outputs.into_iter().map(|output| output.name).collect(),
    };
    let version = (!model_version.is_empty()).then_some(model_version.as_str());
    let answer = oip::infer(app, InferCall { model, version, key, request, accepted }).await?;
    Ok(encode(model_name, id, answer, is_typed))
}

fn input_tensors(inputs: Vec<InferInputTensor>, raw: &[Bytes]) -> Result<Vec<InputTensor>, ApiError> {
    if !raw.is_empty() && raw.len() != inputs.len() {
        let message = format!("there are {} inputs and raw contents of {}", inputs.len(), raw.len());
        return Err(ApiError::new(Code::Invalid, message));
    }
    inputs.into_iter().enumerate().map(|(index, input)| tensor(input, raw.get(index))).collect()
}

fn tensor(input: InferInputTensor, raw: Option<&Bytes>) -> Result<InputTensor, ApiError> {
    let InferInputTensor { name, datatype, shape, parameters, contents } = input;
    let datatype = input_type(&name, &datatype)?;
    refuse_parameters(&parameters)?;
    let axis = |axis: i64| {
        let message = format!("the shape of {name:?} has the axis {axis}");
        u64::try_from(axis).map_err(|_| ApiError::new(Code::Invalid, message))
    };
    let shape = shape.into_iter().map(axis).collect::<Result<_, _>>()?;
    let elements = match (raw, contents) {
        (Some(raw), None) => Elements::from_raw(&name, datatype, raw)?,
        (None, Some(contents)) => from_contents(&name, datatype, contents)?,
        (Some(_), Some(_)) => {
            let message = format!("the input {name:?} has contents beside its raw contents");
            return Err(ApiError::new(Code::Invalid, message));
        }
        (None, None) => return Err(ApiError::new(Code::Invalid, format!("input {name:?} has no data"))),
    };
    Ok(InputTensor { name, shape, elements })
}

fn from_contents(
    name: &str,
    datatype: DataType,
    contents: InferTensorContents,
) -> Result<Elements, ApiError> {
    Ok(match datatype {
        DataType::Bytes => {
            let bytes = contents.bytes_contents.iter().enumerate();
            Elements::Bytes(bytes.map(|(index, bytes)| text(name, index, bytes)).collect::<Result<_, _>>()?)
        }
        DataType::Int64 => Elements::Int64(contents.int64_contents),
        DataType::Fp32 => Elements::Fp32(contents.fp32_contents),
    })
}

/// What changes the meaning of a tensor and is not understood must not be passed over.
fn refuse_parameters(parameters: &Parameters) -> Result<(), ApiError> {
    if parameters.contains_key("shared_memory_region") {
        return Err(unsupported(SHARED_MEMORY));
    }
    if parameters.contains_key("classification") {
        return Err(unsupported("the classification extension"));
    }
    Ok(())
}

fn encode(model_name: String, id: String, answer: InferResponse, is_typed: bool) -> ModelInferResponse {
    let mut raw_output_contents = Vec::new();
    let mut output = |output: OutputTensor| {
        let OutputTensor { name, shape, elements, labels } = output;
        let datatype = elements.datatype().name().to_owned();
        let contents = if is_typed {
            Some(into_contents(elements))
        } else {
            let mut bytes = Vec::new();
            elements.append_to(&mut bytes);
            raw_output_contents.push(bytes);
            None
        };
        let shape = shape.into_iter().map(|axis| i64::try_from(axis).unwrap_or(i64::MAX)).collect();
        let labels =
            labels.map(|labels| ("labels".to_owned(), parameter(ParameterChoice::StringParam(labels))));
        InferOutputTensor { name, datatype, shape, parameters: labels.into_iter().collect(), contents }
    };
    let outputs = answer.outputs.into_iter().map(&mut output).collect();
    let model_version = answer.version.map_or_else(String::new, |version| version.to_string());
    let parameters = Parameters::new();
    ModelInferResponse { model_name, model_version, id, parameters, outputs, raw_output_contents }
}

pub(super) fn parameter(choice: ParameterChoice) -> InferParameter {
    InferParameter { parameter_choice: Some(choice) }
}

fn into_contents(elements: Elements) -> InferTensorContents {
    let mut contents = InferTensorContents::default();
    match elements {
        Elements::Bytes(texts) => {
            contents.bytes_contents = texts.into_iter().map(String::into_bytes).collect();
        }
        Elements::Int64(values) => contents.int64_contents = values,
        Elements::Fp32(values) => contents.fp32_contents = values,
    }
    contents
}
