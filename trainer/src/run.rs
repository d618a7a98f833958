//! A whole run: from the spec to a verified artifact.

use crate::TrainError;
use crate::adapt::{Champion, adapt};
use crate::augment::Augmenter;
use crate::calibrate;
use crate::checkpoint::{Checkpoints, Fingerprint, Running};
use crate::data::{self, LoadedData};
use crate::device;
use crate::evaluation::Assessment;
use crate::event::{Curve, Event, Listener};
use crate::examples::{Example, Examples};
use crate::export::{self, Choice, Forms, Parity};
use crate::fetch::fetching;
use crate::forgetting::Forgetting;
use crate::precision;
use crate::publish::{Contents, golden};
use crate::summary::{Summary, manifest, metadata, report};
use crate::task::{self, Task};
use crate::training::{Training, answers};
use refit_artifact::{Bundle, EngineSearch, Reference, files};
use refit_engine::Engine;
use refit_families::Base;
use refit_graph::Model;
use refit_passes::edit::ZeroWeights;
use refit_predictor::{Engines, LoadOptions, Predictor, ReferenceOptions, build_reference};
use refit_preprocess::TextPreprocessor;
use refit_spec::Spec;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// What to train and where to put it.
pub struct TrainRequest<'a> {
    /// What the model is.
    pub spec: &'a Spec,
    /// refit's cache: downloads, computed features, engines.
    pub cache: &'a Path,
    /// Folder that the artifact becomes; must not exist.
    pub output: &'a Path,
    /// Version that the artifact carries in its report and manifest, if it is known.
    pub version: Option<String>,
    /// Labelled rows from production (`{"text", "label"}` a line), added to the training rows.
    pub additional: Option<&'a Path>,
    /// The artifact whose weights training starts from; else the pretrained base.
    pub champion: Option<&'a Path>,
    /// Engines to check and to serve with.
    pub engines: &'a Engines,
    /// How it begins and ends.
    pub running: Running,
}

