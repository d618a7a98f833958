//! Decides. [`plan`] is a pure function from the observed state to actions and reasons: no runtime, files, clock, network
//! or store in this module, so every situation is a readable snapshot in `plan/tests.rs`.
//!
//! A step is small on purpose: the executor carries it out, the state is observed anew, and the planner is asked again.
//! Whatever a crash interrupts is therefore found again by looking, not by remembering.

mod action;
mod alarms;
mod canary;
mod run;
mod state;
#[cfg(test)]
mod tests;
mod triggers;

use std::fmt;

pub use action::Action;
pub use state::*;

/// What to do now, and why (also why nothing is done).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In the order in which they are carried out.
    pub actions: Vec<Action>,
    /// A sentence each.
    pub reasons: Vec<String>,
}

impl Plan {
    fn because(&mut self, reason: impl Into<String>) {
        self.reasons.push(reason.into());
    }

    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for action in &self.actions {
            writeln!(f, "do  {action}")?;
        }
        for reason in &self.reasons {
            writeln!(f, "why {reason}")?;
        }
        Ok(())
    }
}

/// The next actions for one model.
pub fn plan(state: &State) -> Plan {
    let mut plan = Plan::default();
    alarms::plan(state, &mut plan);
    match &state.phase {
        Phase::Watching => triggers::plan(state, &mut plan),
        Phase::Training { run, attempt } => run::training(state, run, *attempt, &mut plan),
        Phase::Gating { run, version, attempt } => run::gating(state, run, version, *attempt, &mut plan),
        Phase::Canary { run, version, step } => canary::plan(state, run, version, *step, &mut plan),
    }
    plan
}
