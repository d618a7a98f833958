use std::sync::Arc;

use crate::prediction::{largest, softmax};

/// What a model answers, by its task.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// One label.
    Class {
        /// The most probable one.
        label: Arc<str>,
        /// Its place among the labels.
        index: usize,
        /// One probability a label; they sum to 1.
        probabilities: Vec<f32>,
    },
    /// Any number of labels.
    Labels {
        /// Those with a probability of at least one half, in the order of the labels.
        labels: Vec<Arc<str>>,
        /// One probability a label, each by itself.
        probabilities: Vec<f32>,
    },
    /// A number.
    Number(f64),
    /// A tag for each word, and the entities that they make.
    Entities {
        /// The entities in their order.
        entities: Vec<Entity>,
        /// The words that were read.
        words: Vec<TaggedWord>,
    },
    /// The part of the text that answers the question; absent when the text holds no token.
    Span(Option<Span>),
    /// A vector of length 1.
    Vector(Vec<f32>),
}

/// A part of a text that is something by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Entity {
    /// What it is, such as `PER`.
    pub kind: String,
    /// The part itself.
    pub text: String,
    /// Its first character.
    pub start: usize,
    /// One after its last character.
    pub end: usize,
    /// Mean probability of its words' tags.
    pub probability: f32,
}

/// A word with the most probable tag of its first token.
#[derive(Clone, Debug, PartialEq)]
pub struct TaggedWord {
    /// Its first character.
    pub start: usize,
    /// One after its last character.
    pub end: usize,
    /// The tag.
    pub tag: Arc<str>,
    /// The tag's probability.
    pub probability: f32,
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The part itself.
    pub text: String,
    /// Its first character.
    pub start: usize,
    /// One after its last character.
    pub end: usize,
    /// Probability of its first token times that of its last, among all tokens of the text.
    pub probability: f32,
}

impl Answer {
    /// The answer as data sets write labels: a label, or `a;b`. `None` where answers are no labels.
    pub fn label(&self) -> Option<String> {
        match self {
            Self::Class { label, .. } => Some(label.to_string()),
            Self::Labels { labels, .. } => {
                let names: Vec<&str> = labels.iter().map(|label| &**label).collect();
                Some(names.join(";"))
            }
            _ => None,
        }
    }

    /// The answer in a few words: what a person reads and the store keeps.
    pub fn short(&self) -> String {
        match self {
            Self::Class { .. } | Self::Labels { .. } => self.label().unwrap_or_default(),
            Self::Number(number) => format!("{number:.6}"),
            Self::Entities { entities, .. } => {
                let one = |entity: &Entity| format!("{}: {}", entity.kind, entity.text);
                entities.iter().map(one).collect::<Vec<_>>().join("; ")
            }
            Self::Span(span) => span.as_ref().map(|span| span.text.clone()).unwrap_or_default(),
            Self::Vector(values) => format!("a vector of {} values", values.len()),
        }
    }

    /// One probability a label; none where answers are no labels.
    pub fn probabilities(&self) -> &[f32] {
        match self {
            Self::Class { probabilities, .. } | Self::Labels { probabilities, .. } => probabilities,
            _ => &[],
        }
    }

    /// How sure the model is, where it says so: the probability of the label, of the least sure of several decisions
    /// or words, or of the span.
    pub fn confidence(&self) -> Option<f64> {
        match self {
            Self::Class { index, probabilities, .. } => probabilities.get(*index).map(|p| f64::from(*p)),
            Self::Labels { probabilities, .. } => least(probabilities.iter().map(|p| p.max(1.0 - p))),
            Self::Entities { words, .. } => least(words.iter().map(|word| word.probability)),
            Self::Span(span) => span.as_ref().map(|span| f64::from(span.probability)),
            Self::Number(_) | Self::Vector(_) => None,
        }
    }

    /// One label of finite logits.
    pub(crate) fn class(labels: &[Arc<str>], logits: &[f32], temperature: f64) -> Self {
        let index = largest(logits);
        Self::Class { label: Arc::clone(&labels[index]), index, probabilities: softmax(logits, temperature) }
    }

    /// The labels of finite logits.
    pub(crate) fn labels(labels: &[Arc<str>], logits: &[f32]) -> Self {
        let probabilities: Vec<f32> =
            logits.iter().map(|&logit| (1.0 / (1.0 + f64::from(-logit).exp())) as f32).collect();
        let given = labels.iter().zip(&probabilities).filter(|(_, p)| **p >= 0.5);
        Self::Labels { labels: given.map(|(label, _)| Arc::clone(label)).collect(), probabilities }
    }
}

fn least(values: impl Iterator<Item = f32>) -> Option<f64> {
    values.map(f64::from).min_by(f64::total_cmp)
}
