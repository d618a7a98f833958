//! The learning-rate range test (Smith 2017, arXiv:1506.01186): the rate rises from step to step, and where the
//! loss falls fastest is a good peak for the schedule.

use super::recipe::{Place, Recipe, load_data};
use crate::TrainError;
use crate::checkpoint::Running;
use crate::event::{Event, Listener, Step};
use crate::fit::{gradients, plan};
use crate::optimizer::{AdamW, global_norm};
use crate::precision;
use crate::training::with_threads;
use crate::zeros::KeptZeros;
use refit_graph::Model;
use refit_predictor::Engines;
use refit_spec::{Spec, TrainSpec};
use serde::Serialize;
use std::path::Path;
use std::time::Instant;

/// Share of the smoothed loss that is kept at each step.
const SMOOTHING: f64 = 0.95;
/// The test ends where the smoothed loss is this many times its least.
const DIVERGED: f64 = 4.0;
/// Steps that only warm the smoothing and the optimizer up.
const WARM_UP: usize = 10;

/// What to test.
pub struct RangeTestRequest<'a> {
    /// What the model is.
    pub spec: &'a Spec,
    /// The lowest rate, of the first step.
    pub lowest: f64,
    /// The highest rate, of the last step.
    pub highest: f64,
    /// Steps, if the loss does not diverge before.
    pub steps: usize,
    /// refit's cache.
    pub cache: &'a Path,
    /// Engines of this machine.
    pub engines: &'a Engines,
    /// How it ends early.
    pub running: Running,
}

/// The curve and what it suggests.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RangeTest {
    /// Rate, loss and smoothed loss of every step.
    pub points: Vec<RangePoint>,
    /// The rate at which the smoothed loss falls fastest; none where it does not fall.
    pub suggested: Option<f64>,
    /// The rate at which it is least: higher ones do harm.
    pub least_loss_at: Option<f64>,
    /// Whether the loss rose so far that the test ended before its last step.
    pub diverged: bool,
    /// The rate in the spec.
    pub in_spec: f64,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RangePoint {
    /// Learning rate.
    pub rate: f64,
    /// Loss before the step.
    pub loss: f64,
    /// Exponentially smoothed, with the bias of its beginning taken off.
    pub smoothed: f64,
}

/// Runs the test on the spec's training rows. Nothing is kept: the model of the spec stays what it is.
///
/// # Errors
/// When the graph cannot be trained.
pub fn find_learning_rate(
    request: &RangeTestRequest<'_>,
    tell: &mut Listener<'_>,
) -> Result<RangeTest, TrainError> {
    let spec = request.spec;
    tell(Event::Stage { name: "data", message: format!("reading {}", spec.data.train) });
    let data = load_data(spec, request.cache, tell)?;
    let place = Place { cache: request.cache, engines: request.engines, running: &request.running };
    let ready = Recipe::load(spec, place, tell)?.ready(spec, &data, &data.train.to_vec()?, &[])?;
    let augmenter = ready.augmenter();
    let training = ready.training(None, augmenter.as_ref());
    let (graph, prepared) = training.prepare(&ready.model, &ready.train, &ready.validation, tell)?;
    let material = training.material(&prepared);
    let mut test = RangeTest {
        points: Vec::new(),
        suggested: None,
        least_loss_at: None,
        diverged: false,
        in_spec: spec.train.learning_rate,
    };
    with_threads(spec.train.threads, || {
        run(&graph, &material, &prepared.device, request, &spec.train, &mut test, tell)
    })?;
    (test.suggested, test.least_loss_at) = suggest(&test.points);
    Ok(test)
}

