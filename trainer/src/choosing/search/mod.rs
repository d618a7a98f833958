//! Search over the spec's own keys: random draws, with trials that fall behind stopped early. Every finished trial
//! is on disk, so that a search that was killed goes on with the next one.

mod plan;

use super::kept::Kept;
use super::recipe::{Place, Recipe, Trained, load_data};
use crate::TrainError;
use crate::checkpoint::Running;
use crate::data::LoadedData;
use crate::evaluation::{Evaluation, Scored, evaluate};
use crate::event::{Epoch, Event, Listener};
use plan::Settings;
use refit_predictor::Engines;
use refit_spec::{Metric, Spec};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

/// What to search.
pub struct SearchRequest<'a> {
    /// `refit.toml` as it is written: a trial is this file with other values.
    pub document: &'a str,
    /// The same, checked.
    pub spec: &'a Spec,
    /// refit's cache.
    pub cache: &'a Path,
    /// Finished trials are kept in a folder below this one.
    pub home: &'a Path,
    /// Engines of this machine.
    pub engines: &'a Engines,
    /// How it ends early.
    pub running: Running,
}

/// One trial, finished.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// From one; the first is the spec as it is.
    pub number: usize,
    /// The values that it has in place of the spec's.
    pub settings: BTreeMap<String, String>,
    /// Epochs that it should have done.
    pub planned_epochs: usize,
    /// Those that it did.
    pub epochs: Vec<Epoch>,
    /// The best metric on validation rows.
    pub value: Option<f64>,
    /// Why it was stopped before its last epoch by comparison with other trials.
    pub stopped: Option<String>,
    /// Why it came to nothing.
    pub failed: Option<String>,
    /// Duration.
    pub seconds: f64,
}

/// What the best trial does on the test rows, which no trial was judged by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Final {
    /// The trial.
    pub number: usize,
    /// Its metric on validation rows when it was trained again.
    pub validation: f64,
    /// The metric, `loss` and `rightness` on the test rows.
    pub figures: BTreeMap<String, f64>,
    /// Every figure with its interval, where the task has labels with probabilities.
    pub evaluation: Option<Evaluation>,
}

/// A search that came to its end.
#[derive(Debug, Clone, Serialize)]
pub struct SearchOutcome {
    /// The metric that trials are compared by, on validation rows.
    pub metric: String,
    /// Whether a larger value is a better one.
    pub higher_is_better: bool,
    /// Every trial, in order.
    pub trials: Vec<Trial>,
    /// The best trial on the test rows.
    pub best: Final,
    /// The spec of the best trial as a complete `refit.toml`.
    pub best_spec: String,
    /// Rows that trials were judged by.
    pub validation_rows: usize,
    /// Rows that only the best was judged by.
    pub test_rows: usize,
    /// Trials that an earlier process had finished.
    pub resumed: usize,
    /// The folder of the finished trials.
    pub folder: PathBuf,
}

/// Searches. Trials are compared by the metric of early stopping on the validation rows. The best is trained
/// once more, which a seed makes the same, and then answers the test rows.
///
/// # Errors
/// When there is nothing to search, or every trial fails.
pub fn search(request: &SearchRequest<'_>, tell: &mut Listener<'_>) -> Result<SearchOutcome, TrainError> {
    let spec = request.spec;
    if spec.search.space.is_empty() {
        return Err(TrainError::NothingToSearch);
    }
    tell(Event::Stage { name: "data", message: format!("reading {}", spec.data.train) });
    let data = load_data(spec, request.cache, tell)?;
    let identity = [spec.to_toml(), data.fingerprint.clone()];
    let kept =
        Kept::open(&request.home.join("search"), &identity.iter().map(String::as_str).collect::<Vec<_>>())?;
    let mut searching =
        Searching { request, data: &data, recipes: HashMap::new(), tried: Vec::new(), trials: Vec::new() };
    let mut resumed = 0;
    while let Some(settings) = plan::next(&spec.search, &searching.tried) {
        let name = format!("trial-{:05}.json", searching.tried.len() + 1);
        let trial = match kept.read::<Trial>(&name) {
            Some(trial) => {
                resumed += 1;
                trial
            }
            None => {
                request.running.stop.check(&format!("after {} trials", searching.trials.len()))?;
                let trial = searching.run(&settings, tell)?;
                kept.write(&name, &trial)?
            }
        };
        tell(Event::Notice(said(&trial, spec)));
        searching.tried.push(settings);
        searching.trials.push(trial);
    }
    let metric = spec.train.early_stopping.metric;
    let values: Vec<Option<f64>> = searching.trials.iter().map(|trial| trial.value).collect();
    let (index, _) =
        plan::best(metric.higher_is_better(), &values).ok_or_else(|| TrainError::EveryTrialFailed {
            trials: searching.trials.len(),
            why: searching.trials.iter().find_map(|trial| trial.failed.clone()).unwrap_or_default(),
        })?;
    let best_spec = searching.spec_of(index)?;
    let best = match kept.read::<Final>("final.json").filter(|found| found.number == index + 1) {
        Some(found) => found,
        None => {
            let found = searching.finish(index, &best_spec, tell)?;
            kept.write("final.json", &found)?
        }
    };
    Ok(SearchOutcome {
        metric: metric.to_string(),
        higher_is_better: metric.higher_is_better(),
        best,
        best_spec: best_spec.to_toml(),
        validation_rows: data.validation.len(),
        test_rows: data.test.len(),
        resumed,
        folder: kept.folder().to_owned(),
        trials: searching.trials,
    })
}

