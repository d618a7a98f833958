//! The threads that compute. Each takes a model's turn, looks at the tokens of what waits, and runs what `scheduling`
//! decides: mostly one text alone through a single-threaded session, so that short texts do not pay for the padding of
//! long ones.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts};
use refit_engine::without_panic;
use refit_metrics::Registry;
use refit_predictor::{Input, Prediction, PredictorError, Worker};
use refit_preprocess::Window;

use crate::{
    job::{Failure, Job, Outlets},
    loaded::LoadedModel,
    numa::Placement,
    queue::{Queue, Taken},
    scheduling::{Decision, Load, Waiting, decide},
};

/// Counts and times of the work.
#[derive(Clone)]
pub(crate) struct WorkMetrics {
    pub duration: HistogramVec,
    pub batch: HistogramVec,
    pub tokens: IntCounterVec,
    pub wide: IntCounterVec,
    pub predictions: IntCounterVec,
    pub failures: IntCounterVec,
    dropped: IntCounterVec,
}

impl WorkMetrics {
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let duration = HistogramVec::new(
            HistogramOpts::new(
                "refit_request_duration_seconds",
                "Time of one text in a phase: queue, tokenize, compute, and total from the request's arrival.",
            )
            .buckets(vec![
                0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.25, 2.5, 5.0, 10.0,
            ]),
            &["model", "version", "phase"],
        )?;
        let batch = HistogramVec::new(
            HistogramOpts::new("refit_batch_texts", "Texts of a run.")
                .buckets(vec![1.0, 2.0, 4.0, 8.0, 16.0]),
            &["model", "version"],
        )?;
        let counter =
            |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let predictions = counter("refit_predictions_total", "Texts answered.", &["model", "version"])?;
        let failures = counter(
            "refit_prediction_failures_total",
            "Texts that the tokenizer or the engine failed on.",
            &["model", "version"],
        )?;
        let tokens =
            counter("refit_tokens_total", "Tokens computed, padding left out.", &["model", "version"])?;
        let wide = counter(
            "refit_wide_runs_total",
            "Runs of a lone text on several threads.",
            &["model", "version"],
        )?;
        let dropped = counter(
            "refit_texts_dropped_total",
            "Texts not computed because nobody waits for them any more: client_left or deadline.",
            &["reason"],
        )?;
        registry.register(Box::new(duration.clone()))?;
        registry.register(Box::new(batch.clone()))?;
        for counter in [&predictions, &failures, &tokens, &wide, &dropped] {
            registry.register(Box::new(counter.clone()))?;
        }
        Ok(Self { duration, batch, tokens, wide, predictions, failures, dropped })
    }
}

/// What all threads work with.
#[derive(Clone)]
pub(crate) struct Workplace {
    pub queue: Arc<Queue<Job>>,
    pub outlets: Outlets,
    pub metrics: WorkMetrics,
    /// The longest that a request should take.
    pub limit: Duration,
}

/// Where a thread works: the number of its place, and the cores that a lone text may have there.
#[derive(Clone, Copy, Debug)]
struct Seat {
    place: usize,
    cores: usize,
}

/// Starts the threads of every place; they work until the queue is closed and empty.
pub(crate) fn start(placement: &Placement, workplace: &Workplace) -> std::io::Result<Vec<JoinHandle<()>>> {
    let places = placement.places().iter().enumerate();
    let seats = places.flat_map(|(index, place)| std::iter::repeat_n((index, place), place.workers));
    seats
        .enumerate()
        .map(|(number, (index, place))| {
            let (workplace, place) = (workplace.clone(), place.clone());
            let seat = Seat { place: index, cores: place.cores };
            thread::Builder::new().name(format!("refit-worker-{number}")).spawn(move || {
                place.settle();
                while let Some(taken) = workplace.queue.take() {
                    workplace.work(taken, seat);
                }
            })
        })
        .collect()
}

impl Workplace {
    /// Computes what is decided of the taken texts, and gives the rest back.
    fn work(&self, mut taken: Taken<Job>, seat: Seat) {
        let started = Instant::now();
        let mut line: Vec<Job> = std::mem::take(&mut taken.items);
        line.retain_mut(|job| self.somebody_waits(job, started));
        let line: Vec<Job> = line.into_iter().filter_map(tokenized).collect();
        let chosen = self.choose(&taken, line);
        // What was measured is the place with the most cores.
        let threads = chosen.as_ref().map_or(1, |(_, threads)| (*threads).min(seat.cores));
        if let Some((jobs, _)) = chosen {
            self.compute(jobs, Seat { cores: threads, ..seat }, started);
        }
        self.queue.done(&taken, started.elapsed().as_secs_f64() * threads as f64);
    }

