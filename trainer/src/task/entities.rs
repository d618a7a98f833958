//! A tag for every word: named entities. The first token of a word carries its tag, the others are left out of the
//! loss; words that are cut off count as outside of everything.

use super::loss::{AddLoss, LabelShape};
use super::{Head, Task, argmax, replace_head, slices};
use crate::TrainError;
use crate::data::{Labels, Row, cell};
use crate::evaluation::{Assessment, Judged};
use crate::examples::{Example, IGNORED, Scores, Target, Tokens};
use rayon::prelude::*;
use refit_graph::DType;
use refit_passes::Edit;
use refit_passes::edit::TokenHead;
use refit_predictor::{Answer, Prediction, Predictor};
use refit_preprocess::{TextPreprocessor, words};
use refit_spec::{Metric, Task as Kind};
use refit_stats::{EntityCounts, entities, entity_counts};
use std::collections::{BTreeMap, BTreeSet};

/// Token classification in the schemes IOB1, IOB2 and IOBES.
pub struct Entities {
    tags: Labels,
    label_smoothing: f32,
}

const NAMES: [&str; 4] = ["entity_f1", "entity_precision", "entity_recall", "accuracy"];

/// What was found in one row.
#[derive(Default)]
struct Found {
    kinds: BTreeMap<String, EntityCounts>,
    words: usize,
    right: usize,
}

impl Found {
    fn of<T: AsRef<str>, P: AsRef<str>>(truth: &[T], given: &[P]) -> Self {
        Self {
            kinds: entity_counts(&entities(truth), &entities(given)),
            words: truth.len(),
            right: truth.iter().zip(given).filter(|(truth, given)| truth.as_ref() == given.as_ref()).count(),
        }
    }
}

fn figures(rows: &[Found], chosen: &[usize]) -> Vec<f64> {
    let mut all = EntityCounts::default();
    let (mut words, mut right) = (0, 0);
    for row in chosen.iter().map(|&row| &rows[row]) {
        row.kinds.values().for_each(|counts| all.add(*counts));
        words += row.words;
        right += row.right;
    }
    vec![all.f1(), all.precision(), all.recall(), right as f64 / words.max(1) as f64]
}

fn of_kind(rows: &[Found], chosen: &[usize], kind: &str) -> EntityCounts {
    let mut counts = EntityCounts::default();
    chosen.iter().filter_map(|&row| rows[row].kinds.get(kind)).for_each(|more| counts.add(*more));
    counts
}

impl Entities {
    /// For these tags.
    pub fn new(tags: &Labels, label_smoothing: f32) -> Self {
        Self { tags: tags.clone(), label_smoothing }
    }

    fn example(&self, row: &Row, preprocessor: &TextPreprocessor) -> Result<Example, TrainError> {
        let window = preprocessor.encode_with_places(&row.text)?;
        let mut targets = vec![IGNORED; window.encoding.len()];
        for ((start, end), tag) in words(&row.text).into_iter().zip(cell::words(&row.label)) {
            let index = self.tags.index(&tag).ok_or_else(|| TrainError::RowLabel {
                origin: row.origin.clone(),
                label: tag.clone(),
                known: self.tags.names().join(", "),
            })?;
            if let Some(token) = window.first_token(start, end) {
                targets[token] = index as i64;
            }
        }
        Ok(Example { texts: vec![Tokens::new(window.encoding)], target: Target::Tags(targets) })
    }

    /// True and predicted tags of the words of an example.
    fn tags(&self, example: &Example, output: &[f32]) -> (Vec<&str>, Vec<&str>) {
        let Target::Tags(targets) = &example.target else { return Default::default() };
        let names = self.tags.names();
        let of = |(token, target): (usize, &i64)| {
            let truth = names.get(usize::try_from(*target).ok()?)?;
            let logits = output.get(token * names.len()..(token + 1) * names.len())?;
            Some((truth.as_str(), names[argmax(logits)].as_str()))
        };
        targets.iter().enumerate().filter_map(of).unzip()
    }
}

impl Task for Entities {
    fn outputs(&self) -> usize {
        self.tags.len()
    }

