//! A vector for a text, near those of texts that belong to it: in-batch negatives (multiple negatives ranking,
//! Henderson et al. 2017), with a hard negative of its own for each text where the data have one.

use super::{Head, Task, slices};
use crate::TrainError;
use crate::data::Row;
use crate::evaluation::{Assessment, Judged};
use crate::examples::{Example, Scores, Target, Tokens};
use rayon::prelude::*;
use refit_graph::{Attribute, DType, Dim, Fact, HostTensor, Model, OpName, Patch, ValueId};
use refit_passes::edit::Embed;
use refit_passes::{Edit, PassError, Tolerance};
use refit_predictor::{Answer, Prediction, Predictor};
use refit_preprocess::TextPreprocessor;
use refit_spec::{Metric, Task as Kind};
use refit_stats::{mean_reciprocal_rank, rank, recall_at};
use std::collections::{BTreeMap, HashMap};

/// Contrastive learning of embeddings.
pub struct Embedding {
    /// Texts of an example: text and pair, or text, pair and negative.
    texts: usize,
}

/// What cosines are multiplied by before the softmax (as sentence-transformers does).
const SCALE: f32 = 20.0;

const NAMES: [&str; 3] = ["recall_at_1", "recall_at_10", "mrr"];

impl Embedding {
    /// With or without hard negatives.
    pub fn new(has_negatives: bool) -> Self {
        Self { texts: if has_negatives { 3 } else { 2 } }
    }

    fn example(&self, row: &Row, preprocessor: &TextPreprocessor) -> Result<Example, TrainError> {
        let texts = [Some(&row.text), row.pair.as_ref(), row.negative.as_ref()];
        let tokens = texts.into_iter().flatten().take(self.texts);
        let texts = tokens
            .map(|text| Ok(Tokens::new(preprocessor.encode(text)?)))
            .collect::<Result<_, TrainError>>()?;
        Ok(Example { texts, target: Target::Together })
    }

    /// The rank of each example's pair among the pairs of all.
    fn ranks(&self, outputs: &[Vec<f32>]) -> Vec<usize> {
        let split = |output: &Vec<f32>| {
            let width = output.len() / self.texts;
            (output[..width].to_vec(), output[width..2 * width].to_vec())
        };
        let (texts, pairs): (Vec<_>, Vec<_>) = outputs.iter().map(split).unzip();
        let own: Vec<usize> = (0..texts.len()).collect();
        ranks(&texts, &pairs, &own)
    }
}

/// The rank of the candidate `own` of each text.
fn ranks(texts: &[Vec<f32>], candidates: &[Vec<f32>], own: &[usize]) -> Vec<usize> {
    let of = |(text, own): (&Vec<f32>, &usize)| {
        let dot = |other: &Vec<f32>| text.iter().zip(other).map(|(a, b)| f64::from(a * b)).sum();
        rank(&candidates.iter().map(dot).collect::<Vec<f64>>(), *own)
    };
    texts.par_iter().zip(own).map(of).collect()
}

fn figures(ranks: &[usize], chosen: &[usize]) -> Vec<f64> {
    let ranks: Vec<usize> = chosen.iter().map(|&row| ranks[row]).collect();
    vec![recall_at(&ranks, 1), recall_at(&ranks, 10), mean_reciprocal_rank(&ranks)]
}

impl Task for Embedding {
    fn output(&self) -> &'static str {
        "embedding"
    }

    fn outputs(&self) -> usize {
        0
    }

    fn head(&self, head: Head) -> Box<dyn Edit> {
        Box::new(Embed { at: head.at, pool: head.pool })
    }

    fn loss(&self) -> Box<dyn Edit> {
        Box::new(InBatchLoss { texts: self.texts })
    }

    fn examples(&self, rows: &[Row], preprocessor: &TextPreprocessor) -> Result<Vec<Example>, TrainError> {
        rows.par_iter().map(|row| self.example(row, preprocessor)).collect()
    }

    /// Whether the own pair is the nearest of all.
    fn rightness(&self, _examples: &[Example], outputs: &[Vec<f32>]) -> Result<Vec<f64>, TrainError> {
        Ok(self.ranks(outputs).into_iter().map(|rank| f64::from(u8::from(rank == 1))).collect())
    }

    fn metric(&self, metric: Metric, _examples: &[Example], scores: &Scores) -> Result<f64, TrainError> {
        let Some(place) = NAMES.iter().position(|name| *name == metric.to_string()) else {
            return Ok(scores.loss);
        };
        let ranks = self.ranks(&scores.outputs);
        Ok(figures(&ranks, &(0..ranks.len()).collect::<Vec<_>>())[place])
    }

    fn evaluate(
        &self,
        predictor: &Predictor,
        rows: &[Row],
    ) -> Result<(Assessment, Vec<Prediction>), TrainError> {
        let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        let mut candidates: Vec<&str> = Vec::new();
        let own: Vec<usize> = rows
            .iter()
            .map(|row| {
                let pair = row.pair.as_deref().unwrap_or_default();
                *places.entry(pair).or_insert_with(|| {
                    candidates.push(pair);
                    candidates.len() - 1
                })
            })
            .collect();
        let answers = predictor.predict_batch(&texts)?;
        let vectors = |answers: &[Prediction]| -> Vec<Vec<f32>> {
            let vector = |answer: &Prediction| match &answer.answer {
                Answer::Vector(values) => values.clone(),
                _ => Vec::new(),
            };
            answers.iter().map(vector).collect()
        };
        let found = ranks(&vectors(&answers), &vectors(&predictor.predict_batch(&candidates)?), &own);
        let words = BagOfWords::new(texts.iter().chain(&candidates));
        let bags = |texts: &[&str]| texts.iter().map(|text| words.of(text)).collect::<Vec<_>>();
        let by_words = sparse_ranks(&bags(&texts), &bags(&candidates), &own);
        let all: Vec<usize> = (0..rows.len()).collect();
        let evaluation = Judged {
            task: Kind::Embedding.to_string(),
            slices: slices(rows),
            names: &NAMES,
            figures: &|chosen| figures(&found, chosen),
            baseline: (
                "the text with the most words in common".to_owned(),
                figures(&by_words, &all).into_iter().map(Some).collect(),
            ),
            labels: Vec::new(),
            by_label: &|_| Vec::new(),
            less_is_better: false,
        };
        let note = format!("each text is compared with {} different candidates", candidates.len());
        Ok((Assessment::Figures(evaluation.evaluate(vec![note])?), answers))
    }
}

