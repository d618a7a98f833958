use std::{num::NonZero, panic, sync::Arc, thread};

use refit_artifact::{Bundle, Manifest, Precision, Reference, files};
use refit_engine::{Engine, Session, SessionOptions};
use refit_preprocess::{TextPreprocessor, TextSettings, Tokens, Window};
use refit_spec::Task;
use refit_stats::StatsError;

use crate::{
    Choice, Engines, Form, GoldenReplay, Input, Prediction, PredictorError, Worker,
    choice::choose,
    elsewhere::{faster, measured_elsewhere},
    golden::replay,
    machine::machine,
    places::{Places, Recipe},
    worker::{Pool, Port, Shared, output_of},
};

/// How a model is loaded.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Which form of the model.
    pub form: Form,
    /// The threads that work on one text. One each, with several workers, is fastest on a CPU.
    pub threads: usize,
    /// The most workers that [`Predictor::predict_batch`] uses.
    pub workers: usize,
    /// The places that sessions are asked for, from 0, each with a copy of the weights of its own: parts of a machine
    /// whose memories are apart. One where there is nothing to tell apart.
    pub places: usize,
}

impl Default for LoadOptions {
    fn default() -> Self {
        let workers = thread::available_parallelism().map_or(1, NonZero::get);
        Self { form: Form::AsManifest, threads: 1, workers, places: 1 }
    }
}

/// A model that is ready to answer: verified, loaded, and its golden examples replayed.
pub struct Predictor {
    shared: Arc<Shared>,
    workers: usize,
    replayed: GoldenReplay,
    temperature: f64,
}

impl Predictor {
    /// Loads the model of an artifact and replays its golden examples.
    ///
    /// What was chosen on another kind of processor is timed against float32 first, and the faster of the two serves.
    pub fn load(bundle: &Bundle, engines: &Engines, options: &LoadOptions) -> Result<Self, PredictorError> {
        let chosen = Self::load_form(bundle, engines, options)?;
        let elsewhere = measured_elsewhere(bundle.manifest(), chosen.choice(), &machine());
        let Some(elsewhere) = elsewhere.filter(|_| !matches!(options.form, Form::Exactly { .. })) else {
            return Ok(chosen);
        };
        let engine = chosen.choice().engine.clone();
        let form = Form::Exactly { engine, precision: Precision::Float32 };
        let float32 = Self::load_form(bundle, engines, &LoadOptions { form, ..options.clone() })?;
        faster(chosen, float32, &bundle.golden()?, elsewhere)
    }

