//! A text classifier of a few words: the mean of word vectors, and a linear head.

use std::{collections::BTreeMap, path::Path};

use refit_artifact::{
    Golden, GoldenExample, GoldenLogits, Manifest, Precision, Projection, Reference, Serving, Writer,
    features, files,
};
use refit_graph::{Attribute, DType, Dim, Fact, Graph, HostTensor, Model, OpName, Patch, ValueId, onnx};
use refit_stats::ReferenceDistribution;
use serde_json::json;

/// What differs between the toys of a test.
#[derive(Clone, Copy)]
pub struct Toy {
    pub version: &'static str,
    /// The head's weights of `good` and `bad`: 1 answers as one would, -1 the other way round.
    pub sign: f32,
    pub labels: &'static [&'static str],
    /// Products with the identity on the way: only there to take time.
    pub work: usize,
    /// Whether it gives the mean of the vectors itself instead of a label.
    pub embeds: bool,
}

impl Default for Toy {
    fn default() -> Self {
        Self { version: "1", sign: 1.0, labels: &["negative", "positive"], work: 0, embeds: false }
    }
}

const WORDS: [&str; 12] =
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "good", "film", "bad", "plot", "was", "slow", "and"];
/// A word that the tokenizer has and the model's table has not: the engine fails on it.
pub const OUTSIDE: &str = "boom";
const HIDDEN: usize = 256;
const MAX_LENGTH: usize = 64;
const GOLDEN: [&str; 3] = ["good film", "", "the bad plot was slow and long zzz"];

impl Toy {
    /// Writes the artifact.
    pub fn write(&self, target: &Path) {
        self.write_as("toy", target);
    }

    /// Writes the artifact of a model of another name.
    pub fn write_as(&self, model: &str, target: &Path) {
        let mut writer = Writer::begin(target).unwrap();
        writer.add_file(files::MODEL_FLOAT32, &onnx::write(&self.model()).unwrap()).unwrap();
        writer.add_json(files::TOKENIZER, &tokenizer()).unwrap();
        writer.add_json(files::PREPROCESSING, &json!({ "max_length": MAX_LENGTH })).unwrap();
        writer.add_json(files::LABELS, &self.manifest().labels).unwrap();
        writer.add_json(files::REFERENCE, &self.reference()).unwrap();
        let examples = GOLDEN.map(|text| self.golden(text)).to_vec();
        writer.add_json(files::GOLDEN, &Golden { examples }).unwrap();
        writer.add_file(files::CONFIG, b"").unwrap();
        writer.finish(Manifest { model: model.into(), ..self.manifest() }).unwrap();
    }

    /// The vector of a word: its sentiment, then numbers that only make it this word.
    fn vector(word: usize) -> Vec<f32> {
        let sentiment = match WORDS[word] {
            "good" => 8.0,
            "bad" => -8.0,
            _ => 0.0,
        };
        let rest = (1..HIDDEN).map(|axis| ((word * 37 + axis * 11) % 19) as f32 / 19.0 - 0.5);
        std::iter::once(sentiment).chain(rest).collect()
    }

    /// The head: the last label likes the sentiment, the first dislikes it.
    fn head(&self) -> Vec<f32> {
        let mut head = vec![0.0; HIDDEN * self.labels.len()];
        head[0] = -self.sign;
        head[self.labels.len() - 1] = self.sign;
        head
    }

    fn model(&self) -> Model {
        let mut graph = Graph::new("toy");
        let mut patch = Patch::new(&graph);
        let tokens = || Fact {
            dtype: Some(DType::I64),
            shape: Some(vec![Dim::from("batch"), Dim::from("sequence")]),
            elements: None,
        };
        let ids = patch.input("input_ids", tokens());
        let vectors: Vec<f32> = (0..WORDS.len()).flat_map(Self::vector).collect();
        let table = patch.initializer("words", HostTensor::from_f32(&[WORDS.len(), HIDDEN], &vectors), false);
        let mut value = patch.node(OpName::standard("Gather"), "gathered", &[table, ids], []);
        for step in 0..self.work {
            value = identity(&mut patch, value, step);
        }
        // The mean of the tokens, whatever padding stands behind them.
        let mask = patch.input("attention_mask", tokens());
        let mask = patch.node(OpName::standard("Cast"), "mask", &[mask], [("to", Attribute::Int(1))]);
        let axis = |patch: &mut Patch, axis: i64| {
            patch.initializer("axis", HostTensor::from_i64(&[1], &[axis]), false)
        };
        let (sequence, last) = (axis(&mut patch, 1), axis(&mut patch, 2));
        let column = patch.node(OpName::standard("Unsqueeze"), "column", &[mask, last], []);
        let masked = patch.node(OpName::standard("Mul"), "masked", &[value, column], []);
        let keep = |keep: i64| [("keepdims", Attribute::Int(keep))];
        let sum = patch.node(OpName::standard("ReduceSum"), "sum", &[masked, sequence], keep(0));
        let count = patch.node(OpName::standard("ReduceSum"), "count", &[mask, sequence], keep(1));
        let embedding = patch.node(OpName::standard("Div"), "embedding", &[sum, count], []);
        let head = HostTensor::from_f32(&[HIDDEN, self.labels.len()], &self.head());
        let head = patch.initializer("head", head, false);
        let logits = patch.node(OpName::standard("MatMul"), "logits", &[embedding, head], []);
        let row = |width: usize| Fact {
            dtype: Some(DType::F32),
            shape: Some(vec![Dim::from("batch"), Dim::from(width)]),
            elements: None,
        };
        patch.set_fact(embedding, row(HIDDEN));
        patch.set_fact(logits, row(self.labels.len()));
        patch.set_outputs(vec![logits, embedding]);
        patch.apply(&mut graph).unwrap();
        Model::new(graph, 17)
    }

