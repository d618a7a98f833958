use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::problem::Problem;
use crate::written::{Value, Written};

/// Reads values of one section, and collects what is wrong with them instead of stopping.
pub(crate) struct Reader<'a> {
    section: &'static str,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(section: &'static str, problems: &'a mut Vec<Problem>) -> Self {
        Self { section, problems }
    }

    /// Records a problem with a key of this section.
    pub(crate) fn problem(
        &mut self,
        key: &str,
        written: Option<&Written>,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.problems.push(Problem {
            path: format!("{}.{key}", self.section),
            line: written.map(|written| written.line),
            value: written.map(Written::show),
            problem: problem.into(),
            fix: fix.into(),
        });
    }

    /// A required key: absent is a problem with this fix.
    pub(crate) fn required(&mut self, key: &str, written: &Option<Written>, fix: &str) {
        if written.is_none() {
            self.problem(key, None, "missing", fix);
        }
    }

    pub(crate) fn text(&mut self, key: &str, written: &Option<Written>) -> Option<String> {
        let written = written.as_ref()?;
        match &written.value {
            Value::Text(text) if !text.trim().is_empty() => Some(text.clone()),
            Value::Text(_) => {
                self.problem(key, Some(written), "empty", "write a name, or remove the key");
                None
            }
            _ => {
                self.problem(key, Some(written), "not a string", "put it in quotes");
                None
            }
        }
    }

    /// A string with a syntax of its own; the error of `FromStr` is the fix.
    pub(crate) fn parsed<T: FromStr<Err = String>>(
        &mut self,
        key: &str,
        written: &Option<Written>,
    ) -> Option<T> {
        let text = self.text(key, written)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(fix) => {
                self.problem(key, written.as_ref(), "not understood", fix);
                None
            }
        }
    }

    pub(crate) fn boolean(&mut self, key: &str, written: &Option<Written>, default: bool) -> bool {
        let Some(written) = written else { return default };
        match written.value {
            Value::Boolean(value) => value,
            _ => {
                self.problem(key, Some(written), "not a boolean", "write true or false, without quotes");
                default
            }
        }
    }

    pub(crate) fn number(
        &mut self,
        key: &str,
        written: &Option<Written>,
        range: RangeInclusive<f64>,
    ) -> Option<f64> {
        let written = written.as_ref()?;
        let number = match written.value {
            Value::Float(number) => number,
            Value::Integer(number) => number as f64,
            _ => {
                self.problem(key, Some(written), "not a number", between(range.start(), range.end()));
                return None;
            }
        };
        if range.contains(&number) {
            return Some(number);
        }
        self.problem(key, Some(written), "out of range", between(range.start(), range.end()));
        None
    }

    pub(crate) fn count(
        &mut self,
        key: &str,
        written: &Option<Written>,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let written = written.as_ref()?;
        if let Value::Integer(number) = written.value
            && let Ok(number) = u64::try_from(number)
            && range.contains(&number)
        {
            return Some(number);
        }
        let problem =
            if matches!(written.value, Value::Integer(_)) { "out of range" } else { "not a whole number" };
        let fix = if *range.end() >= i64::MAX as u64 {
            format!("write a whole number of at least {}", range.start())
        } else {
            format!("write a whole number from {} to {}", range.start(), range.end())
        };
        self.problem(key, Some(written), problem, fix);
        None
    }

    /// A list; each item is read on its own, under the path `key[i]`.
    pub(crate) fn list<T>(
        &mut self,
        key: &str,
        written: &Option<Written>,
        mut item: impl FnMut(&mut Self, &str, &Option<Written>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let written = written.as_ref()?;
        let Value::Array(items) = &written.value else {
            self.problem(key, Some(written), "not a list", format!("write [{}]", written.show()));
            return None;
        };
        let mut values = Vec::with_capacity(items.len());
        for (i, written) in items.iter().enumerate() {
            values.extend(item(self, &format!("{key}[{i}]"), &Some(written.clone())));
        }
        Some(values)
    }

    pub(crate) fn texts(&mut self, key: &str, written: &Option<Written>) -> Option<Vec<String>> {
        self.list(key, written, |reader, key, item| reader.text(key, item))
    }
}

fn between(low: &f64, high: &f64) -> String {
    if high.is_finite() {
        format!("write a number from {low} to {high}")
    } else {
        format!("write a number of at least {low}")
    }
}

/// `FromStr` and `Display` of an enum that is written as one word; a misspelt word names the nearest.
macro_rules! words {
    ($name:ident { $($variant:ident = $word:literal),* $(,)? }) => {
        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                match text.trim() {
                    $( $word => Ok(Self::$variant), )*
                    other => Err(crate::reader::one_of(other, &[$($word),*])),
                }
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $( Self::$variant => $word, )* })
            }
        }
    };
}
pub(crate) use words;

pub(crate) fn one_of(word: &str, known: &[&str]) -> String {
    match crate::written::nearest(word, known.iter().copied()) {
        Some(name) => format!("did you mean {name:?}?"),
        None => {
            format!("write one of {}", known.iter().map(|k| format!("{k:?}")).collect::<Vec<_>>().join(", "))
        }
    }
}
