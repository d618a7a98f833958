//! A whole run: from the spec to a verified artifact.

use crate::adapt::{AddLoss, Champion, adapt};
use crate::data::{self, Labels, LoadedData, Row};
use crate::evaluation::{Evaluation, Scored, evaluate};
use crate::event::{Curve, Event, Listener};
use crate::examples::Example;
use crate::export::{self, Choice, Forms, Parity};
use crate::fetch::fetching;
use crate::fit::{Material, fit};
use crate::publish::{Contents, golden};
use crate::summary::{Summary, manifest, metadata, report};
use crate::{TrainError, device, features};
use refit_artifact::{Bundle, Precision, Reference, files};
use refit_engine::Engine;
use refit_families::Base;
use refit_graph::Model;
use refit_passes::edit::split_frozen;
use refit_passes::{Driver, lower};
use refit_predictor::{Engines, LoadOptions, Prediction, Predictor, ReferenceOptions, build_reference};
use refit_preprocess::{TextPreprocessor, TextSettings};
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
}

/// What a run made.
#[derive(Debug)]
pub struct TrainOutcome {
    /// The artifact.
    pub artifact: PathBuf,
    /// Metrics on the test rows, through the file and engine that serve.
    pub evaluation: Evaluation,
    /// The learning curve.
    pub curve: Curve,
    /// The comparisons of the model's forms.
    pub parity: Parity,
    /// Which file is served, and why.
    pub choice: Choice,
    /// Seconds of each stage, in order.
    pub seconds: Vec<(&'static str, f64)>,
}

/// Trains, exports, checks and publishes a model.
///
/// # Errors
/// With the stage that failed. Nothing is published then.
pub fn train(request: &TrainRequest<'_>, tell: &mut Listener<'_>) -> Result<TrainOutcome, TrainError> {
    let spec = request.spec;
    let mut clock = Clock::default();

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

    tell(stage("base", format!("loading {}", spec.model.base)));
    let base = load_base(spec, request.cache, tell)?;
    let champion = request.champion.map(|path| Champion::read(&Bundle::open(path)?)).transpose()?;
    let model = adapt(&base, champion.as_ref(), spec, data.labels.names())?;
    let tokenizer = tokenizer(spec, &base, request.cache, tell)?;
    let settings = TextSettings { max_length: spec.train.max_length.min(base.max_length) };
    let preprocessor = TextPreprocessor::new(&tokenizer, settings.clone())?;
    let rows = Rows::encode(&data, &preprocessor)?;
    clock.lap("base");

    let run = Run { request, data: &data, pad_id: preprocessor.pad_id() };
    let (trained, curve) = run.fit(model, &rows, tell)?;
    clock.lap("training");

    tell(stage("export", "merging, lowering and quantizing".to_owned()));
    let forms = Forms::make(trained, &metadata(spec, data.labels.names()))?;
    clock.lap("export");
    tell(stage("parity", format!("comparing all forms on {} held-out rows", rows.parity().len())));
    let engines: Vec<&dyn Engine> = request.engines.available().iter().map(AsRef::as_ref).collect();
    let parity = export::check(&forms, rows.parity(), preprocessor.pad_id(), &engines)?;
    let engine = serving_engine(spec, request.engines);
    let choice = export::choose(&forms, &rows.validation, engine.as_ref(), &spec.export.quantize)?;
    tell(Event::Notice(choice.reason.clone()));
    clock.lap("parity");

    tell(stage("evaluation", format!("answering {} held-out rows as the service will", data.test.len())));
    let summary = Summary {
        spec,
        data: &data,
        version: request.version.clone(),
        parent: request.champion.map(|path| path.display().to_string()),
        engine: engine.name(),
        curve: &curve,
        parity: &parity,
        choice: &choice,
    };
    let with_int8 = choice.candidates.iter().any(|candidate| candidate.precision == Precision::Int8);
    let golden = golden(&texts(&data.test), &rows.test, &forms, with_int8, request.engines.available())?;
    let contents =
        Contents { forms: &forms, with_int8, tokenizer: &tokenizer, settings: &settings, golden: &golden };
    let (evaluation, reference) = run.evaluate(&contents, &summary)?;
    clock.lap("evaluation");

    tell(stage("publish", format!("writing {}", request.output.display())));
    let metrics = serde_json::to_vec_pretty(&evaluation).unwrap_or_default();
    let page = report(&summary, &evaluation);
    let reports = [(files::METRICS, metrics.as_slice()), (files::REPORT, page.as_bytes())];
    contents.write(request.output, manifest(&summary, Some(&evaluation)), &reference, &reports)?;
    clock.lap("publish");
    let artifact = request.output.to_owned();
    Ok(TrainOutcome { artifact, evaluation, curve, parity, choice, seconds: clock.laps })
}

/// The engine that will serve on this machine.
pub fn serving_engine(spec: &Spec, engines: &Engines) -> Arc<dyn Engine> {
    let wanted: &[&str] = match spec.serve.engine {
        refit_spec::EngineChoice::Tract => &["tract"],
        refit_spec::EngineChoice::Auto | refit_spec::EngineChoice::OnnxRuntime => &["onnxruntime", "tract"],
    };
    let found = wanted.iter().find_map(|name| engines.get(name));
    found.map_or_else(|| Arc::clone(&engines.available()[0]), Arc::clone)
}

/// Rows as tokens, in the order of the data.
struct Rows {
    train: Vec<Example>,
    validation: Vec<Example>,
    test: Vec<Example>,
}

impl Rows {
    fn encode(data: &LoadedData, preprocessor: &TextPreprocessor) -> Result<Self, TrainError> {
        let encode = |rows: &[Row]| -> Result<Vec<Example>, TrainError> {
            let encodings = preprocessor.encode_batch(&texts(rows))?;
            let examples = encodings.into_iter().zip(rows).map(|(encoding, row)| Example {
                encoding,
                label: index_of(&data.labels, row),
                features: Vec::new(),
            });
            Ok(examples.collect())
        };
        Ok(Self {
            train: encode(&data.train)?,
            validation: encode(&data.validation)?,
            test: encode(&data.test)?,
        })
    }

