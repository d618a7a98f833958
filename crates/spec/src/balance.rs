use std::collections::BTreeMap;

use crate::problem::Problem;
use crate::reader::{Reader, words};
use crate::section::section;
use crate::spec::{Section, TableBuilder};
use crate::written::{Value, Written};

section! {
    /// Changes to the texts of training rows, drawn anew for each row at each step; held-out rows and what is served stay as they are. Without the section there are none. Each change is drawn for its own share of what it applies to.
    RawAugment at "train.augment" {
        /// Share of words that are left out; the last one stays.
        token_dropout: "share" = "(0.0)",
        /// Share of words that change places with the next.
        word_swap: "share" = "(0.0)",
        /// Share of letters that are left out, doubled, or changed with the next.
        char_noise: "share" = "(0.0)",
        /// Share of rows that stay as they are.
        none: "share" = "(0.5)",
    }
}

/// How much a row of each label weighs in the loss.
#[derive(Debug, Clone, PartialEq)]
pub enum ClassWeights {
    /// All alike.
    None,
    /// As the inverse of the number of its rows: `rows / (labels * rows of the label)`.
    Balanced,
    /// As given by label; labels that are not named weigh 1.
    Table(BTreeMap<String, f64>),
}

/// Which rows an epoch takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampling {
    /// Every row once.
    Shuffled,
    /// As many rows of every label: those of rare labels several times, not all of common ones.
    Balanced,
}
words!(Sampling { Shuffled = "shuffled", Balanced = "balanced" });

/// `train.augment`, checked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Augment {
    /// Share of words left out.
    pub token_dropout: f64,
    /// Share of words that change places with the next.
    pub word_swap: f64,
    /// Share of letters changed.
    pub char_noise: f64,
    /// Share of rows that stay as they are.
    pub none: f64,
}

impl ClassWeights {
    pub(crate) fn read(r: &mut Reader<'_>, written: &Option<Written>) -> Self {
        let Some(some) = written else { return Self::None };
        let fix = "write \"none\", \"balanced\", or a table such as { rare = 5.0, common = 1.0 }";
        match &some.value {
            Value::Text(text) if text == "none" => Self::None,
            Value::Text(text) if text == "balanced" => Self::Balanced,
            Value::Table(entries) => {
                let mut weights = BTreeMap::new();
                for entry in entries {
                    let path = format!("class_weights.{}", entry.key);
                    if let Some(weight) = r.number(&path, &Some(entry.value.clone()), 1e-6..=1e6) {
                        weights.insert(entry.key.clone(), weight);
                    }
                }
                Self::Table(weights)
            }
            _ => {
                r.problem("class_weights", Some(some), "no weights", fix);
                Self::None
            }
        }
    }

    pub(crate) fn written(&self) -> toml::Value {
        match self {
            Self::None => "none".into(),
            Self::Balanced => "balanced".into(),
            Self::Table(weights) => {
                toml::Value::Table(weights.iter().map(|(label, w)| (label.clone(), (*w).into())).collect())
            }
        }
    }
}

impl Section for Augment {
    type Raw = RawAugment;

    fn check(raw: &RawAugment, problems: &mut Vec<Problem>) -> Option<Self> {
        let mut r = Reader::new("train.augment", problems);
        let spec = Self {
            token_dropout: r.number("token_dropout", &raw.token_dropout, 0.0..=0.9).unwrap_or(0.0),
            word_swap: r.number("word_swap", &raw.word_swap, 0.0..=0.9).unwrap_or(0.0),
            char_noise: r.number("char_noise", &raw.char_noise, 0.0..=0.9).unwrap_or(0.0),
            none: r.number("none", &raw.none, 0.0..=1.0).unwrap_or(0.5),
        };
        if spec.token_dropout + spec.word_swap + spec.char_noise == 0.0 {
            let fix =
                "give token_dropout, word_swap or char_noise a share such as 0.1, or remove the section";
            r.problem("none", raw.none.as_ref(), "nothing is changed", fix);
        }
        Some(spec)
    }

    fn table(&self) -> TableBuilder {
        TableBuilder::default()
            .value("token_dropout", self.token_dropout)
            .value("word_swap", self.word_swap)
            .value("char_noise", self.char_noise)
            .value("none", self.none)
    }
}
