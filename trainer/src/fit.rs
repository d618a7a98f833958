//! The training loop.

use crate::TrainError;
use crate::augment::Augmenter;
use crate::batches::{Plan, scoring_batches};
use crate::checkpoint::Checkpoints;
use crate::device;
use crate::event::{Curve, Epoch, Event, Listener, Step};
use crate::examples::{Example, Examples, Scores, collate, separate};
use crate::memory;
use crate::mixup::{self, Mixup};
use crate::optimizer::global_norm;
use crate::precision;
use crate::schedule::LearningRate;
use crate::state::{Mean, TrainState};
use crate::task::Task;
use crate::zeros::KeptZeros;
use candle_core::{DType, Device, Tensor};
use refit_autodiff::{Gradients, Mode, Program};
use refit_graph::Model;
use refit_spec::{Batch, Sampling, TrainSpec};
use std::collections::HashMap;
use std::time::Instant;

/// What a run trains on.
pub struct Material<'a> {
    /// Rows that the weights learn from.
    pub train: &'a Examples,
    /// Rows that choose the best epoch.
    pub validation: &'a [Example],
    /// What the outputs mean.
    pub task: &'a dyn Task,
    /// Frozen values that the graph reads, in the order of [`crate::examples::Tokens::features`].
    pub feature_names: &'a [String],
    /// Token that padding is made of.
    pub pad_id: i64,
    /// What changes the texts of training rows, if they are changed.
    pub augment: Option<&'a Augmenter<'a>>,
    /// Asked after every epoch; the run ends where it says so.
    pub halt: Option<&'a (dyn Fn(&Epoch) -> bool + Sync)>,
}

/// Trains the trainable parameters of `model`, a graph with the outputs `loss` and that of the task, and
/// leaves the best weights in it. Returns the learning curve. Goes on from a checkpoint where there is one.
///
/// # Errors
/// When the graph cannot be trained (the error names the place), a parameter receives no gradient, or the
/// loss is no longer a number.
pub fn fit(
    model: &mut Model,
    material: &Material<'_>,
    spec: &TrainSpec,
    device: &Device,
    checkpoints: &mut Checkpoints,
    tell: &mut Listener<'_>,
) -> Result<Curve, TrainError> {
    let mut program = precision::compile(model, material.task, spec.precision, device)?;
    prepare(&mut program, material, spec, tell)?;
    let zeros = KeptZeros::new(&program, &model.graph, spec);
    let watch = memory::Watch::begin();
    let mut state = TrainState::new(&program, &model.graph, spec)?;
    checkpoints.resume(&mut state, &mut program, model, tell)?;
    let lengths = material.train.lengths();
    let plan = plan(material.train, spec)?;
    let rate = learning_rate(spec, &plan);

    while state.epoch < spec.epochs && !state.best.is_exhausted() {
        let all = plan.epoch(state.epoch);
        for batches in all.chunks(spec.accumulate).skip(state.steps_in_epoch) {
            let started = Instant::now();
            let rows: usize = batches.iter().map(Vec::len).sum();
            let (loss, mut gradients) = gradients(&program, batches, material, spec, state.step)
                .map_err(|error| device::lost(device, state.step, error))?;
            zeros.keep(&program, &mut gradients)?;
            let norm = global_norm(&gradients)?;
            if !loss.is_finite() || !norm.is_finite() {
                return Err(not_finite(&program, batches, material, spec, &state, loss));
            }
            check(&program, &gradients, state.step)?;
            let scale = spec.clip.map_or(1.0, |clip| (clip / norm.max(1e-12)).min(1.0));
            let learning_rate = rate.at(state.step);
            state.optimizer.step(&mut program, &gradients, learning_rate, scale as f32)?;
            if let Some(average) = &mut state.average {
                average.update(&mut program)?;
            }
            let seconds = started.elapsed().as_secs_f64();
            tell(Event::Step(Step {
                step: state.step,
                total: rate.total_steps,
                loss,
                learning_rate,
                gradient_norm: norm,
                rows,
                tokens: batches.iter().flatten().map(|&row| lengths[row] as usize).sum(),
                seconds,
            }));
            state.end_step(loss, rows, seconds);
            checkpoints.after_step(&state, &program, model, tell)?;
        }
        let started = Instant::now();
        if let Some(average) = &mut state.average {
            average.swap(&mut program)?;
        }
        let scores = score(&program, material.validation, material, spec.batch)?;
        let metric = material.task.metric(spec.early_stopping.metric, material.validation, &scores)?;
        let is_best = state.best.offer(&program, model, metric)?;
        if let Some(average) = &mut state.average {
            average.swap(&mut program)?;
        }
        let done = Epoch {
            epoch: state.epoch + 1,
            steps: state.step,
            train_loss: state.mean.value(),
            validation_loss: scores.loss,
            metric,
            best: is_best,
            seconds: state.seconds + started.elapsed().as_secs_f64(),
        };
        state.end_epoch(done);
        tell(Event::Epoch(done));
        if material.halt.is_some_and(|halt| halt(&done)) {
            break;
        }
        if state.best.is_exhausted() {
            tell(Event::Notice(format!(
                "stopped after epoch {}: {} epochs without a better {}",
                state.epoch, spec.early_stopping.patience, spec.early_stopping.metric
            )));
        }
    }
    if let Some(peak) = watch.and_then(|watch| watch.peak_bytes()) {
        tell(Event::Notice(format!("took at most {} of memory", memory::shown(peak))));
    }
    // What follows takes its time as well.
    checkpoints.keep(&state, &program, model, tell);
    Ok(state.curve)
}