/// Words as numbers.
struct BagOfWords(HashMap<String, usize>);

impl BagOfWords {
    fn new<'a>(texts: impl Iterator<Item = &'a &'a str>) -> Self {
        let mut words = HashMap::new();
        for word in texts.flat_map(|text| text.split_whitespace()) {
            let next = words.len();
            words.entry(word.to_lowercase()).or_insert(next);
        }
        Self(words)
    }

    fn of(&self, text: &str) -> Vec<usize> {
        let mut bag: Vec<usize> =
            text.split_whitespace().filter_map(|word| self.0.get(&word.to_lowercase()).copied()).collect();
        bag.sort_unstable();
        bag.dedup();
        bag
    }
}

/// Ranks by the cosine of sets of words.
fn sparse_ranks(texts: &[Vec<usize>], candidates: &[Vec<usize>], own: &[usize]) -> Vec<usize> {
    let of = |(text, own): (&Vec<usize>, &usize)| {
        let cosine = |other: &Vec<usize>| {
            let common = other.iter().filter(|word| text.binary_search(word).is_ok()).count() as f64;
            common / ((text.len().max(1) * other.len().max(1)) as f64).sqrt()
        };
        rank(&candidates.iter().map(cosine).collect::<Vec<f64>>(), *own)
    };
    texts.par_iter().zip(own).map(of).collect()
}

/// Adds the loss over `embedding` `[texts x batch, hidden]`, in which all first texts come first.
///
/// ```text
/// embedding -> first texts  -> MatMul -> x 20 -> SoftmaxCrossEntropy(labels = 0, 1, ...) -> loss
///           -> all others --^
/// ```
struct InBatchLoss {
    texts: usize,
}

impl Edit for InBatchLoss {
    fn name(&self) -> &'static str {
        "add-loss"
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance::Exact
    }

    fn apply(&self, model: &Model) -> Result<Patch, PassError> {
        let graph = &model.graph;
        let embedding = graph
            .find("embedding")
            .ok_or_else(|| PassError::refused("the model has no value \"embedding\" to compute a loss of"))?;
        let Some([_, Dim::Known(width)]) = graph.fact(embedding).shape.as_deref() else {
            return Err(PassError::refused("the embedding has no fixed length"));
        };
        let (texts, width) = (self.texts as i64, *width as i64);
        let mut patch = Patch::new(graph);
        let labels = patch.input("labels", Fact::new(DType::I64, [Dim::Symbol("pairs".to_owned())]));
        let mut constant = |name: &str, values: &[i64]| {
            patch.initializer(&format!("loss.{name}"), HostTensor::from_i64(&[values.len()], values), false)
        };
        let by_text = constant("by_text", &[texts, -1, width]);
        let rows = constant("rows", &[-1, width]);
        let (zero, one, end) = (constant("zero", &[0]), constant("one", &[1]), constant("end", &[texts]));
        let scale = patch.initializer("loss.scale", HostTensor::from_f32(&[], &[SCALE]), false);
        let mut node = |op: &str, name: &str, inputs: &[ValueId]| {
            let attributes: [(&str, Attribute); 0] = [];
            patch.node(OpName::standard(op), &format!("loss.{name}"), inputs, attributes)
        };
        let parts = node("Reshape", "parts", &[embedding, by_text]);
        let first = node("Slice", "first", &[parts, zero, one, zero]);
        let first = node("Reshape", "texts", &[first, rows]);
        let others = node("Slice", "others", &[parts, one, end, zero]);
        let others = node("Reshape", "candidates", &[others, rows]);
        let turned = [("perm", Attribute::Ints(vec![1, 0]))];
        let others = patch.node(OpName::standard("Transpose"), "loss.turned", &[others], turned);
        let mut node = |op: &str, name: &str, inputs: &[ValueId]| {
            let attributes: [(&str, Attribute); 0] = [];
            patch.node(OpName::standard(op), &format!("loss.{name}"), inputs, attributes)
        };
        let cosines = node("MatMul", "cosines", &[first, others]);
        let scores = node("Mul", "scores", &[cosines, scale]);
        let smoothing = [("label_smoothing", Attribute::Float(0.0))];
        let loss = patch.node(OpName::refit("SoftmaxCrossEntropy"), "loss", &[scores, labels], smoothing);
        patch.set_outputs(vec![loss, embedding]);
        Ok(patch)
    }
}
