//! A version that gets a copy of the traffic and answers nobody: what it would have said is compared with what was said.
//!
//! It has one thread, which Linux runs only where no other wants the core, and which touches no lock that an answer
//! needs; copies that it has no time for are dropped and counted. Every fourth text it also computes with the version that
//! answered, on the same thread, so that the two times compare.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use prometheus::{CounterVec, IntCounterVec, Opts};
use refit_engine::without_panic;
use refit_metrics::Registry;
use refit_predictor::{Answer, Prediction, PredictorError, Worker};

use crate::{ServeError, error::chain, job::Text, loaded::LoadedModel};

/// Takes copies. Clones feed the same thread.
#[derive(Clone)]
pub(crate) struct Shadows {
    sender: SyncSender<Sample>,
    metrics: ShadowMetrics,
}

/// A text that was answered, for a version that is only tried.
pub(crate) struct Sample {
    pub text: Text,
    pub shadow: Arc<LoadedModel>,
    pub answered_by: Arc<LoadedModel>,
    pub said: Arc<Prediction>,
}

#[derive(Clone)]
struct ShadowMetrics {
    texts: IntCounterVec,
    timed: IntCounterVec,
    seconds: CounterVec,
}

/// Copies that may wait; they hold their texts.
const WAITING: usize = 64;
/// Of so many texts one is timed in both versions.
const TIMED: u64 = 4;
/// Sessions of versions that are asked no more are freed after so long without a copy.
const IDLE: Duration = Duration::from_secs(1);

impl ShadowMetrics {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let texts = IntCounterVec::new(
            Opts::new(
                "refit_shadow_texts_total",
                "Copies for a shadow by outcome: agrees, differs, failed, or dropped for lack of time.",
            ),
            &["model", "version", "outcome"],
        )?;
        let timed = IntCounterVec::new(
            Opts::new(
                "refit_shadow_timed_texts_total",
                "Texts that were timed in the shadow and in the version that answered.",
            ),
            &["model", "version"],
        )?;
        let seconds = CounterVec::new(
            Opts::new(
                "refit_shadow_compute_seconds_total",
                "Processor time of those texts, in the shadow and in the version that answered (of).",
            ),
            &["model", "version", "of"],
        )?;
        registry.register(Box::new(texts.clone()))?;
        registry.register(Box::new(timed.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        Ok(Self { texts, timed, seconds })
    }
}

impl Shadows {
    /// Starts the thread. It ends when all clones are dropped.
    pub fn start(registry: &Registry) -> Result<Self, ServeError> {
        let metrics = ShadowMetrics::register(registry)?;
        let (sender, receiver) = sync_channel(WAITING);
        let counted = metrics.clone();
        let thread = thread::Builder::new().name("refit-shadow".into());
        thread.spawn(move || work(&receiver, &counted)).map_err(ServeError::Thread)?;
        Ok(Self { sender, metrics })
    }