    /// Held-out rows that the forms of the model are compared on.
    fn parity(&self) -> &[Example] {
        const MOST: usize = 96;
        let rows = if self.test.len() >= self.validation.len() { &self.test } else { &self.validation };
        &rows[..rows.len().min(MOST)]
    }
}

/// What the stages of one run share.
struct Run<'a> {
    request: &'a TrainRequest<'a>,
    data: &'a LoadedData,
    pad_id: i64,
}

impl Run<'_> {
    /// Trains `model` and returns it with the best weights. What is frozen is computed before, once.
    fn fit(
        &self,
        mut model: Model,
        rows: &Rows,
        tell: &mut Listener<'_>,
    ) -> Result<(Model, Curve), TrainError> {
        let spec = self.request.spec;
        let split = split_frozen(&model)?;
        let (mut graph, names) = match &split {
            Some(split) => (split.suffix.clone(), split.features.clone()),
            None => (model.clone(), Vec::new()),
        };
        let (mut train, mut validation) = (rows.train.clone(), rows.validation.clone());
        if let Some(split) = &split {
            let message = format!("computing what is frozen for {} rows", train.len() + validation.len());
            tell(stage("features", message));
            let prefix = lower::portable(&split.prefix)?;
            let engine = serving_engine(spec, self.request.engines);
            let threads = spec.train.threads.unwrap_or_else(rayon::current_num_threads);
            for rows in [&mut train, &mut validation] {
                let done = features::attach(
                    rows,
                    &prefix,
                    &names,
                    engine.as_ref(),
                    threads,
                    self.request.cache,
                    tell,
                )?;
                tell(Event::Notice(format!(
                    "{} computed, {} found in the cache",
                    done.computed, done.cached
                )));
            }
        }
        Driver::new().edit(&mut graph, &AddLoss { label_smoothing: spec.train.label_smoothing as f32 })?;
        let parameters: usize =
            graph.graph.initializers().filter(|(_, i)| i.trainable).map(|(_, i)| i.tensor.len()).sum();
        let (device, name) = device::choose(spec.train.device)?;
        let message = format!(
            "{} on {} rows, {parameters} trainable parameters, on {name}",
            spec.train.method,
            train.len()
        );
        tell(stage("training", message));
        let material = Material {
            train: &train,
            validation: &validation,
            label_count: self.data.labels.len(),
            feature_names: &names,
            pad_id: self.pad_id,
        };
        let curve =
            with_threads(spec.train.threads, || fit(&mut graph, &material, &spec.train, &device, tell))?;
        copy_trained(&graph, &mut model)?;
        Ok((model, curve))
    }

    /// Evaluates through a draft of the artifact, loaded as the service loads it.
    fn evaluate(
        &self,
        contents: &Contents<'_>,
        summary: &Summary<'_>,
    ) -> Result<(Evaluation, Reference), TrainError> {
        let failed = |source| TrainError::Read { path: self.request.output.to_owned(), source };
        let parent = self.request.output.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).map_err(failed)?;
        let folder = tempfile::Builder::new().prefix(".draft-").tempdir_in(parent).map_err(failed)?;
        let draft = folder.path().join("artifact");
        let bundle = contents.write(&draft, manifest(summary, None), &Reference::default(), &[])?;
        let predictor = Predictor::load(&bundle, self.request.engines, &LoadOptions::default())?;
        let test = predictor.predict_batch(&texts(&self.data.test))?;
        let mut held_out: Vec<Prediction> = predictor.predict_batch(&texts(&self.data.validation))?;
        held_out.extend(test.iter().cloned());
        let reference = build_reference(self.data.labels.names(), &held_out, &ReferenceOptions::default())?;
        let rows = scored(&self.data.labels, &self.data.test, test);
        Ok((evaluate(self.data.labels.names(), &rows)?, reference))
    }
}