/// A search under way.
struct Searching<'a> {
    request: &'a SearchRequest<'a>,
    data: &'a LoadedData,
    /// By base and tokenizer.
    recipes: HashMap<String, Recipe<'a>>,
    tried: Vec<Settings>,
    trials: Vec<Trial>,
}

impl<'a> Searching<'a> {
    fn spec_of(&self, index: usize) -> Result<Spec, TrainError> {
        Ok(Spec::parse_with(self.request.document, &self.request.spec.base_dir, &self.tried[index])?)
    }

    fn recipe(&mut self, spec: &Spec, tell: &mut Listener<'_>) -> Result<&Recipe<'a>, TrainError> {
        let key = format!("{} {:?}", spec.model.base, spec.model.tokenizer.as_ref().map(ToString::to_string));
        if !self.recipes.contains_key(&key) {
            let request = self.request;
            let place = Place { cache: request.cache, engines: request.engines, running: &request.running };
            self.recipes.insert(key.clone(), Recipe::load(spec, place, tell)?);
        }
        self.recipes.get(&key).ok_or(TrainError::NothingToSearch)
    }

    /// The best metrics that earlier trials had reached at a rung: those that came so far, and those whose own
    /// patience ended before.
    fn reached(&self, rung: usize, metric: Metric) -> Vec<f64> {
        let came = |trial: &&Trial| trial.stopped.is_none() || trial.epochs.len() >= rung;
        self.trials.iter().filter(came).filter_map(|trial| best_until(&trial.epochs, rung, metric)).collect()
    }

    fn run(&mut self, settings: &Settings, tell: &mut Listener<'_>) -> Result<Trial, TrainError> {
        let started = Instant::now();
        let number = self.trials.len() + 1;
        let request = self.request;
        let shown = shown(settings);
        let message = format!("trial {number} of {}: {shown}", request.spec.search.trials);
        tell(Event::Stage { name: "trial", message });
        let mut trial = Trial {
            number,
            settings: settings.iter().map(|(key, value)| (key.clone(), value.to_string())).collect(),
            planned_epochs: 0,
            epochs: Vec::new(),
            value: None,
            stopped: None,
            failed: None,
            seconds: 0.0,
        };
        match self.train(settings, &mut trial, tell) {
            Ok(()) => {}
            Err(error) if is_of_the_settings(&error) => trial.failed = Some(chain(&error)),
            Err(error) => return Err(error),
        }
        trial.seconds = started.elapsed().as_secs_f64();
        Ok(trial)
    }

    fn train(
        &mut self,
        settings: &Settings,
        trial: &mut Trial,
        tell: &mut Listener<'_>,
    ) -> Result<(), TrainError> {
        let request = self.request;
        let spec = Spec::parse_with(request.document, &request.spec.base_dir, settings)?;
        trial.planned_epochs = spec.train.epochs;
        let metric = spec.train.early_stopping.metric;
        let rungs: Vec<(usize, Vec<f64>)> = plan::rungs(&request.spec.search, spec.train.epochs)
            .into_iter()
            .map(|rung| (rung, self.reached(rung, metric)))
            .collect();
        let (train, validation) = (self.data.train.to_vec()?, self.data.validation.to_vec()?);
        let data = self.data;
        let ready = self.recipe(&spec, tell)?.ready(&spec, data, &train, &validation)?;
        let seen: Mutex<(Vec<Epoch>, Option<String>)> = Mutex::default();
        let halt = |epoch: &Epoch| {
            let mut seen = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            seen.0.push(*epoch);
            let Some((rung, earlier)) = rungs.iter().find(|(rung, _)| *rung == epoch.epoch) else {
                return false;
            };
            let value = best_until(&seen.0, *rung, metric).unwrap_or(f64::NAN);
            let search = &request.spec.search;
            let why = plan::stops(search, metric.higher_is_better(), value, earlier);
            seen.1 = why.map(|why| format!("after epoch {rung}: {why}"));
            seen.1.is_some()
        };
        let trained = ready.train(Some(&halt), tell);
        let (epochs, stopped) = seen.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        trial.value = best_until(&epochs, usize::MAX, metric);
        (trial.epochs, trial.stopped) = (epochs, stopped);
        trained.map(|_| ())
    }

    /// Trains the best trial again and answers the test rows with it.
    fn finish(&mut self, index: usize, spec: &Spec, tell: &mut Listener<'_>) -> Result<Final, TrainError> {
        let message = format!(
            "trial {} once more, then {} test rows, which no trial was judged by",
            index + 1,
            self.data.test.len()
        );
        tell(Event::Stage { name: "final", message });
        let (train, validation) = (self.data.train.to_vec()?, self.data.validation.to_vec()?);
        let data = self.data;
        let metric = spec.train.early_stopping.metric;
        // A trial that was stopped is trained as far as it came: that is the model that was the best.
        let come = self.trials[index].epochs.len();
        let halt = |epoch: &Epoch| epoch.epoch >= come;
        let ready = self.recipe(spec, tell)?.ready(spec, data, &train, &validation)?;
        let trained = ready.train(Some(&halt), tell)?;
        let test = data.test.to_vec()?;
        let (examples, scores) = trained.answer(&test)?;
        let rightness = trained.task().rightness(&examples, &scores.outputs)?;
        let figures = BTreeMap::from([
            (metric.to_string(), trained.task().metric(metric, &examples, &scores)?),
            ("loss".to_owned(), scores.loss),
            ("rightness".to_owned(), rightness.iter().sum::<f64>() / rightness.len().max(1) as f64),
        ]);
        Ok(Final {
            number: index + 1,
            validation: best_until(&trained.curve.epochs, usize::MAX, metric).unwrap_or(f64::NAN),
            figures,
            evaluation: evaluation(&trained, data, &test, &scores.outputs)?,
        })
    }
}

fn evaluation(
    trained: &Trained,
    data: &LoadedData,
    test: &[crate::data::Row],
    outputs: &[Vec<f32>],
) -> Result<Option<Evaluation>, TrainError> {
    if !trained.task().is_calibrated() || outputs.len() != test.len() {
        return Ok(None);
    }
    let scored: Option<Vec<Scored>> = test
        .iter()
        .zip(outputs)
        .map(|(row, output)| {
            let truth = data.labels.index(&row.label)?;
            Some(Scored { truth, probabilities: super::softmax(output), slices: row.slices.clone() })
        })
        .collect();
    Ok(scored.map(|scored| evaluate(data.labels.names(), &scored)).transpose()?)
}

/// The best metric of the epochs up to `last`.
fn best_until(epochs: &[Epoch], last: usize, metric: Metric) -> Option<f64> {
    let values: Vec<Option<f64>> =
        epochs.iter().filter(|epoch| epoch.epoch <= last).map(|epoch| Some(epoch.metric)).collect();
    plan::best(metric.higher_is_better(), &values).map(|(_, value)| value)
}

/// Whether an error comes of a trial's settings, so that others may do better.
fn is_of_the_settings(error: &TrainError) -> bool {
    matches!(error, TrainError::NotFinite { .. } | TrainError::Pass(_) | TrainError::Spec(_))
}

fn chain(error: &TrainError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Settings as one line.
fn shown(settings: &Settings) -> String {
    if settings.is_empty() {
        return "the spec as it is".to_owned();
    }
    settings.iter().map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join(", ")
}

fn said(trial: &Trial, spec: &Spec) -> String {
    let metric = spec.train.early_stopping.metric;
    let value = trial.value.map_or_else(|| "no value".to_owned(), |value| format!("{metric} {value:.4}"));
    let end = match (&trial.failed, &trial.stopped) {
        (Some(why), _) => format!("failed: {why}"),
        (None, Some(why)) => format!("{value}, stopped {why}"),
        (None, None) => value,
    };
    format!("trial {}: {end}", trial.number)
}
