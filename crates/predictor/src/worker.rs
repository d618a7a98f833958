use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use refit_artifact::{Manifest, Reference};
use refit_engine::{Model, Session, Tensor};
use refit_preprocess::{Encoding, TextPreprocessor};
use refit_stats::project;

use crate::{
    Choice, Observation, Prediction, PredictorError,
    prediction::{largest, softmax},
};

/// One session with all it needs to answer, for one thread. Dropping it gives the session back to its predictor.
pub struct Worker {
    shared: Arc<Shared>,
    /// `None` only while the worker is being dropped.
    session: Option<Box<dyn Session>>,
}

/// What all workers of a predictor share.
pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) manifest: Manifest,
    pub(crate) labels: Vec<Arc<str>>,
    pub(crate) reference: Reference,
    pub(crate) preprocessor: TextPreprocessor,
    pub(crate) engine_version: String,
    pub(crate) model: Arc<dyn Model>,
    pub(crate) choice: Choice,
    pub(crate) inputs: Vec<Input>,
    pub(crate) idle: Mutex<Vec<Box<dyn Session>>>,
}

/// The inputs that a text encoder may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Ids,
    Mask,
    Types,
}

impl Input {
    pub(crate) const ALL: [Self; 3] = [Self::Ids, Self::Mask, Self::Types];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ids => "input_ids",
            Self::Mask => "attention_mask",
            Self::Types => "token_type_ids",
        }
    }

    fn values(self, encoding: &Encoding) -> &[i64] {
        match self {
            Self::Ids => &encoding.input_ids,
            Self::Mask => &encoding.attention_mask,
            Self::Types => &encoding.token_type_ids,
        }
    }
}

/// The output that holds one logit a label.
pub(crate) const LOGITS: &str = "logits";

/// The output that holds the pooled vector.
const EMBEDDING: &str = "embedding";

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, session: Box<dyn Session>) -> Self {
        Self { shared, session: Some(session) }
    }

    /// Answers one text.
    pub fn predict(&mut self, text: &str) -> Result<Prediction, PredictorError> {
        let encoding = self.tokenize(text)?;
        self.predict_encoded(text, &encoding)
    }

    /// Answers texts one after the other, each exactly as [`Worker::predict`] does.
    pub fn predict_batch(&mut self, texts: &[&str]) -> Result<Vec<Prediction>, PredictorError> {
        texts.iter().map(|text| self.predict(text)).collect()
    }

    /// The first half of [`Worker::predict`]: tokens of the text.
    pub fn tokenize(&self, text: &str) -> Result<Encoding, PredictorError> {
        self.shared.preprocessor.encode(text).map_err(PredictorError::Tokenize)
    }

    /// The second half of [`Worker::predict`]: the answer for a text with these tokens.
    pub fn predict_encoded(&mut self, text: &str, encoding: &Encoding) -> Result<Prediction, PredictorError> {
        let (logits, embedding) = self.run(encoding)?;
        let probabilities = softmax(&logits);
        let index = largest(&logits);
        let shared = &self.shared;
        let label = Arc::clone(&shared.labels[index]);
        let token_count = encoding.len();
        let observation = Observation {
            text_length: text.chars().count(),
            token_count,
            unknown_token_rate: encoding.unknown_rate(),
            predicted_class: Arc::clone(&label),
            confidence: f64::from(probabilities[index]),
            projections: shared
                .reference
                .projections
                .iter()
                .map(|projection| project(&projection.direction, &embedding))
                .collect(),
        };
        let truncated = encoding.truncated;
        Ok(Prediction { label, index, probabilities, logits, embedding, truncated, observation })
    }

    /// Which file runs in which engine, and why.
    pub fn choice(&self) -> &Choice {
        &self.shared.choice
    }

    pub(crate) fn artifact_path(&self) -> &Path {
        &self.shared.path
    }

    pub(crate) fn logits(&mut self, encoding: &Encoding) -> Result<Vec<f32>, PredictorError> {
        Ok(self.run(encoding)?.0)
    }

    /// One logit a label, and the embedding (empty when the model gives none).
    fn run(&mut self, encoding: &Encoding) -> Result<(Vec<f32>, Vec<f32>), PredictorError> {
        let shared = &self.shared;
        let shape = [1, encoding.input_ids.len()];
        let tensors: Vec<Tensor> = shared
            .inputs
            .iter()
            .map(|input| Tensor::i64(shape, input.values(encoding).to_vec()))
            .collect::<Result<_, _>>()?;
        let inputs: Vec<(&str, &Tensor)> =
            shared.inputs.iter().zip(&tensors).map(|(input, tensor)| (input.name(), tensor)).collect();
        let Some(session) = self.session.as_mut() else {
            return Err(shared.not_a_classifier("it has no session"));
        };
        let mut outputs = session.run(&inputs)?;
        let mut take = |name: &str| {
            let place = outputs.iter().position(|(output, _)| output == name)?;
            match outputs.swap_remove(place).1.into_parts().1 {
                refit_engine::TensorData::F32(values) => Some(values),
                _ => None,
            }
        };
        let logits = take(LOGITS).unwrap_or_default();
        let embedding = take(EMBEDDING).unwrap_or_default();
        if logits.len() != shared.labels.len() {
            let (found, expected) = (logits.len(), shared.labels.len());
            return Err(shared.not_a_classifier(&format!("it gives {found} logits for {expected} labels")));
        }
        if !logits.iter().all(|logit| logit.is_finite()) {
            return Err(PredictorError::NotFinite);
        }
        Ok((logits, embedding))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let (Some(session), Ok(mut idle)) = (self.session.take(), self.shared.idle.lock()) {
            idle.push(session);
        }
    }
}

impl Shared {
    pub(crate) fn not_a_classifier(&self, reason: &str) -> PredictorError {
        PredictorError::Model { path: self.path.clone(), reason: reason.to_owned() }
    }
}