    /// The same model with another reason for its form. No worker of it may be in use.
    pub(crate) fn because(mut self, reason: String) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.choice.reason = reason;
        }
        self
    }

    fn load_form(bundle: &Bundle, engines: &Engines, options: &LoadOptions) -> Result<Self, PredictorError> {
        let (choice, engine) = choose_engine(bundle, engines, &options.form)?;
        let model = bundle.checked_file(&choice.file)?.ok_or_else(|| PredictorError::NoPrecision {
            path: bundle.path().to_path_buf(),
            precision: choice.precision,
        })?;
        let session_options = SessionOptions { threads: options.threads };
        let session = engine.load(model.as_path().into(), &session_options)?;
        let manifest = bundle.manifest().clone();
        let task = task_of(bundle)?;
        let shared = Arc::new(Shared {
            path: bundle.path().to_path_buf(),
            task,
            labels: manifest.labels.iter().map(|label| Arc::from(label.as_str())).collect(),
            reference: checked_reference(bundle, &manifest)?,
            preprocessor: preprocessor(bundle)?,
            inputs: inputs_of(bundle, task, session.as_ref())?,
            places: Places::new(
                Recipe { engine: Arc::clone(&engine), file: model, options: session_options },
                session,
                options.places,
            ),
            engine_version: engine.version().to_owned(),
            manifest,
            choice,
        });
        let temperature = bundle.calibration()?.map_or(1.0, |fitted| fitted.temperature);
        let workers = options.workers.max(1);
        let mut predictor = Self { shared, workers, replayed: GoldenReplay::default(), temperature };
        let mut worker = predictor.worker()?;
        predictor.replayed = replay(&mut worker, &bundle.golden()?)?;
        drop(worker);
        Ok(predictor)
    }

    /// The same model with probabilities at another temperature, above 0; labels stay what they are.
    #[must_use]
    pub fn at_temperature(self, temperature: f64) -> Self {
        Self { temperature, ..self }
    }

    /// What logits are divided by for their probabilities.
    pub fn temperature(&self) -> f64 {
        self.temperature
    }

    /// The tokens of a text, or pair of texts, in one window or, where the task reads long texts whole, in several.
    /// Needs no session.
    pub fn tokenize<'a>(&self, input: impl Into<Input<'a>>) -> Result<Vec<Window>, PredictorError> {
        self.shared.tokenize(input.into())
    }

    /// Answers one text, or pair of texts.
    pub fn predict<'a>(&self, input: impl Into<Input<'a>>) -> Result<Prediction, PredictorError> {
        self.worker()?.predict(input)
    }

    /// Answers texts or pairs, several at a time but each exactly as [`Predictor::predict`] does; answers are in the
    /// order of the texts.
    pub fn predict_batch<'a, T: Sync>(&self, texts: &'a [T]) -> Result<Vec<Prediction>, PredictorError>
    where
        &'a T: Into<Input<'a>>,
    {
        let workers = self.sessions(self.workers.min(texts.len()))?;
        let Some(count) = NonZero::new(workers.len()) else { return Ok(Vec::new()) };
        let share = texts.len().div_ceil(count.get());
        let answers = thread::scope(|scope| {
            let threads: Vec<_> = workers
                .into_iter()
                .zip(texts.chunks(share))
                .map(|(mut worker, texts)| {
                    scope.spawn(move || {
                        texts.iter().map(|text| worker.predict(text)).collect::<Result<Vec<_>, _>>()
                    })
                })
                .collect();
            let join = |thread: thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
            };
            threads.into_iter().map(join).collect::<Result<Vec<Vec<Prediction>>, PredictorError>>()
        })?;
        Ok(answers.into_iter().flatten().collect())
    }

    /// `count` workers, each for a thread of its own, over one copy of the weights where the engine can share it.
    pub fn sessions(&self, count: usize) -> Result<Vec<Worker>, PredictorError> {
        (0..count).map(|_| self.worker()).collect()
    }

    /// One worker: an idle session, else another one over the same weights.
    pub fn worker(&self) -> Result<Worker, PredictorError> {
        self.worker_at(0)
    }

    /// One worker with a session of this place (see [`LoadOptions::places`]). The first one of a place loads its copy of
    /// the weights, on the calling thread.
    pub fn worker_at(&self, place: usize) -> Result<Worker, PredictorError> {
        let session = self.shared.places.narrow(place)?;
        Ok(Worker::new(Arc::clone(&self.shared), session, Pool::Narrow(place), self.temperature))
    }

    /// A worker with a session of its own, which is freed with it and takes none of those that answer.
    pub fn new_worker(&self) -> Result<Worker, PredictorError> {
        let session = self.shared.places.first().session()?;
        Ok(Worker::new(Arc::clone(&self.shared), session, Pool::None, self.temperature))
    }

    /// A worker whose runs are spread over `threads` threads, for a text that has the machine to itself; `None` where
    /// the engine knows only one. `threads` counts for the first one: idle ones are taken as they are.
    pub fn wide_worker(&self, threads: usize) -> Result<Option<Worker>, PredictorError> {
        self.wide_worker_at(0, threads)
    }

    /// The same with a session of this place. Its threads may run where the thread may that first asks for it.
    pub fn wide_worker_at(&self, place: usize, threads: usize) -> Result<Option<Worker>, PredictorError> {
        let session = self.shared.places.wide(place, threads)?;
        let worker =
            |session| Worker::new(Arc::clone(&self.shared), session, Pool::Wide(place), self.temperature);
        Ok(session.map(worker))
    }

    /// Whether the engine promises that [`Worker::predict_together`] answers as single runs do.
    pub fn shares_runs(&self) -> bool {
        self.shared.places.first().rows_are_independent()
    }

    /// Frees the idle sessions of [`Predictor::wide_worker`], in all places.
    pub fn drop_wide_workers(&self) {
        self.shared.places.drop_wide();
    }

    /// Tokens that the caller made with the model's tokenizer, in place of [`Worker::tokenize`]. For tasks whose answers
    /// are no parts of a text.
    ///
    /// # Errors
    /// [`PredictorError::Tokenize`] when they do not fit the model.
    pub fn encode_tokens(&self, tokens: &Tokens) -> Result<Window, PredictorError> {
        let encoding = self.shared.preprocessor.encode_tokens(tokens).map_err(PredictorError::Tokenize)?;
        Ok(encoding.into())
    }

    /// What the artifact says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.shared.manifest
    }

    /// What the model does.
    pub fn task(&self) -> Task {
        self.shared.task
    }

    /// The most tokens of a window; longer texts are cut, or read in several windows.
    pub fn max_tokens(&self) -> usize {
        self.shared.preprocessor.settings().max_length
    }

    /// The labels in the order of the logits.
    pub fn labels(&self) -> &[Arc<str>] {
        &self.shared.labels
    }

    /// What drift is measured against.
    pub fn reference(&self) -> &Reference {
        &self.shared.reference
    }

    /// Which file runs in which engine, and why.
    pub fn choice(&self) -> &Choice {
        &self.shared.choice
    }

    /// The version of the engine.
    pub fn engine_version(&self) -> &str {
        &self.shared.engine_version
    }

    /// How far the replayed golden examples were from the stored ones.
    pub fn golden_replay(&self) -> GoldenReplay {
        self.replayed
    }
}

