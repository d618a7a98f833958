use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use refit_artifact::{Manifest, Reference, TargetScale};
use refit_engine::{Model, Session, Tensor};
use refit_preprocess::{Encoding, TextPreprocessor, Window};
use refit_spec::Task;
use refit_stats::project;

use crate::{Answer, Choice, Input, Observation, Prediction, PredictorError, best_span, entities};

/// One session with all it needs to answer, for one thread. Dropping it gives the session back to its predictor.
pub struct Worker {
    shared: Arc<Shared>,
    /// `None` only while the worker is being dropped.
    session: Option<Box<dyn Session>>,
    /// Logits are divided by it for their probabilities.
    temperature: f64,
}

/// What all workers of a predictor share.
pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) manifest: Manifest,
    pub(crate) task: Task,
    pub(crate) labels: Vec<Arc<str>>,
    pub(crate) reference: Reference,
    pub(crate) preprocessor: TextPreprocessor,
    pub(crate) engine_version: String,
    pub(crate) model: Arc<dyn Model>,
    pub(crate) choice: Choice,
    pub(crate) inputs: Vec<Port>,
    pub(crate) idle: Mutex<Vec<Box<dyn Session>>>,
}

/// The inputs that a text encoder may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    Ids,
    Mask,
    Types,
}

impl Port {
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

/// The output that holds the pooled vector.
const EMBEDDING: &str = "embedding";

/// The output that answers are made of: logits, or the vector itself.
pub(crate) fn output_of(task: Task) -> &'static str {
    if task == Task::Embedding { EMBEDDING } else { "logits" }
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, session: Box<dyn Session>, temperature: f64) -> Self {
        Self { shared, session: Some(session), temperature }
    }

    /// Answers one text, or pair of texts.
    pub fn predict<'b>(&mut self, input: impl Into<Input<'b>>) -> Result<Prediction, PredictorError> {
        let input = input.into();
        let windows = self.tokenize(input)?;
        self.predict_tokens(input, &windows)
    }

    /// Answers texts one after the other, each exactly as [`Worker::predict`] does.
    pub fn predict_batch(&mut self, texts: &[&str]) -> Result<Vec<Prediction>, PredictorError> {
        texts.iter().map(|text| self.predict(*text)).collect()
    }

    /// The first half of [`Worker::predict`]: the tokens, in one window or, where the task reads long texts whole, in
    /// several.
    pub fn tokenize<'b>(&self, input: impl Into<Input<'b>>) -> Result<Vec<Window>, PredictorError> {
        let Input { text, pair } = input.into();
        let preprocessor = &self.shared.preprocessor;
        let missing = || PredictorError::Pair { task: self.shared.task, missing: true };
        match (self.shared.task, pair) {
            (Task::QuestionAnswering, pair) => {
                preprocessor.encode_windows(pair.ok_or_else(missing)?, text).map_err(PredictorError::Tokenize)
            }
            (Task::TokenClassification | Task::Embedding, Some(_)) => {
                Err(PredictorError::Pair { task: self.shared.task, missing: false })
            }
            (Task::TokenClassification, None) => {
                Ok(vec![preprocessor.encode_with_places(text).map_err(PredictorError::Tokenize)?])
            }
            (_, Some(pair)) => {
                Ok(vec![preprocessor.encode_pair(text, pair).map_err(PredictorError::Tokenize)?.into()])
            }
            (_, None) => Ok(vec![preprocessor.encode(text).map_err(PredictorError::Tokenize)?.into()]),
        }
    }

    /// The second half of [`Worker::predict`]: the answer for an input with these tokens.
    pub fn predict_tokens<'b>(
        &mut self,
        input: impl Into<Input<'b>>,
        windows: &[Window],
    ) -> Result<Prediction, PredictorError> {
        let input = input.into();
        let mut outputs = Vec::with_capacity(windows.len());
        for window in windows {
            outputs.push(self.run(&window.encoding)?);
        }
        let shared = &self.shared;
        let (Some(first), Some((logits, embedding))) = (windows.first(), outputs.first().cloned()) else {
            return Err(shared.unusable("it was given no tokens"));
        };
        let answer = shared.decode(input.text, windows, &outputs, self.temperature)?;
        let tokens: usize = windows.iter().map(|window| window.encoding.len()).sum();
        let unknown: usize = windows.iter().map(|window| window.encoding.unknown_tokens).sum();
        let observation = Observation {
            text_length: input.text.chars().count(),
            token_count: tokens,
            unknown_token_rate: unknown as f64 / tokens.max(1) as f64,
            predicted_class: match &answer {
                Answer::Class { label, .. } => Some(Arc::clone(label)),
                _ => None,
            },
            confidence: answer.confidence(),
            number: if let Answer::Number(number) = answer { Some(number) } else { None },
            projections: shared
                .reference
                .projections
                .iter()
                .map(|projection| project(&projection.direction, &embedding))
                .collect(),
        };
        let truncated = first.encoding.truncated;
        Ok(Prediction { answer, logits, embedding, truncated, observation })
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

    /// The task's output, flat, and the embedding (empty when the model gives none).
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
            return Err(shared.unusable("it has no session"));
        };
        let mut outputs = session.run(&inputs)?;
        let mut take = |name: &str| {
            let place = outputs.iter().position(|(output, _)| output == name)?;
            match outputs.swap_remove(place).1.into_parts().1 {
                refit_engine::TensorData::F32(values) => Some(values),
                _ => None,
            }
        };
        let embedding = take(EMBEDDING).unwrap_or_default();
        let logits = match shared.task {
            Task::Embedding => embedding.clone(),
            task => take(output_of(task)).unwrap_or_default(),
        };
        let expected = shared.output_length(encoding.len());
        if logits.is_empty() || expected.is_some_and(|expected| expected != logits.len()) {
            let expected = expected.map_or_else(|| "some".to_owned(), |expected| expected.to_string());
            return Err(shared.unusable(&format!("it gives {} values for {expected}", logits.len())));
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
    pub(crate) fn unusable(&self, reason: &str) -> PredictorError {
        PredictorError::Model { path: self.path.clone(), reason: reason.to_owned() }
    }

    /// Values of the output for this many tokens, where the task says so.
    fn output_length(&self, tokens: usize) -> Option<usize> {
        match self.task {
            Task::TextClassification | Task::MultiLabelClassification => Some(self.labels.len()),
            Task::Regression => Some(1),
            Task::TokenClassification => Some(self.labels.len() * tokens),
            Task::QuestionAnswering => Some(2 * tokens),
            Task::Embedding => None,
        }
    }

    /// The answer that outputs of windows over `text` mean.
    fn decode(
        &self,
        text: &str,
        windows: &[Window],
        outputs: &[(Vec<f32>, Vec<f32>)],
        temperature: f64,
    ) -> Result<Answer, PredictorError> {
        let (Some(window), Some((output, _))) = (windows.first(), outputs.first()) else {
            return Err(self.unusable("it was given no tokens"));
        };
        Ok(match self.task {
            Task::TextClassification => Answer::class(&self.labels, output, temperature),
            Task::MultiLabelClassification => Answer::labels(&self.labels, output),
            Task::Regression => {
                let scale = self.manifest.scale.unwrap_or(TargetScale { mean: 0.0, deviation: 1.0 });
                Answer::Number(scale.number(output[0]))
            }
            Task::TokenClassification => entities::decode(text, window, &self.labels, output),
            Task::QuestionAnswering => {
                let logits = outputs.iter().map(|(logits, _)| logits.as_slice());
                let places = windows.iter().map(|window| window.places.as_slice());
                Answer::Span(best_span(text, &places.zip(logits).collect::<Vec<_>>()))
            }
            Task::Embedding => Answer::Vector(output.clone()),
        })
    }
}
