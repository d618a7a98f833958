use std::fmt;

/// One thing that is wrong in a `refit.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: `train.epochs`, or empty when the file as a whole is meant.
    pub path: String,
    /// The line in the file, from 1; none when a key is missing.
    pub line: Option<usize>,
    /// The value as it was written.
    pub value: Option<String>,
    /// What is wrong with it.
    pub problem: String,
    /// What to write instead.
    pub fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}", self.path)?;
            if let Some(value) = &self.value {
                write!(f, " = {value}")?;
            }
            write!(f, ": ")?;
        }
        write!(f, "{}; {}", self.problem, self.fix)
    }
}

/// Every problem of a `refit.toml`, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct SpecErrors(pub Vec<Problem>);

impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => write!(f, "refit.toml has 1 problem:")?,
            n => write!(f, "refit.toml has {n} problems:")?,
        }
        for problem in &self.0 {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}
