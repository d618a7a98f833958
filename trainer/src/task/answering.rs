//! The part of a text that answers a question. A long text is read in overlapping windows; a window without the answer
//! points at its first token (Devlin et al. 2019).

use super::{Head, Task, mean, replace_head, slices};
use crate::TrainError;
use crate::data::{Row, cell};
use crate::evaluation::{Assessment, Judged};
use crate::examples::{Example, Scores, SpanTarget, Target, Tokens};
use rayon::prelude::*;
use refit_graph::{Attribute, DType, Dim, Fact, HostTensor, Model, OpName, Patch};
use refit_passes::edit::TokenHead;
use refit_passes::{Edit, PassError, Tolerance};
use refit_predictor::{Answer, Prediction, Predictor, best_span};
use refit_preprocess::{TextPreprocessor, Window};
use refit_spec::{Metric, Task as Kind};
use refit_stats::{answer_f1, exact_match};

/// Extractive question answering.
pub struct Answering;

const NAMES: [&str; 2] = ["answer_f1", "exact_match"];

fn examples_of(place: usize, row: &Row, preprocessor: &TextPreprocessor) -> Result<Vec<Example>, TrainError> {
    let windows = preprocessor.encode_windows(row.pair.as_deref().unwrap_or_default(), &row.text)?;
    let answers = cell::several_answers(&row.label);
    let start = row.answer_start.unwrap_or_default();
    let end = start + answers.first().map_or(0, |answer| answer.chars().count());
    let example = |window: Window| Example {
        target: Target::Span(Box::new(SpanTarget {
            row: place,
            tokens: tokens_of(&window, start, end),
            places: window.places,
            text: row.text.clone(),
            answers: answers.clone(),
        })),
        texts: vec![Tokens::new(window.encoding)],
    };
    Ok(windows.into_iter().map(example).collect())
}

/// First and last token of the characters from `start` to before `end`, where the window holds them all.
fn tokens_of(window: &Window, start: usize, end: usize) -> [i64; 2] {
    let inside = || window.places.iter().flatten();
    let (Some(from), Some(to)) = (inside().map(|p| p.0).min(), inside().map(|p| p.1).max()) else {
        return [0, 0];
    };
    let covers = |place: &Option<(usize, usize)>| place.is_some_and(|(from, to)| to > start && from < end);
    match (window.places.iter().position(covers), window.places.iter().rposition(covers)) {
        (Some(first), Some(last)) if from <= start && end <= to => [first as i64, last as i64],
        _ => [0, 0],
    }
}

/// The answer to each row, and the right ones; windows of a row follow one another.
fn answers<'a>(examples: &'a [Example], outputs: &[Vec<f32>]) -> Vec<(String, &'a [String])> {
    let spans: Vec<(&SpanTarget, &[f32])> = examples
        .iter()
        .zip(outputs)
        .filter_map(|(example, output)| match &example.target {
            Target::Span(span) => Some((&**span, output.as_slice())),
            _ => None,
        })
        .collect();
    let rows = spans.chunk_by(|left, right| left.0.row == right.0.row);
    rows.map(|windows| {
        let logits: Vec<_> = windows.iter().map(|(span, output)| (span.places.as_slice(), *output)).collect();
        let answer = best_span(&windows[0].0.text, &logits).map(|span| span.text).unwrap_or_default();
        (answer, &*windows[0].0.answers)
    })
    .collect()
}

fn figures(rows: &[(f64, f64)], chosen: &[usize]) -> Vec<f64> {
    vec![mean(chosen.iter().map(|&row| rows[row].0)), mean(chosen.iter().map(|&row| rows[row].1))]
}

impl Task for Answering {
    fn outputs(&self) -> usize {
        2
    }

    fn head(&self, head: Head) -> Box<dyn Edit> {
        Box::new(TokenHead(replace_head(head)))
    }

    fn loss(&self) -> Box<dyn Edit> {
        Box::new(SpanLoss)
    }

    fn examples(&self, rows: &[Row], preprocessor: &TextPreprocessor) -> Result<Vec<Example>, TrainError> {
        let of_rows: Vec<Vec<Example>> = rows
            .par_iter()
            .enumerate()
            .map(|(place, row)| examples_of(place, row, preprocessor))
            .collect::<Result<_, TrainError>>()?;
        Ok(of_rows.into_iter().flatten().collect())
    }

    /// Exact match.
    fn rightness(&self, examples: &[Example], outputs: &[Vec<f32>]) -> Result<Vec<f64>, TrainError> {
        Ok(answers(examples, outputs).iter().map(|(answer, right)| exact_match(answer, right)).collect())
    }