fn run(
    graph: &Model,
    material: &crate::fit::Material<'_>,
    device: &candle_core::Device,
    request: &RangeTestRequest<'_>,
    spec: &TrainSpec,
    test: &mut RangeTest,
    tell: &mut Listener<'_>,
) -> Result<(), TrainError> {
    let mut program = precision::compile(graph, material.task, spec.precision, device)?;
    let mut optimizer =
        AdamW::new(&program, spec.weight_decay)?.with_layer_decay(&graph.graph, spec.layer_decay);
    let zeros = KeptZeros::new(&program, &graph.graph, spec);
    let lengths = material.train.lengths();
    let plan = plan(material.train, spec)?;
    let (mut step, mut smoothing) = (0, Smoothing::default());
    for epoch in 0.. {
        let all = plan.epoch(epoch);
        if all.is_empty() {
            return Ok(());
        }
        for batches in all.chunks(spec.accumulate) {
            if step == request.steps {
                return Ok(());
            }
            request.running.stop.check("during the range test")?;
            let started = Instant::now();
            let rate = rate_of(step, request);
            let (loss, mut gradients) = gradients(&program, batches, material, spec, step)?;
            zeros.keep(&program, &mut gradients)?;
            let smoothed = smoothing.add(loss);
            test.points.push(RangePoint { rate, loss, smoothed });
            let least = test.points.iter().map(|point| point.smoothed).fold(f64::INFINITY, f64::min);
            if !loss.is_finite() || (step > WARM_UP && smoothed > DIVERGED * least) {
                test.diverged = true;
                return Ok(());
            }
            let norm = global_norm(&gradients)?;
            let scale = spec.clip.map_or(1.0, |clip| (clip / norm.max(1e-12)).min(1.0));
            optimizer.step(&mut program, &gradients, rate, scale as f32)?;
            tell(Event::Step(Step {
                step,
                total: request.steps,
                loss,
                learning_rate: rate,
                gradient_norm: norm,
                rows: batches.iter().map(Vec::len).sum(),
                tokens: batches.iter().flatten().map(|&row| lengths[row] as usize).sum(),
                seconds: started.elapsed().as_secs_f64(),
            }));
            step += 1;
        }
    }
    Ok(())
}

/// Every step multiplies the rate by the same factor.
fn rate_of(step: usize, request: &RangeTestRequest<'_>) -> f64 {
    let share = step as f64 / request.steps.saturating_sub(1).max(1) as f64;
    request.lowest * (request.highest / request.lowest).powf(share)
}

#[derive(Default)]
struct Smoothing {
    sum: f64,
    steps: i32,
}

impl Smoothing {
    fn add(&mut self, loss: f64) -> f64 {
        self.sum = SMOOTHING * self.sum + (1.0 - SMOOTHING) * loss;
        self.steps += 1;
        self.sum / (1.0 - SMOOTHING.powi(self.steps))
    }
}

/// The rate of the steepest fall of the smoothed loss over the logarithm of the rate, before its least, and the
/// rate of its least. None where the loss does not fall.
fn suggest(points: &[RangePoint]) -> (Option<f64>, Option<f64>) {
    let judged: Vec<&RangePoint> =
        points.iter().skip(WARM_UP).filter(|point| point.smoothed.is_finite()).collect();
    let Some(least) = (0..judged.len()).min_by(|&a, &b| judged[a].smoothed.total_cmp(&judged[b].smoothed))
    else {
        return (None, None);
    };
    let slope = |at: usize| {
        let (before, after) = (judged[at - 1], judged[at + 1]);
        (after.smoothed - before.smoothed) / (after.rate.ln() - before.rate.ln())
    };
    let steepest = (1..least.max(1)).filter(|at| at + 1 < judged.len()).map(|at| (at, slope(at)));
    let steepest = steepest.filter(|(_, slope)| *slope < 0.0).min_by(|a, b| a.1.total_cmp(&b.1));
    (steepest.map(|(at, _)| judged[at].rate), Some(judged[least].rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(loss: impl Fn(f64) -> f64) -> Vec<RangePoint> {
        (0..100)
            .map(|step| {
                let rate = 1e-7 * 1e7f64.powf(f64::from(step) / 99.0);
                RangePoint { rate, loss: loss(rate), smoothed: loss(rate) }
            })
            .collect()
    }

    #[test]
    fn the_steepest_fall_is_suggested() {
        // A logistic fall around 1e-4 and a rise from 1e-2 on: steepest at 1e-4, least in between.
        let curve = |rate: f64| 1.0 / (1.0 + (rate / 1e-4).powf(1.5)) + (rate / 2e-2).powi(2);
        let (suggested, least) = suggest(&points(curve));
        let (suggested, least) = (suggested.unwrap(), least.unwrap());
        assert!((5e-5..2e-4).contains(&suggested), "{suggested}");
        assert!((5e-4..2e-2).contains(&least), "{least}");
    }

    #[test]
    fn a_loss_that_does_not_fall_suggests_nothing() {
        assert_eq!(suggest(&points(|rate| 1.0 + rate)).0, None);
        assert_eq!(suggest(&points(|_| f64::NAN)), (None, None));
        assert_eq!(suggest(&[]), (None, None));
    }

    #[test]
    fn smoothing_has_no_bias_at_its_beginning() {
        let mut smoothing = Smoothing::default();
        for _ in 0..5 {
            assert!((smoothing.add(0.7) - 0.7).abs() < 1e-12);
        }
    }
}
