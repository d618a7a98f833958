//! The training loop.

use crate::TrainError;
use crate::batches::{epoch_batches, scoring_batches};
use crate::event::{Curve, Epoch, Event, Listener, Step};
use crate::examples::{Example, collate};
use crate::optimizer::{AdamW, global_norm};
use crate::schedule::LearningRate;
use crate::stopping::BestWeights;
use candle_core::{DType, Device, Tensor};
use refit_autodiff::{Gradients, Mode, Program};
use refit_graph::Model;
use refit_spec::{Batch, TrainSpec};
use std::collections::HashMap;
use std::time::Instant;

/// What a run trains on.
pub struct Material<'a> {
    /// Rows that the weights learn from.
    pub train: &'a [Example],
    /// Rows that choose the best epoch.
    pub validation: &'a [Example],
    /// Number of labels.
    pub label_count: usize,
    /// Frozen values that the graph reads, in the order of [`Example::features`].
    pub feature_names: &'a [String],
    /// Token that padding is made of.
    pub pad_id: i64,
}

/// Trains the trainable parameters of `model`, a graph with outputs `loss` and `logits`, and leaves the
/// best weights in it. Returns the learning curve.
///
/// # Errors
/// When the graph cannot be trained (the error names the place), a parameter receives no gradient, or the
/// loss is no longer a number.
pub fn fit(
    model: &mut Model,
    material: &Material<'_>,
    spec: &TrainSpec,
    device: &Device,
    tell: &mut Listener<'_>,
) -> Result<Curve, TrainError> {
    let mut program = Program::compile(model, &["loss", "logits"], device)?;
    let mut optimizer = AdamW::new(&program, spec.weight_decay);
    let lengths: Vec<usize> = material.train.iter().map(Example::length).collect();
    let steps_an_epoch =
        |epoch| epoch_batches(&lengths, spec.batch, spec.seed, epoch).len().div_ceil(spec.accumulate);
    let total: usize = (0..spec.epochs).map(steps_an_epoch).sum();
    let rate = LearningRate {
        peak: spec.learning_rate,
        warmup_steps: (total as f64 * spec.warmup).round() as usize,
        total_steps: total,
        decay: spec.schedule,
    };
    let mut best = BestWeights::new(spec.early_stopping);
    let mut curve = Curve::default();
    let mut step = 0;

    for epoch in 0..spec.epochs {
        let started = Instant::now();
        let mut mean = Mean::default();
        for batches in epoch_batches(&lengths, spec.batch, spec.seed, epoch).chunks(spec.accumulate) {
            let rows: usize = batches.iter().map(Vec::len).sum();
            let mut gradients = Gradients::default();
            let mut loss = 0.0;
            for batch in batches {
                let examples: Vec<&Example> = batch.iter().map(|&row| &material.train[row]).collect();
                let inputs = collate(&examples, material.feature_names, material.pad_id, &program)?;
                let share = batch.len() as f32 / rows as f32;
                let forward = program.forward(&inputs, Mode::Train { seed: step_seed(spec.seed, step) })?;
                loss += scalar(forward.output("loss")?)? * f64::from(share);
                let seed_gradient = HashMap::from([("loss".to_owned(), Tensor::new(share, device)?)]);
                gradients.add(program.backward(forward, seed_gradient)?)?;
            }
            check(&program, &gradients, loss, step)?;
            let norm = global_norm(&gradients)?;
            let scale = spec.clip.map_or(1.0, |clip| (clip / norm.max(1e-12)).min(1.0));
            let learning_rate = rate.at(step);
            optimizer.step(&mut program, &gradients, learning_rate, scale as f32)?;
            mean.add(loss, rows);
            curve.losses.push(loss);
            tell(Event::Step(Step { step, total, loss, learning_rate, gradient_norm: norm }));
            step += 1;
        }
        let scores = score(&program, material.validation, material, spec.batch)?;
        let metric = scores.metric(spec.early_stopping.metric)?;
        let is_best = best.offer(&program, model, metric)?;
        let validation_loss = scores.loss;
        let done = Epoch {
            epoch: epoch + 1,
            steps: step,
            train_loss: mean.value(),
            validation_loss,
            metric,
            best: is_best,
            seconds: started.elapsed().as_secs_f64(),
        };
        curve.epochs.push(done);
        tell(Event::Epoch(done));
        if best.is_exhausted() {
            tell(Event::Notice(format!(
                "stopped after epoch {}: {} epochs without a better {}",
                epoch + 1,
                spec.early_stopping.patience,
                spec.early_stopping.metric
            )));
            break;
        }
    }
    Ok(curve)
}

/// The logits of `examples` by the graph itself, one row an example, with the mean loss.
///
/// # Errors
/// When the graph refuses a batch.
pub fn score(
    program: &Program,
    examples: &[Example],
    material: &Material<'_>,
    size: Batch,
) -> Result<crate::stopping::Scores, TrainError> {
    let lengths: Vec<usize> = examples.iter().map(Example::length).collect();
    let mut logits = vec![Vec::new(); examples.len()];
    let mut mean = Mean::default();
    for batch in scoring_batches(&lengths, size) {
        let rows: Vec<&Example> = batch.iter().map(|&row| &examples[row]).collect();
        let inputs = collate(&rows, material.feature_names, material.pad_id, program)?;
        let forward = program.forward(&inputs, Mode::Eval)?;
        mean.add(scalar(forward.output("loss")?)?, rows.len());
        for (row, values) in batch.into_iter().zip(forward.output("logits")?.to_vec2::<f32>()?) {
            logits[row] = values;
        }
    }
    let truth = examples.iter().map(|example| example.label).collect();
    Ok(crate::stopping::Scores { logits, truth, loss: mean.value(), label_count: material.label_count })
}

/// Stops a run that cannot be right, with the reason.
fn check(program: &Program, gradients: &Gradients, loss: f64, step: usize) -> Result<(), TrainError> {
    if !loss.is_finite() {
        return Err(TrainError::LossNotFinite { step, loss });
    }
    if step == 0 {
        let names = program.missing_gradients(gradients);
        if !names.is_empty() {
            return Err(TrainError::NoGradient { names });
        }
    }
    Ok(())
}

/// Dropout differs from step to step and is the same from run to run.
fn step_seed(seed: u64, step: usize) -> u64 {
    seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(step as u64)
}

fn scalar(tensor: &Tensor) -> Result<f64, TrainError> {
    Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?.iter().sum())
}

/// A mean over rows.
#[derive(Default)]
struct Mean {
    sum: f64,
    rows: usize,
}

impl Mean {
    fn add(&mut self, value: f64, rows: usize) {
        self.sum += value * rows as f64;
        self.rows += rows;
    }

    fn value(&self) -> f64 {
        self.sum / self.rows.max(1) as f64
    }
}
