use std::fmt;
use std::str::FromStr;

use crate::duration::Span;
use crate::metric::Metric;

/// A reason to refit.
#[derive(Debug, Clone, PartialEq)]
pub enum Trigger {
    /// `"f1_macro falls by more than 0.02"`: the live value, judged on labelled rows, is that much
    /// below the value on the test set.
    MetricFalls {
        /// The measure.
        metric: Metric,
        /// The fall that is still accepted.
        margin: f64,
    },
    /// `"drift"`: inputs or answers are distributed unlike those of training.
    Drift,
    /// `"every 30d"` since the champion was trained.
    Every(Span),
    /// `"10000 new labels"` since the champion was trained.
    NewLabels(u64),
}

const EXPECTED: &str =
    "write \"accuracy falls by more than 0.02\", \"drift\", \"every 30d\" or \"10000 new labels\"";

impl FromStr for Trigger {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words[..] {
            ["drift"] => Ok(Self::Drift),
            ["every", ..] => Ok(Self::Every(words[1..].join(" ").parse()?)),
            [count, "new", "label" | "labels"] => match count.replace(['_', ','], "").parse() {
                Ok(count) if count > 0 => Ok(Self::NewLabels(count)),
                _ => Err(EXPECTED.into()),
            },
            [metric, "falls", "by", "more", "than", margin] => {
                let metric: Metric = metric.parse()?;
                if metric == Metric::Loss {
                    return Err("the loss rises when a model gets worse: name accuracy or f1_macro".into());
                }
                match margin.parse::<f64>() {
                    Ok(margin) if (0.0..1.0).contains(&margin) => Ok(Self::MetricFalls { metric, margin }),
                    _ => Err("write the fall as a share from 0 to 1, such as 0.02".into()),
                }
            }
            _ => Err(EXPECTED.into()),
        }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MetricFalls { metric, margin } => write!(f, "{metric} falls by more than {margin}"),
            Self::Drift => f.write_str("drift"),
            Self::Every(span) => write!(f, "every {span}"),
            Self::NewLabels(count) => write!(f, "{count} new labels"),
        }
    }
}
