//! What waits for the threads that compute: a bounded line a model, and fair turns between the models.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts};
use refit_metrics::Registry;

use crate::scheduling::{Fair, Turn};

/// Lines that take what belongs together as a whole or not at all, and never grow beyond their limit. A model that is
/// asked more than it can answer fills its own line only, and has its turn like the others.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    limits: LineLimits,
    metrics: QueueMetrics,
}

/// What each model may take of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LineLimits {
    /// Texts that may wait.
    pub line: usize,
    /// Runs at a time.
    pub runs: usize,
    /// Threads that take from the queue.
    pub workers: usize,
}

/// How much waits, and what was refused.
struct QueueMetrics {
    depth: IntGauge,
    by_model: IntGaugeVec,
    refused: IntCounterVec,
}

struct State<T> {
    lines: BTreeMap<Arc<str>, Line<T>>,
    fair: Fair,
    /// In all lines.
    waiting: usize,
    running: usize,
    closed: bool,
}

struct Line<T> {
    items: VecDeque<T>,
    running: usize,
}

/// What can wait in line.
pub(crate) trait Queued {
    /// How many of the line a thread may look at together with this one.
    fn lookahead(&self) -> usize;

    /// Whether the other can be computed together with this one.
    fn goes_with(&self, other: &Self) -> bool;

    /// Whether it came before the other.
    fn precedes(&self, other: &Self) -> bool;
}

/// A model's turn: some of its line, to be given back or computed.
pub(crate) struct Taken<T> {
    /// In the order of the line; at least one.
    pub items: Vec<T>,
    /// Runs under way at that moment, this one not counted.
    pub running: usize,
    /// Items that waited in all lines, these included.
    pub waiting: usize,
    turn: Turn,
}

/// Why items were not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There is no room now.
    Full,
    /// There never will be.
    Closed,
}

impl QueueMetrics {
    fn register(limits: LineLimits, registry: &Registry) -> Result<Self, prometheus::Error> {
        let depth = IntGauge::new("refit_queue_depth", "Texts that wait for a free worker.")?;
        let limit = IntGauge::new(
            "refit_queue_capacity",
            "Texts of one model that may wait; more are refused with 429.",
        )?;
        let by_model = IntGaugeVec::new(
            Opts::new("refit_model_queue_depth", "Texts of a model that wait for a free worker."),
            &["model"],
        )?;
        let refused = IntCounterVec::new(
            Opts::new(
                "refit_texts_refused_total",
                "Texts refused because their model's line was full; a request that was not read counts as one.",
            ),
            &["model"],
        )?;
        registry.register(Box::new(depth.clone()))?;
        registry.register(Box::new(limit.clone()))?;
        registry.register(Box::new(by_model.clone()))?;
        registry.register(Box::new(refused.clone()))?;
        limit.set(i64::try_from(limits.line).unwrap_or(i64::MAX));
        Ok(Self { depth, by_model, refused })
    }
}

impl<T: Queued> Queue<T> {
    pub fn register(limits: LineLimits, registry: &Registry) -> Result<Self, prometheus::Error> {
        let state =
            State { lines: BTreeMap::new(), fair: Fair::default(), waiting: 0, running: 0, closed: false };
        let metrics = QueueMetrics::register(limits, registry)?;
        Ok(Self { state: Mutex::new(state), changed: Condvar::new(), limits, metrics })
    }

    pub fn limits(&self) -> LineLimits {
        self.limits
    }

    /// Refuses where the line of `model` has no room for a single item.
    pub fn room(&self, model: &Arc<str>) -> Result<(), Refused> {
        let state = self.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        let waiting = state.lines.get(model).map_or(0, |line| line.items.len());
        if waiting < self.limits.line {
            return Ok(());
        }
        self.metrics.refused.with_label_values(&[&**model]).inc();
        Err(Refused::Full)
    }

