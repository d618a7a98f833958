//! One training without export: what folds, trials and the range test have in common.

use crate::TrainError;
use crate::adapt::adapt;
use crate::augment::Augmenter;
use crate::checkpoint::{Checkpoints, Running};
use crate::data::{self, LoadedData, Row};
use crate::event::{Curve, Epoch, Listener};
use crate::examples::{Example, Examples, Scores};
use crate::fetch::fetching;
use crate::run::{load_base, tokenizer};
use crate::task::{self, Task};
use crate::training::{Training, answers};
use refit_families::Base;
use refit_graph::Model;
use refit_predictor::Engines;
use refit_preprocess::TextPreprocessor;
use refit_spec::Spec;
use std::path::Path;

/// Where trainings run.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// refit's cache: downloads, computed features, engines.
    pub cache: &'a Path,
    /// The engines of this machine.
    pub engines: &'a Engines,
    /// How a training ends early.
    pub running: &'a Running,
}

/// A base with its tokenizer, loaded once for all trainings on it.
pub struct Recipe<'a> {
    place: Place<'a>,
    base: Base,
    tokenizer: Vec<u8>,
}

/// A trained model.
pub struct Trained {
    /// With the best weights.
    pub model: Model,
    /// How training went.
    pub curve: Curve,
    task: Box<dyn Task>,
    preprocessor: TextPreprocessor,
    batch: refit_spec::Batch,
}

/// A model that is about to be trained, with its rows.
pub struct Ready<'a> {
    /// With its head, nothing trained yet.
    pub model: Model,
    /// Rows to learn from.
    pub train: Examples,
    /// Rows that choose the best epoch.
    pub validation: Vec<Example>,
    /// What the outputs mean.
    pub task: Box<dyn Task>,
    labels: Vec<String>,
    /// The rows to learn from, where their texts are changed.
    changed: data::Rows,
    preprocessor: TextPreprocessor,
    spec: &'a Spec,
    place: Place<'a>,
}

/// The rows of the spec, audited and divided.
///
/// # Errors
/// Those of [`data::load_dataset`].
pub fn load_data(spec: &Spec, cache: &Path, tell: &mut Listener<'_>) -> Result<LoadedData, TrainError> {
    Ok(fetching(spec, cache, tell, |fetch| data::load_dataset(&spec.data, fetch))?)
}

impl<'a> Recipe<'a> {
    /// Loads the base of `spec`.
    ///
    /// # Errors
    /// When it cannot be fetched or is no encoder that can be trained.
    pub fn load(spec: &Spec, place: Place<'a>, tell: &mut Listener<'_>) -> Result<Self, TrainError> {
        let base = load_base(spec, place.cache, tell)?;
        let tokenizer = tokenizer(spec, &base, place.cache, tell)?;
        Ok(Self { place, base, tokenizer })
    }

    /// Puts a head on the base and tokenizes the rows.
    ///
    /// # Errors
    /// When a pass refuses, or a row has a label that is none.
    pub fn ready<'b>(
        &self,
        spec: &'b Spec,
        data: &LoadedData,
        train: &[Row],
        validation: &[Row],
    ) -> Result<Ready<'b>, TrainError>
    where
        'a: 'b,
    {
        let task = task::of(spec, &data.labels, task::scale(spec, &data.train)?);
        let model = adapt(&self.base, None, spec, task.as_ref(), data.labels.names())?;
        let settings = task::text_settings(spec, self.base.max_length);
        let preprocessor = TextPreprocessor::new(&self.tokenizer, settings)?;
        let mut examples = Examples::new(self.place.cache);
        for example in task.examples(train, &preprocessor)? {
            examples.push(&example)?;
        }
        let validation = task.examples(validation, &preprocessor)?;
        let changed = if spec.train.augment.is_some() { train } else { &[] };
        Ok(Ready {
            model,
            train: examples,
            validation,
            task,
            labels: data.labels.names().to_vec(),
            changed: data::Rows::of(changed.iter().cloned())?,
            preprocessor,
            spec,
            place: self.place,
        })
    }
}

impl Ready<'_> {
    /// Trains; `halt` is asked after every epoch whether to go on.
    ///
    /// # Errors
    /// When the graph cannot be trained, or the loss is no longer a number.
    pub fn train(
        self,
        halt: Option<&(dyn Fn(&Epoch) -> bool + Sync)>,
        tell: &mut Listener<'_>,
    ) -> Result<Trained, TrainError> {
        let mut checkpoints = Checkpoints::none(self.place.running);
        let augmenter = self.augmenter();
        let training = self.training(halt, augmenter.as_ref());
        let (model, curve) =
            training.fit(self.model.clone(), &self.train, &self.validation, &mut checkpoints, tell)?;
        let Self { task, preprocessor, spec, .. } = self;
        Ok(Trained { model, curve, task, preprocessor, batch: spec.train.batch })
    }

    /// What changes the texts of training rows, if the spec wants it.
    pub fn augmenter(&self) -> Option<Augmenter<'_>> {
        self.spec.train.augment.map(|shares| Augmenter {
            rows: &self.changed,
            task: self.task.as_ref(),
            preprocessor: &self.preprocessor,
            shares,
            seed: self.spec.train.seed,
        })
    }

    /// What the training loop is made of.
    pub fn training<'b>(
        &'b self,
        halt: Option<&'b (dyn Fn(&Epoch) -> bool + Sync)>,
        augment: Option<&'b Augmenter<'b>>,
    ) -> Training<'b> {
        Training {
            spec: self.spec,
            cache: self.place.cache,
            engines: self.place.engines,
            task: self.task.as_ref(),
            pad_id: self.preprocessor.pad_id(),
            labels: &self.labels,
            augment,
            halt,
        }
    }
}

impl Trained {
    /// What the outputs mean.
    pub fn task(&self) -> &dyn Task {
        self.task.as_ref()
    }

    /// The rows as examples, with what the model answers to them and its loss.
    ///
    /// # Errors
    /// When a row has a label that is none.
    pub fn answer(&self, rows: &[Row]) -> Result<(Vec<Example>, Scores), TrainError> {
        let examples = self.task.examples(rows, &self.preprocessor)?;
        let pad_id = self.preprocessor.pad_id();
        let scores = answers(&self.model, self.task.as_ref(), &examples, pad_id, self.batch)?;
        Ok((examples, scores))
    }
}
