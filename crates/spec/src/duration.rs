use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time as people write it: `"90s"`, `"1h"`, `"6 hours"`, `"30d"`, `"1h 30m"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

const EXPECTED: &str = "write a number and a unit, such as \"30s\", \"15m\", \"6h\", \"7d\" or \"1h 30m\"";

/// Milliseconds of a unit; a month is 30 days and a year 365.
pub(crate) fn unit_ms(unit: &str) -> Option<u64> {
    Some(match unit {
        "ms" | "millisecond" | "milliseconds" => 1,
        "s" | "sec" | "second" | "seconds" => 1000,
        "m" | "min" | "minute" | "minutes" => 60_000,
        "h" | "hour" | "hours" => 3_600_000,
        "d" | "day" | "days" => 86_400_000,
        "w" | "week" | "weeks" => 7 * 86_400_000,
        "month" | "months" => 30 * 86_400_000,
        "year" | "years" => 365 * 86_400_000,
        _ => return None,
    })
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut rest = text.trim();
        let mut total_ms: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(EXPECTED)?;
            let number: u64 = rest[..digits].parse().map_err(|_| EXPECTED)?;
            let after = rest[digits..].trim_start();
            let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let unit = unit_ms(&after[..letters]).ok_or(EXPECTED)?;
            total_ms = number
                .checked_mul(unit)
                .and_then(|ms| total_ms.checked_add(ms))
                .filter(|&ms| ms <= 100 * 365 * 86_400_000)
                .ok_or("write less than 100 years")?;
            rest = after[letters..].trim_start();
        }
        if total_ms == 0 {
            return Err(format!("{EXPECTED}, and more than nothing"));
        }
        Ok(Self(Duration::from_millis(total_ms)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis() as u64;
        let mut separator = "";
        for (unit, ms) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
            if rest >= ms {
                write!(f, "{separator}{}{unit}", rest / ms)?;
                rest %= ms;
                separator = " ";
            }
        }
        Ok(())
    }
}
