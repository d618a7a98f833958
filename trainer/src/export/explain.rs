//! The choice in words.

use super::plan::{Rule, Verdict};
use refit_artifact::Candidate;

/// Square of the normal quantile of a two-sided interval at 95 %.
const Z_SQUARED: f64 = 3.841_458_8;

/// Where and by what forms were judged.
pub struct Place {
    /// The engine.
    pub engine: &'static str,
    /// Held-out rows.
    pub rows: usize,
    /// What was asked of them.
    pub rule: Rule,
}

/// What a verdict says in a few words.
pub fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accepted => "fast and accurate enough",
        Verdict::TooSlow => "not fast enough",
        Verdict::NotAsked => "not asked: a faster one was accepted",
        Verdict::Inaccurate => "not accurate enough",
        Verdict::NotShown => "not shown to be accurate enough",
    }
}

/// A form by its name.
pub fn name(candidate: &Candidate) -> String {
    match candidate.float_layers.len() {
        0 => candidate.precision.to_string(),
        1 => format!("{} with 1 layer in float32", candidate.precision),
        kept => format!("{} with {kept} layers in float32", candidate.precision),
    }
}

/// What was measured of a form.
pub fn measured(candidate: &Candidate) -> String {
    let drop = candidate.accuracy_drop.map_or_else(String::new, |drop| {
        format!(
            "loses {:.4} accuracy (95 % interval {:.4} to {:.4}) and ",
            drop.estimate, drop.lower, drop.upper
        )
    });
    format!("{} {drop}is {:.2} times as fast as float32", name(candidate), candidate.speedup)
}

/// Why `served`, or float32 where it is `None`, is served. `verdicts` are those of `candidates`, which are the forms
/// beside float32.
pub fn reason(
    place: &Place,
    served: Option<&Candidate>,
    candidates: &[Candidate],
    verdicts: &[Verdict],
) -> String {
    let Place { engine, rows, rule } = place;
    let asked = format!("at most {} and at least {} were asked for", rule.max_drop, rule.min_speedup);
    let on = format!("on {rows} held-out rows");
    if let Some(served) = served {
        let what = measured(served);
        return format!("{} is served: {on} {what} in {engine} on this machine; {asked}", name(served));
    }
    // The whole forms tell why; with layers in float32 there are only more of the same.
    let whole = || candidates.iter().zip(verdicts).filter(|(form, _)| form.float_layers.is_empty());
    let Some((form, said)) = whole().max_by_key(|(_, said)| closeness(**said)) else {
        return "float32 is served: [export] quantize asks for no other file".to_owned();
    };
    let why = match said {
        Verdict::TooSlow => format!("{} is {}", name(form), verdict(Verdict::TooSlow)),
        Verdict::NotShown if !rule.can_be_shown() => format!(
            "{rows} rows cannot show that the loss stays inside of what is allowed{}",
            match rows_needed(rule.max_drop) {
                Some(needed) => format!(", {needed} could"),
                None => String::new(),
            }
        ),
        Verdict::NotShown => format!("{rows} rows do not show that the loss stays inside of what is allowed"),
        _ => format!("{} is {}", name(form), verdict(*said)),
    };
    let tried = candidates.len() - whole().count();
    let tried = match tried {
        0 => String::new(),
        tried => format!(", nor was one of {tried} forms with layers in float32 fast and accurate enough"),
    };
    format!("float32 is served: {why}: {on} {} in {engine} on this machine; {asked}{tried}", measured(form))
}

/// How close a form came to being served.
fn closeness(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::TooSlow => 0,
        Verdict::Inaccurate => 1,
        Verdict::NotShown => 2,
        Verdict::NotAsked | Verdict::Accepted => 3,
    }
}

/// The rows that show a loss of at most `margin` of a form that answers all of them as float32 does: the upper end
/// of Tango's interval without any disagreement is z^2 / (n + z^2).
fn rows_needed(margin: f64) -> Option<usize> {
    (margin > 0.0).then(|| (Z_SQUARED * (1.0 - margin) / margin).ceil() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::measure;
    use refit_artifact::Precision;
    use refit_stats::Interval;

    fn check(drop: Option<(f64, f64)>, speedup: f64, kept: usize, served: bool, says: &[&str]) {
        let interval = |(estimate, half)| Interval {
            estimate,
            lower: estimate - half,
            upper: estimate + half,
            confidence: 0.95,
        };
        let rule = Rule { max_drop: 0.01, min_speedup: 1.2, least_upper: 0.0076 };
        let form = Candidate {
            precision: Precision::Int8,
            detail: String::new(),
            float_layers: vec!["a layer".to_owned(); kept],
            bytes: 1,
            latency_ms: 1.0,
            speedup,
            accuracy: None,
            accuracy_drop: drop.map(interval),
            verdict: String::new(),
        };
        let attempt = super::super::plan::Attempt { precision: form.precision, kept };
        let measured = super::super::plan::Measured { attempt, speedup, drop: form.accuracy_drop };
        let place = Place { engine: "tract", rows: 500, rule };
        let verdicts = [rule.verdict(&measured)];
        let reason = reason(&place, served.then_some(&form), std::slice::from_ref(&form), &verdicts);
        for part in says {
            assert!(reason.contains(part), "{part:?} is not in {reason:?}");
        }
    }

    #[test]
    fn the_reason_names_what_decided() {
        check(Some((0.0, 0.008)), 2.0, 0, true, &["int8 is served", "2.00 times", "in tract"]);
        check(Some((0.0, 0.008)), 2.0, 3, true, &["int8 with 3 layers in float32 is served"]);
        check(Some((0.0, 0.02)), 2.0, 0, false, &["float32 is served", "500 rows do not show"]);
        check(Some((0.03, 0.02)), 2.0, 0, false, &["int8 is not accurate enough", "loses 0.0300"]);
        check(None, 1.1, 0, false, &["int8 is not fast enough", "is 1.10 times"]);
        check(None, f64::NAN, 0, false, &["int8 is not fast enough"]);
    }

    #[test]
    fn so_many_rows_are_needed() {
        for margin in [0.05, 0.01, 0.005] {
            let rows = rows_needed(margin).unwrap();
            let upper =
                |rows: usize| measure::lost(&vec![1.0; rows], &vec![1.0; rows], margin).unwrap().upper;
            assert!(upper(rows) <= margin && upper(rows - 1) > margin, "{margin}: {rows} {}", upper(rows));
        }
        assert_eq!(rows_needed(0.0), None);
    }
}