    fn head(&self, head: Head) -> Box<dyn Edit> {
        Box::new(TokenHead(replace_head(head)))
    }

    fn loss(&self) -> Box<dyn Edit> {
        Box::new(AddLoss {
            operator: "SoftmaxCrossEntropy",
            attribute: Some(("label_smoothing", self.label_smoothing)),
            labels: DType::I64,
            shape: LabelShape::Classes,
        })
    }

    fn examples(&self, rows: &[Row], preprocessor: &TextPreprocessor) -> Result<Vec<Example>, TrainError> {
        rows.par_iter().map(|row| self.example(row, preprocessor)).collect()
    }

    /// Whether every word of a row has its tag.
    fn rightness(&self, examples: &[Example], outputs: &[Vec<f32>]) -> Result<Vec<f64>, TrainError> {
        let right = |(example, output): (&Example, &Vec<f32>)| {
            let (truth, given) = self.tags(example, output);
            f64::from(u8::from(truth == given))
        };
        Ok(examples.iter().zip(outputs).map(right).collect())
    }

    fn metric(&self, metric: Metric, examples: &[Example], scores: &Scores) -> Result<f64, TrainError> {
        let found = examples.iter().zip(&scores.outputs).map(|(example, output)| {
            let (truth, given) = self.tags(example, output);
            Found::of(&truth, &given)
        });
        let found: Vec<Found> = found.collect();
        let place = NAMES.iter().position(|name| *name == metric.to_string());
        let all: Vec<usize> = (0..found.len()).collect();
        Ok(place.map_or(scores.loss, |place| figures(&found, &all)[place]))
    }

    fn evaluate(
        &self,
        predictor: &Predictor,
        rows: &[Row],
    ) -> Result<(Assessment, Vec<Prediction>), TrainError> {
        let answers = predictor.predict_batch(rows)?;
        let (mut found, mut outside, mut unread) = (Vec::new(), Vec::new(), 0);
        for (row, answer) in rows.iter().zip(&answers) {
            let truth = cell::words(&row.label);
            let given = tags_of_words(row, &answer.answer);
            unread += given.iter().filter(|tag| tag.is_none()).count();
            let given: Vec<&str> = given.into_iter().map(|tag| tag.unwrap_or("O")).collect();
            outside.push(Found::of(&truth, &vec!["O"; truth.len()]));
            found.push(Found::of(&truth, &given));
        }
        let all: Vec<usize> = (0..rows.len()).collect();
        let kinds: BTreeSet<&String> = found.iter().flat_map(|row| row.kinds.keys()).collect();
        let kinds: Vec<String> = kinds.into_iter().cloned().collect();
        let support = |kind: &String| (kind.clone(), of_kind(&found, &all, kind).actual);
        let evaluation = Judged {
            task: Kind::TokenClassification.to_string(),
            slices: slices(rows),
            names: &NAMES,
            figures: &|chosen| figures(&found, chosen),
            baseline: (
                "no entity anywhere".to_owned(),
                figures(&outside, &all).into_iter().map(Some).collect(),
            ),
            labels: kinds.iter().map(support).collect(),
            by_label: &|chosen| kinds.iter().map(|kind| of_kind(&found, chosen, kind).f1()).collect(),
            less_is_better: false,
        };
        let note = format!(
            "{unread} words lay beyond the longest text that the model reads, and count as no entity"
        );
        let notes = if unread > 0 { vec![note] } else { Vec::new() };
        Ok((Assessment::Figures(evaluation.evaluate(notes)?), answers))
    }
}

/// The tag that the model gave to each word of a row; `None` for words that it did not read.
pub fn tags_of_words<'a>(row: &Row, answer: &'a Answer) -> Vec<Option<&'a str>> {
    let Answer::Entities { words: tagged, .. } = answer else { return Vec::new() };
    // Answers split punctuation off words, data sets may not: a word has the tag of its first part.
    let tag = |(start, end): (usize, usize)| {
        let part = tagged.iter().find(|word| word.start < end && word.end > start);
        part.map(|word| &*word.tag)
    };
    words(&row.text).into_iter().map(tag).collect()
}
