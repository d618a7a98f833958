//! From the tensors of a request to texts, or to the tokens that the caller made of texts.

use refit_preprocess::Tokens;
use refit_spec::Task;

use super::{
    names::{ATTENTION_MASK, INPUT_IDS, PAIR, TEXT, TOKEN_TYPE_IDS, reads_tokens},
    tensor::{Elements, InputTensor},
};
use crate::{
    api_error::{ApiError, Code},
    job::Text,
};

/// The inputs by name.
#[derive(Default)]
struct Inputs {
    texts: Option<Vec<String>>,
    pairs: Option<Vec<String>>,
    ids: Option<Rows>,
    mask: Option<Rows>,
    types: Option<Rows>,
}

/// Numbers in rows of one length.
struct Rows {
    shape: Vec<u64>,
    values: Vec<i64>,
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(Code::Invalid, message)
}

/// What was sent to a model for `task`: texts, with their seconds where there are any, or rows of tokens.
pub(super) fn texts(task: Task, inputs: Vec<InputTensor>) -> Result<Vec<Text>, ApiError> {
    let Inputs { texts, pairs, ids, mask, types } = by_name(inputs)?;
    let has_tokens = ids.is_some() || mask.is_some() || types.is_some();
    match (texts, ids) {
        (None, Some(ids)) if pairs.is_none() => {
            if reads_tokens(task) {
                rows(ids, mask, types)
            } else {
                Err(invalid(format!(
                    "a model for {task} answers with parts of a text: send {TEXT:?}, not tokens"
                )))
            }
        }
        (Some(_), _) if has_tokens => Err(invalid(format!("send either {TEXT:?} or {INPUT_IDS:?}"))),
        (Some(texts), _) => with_pairs(texts, pairs),
        (None, _) if has_tokens => {
            Err(invalid(format!("the input {INPUT_IDS:?} is missing, or {PAIR:?} too much")))
        }
        (None, _) => Err(invalid(format!("the input {TEXT:?} is missing"))),
    }
}

fn by_name(inputs: Vec<InputTensor>) -> Result<Inputs, ApiError> {
    let mut known = Inputs::default();
    for input in inputs {
        check_shape(&input)?;
        let InputTensor { name, shape, elements } = input;
        let was_there = match (name.as_str(), elements) {
            (TEXT, Elements::Bytes(texts)) => known.texts.replace(texts).is_some(),
            (PAIR, Elements::Bytes(pairs)) => known.pairs.replace(pairs).is_some(),
            (INPUT_IDS, Elements::Int64(values)) => known.ids.replace(Rows { shape, values }).is_some(),
            (ATTENTION_MASK, Elements::Int64(values)) => known.mask.replace(Rows { shape, values }).is_some(),
            (TOKEN_TYPE_IDS, Elements::Int64(values)) => {
                known.types.replace(Rows { shape, values }).is_some()
            }
            (_, elements) => {
                let kind = elements.datatype().name();
                return Err(invalid(format!("the input {name:?} is not of the data type {kind}")));
            }
        };
        if was_there {
            return Err(invalid(format!("the input {name:?} was sent twice")));
        }
    }
    Ok(known)
}

fn check_shape(input: &InputTensor) -> Result<(), ApiError> {
    let count = input.shape.iter().try_fold(1u64, |product, &axis| product.checked_mul(axis));
    let sent = input.elements.len();
    if count == Some(sent as u64) {
        return Ok(());
    }
    let what = if matches!(input.elements, Elements::Bytes(_)) { "texts" } else { "numbers" };
    Err(invalid(format!("the shape {:?} does not have the {sent} {what} sent", input.shape)))
}

fn with_pairs(texts: Vec<String>, pairs: Option<Vec<String>>) -> Result<Vec<Text>, ApiError> {
    if texts.is_empty() {
        return Err(invalid("there is no text to answer"));
    }
    let Some(pairs) = pairs else {
        return Ok(texts.into_iter().map(|text| Text::new(text, None)).collect());
    };
    if pairs.len() != texts.len() {
        return Err(invalid(format!("there are {} texts and {} pairs", texts.len(), pairs.len())));
    }
    Ok(texts.into_iter().zip(pairs).map(|(text, pair)| Text::new(text, Some(pair))).collect())
}

/// A text for each row of the ids. Without a mask all are tokens, without types all are of the first text.
fn rows(ids: Rows, mask: Option<Rows>, types: Option<Rows>) -> Result<Vec<Text>, ApiError> {
    let length = match ids.shape.as_slice() {
        [length] | [_, length] => usize::try_from(*length).unwrap_or(usize::MAX),
        shape => {
            return Err(invalid(format!("{INPUT_IDS:?} must have the shape [texts, tokens], not {shape:?}")));
        }
    };
    if ids.values.is_empty() {
        return Err(invalid("there is no text to answer"));
    }
    let same_shape = |name: &str, rows: Option<Rows>, default: i64| match rows {
        Some(rows) if rows.shape != ids.shape => Err(invalid(format!(
            "{name:?} has the shape {:?} and {INPUT_IDS:?} has {:?}",
            rows.shape, ids.shape
        ))),
        Some(rows) => Ok(rows.values),
        None => Ok(vec![default; ids.values.len()]),
    };
    let mask = same_shape(ATTENTION_MASK, mask, 1)?;
    let types = same_shape(TOKEN_TYPE_IDS, types, 0)?;
    let rows = ids.values.chunks(length).zip(mask.chunks(length)).zip(types.chunks(length));
    let row = |((ids, mask), types): ((&[i64], &[i64]), &[i64])| {
        Text::of_tokens(Tokens {
            input_ids: ids.to_vec(),
            attention_mask: mask.to_vec(),
            token_type_ids: types.to_vec(),
        })
    };
    Ok(rows.map(row).collect())
}
