//! The body of a question of a person's: one text or many, in the words of several servers.

use serde::Deserialize;

use crate::{
    api_error::{ApiError, Code},
    job::Text,
};

/// One of `text`, `texts`, `inputs` and `instances` must be there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    #[serde(alias = "context")]
    text: Option<String>,
    texts: Option<Vec<String>>,
    /// The second text, or the question, where the model reads two; of many texts, one each.
    #[serde(alias = "question")]
    pair: Option<String>,
    pairs: Option<Vec<String>>,
    /// What other servers call it: one text or a list.
    inputs: Option<OneOrMany>,
    /// What KServe and SageMaker call it: always a list.
    instances: Option<Vec<Instance>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// A text by itself, or with its second one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Instance {
    Text(String),
    Named(NamedInstance),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedInstance {
    #[serde(alias = "context")]
    text: String,
    #[serde(alias = "question")]
    pair: Option<String>,
}

/// Texts, and whether the answer is a list.
pub(crate) struct Texts {
    pub texts: Vec<Text>,
    pub many: bool,
}

impl Texts {
    /// One text.
    pub fn one(text: String) -> Self {
        Self { texts: vec![Text::new(text, None)], many: false }
    }
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(Code::Invalid, message)
}

impl TryFrom<Asked> for Texts {
    type Error = ApiError;

    fn try_from(asked: Asked) -> Result<Self, ApiError> {
        let Asked { text, texts, pair, pairs, inputs, instances } = asked;
        let texts = match (text, texts, inputs, instances) {
            (Some(text), None, None, None) | (None, None, Some(OneOrMany::One(text)), None) => {
                if pairs.is_some() {
                    return Err(invalid("send \"pair\" with one text, \"pairs\" with a list"));
                }
                return Ok(Self { texts: vec![Text::new(text, pair)], many: false });
            }
            (None, Some(texts), None, None) | (None, None, Some(OneOrMany::Many(texts)), None) => {
                with_pairs(texts, pair, pairs)?
            }
            (None, None, None, Some(instances)) => {
                if pair.is_some() || pairs.is_some() {
                    return Err(invalid("send the second text within each of the instances"));
                }
                instances.into_iter().map(Text::from).collect()
            }
            _ => return Err(invalid(r#"send {"text": "..."} or {"texts": ["...", "..."]}"#)),
        };
        if texts.is_empty() {
            return Err(invalid("the list of texts is empty"));
        }
        Ok(Self { texts, many: true })
    }
}

fn with_pairs(
    texts: Vec<String>,
    pair: Option<String>,
    pairs: Option<Vec<String>>,
) -> Result<Vec<Text>, ApiError> {
    match (pair, pairs) {
        (None, None) => Ok(texts.into_iter().map(|text| Text::new(text, None)).collect()),
        // One question about many texts.
        (Some(pair), None) => Ok(texts.into_iter().map(|text| Text::new(text, Some(pair.clone()))).collect()),
        (None, Some(pairs)) if pairs.len() == texts.len() => {
            Ok(texts.into_iter().zip(pairs).map(|(text, pair)| Text::new(text, Some(pair))).collect())
        }
        (None, Some(pairs)) => {
            Err(invalid(format!("there are {} texts and {} pairs", texts.len(), pairs.len())))
        }
        (Some(_), Some(_)) => Err(invalid("send either \"pair\" or \"pairs\"")),
    }
}

impl From<Instance> for Text {
    fn from(instance: Instance) -> Self {
        match instance {
            Instance::Text(text) => Self::new(text, None),
            Instance::Named(NamedInstance { text, pair }) => Self::new(text, pair),
        }
    }
}
