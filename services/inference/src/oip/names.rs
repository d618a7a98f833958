//! The tensors that go in and out, by their names.

use refit_spec::Task;

use super::tensor::DataType;
use crate::api_error::{ApiError, Code};

/// Raw text, one element a text.
pub(super) const TEXT: &str = "text";
/// The second text, or the question, where the model reads two.
pub(super) const PAIR: &str = "pair";
/// Tokens that the caller made, one row a text.
pub(super) const INPUT_IDS: &str = "input_ids";
/// 1 for a token, 0 for padding behind the tokens.
pub(super) const ATTENTION_MASK: &str = "attention_mask";
/// 1 for tokens of a second text.
pub(super) const TOKEN_TYPE_IDS: &str = "token_type_ids";
/// One number a label, before they become probabilities.
pub(super) const LOGITS: &str = "logits";
/// One probability a label.
pub(super) const PROBABILITIES: &str = "probabilities";
/// A vector.
pub(super) const EMBEDDING: &str = "embedding";
/// What feedback is given by.
pub(super) const PREDICTION_ID: &str = "prediction_id";
/// The version that answered.
pub(super) const MODEL_VERSION: &str = "model_version";

/// The data type of the input of this name, which must be the one that was sent.
///
/// # Errors
/// [`Code::Invalid`] when no model has such an input, or it has another type.
pub(crate) fn input_type(name: &str, sent: &str) -> Result<DataType, ApiError> {
    let expected = match name {
        TEXT | PAIR => DataType::Bytes,
        INPUT_IDS | ATTENTION_MASK | TOKEN_TYPE_IDS => DataType::Int64,
        other => {
            let message = format!(
                "the inputs are {TEXT:?} and {PAIR:?}, or {INPUT_IDS:?}, {ATTENTION_MASK:?} and {TOKEN_TYPE_IDS:?}, not {other:?}"
            );
            return Err(ApiError::new(Code::Invalid, message));
        }
    };
    if sent == expected.name() {
        return Ok(expected);
    }
    let message = format!("input {name:?} has the data type {}, not {sent}", expected.name());
    Err(ApiError::new(Code::Invalid, message))
}

/// Whether a model for `task` reads tokens that the caller made: not where answers are parts of a text.
pub(super) fn reads_tokens(task: Task) -> bool {
    !matches!(task, Task::TokenClassification | Task::QuestionAnswering)
}

/// The outputs that are given when they are asked for: what the model computes, before it becomes an answer.
pub(super) fn raw_outputs(task: Task) -> &'static [(&'static str, DataType)] {
    match task {
        Task::TextClassification | Task::MultiLabelClassification | Task::Regression => {
            &[(LOGITS, DataType::Fp32), (EMBEDDING, DataType::Fp32)]
        }
        Task::TokenClassification | Task::QuestionAnswering | Task::Embedding => &[],
    }
}

/// The outputs of a task with their data types, those of every task last.
pub(super) fn outputs(task: Task) -> Vec<(&'static str, DataType)> {
    use DataType::{Bytes, Fp32, Int64};
    let own: &[(&str, DataType)] = match task {
        Task::TextClassification => &[("label", Bytes), (PROBABILITIES, Fp32)],
        // `a;b`, as data sets write them.
        Task::MultiLabelClassification => &[("labels", Bytes), (PROBABILITIES, Fp32)],
        Task::Regression => &[("value", Fp32)],
        // A JSON list a text.
        Task::TokenClassification => &[("entities", Bytes)],
        Task::QuestionAnswering => {
            &[("answer", Bytes), ("start", Int64), ("end", Int64), ("probability", Fp32)]
        }
        Task::Embedding => &[(EMBEDDING, Fp32)],
    };
    own.iter().copied().chain([(PREDICTION_ID, Bytes), (MODEL_VERSION, Bytes)]).collect()
}
