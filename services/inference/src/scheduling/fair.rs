//! Whose turn it is: start-time fair queueing (Goyal, Vin and Cheng 1996) over compute time.
//!
//! Every flow has a clock that runs by the seconds it was served; the one whose clock is behind is next. A flow that was
//! idle starts at the present, so that it cannot save up turns.

use std::{collections::BTreeMap, sync::Arc};

/// The clocks. Flows are the models.
#[derive(Debug, Default)]
pub(crate) struct Fair {
    /// Where the flow that was served last stood when it was.
    now: f64,
    flows: BTreeMap<Arc<str>, Clock>,
}

/// A flow's turn.
#[derive(Debug)]
pub(crate) struct Turn {
    pub flow: Arc<str>,
    /// Seconds that its clock was set forward.
    charged: f64,
}

#[derive(Debug, Default)]
struct Clock {
    /// Seconds of service so far, or later where the flow was idle.
    at: f64,
    /// What one turn takes, as seen lately.
    usual: f64,
}

/// How much of the latest turn enters into what is usual.
const LATEST: f64 = 0.2;

impl Fair {
    /// The one of `waiting` whose turn it is. It is charged a usual turn at once, so that others are next while it runs.
    pub fn next<'a>(&mut self, waiting: impl Iterator<Item = &'a Arc<str>>) -> Option<Turn> {
        let at = |flow: &Arc<str>| self.flows.get(flow).map_or(self.now, |clock| clock.at.max(self.now));
        let next = waiting.min_by(|one, other| at(one).total_cmp(&at(other)))?;
        self.now = at(next);
        let clock = self.flows.entry(Arc::clone(next)).or_default();
        clock.at = self.now + clock.usual;
        Some(Turn { flow: Arc::clone(next), charged: clock.usual })
    }

    /// A turn is over and took so many seconds of a thread.
    pub fn done(&mut self, turn: &Turn, seconds: f64) {
        if let Some(clock) = self.flows.get_mut(&turn.flow) {
            clock.at += seconds - turn.charged;
            clock.usual += LATEST * (seconds - clock.usual);
        }
    }

    /// Forgets flows that are not among `known`.
    pub fn retain(&mut self, known: impl Fn(&str) -> bool) {
        self.flows.retain(|flow, _| known(flow));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds that each flow is served when all always wait, one thread.
    fn serve(fair: &mut Fair, costs: &[(&str, f64)], turns: usize) -> BTreeMap<String, f64> {
        let names: Vec<Arc<str>> = costs.iter().map(|(name, _)| Arc::from(*name)).collect();
        let mut served = BTreeMap::new();
        for _ in 0..turns {
            let next = fair.next(names.iter()).unwrap();
            let seconds = costs.iter().find(|(name, _)| *name == &*next.flow).unwrap().1;
            *served.entry(next.flow.to_string()).or_default() += seconds;
            fair.done(&next, seconds);
        }
        served
    }

    #[test]
    fn flows_share_time_and_not_turns() {
        let served = serve(&mut Fair::default(), &[("long", 0.1), ("short", 0.01)], 1100);
        assert!((served["long"] - served["short"]).abs() < 0.2, "{served:?}");
    }

    #[test]
    fn who_was_idle_is_next_but_has_saved_nothing() {
        let mut fair = Fair::default();
        serve(&mut fair, &[("busy", 0.1), ("other", 0.1)], 2);
        serve(&mut fair, &[("busy", 0.1)], 1000);
        let served = serve(&mut fair, &[("busy", 0.1), ("other", 0.1)], 10);
        assert!((served["busy"] - served["other"]).abs() < 0.15, "{served:?}");
    }

    #[test]
    fn several_threads_do_not_all_take_the_same_flow() {
        let mut fair = Fair::default();
        let flows = [Arc::from("a"), Arc::from("b")];
        serve(&mut fair, &[("a", 0.1), ("b", 0.1)], 8);
        let mut taken: Vec<_> = (0..4).map(|_| fair.next(flows.iter()).unwrap().flow).collect();
        taken.sort();
        assert_eq!(taken.iter().map(|flow| &**flow).collect::<Vec<_>>(), ["a", "a", "b", "b"]);
        fair.retain(|flow| flow == "a");
        assert_eq!(fair.flows.len(), 1);
    }
}