/// What a run made.
#[derive(Debug)]
pub struct TrainOutcome {
    /// The artifact.
    pub artifact: PathBuf,
    /// Metrics on the test rows, through the file and engine that serve.
    pub evaluation: Assessment,
    /// The learning curve.
    pub curve: Curve,
    /// The comparisons of the model's forms.
    pub parity: Parity,
    /// What each engine serves, and why; the first is the engine that serves.
    pub choices: Vec<Choice>,
    /// Seconds of each stage, in order.
    pub seconds: Vec<(&'static str, f64)>,
}

/// Trains, exports, checks and publishes a model.
///
/// # Errors
/// With the stage that failed. Nothing is published then.
pub fn train(request: &TrainRequest<'_>, tell: &mut Listener<'_>) -> Result<TrainOutcome, TrainError> {
    let spec = request.spec;
    let stop = &request.running.stop;
    let mut clock = Clock::default();
    if request.output.exists() {
        return Err(TrainError::OutputExists { output: request.output.to_owned() });
    }
    let (device, name) = device::choose(spec.train.device)?;
    tell(stage("device", format!("{name}; {}", precision::described(spec.train.precision, &device))));
    let mut checkpoints = Checkpoints::open(request.output, spec.train.checkpoint, &request.running)?;

    tell(stage("data", format!("reading {}", spec.data.train)));
    let data = load_data(request, tell)?;
    for finding in &data.audit.findings {
        tell(Event::Notice(format!(
            "{} rows: {} ({})",
            finding.rows,
            finding.kind.name(),
            finding.kind.action()
        )));
    }
    clock.lap("data");
    stop.check("after reading the data")?;

    tell(stage("base", format!("loading {}", spec.model.base)));
    let base = load_base(spec, request.cache, tell)?;
    let champion = request.champion.map(|path| Champion::read(&Bundle::open(path)?)).transpose()?;
    let task = task::of(spec, &data.labels, task::scale(spec, &data.train)?);
    let model = adapt(&base, champion.as_ref(), spec, task.as_ref(), data.labels.names())?;
    let tokenizer = tokenizer(spec, &base, request.cache, tell)?;
    let settings = task::text_settings(spec, base.max_length);
    let preprocessor = TextPreprocessor::new(&tokenizer, settings.clone())?;
    let rows = Rows::encode(&data, task.as_ref(), &preprocessor, request.cache, tell)?;
    clock.lap("base");
    let reference = fetching(spec, request.cache, tell, |fetch| data::load_reference(&spec.data, fetch))?;
    let reference = reference.map(|rows| task.examples(&rows, &preprocessor)).transpose()?;
    let answer = |model: &Model, examples: &[Example]| {
        let scores = answers(model, task.as_ref(), examples, preprocessor.pad_id(), spec.train.batch)?;
        task.rightness(examples, &scores.outputs)
    };
    let before = reference.as_ref().map(|examples| answer(&model, examples)).transpose()?;
    checkpoints.identify(Fingerprint::of(spec, &rows.train, &rows.validation, &model)?);
    stop.check("before training")?;
    if rows.cut > 0 {
        let (cut, longest) = (rows.cut, settings.max_length);
        let fix = "raise train.max_length if their ends matter";
        tell(Event::Notice(format!("{cut} rows are longer than {longest} tokens and were cut: {fix}")));
    }

    let augmenter = spec.train.augment.map(|shares| Augmenter {
        rows: &data.train,
        task: task.as_ref(),
        preprocessor: &preprocessor,
        shares,
        seed: spec.train.seed,
    });
    let training = Training {
        spec,
        cache: request.cache,
        engines: request.engines,
        task: task.as_ref(),
        pad_id: preprocessor.pad_id(),
        labels: data.labels.names(),
        augment: augmenter.as_ref(),
        halt: None,
    };
    let trained = training.fit(model, &rows.train, &rows.validation, &mut checkpoints, tell);
    let (trained, curve) = trained.map_err(|error| named(error, &data))?;
    let forgetting = match (&reference, &before) {
        (Some(examples), Some(before)) => {
            let began_with = match request.champion {
                Some(_) => "the champion",
                None => "the pretrained model with an untrained head",
            };
            Some(Forgetting::measure(began_with, before, &answer(&trained, examples)?)?)
        }
        _ => None,
    };
    if let Some(forgetting) = &forgetting {
        tell(Event::Notice(forgetting.sentence()));
    }
    clock.lap("training");
    stop.check("after training")?;

    tell(stage("export", "merging, lowering and quantizing".to_owned()));
    let adapter = adapter(request, &base, &trained)?;
    let mut forms = Forms::make(
        trained,
        &metadata(spec, request.version.as_deref(), task.as_ref(), data.labels.names(), &settings),
    )?;
    clock.lap("export");
    tell(stage("parity", format!("comparing all forms on {} held-out rows", rows.parity().len())));
    let engines: Vec<&dyn Engine> = request.engines.available().iter().map(AsRef::as_ref).collect();
    let mut parity = export::check(&forms, task.output(), rows.parity(), preprocessor.pad_id(), &engines)?;
    clock.lap("parity");
    stop.check("after comparing the forms")?;

    tell(stage("choice", "measuring which form is served".to_owned()));
    let serving = serving_engines(spec, request.engines);
    let serving: Vec<&dyn Engine> = serving.iter().map(AsRef::as_ref).collect();
    let asked = &spec.export.quantize;
    if export::is_calibrated(asked.format) {
        let (train, output) = (export::calibration_rows(&rows.train)?, task.output());
        forms.fixed = export::fitted(&forms.portable, output, &train, serving[0], asked)?;
    }
    let pruned = spec.train.prune.is_some_and(|prune| prune.weights > 0.0);
    let zeros = pruned.then(|| ZeroWeights::of(&forms.merged.graph));
    if let Some(zeros) = zeros {
        tell(Event::Notice(zeros.to_string()));
    }
    let choices = export::choose(&forms, task.as_ref(), &rows.validation, &serving, asked, tell)?;
    for choice in &choices {
        tell(Event::Notice(choice.reason.clone()));
    }
    let (written, names) = export::written(&forms, &choices, &engines)?;
    parity.report(&written, task.output(), rows.parity(), &engines)?;
    let searches: Vec<EngineSearch> =
        choices.iter().zip(&names).map(|(choice, file)| choice.record(file)).collect();
    clock.lap("choice");
    stop.check("after training")?;

    tell(stage("evaluation", format!("answering {} held-out rows as the service will", data.test.len())));
    let summary = Summary {
        spec,
        data: &data,
        version: request.version.clone(),
        parent: request.champion.map(|path| path.display().to_string()),
        curve: &curve,
        parity: &parity,
        searches: &searches,
        forgetting: forgetting.as_ref(),
        scale: task.scale(),
        zeros,
    };
    let test = data.test.to_vec()?;
    let golden = golden(&test, &rows.test, &forms, &written, task.output(), request.engines.available())?;
    let mut contents = Contents {
        forms: &forms,
        written: &written,
        tokenizer: &tokenizer,
        settings: &settings,
        golden: &golden,
        calibration: None,
    };
    let run = Run { request, data: &data, task: task.as_ref() };
    let (evaluation, reference) = run.evaluate(&contents, &summary)?;
    contents.calibration =
        evaluation.classes().and_then(|e| e.temperature.as_ref()).map(|scaling| scaling.fitted);
    clock.lap("evaluation");

    tell(stage("publish", format!("writing {}", request.output.display())));
    let metrics = serde_json::to_vec_pretty(&evaluation).unwrap_or_default();
    let page = report(&summary, &evaluation);
    let mut reports = vec![(files::METRICS, metrics.as_slice()), (files::REPORT, page.as_bytes())];
    if let Some(adapter) = &adapter {
        reports.push((refit_families::ADAPTER_CONFIG, &adapter.config));
        reports.push((refit_families::ADAPTER_WEIGHTS, &adapter.weights));
    }
    contents.write(request.output, manifest(&summary, Some(&evaluation)), &reference, &reports)?;
    checkpoints.remove();
    clock.lap("publish");
    let artifact = request.output.to_owned();
    Ok(TrainOutcome { artifact, evaluation, curve, parity, choices, seconds: clock.laps })
}

/// What was learned beside a pretrained base, for other tools. A champion's weights are none that they have.
fn adapter(
    request: &TrainRequest<'_>,
    base: &Base,
    trained: &refit_graph::Model,
) -> Result<Option<refit_families::AdapterFiles>, TrainError> {
    let refit_spec::Method::Lora { dropout, .. } = &request.spec.train.method else { return Ok(None) };
    // Nor does an adapter of a pruned model fit the model that others have.
    if request.champion.is_some() || request.spec.train.prune.is_some() {
        return Ok(None);
    }
    let source_text = request.spec.model.base.to_string();
    refit_families::export_adapter(trained, &base.module_prefix, &source_text, *dropout)
        .map_err(|source| TrainError::Base { source_text, source: Box::new(source) })
}

/// The engine that will serve on this machine.
pub fn serving_engine(spec: &Spec, engines: &Engines) -> Arc<dyn Engine> {
    Arc::clone(&serving_engines(spec, engines)[0])
}

/// The engines that may serve, the one first that will on this machine. There is one at least.
fn serving_engines(spec: &Spec, engines: &Engines) -> Vec<Arc<dyn Engine>> {
    let wanted: &[&str] = match spec.serve.engine {
        refit_spec::EngineChoice::Tract => &["tract"],
        refit_spec::EngineChoice::Auto | refit_spec::EngineChoice::OnnxRuntime => &["onnxruntime", "tract"],
    };
    let found: Vec<Arc<dyn Engine>> =
        wanted.iter().filter_map(|name| engines.get(name)).map(Arc::clone).collect();
    if found.is_empty() { vec![Arc::clone(&engines.available()[0])] } else { found }
}

/// Rows that are tokenized at once.
const ROWS_AT_ONCE: usize = 4096;

/// Rows as examples, in the order of the data.
struct Rows {
    train: Examples,
    validation: Vec<Example>,
    test: Vec<Example>,
    /// How many were longer than the model takes, or the spec allows.
    cut: usize,
}

impl Rows {
    fn encode(
        data: &LoadedData,
        task: &dyn Task,
        preprocessor: &TextPreprocessor,
        cache: &Path,
        tell: &mut Listener<'_>,
    ) -> Result<Self, TrainError> {
        let total = [&data.train, &data.validation, &data.test].iter().map(|rows| rows.len() as u64).sum();
        let (mut done, mut cut) = (0, 0);
        let mut train = Examples::new(cache);
        for rows in data.train.chunks(ROWS_AT_ONCE) {
            let rows = rows?;
            for example in task.examples(&rows, preprocessor)? {
                cut += usize::from(is_cut(&example));
                train.push(&example)?;
            }
            done += rows.len() as u64;
            tell(Event::Progress { done, total });
        }
        let held_out = |rows: &data::Rows| task.examples(&rows.to_vec()?, preprocessor);
        let (validation, test) = (held_out(&data.validation)?, held_out(&data.test)?);
        cut += validation.iter().chain(&test).filter(|example| is_cut(example)).count();
        Ok(Self { train, validation, test, cut })
    }

