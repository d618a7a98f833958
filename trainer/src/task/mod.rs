//! What a run has to know of a task, and nothing else does: one file a task, one line in [`of`].
//!
//! A task turns rows into examples, puts a head and a loss on the encoder, and says how good outputs are.

mod answering;
mod classification;
mod embedding;
mod entities;
mod loss;
mod multi_label;
mod regression;

use crate::TrainError;
use crate::data::{self, Labels, Row, cell};
use crate::evaluation::Assessment;
use crate::examples::{Example, Scores};
use rayon::prelude::*;
use refit_artifact::TargetScale;
use refit_passes::Edit;
use refit_passes::edit::{Pool, ReplaceHead};
use refit_predictor::{Answer, Prediction, Predictor};
use refit_preprocess::{Encoding, TextPreprocessor, TextSettings};
use refit_spec::{Metric, Spec, Task as Kind};
use refit_stats::exact_match;

/// One kind of answer that a text encoder is trained to give.
pub trait Task: Send + Sync {
    /// The graph's output that answers are made of: what parity, golden examples and figures look at.
    fn output(&self) -> &'static str {
        "logits"
    }

    /// Rows of the head: one a label, or as many as the task has.
    fn outputs(&self) -> usize;

    /// Puts the head on the encoder; what it answers is [`Self::output`].
    fn head(&self, head: Head) -> Box<dyn Edit>;

    /// Adds the output `loss`, and the inputs that it reads beside those of the encoder.
    fn loss(&self) -> Box<dyn Edit>;

    /// Rows as tokens with what is to be learned of them.
    ///
    /// # Errors
    /// When a text cannot be tokenized, or a row's label is none of the task's.
    fn examples(&self, rows: &[Row], preprocessor: &TextPreprocessor) -> Result<Vec<Example>, TrainError>;

    /// How right the output for each example is, from 0 to 1; the mean is the task's main figure. `outputs` are
    /// those of all of `examples`, in their order.
    ///
    /// # Errors
    /// When an output does not fit its example.
    fn rightness(&self, examples: &[Example], outputs: &[Vec<f32>]) -> Result<Vec<f64>, TrainError>;

    /// The metric of early stopping over all examples.
    ///
    /// # Errors
    /// When there are no examples.
    fn metric(&self, metric: Metric, examples: &[Example], scores: &Scores) -> Result<f64, TrainError>;

    /// Whether probabilities are a softmax over one logit a label, which a temperature makes true.
    fn is_calibrated(&self) -> bool {
        false
    }

    /// What turns outputs into the numbers that are answered, where the task answers numbers.
    fn scale(&self) -> Option<TargetScale> {
        None
    }

    /// Every figure on `rows`, answered as the service answers them, and the answers.
    ///
    /// # Errors
    /// When the model cannot answer, or there are no rows.
    fn evaluate(
        &self,
        predictor: &Predictor,
        rows: &[Row],
    ) -> Result<(Assessment, Vec<Prediction>), TrainError>;
}

/// How a head is made.
#[derive(Debug, Clone)]
pub struct Head {
    /// Name of the hidden state that it reads.
    pub at: String,
    /// How vectors of tokens become one.
    pub pool: Pool,
    /// Rows of the head.
    pub outputs: usize,
    /// Rate of the dropout before it.
    pub dropout: f32,
    /// For each row the row of the present head that it starts from.
    pub carried: Vec<Option<usize>>,
    /// Seed of the others.
    pub seed: u64,
}

/// The task of a spec, with the labels of its data and, where it answers numbers, their scale.
pub fn of(spec: &Spec, labels: &Labels, scale: Option<TargetScale>) -> Box<dyn Task> {
    let smoothing = spec.train.label_smoothing as f32;
    match spec.model.task {
        Kind::TextClassification => Box::new(classification::Classification::new(labels, smoothing)),
        Kind::MultiLabelClassification => Box::new(multi_label::MultiLabel::new(labels)),
        Kind::Regression => Box::new(regression::Regression::new(scale, spec.train.huber_delta)),
        Kind::TokenClassification => Box::new(entities::Entities::new(labels, smoothing)),
        Kind::QuestionAnswering => Box::new(answering::Answering),
        Kind::Embedding => Box::new(embedding::Embedding::new(spec.data.negative.is_some())),
    }
}

/// The scale of the numbers that rows hold, where the task answers numbers.
///
/// # Errors
/// When the rows cannot be read, or all have the same number.
pub fn scale(spec: &Spec, train: &data::Rows) -> Result<Option<TargetScale>, TrainError> {
    if spec.model.task == Kind::Regression { regression::scale(train).map(Some) } else { Ok(None) }
}

/// How texts become tokens; `longest` is the most that the base reads.
pub fn text_settings(spec: &Spec, longest: usize) -> TextSettings {
    let stride = (spec.model.task == Kind::QuestionAnswering).then_some(spec.train.stride);
    TextSettings { max_length: spec.train.max_length.min(longest), stride }
}

/// Whether an answer is right; `None` where answers are neither right nor wrong.
pub fn is_right(row: &Row, answer: &Answer) -> Option<bool> {
    match answer {
        Answer::Class { label, .. } => Some(**label == *row.label),
        Answer::Labels { labels, .. } => {
            let mut truth = cell::several(&row.label);
            truth.sort_unstable();
            truth.dedup();
            let mut given: Vec<&str> = labels.iter().map(|label| &**label).collect();
            given.sort_unstable();
            Some(truth == given)
        }
        Answer::Entities { .. } => {
            let given = entities::tags_of_words(row, answer);
            let given: Vec<&str> = given.into_iter().map(|tag| tag.unwrap_or("O")).collect();
            Some(cell::words(&row.label) == given)
        }
        Answer::Span(span) => {
            let text = span.as_ref().map_or("", |span| span.text.as_str());
            Some(exact_match(text, &cell::several_answers(&row.label)) == 1.0)
        }
        Answer::Number(_) | Answer::Vector(_) => None,
    }
}

/// The tokens of rows of one text or two, in their order.
fn encode(rows: &[Row], preprocessor: &TextPreprocessor) -> Result<Vec<Encoding>, TrainError> {
    let tokens = |row: &Row| match &row.pair {
        Some(pair) => preprocessor.encode_pair(&row.text, pair),
        None => preprocessor.encode(&row.text),
    };
    Ok(rows.par_iter().map(tokens).collect::<Result<_, _>>()?)
}

/// A head over pooled vectors.
fn text_head(head: Head) -> Box<dyn Edit> {
    Box::new(replace_head(head))
}

fn replace_head(head: Head) -> ReplaceHead {
    ReplaceHead {
        at: head.at,
        pool: head.pool,
        labels: head.outputs,
        dropout: head.dropout,
        carried: head.carried,
        seed: head.seed,
    }
}

/// The slices of rows, in their order.
fn slices(rows: &[Row]) -> Vec<&[(String, String)]> {
    rows.iter().map(|row| row.slices.as_slice()).collect()
}

/// Index of the largest value; the first of equals.
fn argmax(values: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let rows = values.len();
    values.sum::<f64>() / rows as f64
}
