//! From an adapted model and encoded rows to trained weights: what is frozen is computed before, once, and
//! what is left is trained.

use crate::augment::Augmenter;
use crate::checkpoint::Checkpoints;
use crate::class_weights::{WeighClasses, class_weights};
use crate::event::{Curve, Epoch, Event, Listener};
use crate::examples::{Example, Examples, Scores};
use crate::fit::{Material, fit, score};
use crate::mixup::AddMixup;
use crate::run::serving_engine;
use crate::task::Task;
use crate::{TrainError, device, features};
use candle_core::Device;
use refit_autodiff::Program;
use refit_graph::Model;
use refit_passes::edit::split_frozen;
use refit_passes::{Driver, lower};
use refit_predictor::Engines;
use refit_spec::{Batch, Spec};
use std::path::Path;

/// What training needs beside a model and rows.
pub struct Training<'a> {
    /// How it is trained.
    pub spec: &'a Spec,
    /// Where computed features are kept.
    pub cache: &'a Path,
    /// The engines of this machine, one of which computes what is frozen.
    pub engines: &'a Engines,
    /// What the outputs mean.
    pub task: &'a dyn Task,
    /// Token that padding is made of.
    pub pad_id: i64,
    /// The labels in their order.
    pub labels: &'a [String],
    /// What changes the texts of training rows; a row's number there is its example's.
    pub augment: Option<&'a Augmenter<'a>>,
    /// Asked after every epoch; training ends where it says so.
    pub halt: Option<&'a (dyn Fn(&Epoch) -> bool + Sync)>,
}

/// What a graph is trained with.
pub struct Prepared {
    /// Names of the features.
    pub names: Vec<String>,
    /// Rows to learn from, with their features.
    pub train: Examples,
    /// Rows that choose the best epoch, with their features.
    pub validation: Vec<Example>,
    /// What computes.
    pub device: Device,
}

impl Training<'_> {
    /// Trains `model` and returns it with the best weights.
    ///
    /// # Errors
    /// When the graph cannot be trained, or the loss is no longer a number.
    pub fn fit(
        &self,
        mut model: Model,
        train: &Examples,
        validation: &[Example],
        checkpoints: &mut Checkpoints,
        tell: &mut Listener<'_>,
    ) -> Result<(Model, Curve), TrainError> {
        let (mut graph, prepared) = self.prepare(&model, train, validation, tell)?;
        let material = self.material(&prepared);
        let curve = with_threads(self.spec.train.threads, || {
            fit(&mut graph, &material, &self.spec.train, &prepared.device, checkpoints, tell)
        })?;
        copy_trained(&graph, &mut model)?;
        Ok((model, curve))
    }

    /// Cuts off what is frozen, computes it for all rows, and puts the loss on what is left: the graph that is
    /// trained, and what it is trained with.
    ///
    /// # Errors
    /// When nothing would be trained, or the engine refuses the frozen part.
    pub fn prepare(
        &self,
        model: &Model,
        train: &Examples,
        validation: &[Example],
        tell: &mut Listener<'_>,
    ) -> Result<(Model, Prepared), TrainError> {
        let spec = self.spec;
        let mut split = split_frozen(model)?;
        if self.augment.is_some() && split.take().is_some() {
            // Changed texts have other values of the frozen part.
            let slower = "texts are changed at each step: what is frozen is computed in each, not once";
            tell(Event::Notice(slower.to_owned()));
        }
        let (mut graph, names) = match &split {
            Some(split) => (split.suffix.clone(), split.features.clone()),
            None => (model.clone(), Vec::new()),
        };
        let (mut train, mut held_out) = (train.clone(), Examples::new(self.cache));
        validation.iter().try_for_each(|example| held_out.push(example))?;
        if let Some(split) = &split {
            let message = format!("computing what is frozen for {} rows", train.len() + validation.len());
            tell(Event::Stage { name: "features", message });
            let prefix = lower::portable(&split.prefix)?;
            let engine = serving_engine(spec, self.engines);
            let threads = spec.train.threads.unwrap_or_else(rayon::current_num_threads);
            for rows in [&mut train, &mut held_out] {
                let done =
                    features::attach(rows, &prefix, &names, engine.as_ref(), threads, self.cache, tell)?;
                tell(Event::Notice(format!(
                    "{} computed, {} found in the cache",
                    done.computed, done.cached
                )));
            }
        }
        Driver::new().edit(&mut graph, self.task.loss().as_ref())?;
        if let Some(weights) = class_weights(&spec.train.class_weights, self.labels, &train)? {
            Driver::new().edit(&mut graph, &WeighClasses { weights })?;
        }
        if spec.train.mixup.is_some() {
            Driver::new().edit(&mut graph, &AddMixup)?;
        }
        let parameters: usize =
            graph.graph.initializers().filter(|(_, i)| i.trainable).map(|(_, i)| i.tensor.len()).sum();
        let (device, _) = device::choose(spec.train.device)?;
        let message =
            format!("{} on {} rows, {parameters} trainable parameters", spec.train.method, train.len());
        tell(Event::Stage { name: "training", message });
        Ok((graph, Prepared { names, train, validation: held_out.to_vec()?, device }))
    }

    /// What the training loop is given.
    pub fn material<'a>(&'a self, prepared: &'a Prepared) -> Material<'a> {
        Material {
            train: &prepared.train,
            validation: &prepared.validation,
            task: self.task,
            feature_names: &prepared.names,
            pad_id: self.pad_id,
            augment: self.augment,
            halt: self.halt,
        }
    }
}

/// What `model`, without a loss, answers to examples, by the graph itself.
///
/// # Errors
/// When the graph refuses a batch.
pub fn answers(
    model: &Model,
    task: &dyn Task,
    examples: &[Example],
    pad_id: i64,
    batch: Batch,
) -> Result<Scores, TrainError> {
    let mut graph = model.clone();
    Driver::new().edit(&mut graph, task.loss().as_ref())?;
    let program = Program::compile(&graph, &["loss", task.output()], &Device::Cpu)?;
    let none = Examples::new(Path::new("."));
    let material = Material {
        train: &none,
        validation: &[],
        task,
        feature_names: &[],
        pad_id,
        augment: None,
        halt: None,
    };
    score(&program, examples, &material, batch)
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
pub fn with_threads<R: Send>(
    threads: Option<usize>,
    work: impl FnOnce() -> Result<R, TrainError> + Send,
) -> Result<R, TrainError> {
    match threads.and_then(|count| rayon::ThreadPoolBuilder::new().num_threads(count).build().ok()) {
        Some(pool) => pool.install(work),
        None => work(),
    }
}