    /// Takes all items or none into the line of `model`.
    pub fn push_all(&self, model: &Arc<str>, items: Vec<T>) -> Result<(), Refused> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        let added = items.len();
        let line = state.line(model);
        if line.items.len() + added > self.limits.line {
            self.metrics.refused.with_label_values(&[&**model]).inc_by(added as u64);
            return Err(Refused::Full);
        }
        line.items.extend(items);
        state.waiting += added;
        self.publish(&mut state, model);
        drop(state);
        self.wake(added);
        Ok(())
    }

    /// Waits for a model's turn; `None` when the queue is closed and empty. [`Queue::done`] ends the turn.
    pub fn take(&self) -> Option<Taken<T>> {
        let mut state = self.lock();
        loop {
            if let Some(taken) = self.try_take(&mut state) {
                return Some(taken);
            }
            if state.closed && state.waiting == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn try_take(&self, state: &mut State<T>) -> Option<Taken<T>> {
        let State { lines, fair, .. } = state;
        let can_run = |line: &Line<T>| !line.items.is_empty() && line.running < self.limits.runs;
        let turn = fair.next(lines.iter().filter(|(_, line)| can_run(line)).map(|(model, _)| model))?;
        let (waiting, running) = (state.waiting, state.running);
        let line = state.lines.get_mut(&turn.flow)?;
        let first = line.items.pop_front()?;
        // The rest is the share of the other threads.
        let most = first.lookahead().min(line.items.len().div_ceil(self.limits.workers.max(1)) + 1);
        let mut items = vec![first];
        let mut place = 0;
        while items.len() < most && place < line.items.len() {
            if items[0].goes_with(&line.items[place]) {
                items.extend(line.items.remove(place));
            } else {
                place += 1;
            }
        }
        line.running += 1;
        state.running += 1;
        state.waiting -= items.len();
        self.publish(state, &turn.flow);
        Some(Taken { items, running, waiting, turn })
    }

    /// Puts items that were taken and not computed back into their line, before all that came later: other threads give
    /// back too, and who does so last must not come first.
    pub fn give_back(&self, taken: &Taken<T>, items: Vec<T>) {
        if items.is_empty() {
            return;
        }
        let (mut state, added) = (self.lock(), items.len());
        let line = state.line(&taken.turn.flow);
        for item in items.into_iter().rev() {
            let place =
                line.items.iter().position(|other| !other.precedes(&item)).unwrap_or(line.items.len());
            line.items.insert(place, item);
        }
        state.waiting += added;
        self.publish(&mut state, &taken.turn.flow);
        drop(state);
        self.wake(added);
    }

    /// The turn is over and took so many seconds of a thread.
    pub fn done(&self, taken: &Taken<T>, seconds: f64) {
        let mut state = self.lock();
        state.fair.done(&taken.turn, seconds);
        state.running -= 1;
        let line = state.line(&taken.turn.flow);
        line.running -= 1;
        let others_wait = self.limits.runs < self.limits.workers && !line.items.is_empty();
        let ends = state.closed;
        drop(state);
        // A thread may have passed this line over because the model had all its runs.
        if ends {
            self.changed.notify_all();
        } else if others_wait {
            self.changed.notify_one();
        }
    }

    /// Takes no more items; what is there is still handed out.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Forgets the lines of models that are gone.
    pub fn retain(&self, known: impl Fn(&str) -> bool) {
        let mut state = self.lock();
        let State { lines, fair, .. } = &mut *state;
        lines.retain(|model, line| known(model) || !line.items.is_empty() || line.running > 0);
        fair.retain(|model| lines.contains_key(model));
    }

    fn wake(&self, added: usize) {
        if added == 1 { self.changed.notify_one() } else { self.changed.notify_all() }
    }

    fn publish(&self, state: &mut State<T>, model: &Arc<str>) {
        self.metrics.depth.set(state.waiting as i64);
        let depth = state.line(model).items.len() as i64;
        self.metrics.by_model.with_label_values(&[&**model]).set(depth);
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn line(&mut self, model: &Arc<str>) -> &mut Line<T> {
        let empty = || Line { items: VecDeque::new(), running: 0 };
        self.lines.entry(Arc::clone(model)).or_insert_with(empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Queued for u32 {
        fn lookahead(&self) -> usize {
            4
        }

        fn goes_with(&self, other: &Self) -> bool {
            self % 2 == other % 2
        }

        fn precedes(&self, other: &Self) -> bool {
            self < other
        }
    }

    fn queue(line: usize, runs: usize, workers: usize) -> Queue<u32> {
        Queue::register(LineLimits { line, runs, workers }, &Registry::new()).unwrap()
    }

    fn take(queue: &Queue<u32>) -> Vec<u32> {
        let Some(taken) = queue.take() else { return Vec::new() };
        queue.done(&taken, 1.0);
        taken.items
    }

    #[test]
    fn it_takes_all_or_nothing_and_ends_when_closed() {
        let (queue, model) = (queue(3, 8, 8), Arc::from("a"));
        assert_eq!(queue.push_all(&model, vec![1, 2]), Ok(()));
        assert_eq!(queue.push_all(&model, vec![3, 4]), Err(Refused::Full));
        assert_eq!(queue.push_all(&model, vec![6]), Ok(()));
        assert_eq!(queue.metrics.depth.get(), 3);
        assert_eq!(queue.room(&model), Err(Refused::Full));
        assert_eq!(queue.room(&Arc::from("b")), Ok(()));
        assert_eq!(queue.metrics.refused.with_label_values(&["a"]).get(), 3);
        queue.close();
        assert_eq!(queue.push_all(&model, vec![6]), Err(Refused::Closed));
        assert_eq!(queue.room(&model), Err(Refused::Closed));
        assert_eq!([take(&queue), take(&queue), take(&queue)], [vec![1], vec![2, 6], vec![]]);
        assert_eq!(queue.metrics.depth.get(), 0);
    }

    #[test]
    fn a_full_line_leaves_room_and_turns_to_others() {
        let queue = queue(100, 8, 1);
        let [loud, quiet] = ["loud", "quiet"].map(Arc::from);
        queue.push_all(&loud, vec![1; 100]).unwrap();
        assert_eq!(queue.push_all(&loud, vec![1]), Err(Refused::Full));
        let _ = take(&queue);
        queue.push_all(&quiet, vec![2, 3]).unwrap();
        // Where both wait, turns alternate.
        let turns: Vec<u32> = (0..4).map(|_| take(&queue)[0]).collect();
        assert_eq!(turns.iter().filter(|item| **item > 1).count(), 2, "{turns:?}");
    }

    #[test]
    fn what_is_given_back_stands_where_it_stood() {
        let (queue, model) = (queue(10, 8, 1), Arc::from("a"));
        queue.push_all(&model, vec![1, 2, 3, 5, 7, 9]).unwrap();
        let mut taken = queue.take().unwrap();
        assert_eq!((&taken.items[..], taken.waiting, taken.running), (&[1, 3, 5, 7][..], 6, 0));
        let rest = taken.items.split_off(2);
        queue.give_back(&taken, rest);
        queue.done(&taken, 1.0);
        assert_eq!([take(&queue), take(&queue)], [vec![2], vec![5, 7, 9]]);

        // Two threads look ahead, and the one that looked further gives back last.
        queue.push_all(&model, vec![11, 13, 15, 17, 19, 21, 23, 25, 27]).unwrap();
        let [mut near, mut far] = [queue.take().unwrap(), queue.take().unwrap()];
        assert_eq!((&near.items[..], &far.items[..]), (&[11, 13, 15, 17][..], &[19, 21, 23, 25][..]));
        for taken in [&mut near, &mut far] {
            let rest = taken.items.split_off(1);
            queue.give_back(taken, rest);
            queue.done(taken, 1.0);
        }
        assert_eq!([take(&queue), take(&queue)], [vec![13, 15, 17, 21], vec![23, 25, 27]]);
    }

    #[test]
    fn a_model_has_its_runs_and_no_more() {
        let queue = queue(10, 1, 2);
        let [one, other] = ["one", "other"].map(Arc::from);
        queue.push_all(&one, vec![1, 2]).unwrap();
        let first = queue.take().unwrap();
        queue.push_all(&other, vec![4]).unwrap();
        let second = queue.take().unwrap();
        assert_eq!((&first.items[..], &second.items[..], second.running), (&[1][..], &[4][..], 1));
        assert!(queue.try_take(&mut queue.lock()).is_none());
        queue.done(&first, 1.0);
        assert_eq!(take(&queue), [2]);
        queue.done(&second, 1.0);
        let state = queue.lock();
        assert_eq!((state.waiting, state.running), (0, 0));
        drop(state);
        queue.retain(|model| model == "one");
        assert_eq!(queue.lock().lines.len(), 1);
    }
}