/// Which rows go together in each epoch.
///
/// # Errors
/// When balance is asked for, and rows do not have one label each.
pub fn plan<'a>(train: &'a Examples, spec: &TrainSpec) -> Result<Plan<'a>, TrainError> {
    let balanced = match (spec.sampling, train.classes()) {
        (Sampling::Shuffled, _) => None,
        (Sampling::Balanced, Some(classes)) => Some(classes),
        (Sampling::Balanced, None) => {
            let needs = "tasks with one label a row";
            return Err(TrainError::NotForTask { key: "sampling", needs });
        }
    };
    Ok(Plan { lengths: train.lengths(), balanced, size: spec.batch, seed: spec.seed })
}

/// The learning rate of every step of the run.
fn learning_rate(spec: &TrainSpec, plan: &Plan<'_>) -> LearningRate {
    let steps_an_epoch = |epoch| plan.epoch(epoch).len().div_ceil(spec.accumulate);
    let total_steps: usize = (0..spec.epochs).map(steps_an_epoch).sum();
    LearningRate {
        peak: spec.learning_rate,
        warmup_steps: (total_steps as f64 * spec.warmup).round() as usize,
        total_steps,
        decay: spec.schedule,
    }
}

/// Mean loss over the rows of `batches`, which make one step together, and its gradients.
///
/// # Errors
/// When the graph refuses a batch.
pub fn gradients(
    program: &Program,
    batches: &[Vec<usize>],
    material: &Material<'_>,
    spec: &TrainSpec,
    step: usize,
) -> Result<(f64, Gradients), TrainError> {
    let device = program.device();
    let mixup = spec.mixup.map(|alpha| Mixup { alpha, seed: spec.seed });
    let rows: usize = batches.iter().map(Vec::len).sum();
    let mut gradients = Gradients::default();
    let mut loss = 0.0;
    for batch in batches {
        let examples = match material.augment {
            Some(augmenter) => augmenter.examples(batch, step)?,
            None => material.train.batch(batch)?,
        };
        let examples: Vec<&Example> = examples.iter().collect();
        let mut inputs = collate(&examples, material.feature_names, material.pad_id, program)?;
        if let Some(mixup) = &mixup {
            mixup.draw(batch, step, device, &mut inputs)?;
        }
        let share = batch.len() as f32 / rows as f32;
        let forward = program.forward(&inputs, Mode::Train { seed: step_seed(spec.seed, step) })?;
        loss += scalar(forward.output("loss")?)? * f64::from(share);
        let seed_gradient = HashMap::from([("loss".to_owned(), Tensor::new(share, device)?)]);
        gradients.add(program.backward(forward, seed_gradient)?)?;
    }
    Ok((loss, gradients))
}