    /// Takes a copy, or drops and counts it. Never blocks.
    pub fn offer(&self, sample: Sample) {
        let shadow = Arc::clone(&sample.shadow);
        if self.sender.try_send(sample).is_err() {
            self.metrics.count(&shadow, "dropped");
        }
    }
}

impl ShadowMetrics {
    fn count(&self, shadow: &LoadedModel, outcome: &str) {
        self.texts.with_label_values(&[&*shadow.name, &*shadow.version, outcome]).inc();
    }
}

fn work(samples: &Receiver<Sample>, metrics: &ShadowMetrics) {
    give_way();
    let mut sessions = Sessions::default();
    let mut taken = 0u64;
    loop {
        match samples.recv_timeout(IDLE) {
            Ok(sample) => {
                let outcome = compare(&sample, &mut sessions, taken.is_multiple_of(TIMED), metrics);
                metrics.count(&sample.shadow, outcome);
                taken += 1;
            }
            Err(RecvTimeoutError::Timeout) => sessions.0.clear(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Computes a copy and says how it compares.
fn compare(
    sample: &Sample,
    sessions: &mut Sessions,
    is_timed: bool,
    metrics: &ShadowMetrics,
) -> &'static str {
    let (shadow, answered_by) = (&sample.shadow, &sample.answered_by);
    sessions.keep([shadow, answered_by]);
    let run = |sessions: &mut Sessions, model: &Arc<LoadedModel>| {
        without_panic(|| sessions.predict(model, &sample.text))
            .unwrap_or_else(|panic| Err(Failed::Panic(panic)))
    };
    let (prediction, seconds) = match run(sessions, shadow) {
        Ok(done) => done,
        Err(error) => {
            let (model, version) = (&*shadow.name, &*shadow.version);
            tracing::warn!(model, version, error = chain(&error), "a shadow failed on a text");
            return "failed";
        }
    };
    if is_timed && let Ok((_, answering)) = run(sessions, answered_by) {
        let labels = [&*shadow.name, &*shadow.version];
        metrics.timed.with_label_values(&labels).inc();
        let of = |of: &str| metrics.seconds.with_label_values(&[labels[0], labels[1], of]);
        of("shadow").inc_by(seconds);
        of("answering").inc_by(answering);
    }
    if agrees(&prediction.answer, &sample.said.answer) { "agrees" } else { "differs" }
}

/// Whether two answers say the same: labels are equal, numbers within a hundredth, vectors point the same way.
fn agrees(one: &Answer, other: &Answer) -> bool {
    match (one, other) {
        (Answer::Class { label: one, .. }, Answer::Class { label: other, .. }) => one == other,
        (Answer::Labels { labels: one, .. }, Answer::Labels { labels: other, .. }) => one == other,
        (Answer::Number(one), Answer::Number(other)) => {
            (one - other).abs() <= 0.01 * one.abs().max(other.abs())
        }
        (Answer::Entities { .. }, Answer::Entities { .. }) => one.short() == other.short(),
        (Answer::Span(one), Answer::Span(other)) => {
            let place = |span: &refit_predictor::Span| (span.start, span.end);
            one.as_ref().map(place) == other.as_ref().map(place)
        }
        (Answer::Vector(one), Answer::Vector(other)) => cosine(one, other) >= 0.99,
        _ => false,
    }
}

fn cosine(one: &[f32], other: &[f32]) -> f64 {
    let dot =
        |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    dot(one, other) / (dot(one, one) * dot(other, other)).sqrt()
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Predictor(#[from] PredictorError),
    #[error("{0}")]
    Panic(String),
}

/// Sessions of this thread's own: those of the pool are for answers.
#[derive(Default)]
struct Sessions(Vec<(Arc<LoadedModel>, Worker)>);

impl Sessions {
    /// Frees the sessions of all but these.
    fn keep(&mut self, models: [&Arc<LoadedModel>; 2]) {
        self.0.retain(|(model, _)| models.iter().any(|kept| Arc::ptr_eq(kept, model)));
    }

    /// The prediction, and the processor time of its run in seconds.
    fn predict(&mut self, model: &Arc<LoadedModel>, text: &Text) -> Result<(Prediction, f64), Failed> {
        let known = self.0.iter().position(|(known, _)| Arc::ptr_eq(known, model));
        // A panic leaves a session out of the list.
        let (_, mut worker) = match known {
            Some(place) => self.0.swap_remove(place),
            None => (Arc::clone(model), model.predictor.new_worker()?),
        };
        let windows = worker.tokenize(text.input())?;
        let started = thread_time();
        let prediction = worker.predict_tokens(text.input(), &windows)?;
        let seconds = (thread_time() - started).as_secs_f64();
        self.0.push((Arc::clone(model), worker));
        Ok((prediction, seconds))
    }
}

/// The processor time of this thread so far: what else the machine does is not in it.
#[cfg(target_os = "linux")]
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of this frame, which the call fills.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec.max(0) as u32)
}

/// Elsewhere the time on the clock has to do.
#[cfg(not(target_os = "linux"))]
fn thread_time() -> Duration {
    static START: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    START.elapsed()
}

/// Makes this thread run only where no other wants the core.
#[cfg(target_os = "linux")]
fn give_way() {
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: the pointer is to a parameter of this frame; thread 0 is the calling one.
    let refused = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &parameter) } != 0;
    if refused {
        tracing::warn!("the system does not let the thread of shadows give way to others");
    }
}

#[cfg(not(target_os = "linux"))]
fn give_way() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_agree_by_what_they_say() {
        let class =
            |label: &str, p: f32| Answer::Class { label: label.into(), index: 0, probabilities: vec![p] };
        let number = Answer::Number;
        let vector = |values: &[f32]| Answer::Vector(values.to_vec());
        for (one, other, expected) in [
            (class("good", 0.9), class("good", 0.6), true),
            (class("good", 0.9), class("bad", 0.9), false),
            (number(100.0), number(100.9), true),
            (number(100.0), number(102.0), false),
            (number(0.0), number(0.0), true),
            (vector(&[1.0, 2.0]), vector(&[2.0, 4.0]), true),
            (vector(&[1.0, 2.0]), vector(&[2.0, -1.0]), false),
            (number(1.0), class("good", 1.0), false),
        ] {
            assert_eq!(agrees(&one, &other), expected, "{one:?} {other:?}");
        }
    }
}
