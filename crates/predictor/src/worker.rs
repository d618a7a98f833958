use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use refit_artifact::{Manifest, Reference, TargetScale};
use refit_engine::{Session, Tensor};
use refit_preprocess::{Encoding, PaddedBatch, TextPreprocessor, Window};
use refit_spec::Task;
use refit_stats::project;

use crate::{
    Answer, Choice, Input, Observation, Prediction, PredictorError, best_span, entities, places::Places,
};

/// One session with all it needs to answer, for one thread. Dropping it gives the session back to its predictor.
pub struct Worker {
    shared: Arc<Shared>,
    /// `None` only while the worker is being dropped.
    session: Option<Box<dyn Session>>,
    pool: Pool,
    /// Logits are divided by it for their probabilities.
    temperature: f64,
}

/// Where a worker's session goes when it is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pool {
    /// To those of a place whose runs have one thread.
    Narrow(usize),
    /// To those of a place whose runs have several.
    Wide(usize),
    /// Nowhere: it is freed.
    None,
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
    pub(crate) places: Places,
    pub(crate) choice: Choice,
    pub(crate) inputs: Vec<Port>,
}

/// What a run gives for one row: the task's output, flat, and the embedding (empty when the model gives none).
pub(crate) type Row = (Vec<f32>, Vec<f32>);

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

    fn values(self, batch: &PaddedBatch) -> &[i64] {
        match self {
            Self::Ids => &batch.ids,
            Self::Mask => &batch.mask,
            Self::Types => &batch.types,
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
    pub(crate) fn new(shared: Arc<Shared>, session: Box<dyn Session>, pool: Pool, temperature: f64) -> Self {
        Self { shared, session: Some(session), pool, temperature }
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

    /// The first half of [`Worker::predict`]: see [`crate::Predictor::tokenize`].
    pub fn tokenize<'b>(&self, input: impl Into<Input<'b>>) -> Result<Vec<Window>, PredictorError> {
        self.shared.tokenize(input.into())
    }

    /// The second half of [`Worker::predict`]: the answer for an input with these tokens.
    pub fn predict_tokens<'b>(
        &mut self,
        input: impl Into<Input<'b>>,
        windows: &[Window],
    ) -> Result<Prediction, PredictorError> {
        let mut outputs = Vec::with_capacity(windows.len());
        for window in windows {
            outputs.push(self.run(&window.encoding)?);
        }
        self.prediction(input.into(), windows, outputs)
    }

    /// What outputs, one a window, say about an input.
    pub(crate) fn prediction(
        &self,
        input: Input<'_>,
        windows: &[Window],
        outputs: Vec<Row>,
    ) -> Result<Prediction, PredictorError> {
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

    pub(crate) fn shrink_with_next_run(&mut self) {
        if let Some(session) = self.session.as_mut() {
            session.shrink();
        }
    }

    fn run(&mut self, encoding: &Encoding) -> Result<Row, PredictorError> {
        let mut rows = self.run_rows(&[encoding])?;
        rows.pop().ok_or_else(|| self.shared.unusable("it gives no row"))
    }

    /// One run over texts side by side, the shorter ones padded: a row for each.
    pub(crate) fn run_rows(&mut self, encodings: &[&Encoding]) -> Result<Vec<Row>, PredictorError> {
        let shared = &self.shared;
        let batch = shared.preprocessor.pad(encodings);
        let shape = [batch.batch, batch.sequence];
        let tensors: Vec<Tensor> = shared
            .inputs
            .iter()
            .map(|input| Tensor::i64(shape, input.values(&batch).to_vec()))
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
        let embeddings = take(EMBEDDING).unwrap_or_default();
        let logits = match shared.task {
            Task::Embedding => embeddings.clone(),
            task => take(output_of(task)).unwrap_or_default(),
        };
        let lengths = encodings.iter().map(|encoding| encoding.len()).enumerate();
        lengths.map(|(row, tokens)| shared.row(&logits, &embeddings, (row, batch.batch), tokens)).collect()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.shared.places.give_back(session, self.pool);
        }
    }
}

impl Shared {
    pub(crate) fn unusable(&self, reason: &str) -> PredictorError {
        PredictorError::Model { path: self.path.clone(), reason: reason.to_owned() }
    }

    pub(crate) fn tokenize(&self, input: Input<'_>) -> Result<Vec<Window>, PredictorError> {
        let Input { text, pair } = input;
        let preprocessor = &self.preprocessor;
        let missing = || PredictorError::Pair { task: self.task, missing: true };
        match (self.task, pair) {
            (Task::QuestionAnswering, pair) => {
                preprocessor.encode_windows(pair.ok_or_else(missing)?, text).map_err(PredictorError::Tokenize)
            }
            (Task::TokenClassification | Task::Embedding, Some(_)) => {
                Err(PredictorError::Pair { task: self.task, missing: false })
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

    /// One row of outputs, `(row, rows)`, without what padding added behind its tokens.
    fn row(
        &self,
        logits: &[f32],
        embeddings: &[f32],
        (row, rows): (usize, usize),
        tokens: usize,
    ) -> Result<Row, PredictorError> {
        let of = |values: &[f32]| {
            let width = values.len() / rows.max(1);
            values[row * width..(row + 1) * width].to_vec()
        };
        let (mut logits, embedding) = (of(logits), of(embeddings));
        let expected = self.output_length(tokens);
        if let Some(expected) = expected
            && rows > 1
        {
            logits.truncate(expected);
        }
        if logits.is_empty() || expected.is_some_and(|expected| expected != logits.len()) {
            let expected = expected.map_or_else(|| "some".to_owned(), |expected| expected.to_string());
            return Err(self.unusable(&format!("it gives {} values for {expected}", logits.len())));
        }
        if !logits.iter().all(|logit| logit.is_finite()) {
            return Err(PredictorError::NotFinite);
        }
        Ok((logits, embedding))
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
