//! A text on its way to an answer, and what becomes of it.

use std::{borrow::Cow, sync::Arc, time::Instant};

use jiff::Timestamp;
use refit_predictor::{Input, Prediction, Predictor, PredictorError};
use refit_preprocess::{Tokens, Window};
use refit_store::{PredictionRecord, Role};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{
    error::chain,
    layers::Trace,
    limits::Limits,
    loaded::LoadedModel,
    queue::Queued,
    recorder::Recorder,
    sampling::Signs,
    scheduling::Waiting,
    shadow::{Sample, Shadows},
};

/// A text, with a second one where the model reads two; or the tokens that the caller made of it.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub text: String,
    pub pair: Option<String>,
    /// Then there is no text: nothing is watched that follows from it, and nothing is recorded.
    pub tokens: Option<Tokens>,
}

/// One text to be answered.
pub(crate) struct Job {
    pub text: Text,
    /// Its tokens, once it has been looked at.
    pub windows: Option<Vec<Window>>,
    /// Runs that took texts from behind it.
    pub overtaken: usize,
    pub model: Arc<LoadedModel>,
    pub role: Role,
    /// The version that gets a copy.
    pub shadow: Option<Arc<LoadedModel>>,
    /// When the request came in.
    pub accepted: Instant,
    /// When it was put into the queue.
    pub queued: Instant,
    /// After this nobody waits for the answer any more.
    pub deadline: Instant,
    /// What a text may hold.
    pub limits: Arc<Limits>,
    /// The request's place in a trace.
    pub trace: Option<Trace>,
    pub reply: oneshot::Sender<Result<Answer, Failure>>,
}

/// The answer to one text.
#[derive(Debug)]
pub(crate) struct Answer {
    /// What feedback is given by.
    pub id: Uuid,
    pub version: Arc<str>,
    /// All labels, in the order of the probabilities.
    pub labels: Arc<[Arc<str>]>,
    pub prediction: Arc<Prediction>,
}

/// Why a text got no answer.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The deadline passed while it waited.
    Late,
    /// The text cannot be tokenized.
    Text(String),
    /// It has more tokens than a text may have.
    TooLong(String),
    /// The engine failed.
    Engine,
}

impl Text {
    pub fn new(text: String, pair: Option<String>) -> Self {
        Self { text, pair, tokens: None }
    }

    pub fn of_tokens(tokens: Tokens) -> Self {
        Self { text: String::new(), pair: None, tokens: Some(tokens) }
    }

    /// What tells it from others where nothing else does.
    pub fn key(&self) -> Cow<'_, str> {
        match &self.tokens {
            Some(tokens) => format!("{:?}", tokens.input_ids).into(),
            None => self.text.as_str().into(),
        }
    }

    /// Its tokens, in the windows that the model reads.
    pub fn windows(&self, predictor: &Predictor) -> Result<Vec<Window>, PredictorError> {
        match &self.tokens {
            Some(tokens) => Ok(vec![predictor.encode_tokens(tokens)?]),
            None => predictor.tokenize(self.input()),
        }
    }

    pub fn input(&self) -> Input<'_> {
        Input { text: &self.text, pair: self.pair.as_deref() }
    }
}

impl Queued for Job {
    fn lookahead(&self) -> usize {
        self.model.pace.largest_batch
    }

    fn goes_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.model, &other.model)
    }

    fn precedes(&self, other: &Self) -> bool {
        self.queued < other.queued
    }
}

impl Job {
    /// How it stands in line, once its tokens are known.
    pub fn waiting(&self, now: Instant) -> Waiting {
        let windows = self.windows.as_deref().unwrap_or_default();
        Waiting {
            tokens: windows.iter().map(|window| window.encoding.len()).sum(),
            waited: now.saturating_duration_since(self.accepted).as_secs_f64(),
            can_share: windows.len() == 1,
            overtaken: self.overtaken,
        }
    }

    /// Replies with the prediction, which is counted, watched and recorded.
    pub fn succeed(self, prediction: Prediction, outlets: &Outlets) {
        self.model.phases.total.observe(self.accepted.elapsed().as_secs_f64());
        let Self { model, role, shadow, text, trace, reply, .. } = self;
        let answer = outlets.answered(Said { model, role, shadow, text, trace }, Arc::new(prediction));
        // A send that fails means that the client has left.
        let _ = reply.send(Ok(answer));
    }

    /// Replies that it has more tokens than a text may have.
    pub fn refuse(self, too_long: String) {
        self.model.phases.total.observe(self.accepted.elapsed().as_secs_f64());
        let _ = self.reply.send(Err(Failure::TooLong(too_long)));
    }

    /// Replies that the tokenizer or the engine failed, and counts it.
    pub fn fail(self, error: Result<PredictorError, String>) {
        self.model.counters.failures.inc();
        let failed = |reason: String| {
            let (model, version) = (&*self.model.name, &*self.model.version);
            tracing::error!(model, version, error = reason, "a text failed");
            Failure::Engine
        };
        let failure = match error {
            Ok(PredictorError::Tokenize(source)) => Failure::Text(source.to_string()),
            Ok(error @ PredictorError::Pair { .. }) => Failure::Text(error.to_string()),
            Ok(error) => failed(chain(&error)),
            Err(panic) => failed(panic),
        };
        self.model.phases.total.observe(self.accepted.elapsed().as_secs_f64());
        let _ = self.reply.send(Err(failure));
    }
}

/// Where answers go beside to the client.
#[derive(Clone)]
pub(crate) struct Outlets {
    pub recorder: Option<Recorder>,
    pub shadows: Shadows,
}

/// A text that was answered, and by whom.
pub(crate) struct Said {
    pub model: Arc<LoadedModel>,
    pub role: Role,
    pub shadow: Option<Arc<LoadedModel>>,
    pub text: Text,
    pub trace: Option<Trace>,
}

impl Outlets {
    /// Gives a prediction an id of its own, counts it, watches it, records it, and hands a copy to the shadow.
    pub fn answered(&self, said: Said, prediction: Arc<Prediction>) -> Answer {
        let Said { model, role, shadow, text, trace } = said;
        let id = Uuid::now_v7();
        model.counters.predictions.inc();
        let (version, labels) = (Arc::clone(&model.version), Arc::clone(&model.labels));
        if text.tokens.is_some() {
            return Answer { id, version, labels, prediction };
        }
        model.watch.observe(&prediction.observation, Instant::now());
        if let Some(shadow) = shadow {
            let (text, said) = (text.clone(), Arc::clone(&prediction));
            self.shadows.offer(Sample { text, shadow, answered_by: Arc::clone(&model), said });
        }
        if let Some(recorder) = &self.recorder {
            let signs =
                Signs { confidence: prediction.answer.confidence(), drifted: model.watch.is_drifted() };
            recorder.record(record(id, &model, role, text.text, &prediction), signs, trace);
        }
        Answer { id, version, labels, prediction }
    }
}

fn record(
    id: Uuid,
    model: &LoadedModel,
    role: Role,
    text: String,
    prediction: &Prediction,
) -> PredictionRecord {
    PredictionRecord {
        id,
        model: model.name.to_string(),
        version: model.version.to_string(),
        role,
        text,
        label: prediction.answer.short(),
        // 0 stands for an answer that has no probability, such as a number.
        confidence: prediction.answer.confidence().unwrap_or(0.0) as f32,
        probabilities: prediction.answer.probabilities().to_vec(),
        predicted_at: Timestamp::now(),
    }
}