fn choose_engine(
    bundle: &Bundle,
    engines: &Engines,
    form: &Form,
) -> Result<(Choice, Arc<dyn Engine>), PredictorError> {
    let why_not = |name: &str| engines.get(name).is_none().then(|| engines.why_not(name));
    let missing = |(name, reason)| PredictorError::NoEngine { name, reason };
    let manifest = bundle.manifest();
    let choice =
        choose(&manifest.serving, &manifest.searches, form, engines.on_gpu(), why_not).map_err(missing)?;
    let engine = engines
        .get(&choice.engine)
        .ok_or_else(|| missing((choice.engine.clone(), engines.why_not(&choice.engine))))?;
    Ok((choice, Arc::clone(engine)))
}

fn preprocessor(bundle: &Bundle) -> Result<TextPreprocessor, PredictorError> {
    let settings: TextSettings = bundle.json(files::PREPROCESSING)?;
    TextPreprocessor::new(&bundle.read(files::TOKENIZER)?, settings)
        .map_err(|source| PredictorError::Preprocessing { path: bundle.path().to_path_buf(), source })
}

/// The reference, whose classes must be the model's: else every prediction would be counted as unknown.
fn checked_reference(bundle: &Bundle, manifest: &Manifest) -> Result<Reference, PredictorError> {
    let reference = bundle.reference()?;
    for distribution in &reference.distributions {
        if let refit_stats::FeatureKind::Categorical { categories } = &distribution.kind
            && distribution.feature == refit_artifact::features::PREDICTED_CLASS
            && *categories != manifest.labels
        {
            let source =
                StatsError::BinsDiffer { reference: categories.len(), observed: manifest.labels.len() };
            return Err(PredictorError::Reference { rows: 0, source });
        }
    }
    Ok(reference)
}

fn task_of(bundle: &Bundle) -> Result<Task, PredictorError> {
    bundle
        .manifest()
        .task
        .parse()
        .map_err(|reason| PredictorError::Model { path: bundle.path().to_path_buf(), reason })
}

fn inputs_of(bundle: &Bundle, task: Task, session: &dyn Session) -> Result<Vec<Port>, PredictorError> {
    let unusable = |reason: String| PredictorError::Model { path: bundle.path().to_path_buf(), reason };
    let name = output_of(task);
    if !session.outputs().iter().any(|output| output.name == name) {
        return Err(unusable(format!("it has no output {name:?}")));
    }
    session
        .inputs()
        .iter()
        .map(|port| {
            Port::ALL
                .into_iter()
                .find(|input| input.name() == port.name)
                .ok_or_else(|| unusable(format!("nothing is known about its input {:?}", port.name)))
        })
        .collect()
}