/// The task's output for each of `examples` by the graph itself, with the mean loss.
///
/// # Errors
/// When the graph refuses a batch.
pub fn score(
    program: &Program,
    examples: &[Example],
    material: &Material<'_>,
    size: Batch,
) -> Result<Scores, TrainError> {
    let lengths: Vec<u32> = examples.iter().map(|example| example.length() as u32).collect();
    let mut outputs = vec![Vec::new(); examples.len()];
    let mut mean = Mean::default();
    for batch in scoring_batches(&lengths, size) {
        let rows: Vec<&Example> = batch.iter().map(|&row| &examples[row]).collect();
        let mut inputs = collate(&rows, material.feature_names, material.pad_id, program)?;
        mixup::unmixed(program, rows.len(), &mut inputs)?;
        let forward = program.forward(&inputs, Mode::Eval)?;
        mean.add(scalar(forward.output("loss")?)?, rows.len());
        let values = separate(&rows, forward.output(material.task.output())?)?;
        for (row, values) in batch.into_iter().zip(values) {
            outputs[row] = values;
        }
    }
    Ok(Scores { outputs, loss: mean.value() })
}

/// Decides how the step is run, and says what it takes.
///
/// # Errors
/// When there is nothing to train, or not enough memory.
fn prepare(
    program: &mut Program,
    material: &Material<'_>,
    spec: &TrainSpec,
    tell: &mut Listener<'_>,
) -> Result<(), TrainError> {
    if program.parameters().is_empty() {
        return Err(TrainError::NothingToTrain { method: spec.method.to_string() });
    }
    if spec.activation_checkpointing && program.recompute_activations() == 1 {
        let message = "activations are all kept: the graph has no borders to cut it at";
        tell(Event::Notice(message.to_owned()));
    }
    if let Some(message) = memory::check(program, material, spec)? {
        tell(Event::Notice(message));
    }
    Ok(())
}

/// Stops a run that cannot be right, with the reason.
fn check(program: &Program, gradients: &Gradients, step: usize) -> Result<(), TrainError> {
    if step == 0 {
        let names = program.missing_gradients(gradients);
        if !names.is_empty() {
            return Err(TrainError::NoGradient { names });
        }
    }
    Ok(())
}

/// Why a step's loss or gradients are not finite: its rows, and the first tensor that is not, found by running them
/// again. The weights are those of the step before, and finite.
fn not_finite(
    program: &Program,
    batches: &[Vec<usize>],
    material: &Material<'_>,
    spec: &TrainSpec,
    state: &TrainState,
    loss: f64,
) -> TrainError {
    let mixup = spec.mixup.map(|alpha| Mixup { alpha, seed: spec.seed });
    let mode = Mode::Train { seed: step_seed(spec.seed, state.step) };
    let find = |batch: &Vec<usize>| -> Result<Option<String>, TrainError> {
        let examples = material.train.batch(batch)?;
        let examples: Vec<&Example> = examples.iter().collect();
        let mut inputs = collate(&examples, material.feature_names, material.pad_id, program)?;
        if let Some(mixup) = &mixup {
            mixup.draw(batch, state.step, program.device(), &mut inputs)?;
        }
        Ok(program.first_not_finite(&inputs, mode)?)
    };
    let found = batches.iter().find_map(|batch| Some((batch, find(batch).ok()??)));
    let (rows, place) = match found {
        Some((batch, place)) => (batch.clone(), place),
        None => {
            (batches.concat(), "the values of the forward pass are finite, its gradients are not".to_owned())
        }
    };
    TrainError::NotFinite { step: state.step, loss, rows, place }
}

/// Dropout differs from step to step and is the same from run to run.
fn step_seed(seed: u64, step: usize) -> u64 {
    seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(step as u64)
}

fn scalar(tensor: &Tensor) -> Result<f64, TrainError> {
    Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?.iter().sum())
}