/// Rows with the answers to them.
fn scored(labels: &Labels, rows: &[Row], answers: Vec<Prediction>) -> Vec<Scored> {
    rows.iter()
        .zip(answers)
        .map(|(row, answer)| Scored {
            truth: index_of(labels, row),
            probabilities: answer.probabilities,
            slices: row.slices.clone(),
        })
        .collect()
}

fn texts(rows: &[Row]) -> Vec<&str> {
    rows.iter().map(|row| row.text.as_str()).collect()
}

/// Place of a row's label. Every label of the data is in the list: the list is made of them.
fn index_of(labels: &Labels, row: &Row) -> usize {
    labels.index(&row.label).unwrap_or_default()
}

fn load_data(request: &TrainRequest<'_>, tell: &mut Listener<'_>) -> Result<LoadedData, TrainError> {
    let spec = request.spec;
    let mut data = fetching(spec, request.cache, tell, |fetch| data::load_dataset(&spec.data, fetch))?;
    if let Some(path) = request.additional {
        data.add_rows(data::read_labelled_jsonl(path)?, &spec.data);
    }
    Ok(data)
}

fn load_base(spec: &Spec, cache: &Path, tell: &mut Listener<'_>) -> Result<Base, TrainError> {
    let resolved = fetching(spec, cache, tell, |fetch| data::resolve(&spec.model.base, fetch))?;
    refit_families::load(&resolved.path).map_err(|source| TrainError::Base {
        source_text: spec.model.base.to_string(),
        source: Box::new(source),
    })
}

fn tokenizer(spec: &Spec, base: &Base, cache: &Path, tell: &mut Listener<'_>) -> Result<Vec<u8>, TrainError> {
    let path = match (&spec.model.tokenizer, &base.tokenizer) {
        (Some(source), _) => fetching(spec, cache, tell, |fetch| data::resolve(source, fetch))?.path,
        (None, Some(path)) => path.clone(),
        (None, None) => return Err(TrainError::NoTokenizer { base: spec.model.base.to_string() }),
    };
    let path = if path.is_dir() { path.join(files::TOKENIZER) } else { path };
    std::fs::read(&path).map_err(|source| TrainError::Read { path, source })
}

/// Copies what was trained in a part of the model, or in the model with a loss, into the model itself.
fn copy_trained(from: &Model, to: &mut Model) -> Result<(), TrainError> {
    for (id, initializer) in from.graph.initializers().filter(|(_, initializer)| initializer.trainable) {
        if let Some(target) = to.graph.find(&from.graph.value(id).name) {
            to.graph.set_initializer(target, initializer.tensor.clone())?;
        }
    }
    Ok(())
}

/// Runs with as many threads as the spec asks for; results are the same bits for the same number.
fn with_threads<R: Send>(
    threads: Option<usize>,
    work: impl FnOnce() -> Result<R, TrainError> + Send,
) -> Result<R, TrainError> {
    match threads.and_then(|count| rayon::ThreadPoolBuilder::new().num_threads(count).build().ok()) {
        Some(pool) => pool.install(work),
        None => work(),
    }
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
