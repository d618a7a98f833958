use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::duration::unit_ms;

/// How many false alarms one is ready to live with: `"1 false alarm a month"`.
#[derive(Debug, Clone, PartialEq)]
pub struct FalseAlarmBudget {
    /// How many ...
    pub alarms: u32,
    /// ... in one of these: day, week, month (30 days) or year.
    pub unit: String,
}

impl FalseAlarmBudget {
    /// The time over which the alarms are counted.
    pub fn period(&self) -> Duration {
        Duration::from_millis(unit_ms(&self.unit).unwrap_or(1))
    }

    /// The level of a test that looks once every `window`, at most 0.5: alarms x window / period.
    pub fn alpha(&self, window: Duration) -> f64 {
        (f64::from(self.alarms) * window.as_secs_f64() / self.period().as_secs_f64()).min(0.5)
    }
}

impl FromStr for FalseAlarmBudget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "write it like \"1 false alarm a month\", with day, week, month or year";
        let words: Vec<&str> = text.split_whitespace().collect();
        let [alarms, "false", "alarm" | "alarms", "a" | "an" | "per" | "every", unit] = words[..] else {
            return Err(expected.into());
        };
        let alarms = match alarms {
            "one" => 1,
            number => number.parse().map_err(|_| expected)?,
        };
        if alarms == 0 {
            return Err("a test without false alarms never alarms: write at least 1".into());
        }
        if !["hour", "day", "week", "month", "year"].contains(&unit) {
            return Err(expected.into());
        }
        Ok(Self { alarms, unit: unit.into() })
    }
}

impl fmt::Display for FalseAlarmBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.alarms == 1 { "" } else { "s" };
        write!(f, "{} false alarm{plural} a {}", self.alarms, self.unit)
    }
}