    /// The texts to compute now, and the threads to do it with; the others go back into the line.
    fn choose(&self, taken: &Taken<Job>, line: Vec<Job>) -> Option<(Vec<Job>, usize)> {
        let now = Instant::now();
        let first = line.first()?;
        let pace = &first.model.pace;
        let waiting: Vec<Waiting> = line.iter().map(|job| job.waiting(now)).collect();
        let load =
            Load { running: taken.running, waiting: taken.waiting, workers: self.queue.limits().workers };
        let decision = decide(pace, &waiting, load, self.limit.as_secs_f64());
        let Decision { texts, threads } = decision?;
        let last = texts.iter().max().copied().unwrap_or(0);
        let (mut chosen, mut rest) = (Vec::new(), Vec::new());
        for (place, mut job) in line.into_iter().enumerate() {
            if texts.contains(&place) {
                chosen.push(job);
            } else {
                job.overtaken += usize::from(place < last);
                rest.push(job);
            }
        }
        self.queue.give_back(taken, rest);
        Some((chosen, threads))
    }

    /// Drops what nobody waits for any more.
    fn somebody_waits(&self, job: &mut Job, now: Instant) -> bool {
        if job.reply.is_closed() {
            self.metrics.dropped.with_label_values(&["client_left"]).inc();
            return false;
        }
        if now >= job.deadline {
            self.metrics.dropped.with_label_values(&["deadline"]).inc();
            let (closed, _) = tokio::sync::oneshot::channel();
            let _ = std::mem::replace(&mut job.reply, closed).send(Err(Failure::Late));
            return false;
        }
        true
    }

    /// Runs texts of one model and replies; they waited until `taken`. What fails together is tried alone, so that only
    /// the text fails that it fails on.
    fn compute(&self, jobs: Vec<Job>, seat: Seat, taken: Instant) {
        let Some(model) = jobs.first().map(|job| Arc::clone(&job.model)) else { return };
        for job in &jobs {
            model.phases.queue.observe(taken.saturating_duration_since(job.queued).as_secs_f64());
        }
        model.phases.batch.observe(jobs.len() as f64);
        if jobs.len() > 1
            && let Ok(Ok(predictions)) = without_panic(|| run_together(&model, &jobs, seat.place))
        {
            for (job, prediction) in jobs.into_iter().zip(predictions) {
                job.succeed(prediction, &self.outlets);
            }
            return;
        }
        for job in jobs {
            match without_panic(|| run_alone(&model, &job, seat)) {
                Ok(Ok(prediction)) => job.succeed(prediction, &self.outlets),
                Ok(Err(error)) => job.fail(Ok(error)),
                Err(panic) => job.fail(Err(panic)),
            }
        }
    }
}

/// The text with its tokens; one that has none is replied to.
fn tokenized(mut job: Job) -> Option<Job> {
    if job.windows.is_some() {
        return Some(job);
    }
    let timer = job.model.phases.tokenize.start_timer();
    let windows = without_panic(|| job.text.windows(&job.model.predictor));
    timer.observe_duration();
    match windows {
        Ok(Ok(windows)) => match job.limits.check_tokens(&job.model.name, &windows) {
            Ok(()) => {
                job.windows = Some(windows);
                return Some(job);
            }
            Err(too_long) => job.refuse(too_long),
        },
        Ok(Err(error)) => job.fail(Ok(error)),
        Err(panic) => job.fail(Err(panic)),
    }
    None
}

fn run_alone(model: &LoadedModel, job: &Job, seat: Seat) -> Result<Prediction, PredictorError> {
    let windows = job.windows.as_deref().unwrap_or_default();
    let mut worker = session(model, seat)?;
    model.counters.tokens.inc_by(windows.iter().map(|window| window.encoding.len() as u64).sum());
    let _timer = model.phases.compute.start_timer();
    worker.predict_tokens(job.text.input(), windows)
}

fn session(model: &LoadedModel, seat: Seat) -> Result<Worker, PredictorError> {
    if seat.cores > 1
        && let Some(wide) = model.predictor.wide_worker_at(seat.place, seat.cores)?
    {
        model.counters.wide.inc();
        return Ok(wide);
    }
    model.predictor.worker_at(seat.place)
}

fn run_together(model: &LoadedModel, jobs: &[Job], place: usize) -> Result<Vec<Prediction>, PredictorError> {
    let inputs: Vec<(Input<'_>, &Window)> =
        jobs.iter().filter_map(|job| Some((job.text.input(), job.windows.as_ref()?.first()?))).collect();
    let mut worker = model.predictor.worker_at(place)?;
    let timer = Timer::start(&model.phases.compute, jobs.len());
    let predictions = worker.predict_together(&inputs)?;
    drop(timer);
    model.counters.tokens.inc_by(inputs.iter().map(|(_, window)| window.encoding.len() as u64).sum());
    Ok(predictions)
}

/// Observes the time of a common run once for each of its texts: so long each of them was computed.
struct Timer<'a> {
    histogram: &'a Histogram,
    texts: usize,
    started: Instant,
}

impl<'a> Timer<'a> {
    fn start(histogram: &'a Histogram, texts: usize) -> Self {
        Self { histogram, texts, started: Instant::now() }
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        let seconds = self.started.elapsed().as_secs_f64();
        (0..self.texts).for_each(|_| self.histogram.observe(seconds));
    }
}
