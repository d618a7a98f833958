//! What a model forgot: rows that the spec names, answered by the model that training began with and by the one
//! that it made.

use crate::TrainError;
use refit_stats::{Bootstrap, Interval, PairedCounts, mcnemar_exact, percentile_interval, resample};
use serde::{Deserialize, Serialize};

/// Two models on the reference rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forgetting {
    /// What training began with.
    pub began_with: String,
    /// Reference rows.
    pub rows: u64,
    /// Mean rightness of what training began with: the accuracy where an answer is right or wrong.
    pub before: Interval,
    /// Mean rightness of what it made.
    pub after: Interval,
    /// After minus before, by a bootstrap over rows, both models on the same.
    pub difference: Interval,
    /// Probability of such a difference if both were equal (McNemar, exact); none where answers are neither right
    /// nor wrong.
    pub p_equal: Option<f64>,
}

impl Forgetting {
    /// Compares the rightness of two models on the same rows.
    ///
    /// # Errors
    /// When there are no rows.
    pub fn measure(began_with: &str, before: &[f64], after: &[f64]) -> Result<Self, TrainError> {
        let settings = Bootstrap::default();
        let rows = before.len().min(after.len());
        let mean = |value: &dyn Fn(usize) -> f64| -> Result<Interval, TrainError> {
            let of = |rows: &[usize]| rows.iter().map(|&row| value(row)).sum::<f64>() / rows.len() as f64;
            let draws = resample(rows, &settings, of)?;
            let all: Vec<usize> = (0..rows).collect();
            Ok(percentile_interval(of(&all), &draws, settings.confidence))
        };
        let binary = before.iter().chain(after).all(|value| [0.0, 1.0].contains(value));
        let pairs = before.iter().zip(after).map(|(before, after)| (*before == 1.0, *after == 1.0));
        let counts = PairedCounts::from_outcomes(pairs);
        Ok(Self {
            began_with: began_with.to_owned(),
            rows: rows as u64,
            before: mean(&|row| before[row])?,
            after: mean(&|row| after[row])?,
            difference: mean(&|row| after[row] - before[row])?,
            p_equal: binary.then(|| mcnemar_exact(counts.champion_only, counts.challenger_only)),
        })
    }

    /// What it comes to, as one sentence.
    pub fn sentence(&self) -> String {
        let verdict = if self.difference.upper < 0.0 {
            "it forgot"
        } else if self.difference.lower > 0.0 {
            "it forgot nothing there and gained"
        } else {
            "no loss is shown"
        };
        format!(
            "on {} reference rows {} answers {:.4} rightly and the new model {:.4} ({:+.4}, interval {:+.4} to {:+.4}): {verdict}",
            self.rows,
            self.began_with,
            self.before.estimate,
            self.after.estimate,
            self.difference.estimate,
            self.difference.lower,
            self.difference.upper
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(before: f64, after: f64) -> Forgetting {
        let row =
            |share: f64| (0..200).map(|row| f64::from(f64::from(row) < 200.0 * share)).collect::<Vec<f64>>();
        Forgetting::measure("the champion", &row(before), &row(after)).unwrap()
    }

    #[test]
    fn a_loss_is_said_only_where_it_is_shown() {
        let lost = of(0.9, 0.7);
        assert_eq!((lost.before.estimate, lost.after.estimate), (0.9, 0.7));
        assert!((lost.difference.estimate + 0.2).abs() < 1e-12 && lost.p_equal < Some(1e-9));
        assert!(lost.sentence().ends_with("it forgot"), "{}", lost.sentence());
        assert!(of(0.8, 0.8).sentence().ends_with("no loss is shown"));
        assert!(of(0.8, 0.795).sentence().ends_with("no loss is shown"), "one row of 200");
        assert!(of(0.6, 0.9).sentence().ends_with("gained"));
        assert!(Forgetting::measure("x", &[], &[]).is_err());
        assert_eq!(Forgetting::measure("x", &[0.5, 1.0], &[0.6, 0.7]).unwrap().p_equal, None);
    }
}