    /// Held-out rows that the forms of the model are compared on.
    fn parity(&self) -> &[Example] {
        const MOST: usize = 96;
        let rows = if self.test.len() >= self.validation.len() { &self.test } else { &self.validation };
        &rows[..rows.len().min(MOST)]
    }
}

fn is_cut(example: &Example) -> bool {
    example.texts.iter().any(|text| text.encoding.truncated)
}

/// The error with the places that its rows come from, as far as examples are rows.
fn named(error: TrainError, data: &LoadedData) -> TrainError {
    const MOST: usize = 8;
    let TrainError::NotFinite { step, loss, rows, place } = error else { return error };
    let origin = |row: &usize| data.train.get(*row).ok().map(|row| row.origin);
    let mut origins: Vec<String> = rows.iter().take(MOST).filter_map(origin).collect();
    if rows.len() > origins.len() {
        origins.push(format!("{} more", rows.len() - origins.len()));
    }
    TrainError::NotFiniteRows { step, loss, origins: origins.join(", "), place }
}

/// What the stages of one run share.
struct Run<'a> {
    request: &'a TrainRequest<'a>,
    data: &'a LoadedData,
    task: &'a dyn Task,
}

impl Run<'_> {
    /// Evaluates through a draft of the artifact, loaded as the service loads it.
    fn evaluate(
        &self,
        contents: &Contents<'_>,
        summary: &Summary<'_>,
    ) -> Result<(Assessment, Reference), TrainError> {
        let failed = |source| TrainError::Read { path: self.request.output.to_owned(), source };
        let parent = self.request.output.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).map_err(failed)?;
        let folder = tempfile::Builder::new().prefix(".draft-").tempdir_in(parent).map_err(failed)?;
        let draft = folder.path().join("artifact");
        let bundle = contents.write(&draft, manifest(summary, None), &Reference::default(), &[])?;
        let predictor = Predictor::load(&bundle, self.request.engines, &LoadOptions::default())?;
        let (validation, test_rows) = (self.data.validation.to_vec()?, self.data.test.to_vec()?);
        let (_, mut held_out) = self.task.evaluate(&predictor, &validation)?;
        let fitted = match self.task.is_calibrated() && self.request.spec.export.calibrate {
            true => calibrate::fit(&self.data.labels, &validation, &held_out)?,
            false => None,
        };
        let temperature = fitted.map_or(1.0, |fitted| fitted.temperature);
        let predictor = predictor.at_temperature(temperature);
        held_out = held_out.into_iter().map(|answer| answer.at_temperature(temperature)).collect();
        let (mut evaluation, test) = self.task.evaluate(&predictor, &test_rows)?;
        if let (Some(fitted), Assessment::Classes(evaluation)) = (fitted, &mut evaluation) {
            calibrate::explain(evaluation, fitted, &self.data.labels, &test_rows, &test)?;
        }
        held_out.extend(test);
        let reference = build_reference(self.data.labels.names(), &held_out, &ReferenceOptions::default())?;
        Ok((evaluation, reference))
    }
}