    fn golden(&self, text: &str) -> GoldenExample {
        let input_ids = ids(text);
        let mut mean = vec![0.0; HIDDEN];
        for &id in &input_ids {
            mean.iter_mut().zip(Self::vector(id as usize)).for_each(|(sum, value)| *sum += value);
        }
        mean.iter_mut().for_each(|sum| *sum /= input_ids.len() as f32);
        let values = if self.embeds {
            mean
        } else {
            let mut values = vec![0.0; self.labels.len()];
            values[0] = -self.sign * mean[0];
            values[self.labels.len() - 1] = self.sign * mean[0];
            values
        };
        let logits = vec![GoldenLogits { precision: Precision::Float32, engine: "tract".into(), values }];
        GoldenExample { text: text.into(), pair: None, input_ids, logits }
    }

    /// As if it had been trained on texts of 5 to 25 characters without unknown words.
    fn reference(&self) -> Reference {
        let spread = |from: f64, to: f64| -> Vec<f64> {
            (0..1000).map(|row| from + (to - from) * f64::from(row) / 999.0).collect()
        };
        let labels: Vec<String> = self.labels.iter().map(|label| label.to_string()).collect();
        let classes = (0..1000).map(|row| self.labels[row % self.labels.len()]);
        let classes = (!self.embeds).then(|| {
            ReferenceDistribution::categorical(features::PREDICTED_CLASS, &labels, classes).unwrap()
        });
        let mut direction = vec![0.0; HIDDEN];
        direction[0] = 1.0;
        Reference {
            distributions: [
                ReferenceDistribution::numeric(features::TEXT_LENGTH, &spread(5.0, 25.0), 10).unwrap(),
                ReferenceDistribution::numeric(features::UNKNOWN_TOKEN_RATE, &vec![0.0; 1000], 10).unwrap(),
                ReferenceDistribution::numeric("embedding_0", &spread(-3.0, 3.0), 10).unwrap(),
            ]
            .into_iter()
            .chain(classes)
            .collect(),
            projections: vec![Projection { feature: "embedding_0".into(), direction }],
        }
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            schema_version: 0,
            model: "toy".into(),
            version: Some(self.version.into()),
            created_at: "2026-11-21T04:00:00Z".parse().unwrap(),
            code_version: "0.1.0".into(),
            task: if self.embeds { "embedding" } else { "text-classification" }.into(),
            labels: match self.embeds {
                true => Vec::new(),
                false => self.labels.iter().map(|label| label.to_string()).collect(),
            },
            scale: None,
            files: BTreeMap::new(),
            config: String::new(),
            data_fingerprint: String::new(),
            base: String::new(),
            parent: None,
            metrics: BTreeMap::new(),
            serving: Serving {
                file: files::MODEL_FLOAT32.into(),
                precision: Precision::Float32,
                float_layers: Vec::new(),
                engine: "tract".into(),
                reason: "measured".into(),
            },
            searches: Vec::new(),
            parity: Vec::new(),
        }
    }
}

fn identity(patch: &mut Patch, value: ValueId, step: usize) -> ValueId {
    let mut matrix = vec![0.0; HIDDEN * HIDDEN];
    (0..HIDDEN).for_each(|axis| matrix[axis * HIDDEN + axis] = 1.0);
    let matrix = HostTensor::from_f32(&[HIDDEN, HIDDEN], &matrix);
    let matrix = patch.initializer(&format!("identity_{step}"), matrix, false);
    patch.node(OpName::standard("MatMul"), &format!("work_{step}"), &[value, matrix], [])
}

fn ids(text: &str) -> Vec<i64> {
    let word = |word: &str| WORDS.iter().position(|known| *known == word).unwrap_or(1) as i64;
    std::iter::once(2).chain(text.split_whitespace().map(word)).chain([3]).collect()
}

fn tokenizer() -> serde_json::Value {
    let words = WORDS.into_iter().chain([OUTSIDE]).enumerate();
    let vocabulary: BTreeMap<&str, usize> = words.map(|(id, word)| (word, id)).collect();
    let special = |word: &str| json!({"id": word, "ids": [vocabulary[word]], "tokens": [word]});
    let place = |word: &str| json!({"SpecialToken": {"id": word, "type_id": 0}});
    json!({
        "version": "1.0",
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [place("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, place("[SEP]")],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"[CLS]": special("[CLS]"), "[SEP]": special("[SEP]")},
        },
        "decoder": null,
        "added_tokens": [],
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    })
}
