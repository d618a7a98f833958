//! Which form of the model is measured next, and which one is served: a pure function of what was measured.
//!
//! Timing is cheap and answering all rows is not. So every whole form is timed first; of those that are fast
//! enough the fastest answers the rows first, and the first that is accurate is the fastest that is. A form that
//! is fast and not accurate is tried again with the layers that hurt in float32: one, two, four, ... of them, then
//! between the last number that failed and the first that passed.

use super::format::is_for_speed;
use refit_artifact::Precision;
use refit_stats::Interval;

/// The most numbers of layers that are tried for one precision.
const MOST_TRIES: usize = 8;

/// A form: a precision, and how many of the layers that hurt most for their size stay in float32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// The precision.
    pub precision: Precision,
    /// Layers that stay in float32.
    pub kept: usize,
}

/// What is known of a form.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// The form.
    pub attempt: Attempt,
    /// Time of float32 over its time.
    pub speedup: f64,
    /// Accuracy that it loses; absent while it has not answered the rows.
    pub drop: Option<Interval>,
}

/// What is asked of a form.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Accuracy that it may lose, the upper end of the interval included.
    pub max_drop: f64,
    /// How much faster than float32 it has to be.
    pub min_speedup: f64,
    /// The upper end for a form that answers every row as float32 does: below it nothing can be shown with these rows.
    pub least_upper: f64,
}

/// What the rule says of a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may be served.
    Accepted,
    /// It is not fast enough, whatever it answers.
    TooSlow,
    /// It was not asked: something faster was accepted.
    NotAsked,
    /// What it loses is more than allowed.
    Inaccurate,
    /// What it loses is inside of what is allowed, and its interval is not.
    NotShown,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Let a whole form, timed already, answer the rows.
    Judge(Attempt),
    /// Find out how much each layer hurts in a precision.
    Rank(Precision),
    /// Make a form with layers in float32, time it, and let it answer the rows.
    Try(Attempt),
    /// Serve this form; float32 when there is none.
    Serve(Option<Attempt>),
}

impl Rule {
    /// What it says of a form.
    pub fn verdict(&self, form: &Measured) -> Verdict {
        match form.drop {
            _ if !self.is_fast(form) => Verdict::TooSlow,
            None => Verdict::NotAsked,
            Some(drop) if drop.upper <= self.max_drop => Verdict::Accepted,
            Some(drop) if drop.estimate <= self.max_drop => Verdict::NotShown,
            Some(_) => Verdict::Inaccurate,
        }
    }

    /// Whether these rows can show of any form that it loses no more than is allowed.
    pub fn can_be_shown(&self) -> bool {
        self.least_upper <= self.max_drop
    }

    /// Integers that are slower than float32 are never served; a smaller file may be, where that is asked for.
    fn is_fast(&self, form: &Measured) -> bool {
        let floor = if is_for_speed(form.attempt.precision) { 1.0 } else { 0.0 };
        form.speedup >= self.min_speedup && form.speedup > floor
    }
}

/// The next step. `measured` holds all whole forms, timed; `layers` how many layers each precision has, once they
/// were ranked.
pub fn next(rule: &Rule, measured: &[Measured], layers: &[(Precision, usize)]) -> Step {
    let best = best(rule, measured);
    let speed = |attempt: Option<Attempt>| {
        let found = attempt.and_then(|attempt| measured.iter().find(|form| form.attempt == attempt));
        found.map_or(0.0, |form| form.speedup)
    };
    let mut whole: Vec<&Measured> =
        measured.iter().filter(|form| form.attempt.kept == 0 && rule.is_fast(form)).collect();
    whole.sort_by(|a, b| b.speedup.total_cmp(&a.speedup));
    // With layers in float32 a form is slower than whole, so what is slower whole need not be looked at.
    whole.retain(|form| form.speedup > speed(best));
    if let Some(form) = whole.iter().find(|form| form.drop.is_none()) {
        return Step::Judge(form.attempt);
    }
    if rule.can_be_shown() {
        for form in whole {
            let precision = form.attempt.precision;
            let Some((_, layers)) = layers.iter().find(|(ranked, _)| *ranked == precision) else {
                return Step::Rank(precision);
            };
            if let Some(kept) = next_number(rule, measured, precision, *layers) {
                return Step::Try(Attempt { precision, kept });
            }
        }
    }
    Step::Serve(best)
}

/// The fastest form that is accepted.
pub fn best(rule: &Rule, measured: &[Measured]) -> Option<Attempt> {
    let accepted = measured.iter().filter(|form| rule.verdict(form) == Verdict::Accepted);
    accepted.max_by(|a, b| a.speedup.total_cmp(&b.speedup)).map(|form| form.attempt)
}

/// How many layers to leave in float32 next, if another number is worth trying.
fn next_number(rule: &Rule, measured: &[Measured], precision: Precision, layers: usize) -> Option<usize> {
    let tried = || measured.iter().filter(|form| form.attempt.precision == precision);
    let with = |verdicts: [Verdict; 2]| {
        tried().filter(move |form| verdicts.contains(&rule.verdict(form))).map(|form| form.attempt.kept)
    };
    let failed = with([Verdict::Inaccurate, Verdict::NotShown]).max()?;
    // More layers only make it slower, so the first number that is too slow ends the range as one that passes does.
    let end = with([Verdict::Accepted, Verdict::TooSlow]).filter(|kept| *kept > failed).min();
    if tried().count() > MOST_TRIES {
        return None;
    }
    let number = match end {
        Some(end) => failed + (end - failed) / 2,
        // All of them in float32 would be float32.
        None => (2 * failed).max(1).min(layers.saturating_sub(1)),
    };
    (number > failed).then_some(number)
}

#[cfg(test)]
mod tests;