    fn metric(&self, metric: Metric, examples: &[Example], scores: &Scores) -> Result<f64, TrainError> {
        let answers = answers(examples, &scores.outputs);
        Ok(match metric {
            Metric::AnswerF1 => mean(answers.iter().map(|(answer, right)| answer_f1(answer, right))),
            Metric::ExactMatch => mean(answers.iter().map(|(answer, right)| exact_match(answer, right))),
            _ => scores.loss,
        })
    }

    fn evaluate(
        &self,
        predictor: &Predictor,
        rows: &[Row],
    ) -> Result<(Assessment, Vec<Prediction>), TrainError> {
        let answers = predictor.predict_batch(rows)?;
        let judge = |(row, answer): (&Row, &str)| {
            let right = cell::several_answers(&row.label);
            (answer_f1(answer, &right), exact_match(answer, &right))
        };
        let given = answers.iter().map(|answer| match &answer.answer {
            Answer::Span(Some(span)) => span.text.as_str(),
            _ => "",
        });
        let judged: Vec<(f64, f64)> = rows.iter().zip(given).map(judge).collect();
        let whole: Vec<(f64, f64)> = rows.iter().map(|row| judge((row, &row.text))).collect();
        let all: Vec<usize> = (0..rows.len()).collect();
        let evaluation = Judged {
            task: Kind::QuestionAnswering.to_string(),
            slices: slices(rows),
            names: &NAMES,
            figures: &|chosen| figures(&judged, chosen),
            baseline: ("the whole text".to_owned(), figures(&whole, &all).into_iter().map(Some).collect()),
            labels: Vec::new(),
            by_label: &|_| Vec::new(),
            less_is_better: false,
        };
        Ok((Assessment::Figures(evaluation.evaluate(Vec::new())?), answers))
    }
}

/// Adds the loss: the mean of the cross-entropies of the first and of the last token over all tokens that are no
/// padding. Input `labels` i64 `[batch, 2]`.
///
/// ```text
/// logits[B,S,2] -> Transpose -> [B,2,S] + (attention_mask - 1) x 10000 -> SoftmaxCrossEntropy(labels) -> loss
/// ```
struct SpanLoss;

impl Edit for SpanLoss {
    fn name(&self) -> &'static str {
        "add-loss"
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance::Exact
    }

    fn apply(&self, model: &Model) -> Result<Patch, PassError> {
        let graph = &model.graph;
        let logits = graph
            .find("logits")
            .ok_or_else(|| PassError::refused("the model has no value \"logits\" to compute a loss of"))?;
        let axis = |name: &str| Dim::Symbol(name.to_owned());
        let mut patch = Patch::new(graph);
        let labels = patch.input("labels", Fact::new(DType::I64, [axis("batch"), 2.into()]));
        let mask = graph.find("attention_mask").unwrap_or_else(|| {
            patch.input("attention_mask", Fact::new(DType::I64, [axis("batch"), axis("sequence")]))
        });
        let one = patch.initializer("loss.one", HostTensor::from_f32(&[], &[1.0]), false);
        let far = patch.initializer("loss.far", HostTensor::from_f32(&[], &[1e4]), false);
        let middle = patch.initializer("loss.middle", HostTensor::from_i64(&[1], &[1]), false);
        let none: [(&str, Attribute); 0] = [];
        let standard = OpName::standard;
        let turned = [("perm", Attribute::Ints(vec![0, 2, 1]))];
        let by_side = patch.node(standard("Transpose"), "loss.by_side", &[logits], turned);
        let to = [("to", Attribute::Int(DType::F32.to_onnx().into()))];
        let kept = patch.node(standard("Cast"), "loss.kept", &[mask], to);
        let kept = patch.node(standard("Sub"), "loss.padding", &[kept, one], none.clone());
        let kept = patch.node(standard("Mul"), "loss.penalty", &[kept, far], none.clone());
        let kept = patch.node(standard("Unsqueeze"), "loss.penalties", &[kept, middle], none.clone());
        let scores = patch.node(standard("Add"), "loss.scores", &[by_side, kept], none);
        let smoothing = [("label_smoothing", Attribute::Float(0.0))];
        let loss = patch.node(OpName::refit("SoftmaxCrossEntropy"), "loss", &[scores, labels], smoothing);
        patch.set_outputs(vec![loss, logits]);
        Ok(patch)
    }
}