fn load_data(request: &TrainRequest<'_>, tell: &mut Listener<'_>) -> Result<LoadedData, TrainError> {
    let spec = request.spec;
    let mut data = fetching(spec, request.cache, tell, |fetch| data::load_dataset(&spec.data, fetch))?;
    if let Some(path) = request.additional {
        data.add_rows(data::read_labelled_jsonl(path)?, &spec.data)?;
    }
    Ok(data)
}

pub(crate) fn load_base(spec: &Spec, cache: &Path, tell: &mut Listener<'_>) -> Result<Base, TrainError> {
    let resolved = fetching(spec, cache, tell, |fetch| data::resolve(&spec.model.base, fetch))?;
    refit_families::load_at(&resolved.path, spec.model.head_at.as_deref()).map_err(|source| {
        TrainError::Base { source_text: spec.model.base.to_string(), source: Box::new(source) }
    })
}

pub(crate) fn tokenizer(
    spec: &Spec,
    base: &Base,
    cache: &Path,
    tell: &mut Listener<'_>,
) -> Result<Vec<u8>, TrainError> {
    let path = match (&spec.model.tokenizer, &base.tokenizer) {
        (Some(source), _) => fetching(spec, cache, tell, |fetch| data::resolve(source, fetch))?.path,
        (None, Some(path)) => path.clone(),
        (None, None) => return Err(TrainError::NoTokenizer { base: spec.model.base.to_string() }),
    };
    let path = if path.is_dir() { path.join(files::TOKENIZER) } else { path };
    std::fs::read(&path).map_err(|source| TrainError::Read { path, source })
}

fn stage(name: &'static str, message: String) -> Event {
    Event::Stage { name, message }
}

/// Seconds of each stage.
struct Clock {
    last: Instant,
    laps: Vec<(&'static str, f64)>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { last: Instant::now(), laps: Vec::new() }
    }
}

impl Clock {
    fn lap(&mut self, name: &'static str) {
        self.laps.push((name, self.last.elapsed().as_secs_f64()));
        self.last = Instant::now();
    }
}
