use std::fmt;

use crate::problem::Problem;
use crate::reader::{Reader, words};
use crate::section::section;
use crate::spec::{Section, TableBuilder};
use crate::written::{Entry, Value, Written};

section! {
    /// What `refit search` tries. Trials are judged on validation rows; the test rows are looked at once, at the end, with the best.
    RawSearch at "search" {
        /// `"halving"` stops a trial that is not among the best at a rung (asynchronous successive halving, Li et al. 2020); `"random"` runs every trial to its end (Bergstra and Bengio 2012).
        method: "`\"halving\"` or `\"random\"`" = "\"halving\"",
        /// How many settings are tried.
        trials: "count" = "20",
        /// Of the trials that reach a rung the best 1 in this many go on; a rung is this many times later than the one before.
        reduction: "count" = "3",
        /// Epochs to the first rung.
        min_epochs: "count" = "1",
        /// The same seed tries the same settings in the same order.
        seed: "count" = "7",
        /// The keys that are tried, each with its values: `"train.learning_rate" = { log = [1e-5, 1e-3] }`, `"train.dropout" = { uniform = [0.0, 0.3] }`, `"train.epochs" = { integer = [2, 6] }`, `"train.method" = ["full", "lora(rank = 8)"]`. Every key of `[train]` but its threads, device and early stopping; of `[model]` base, tokenizer and pooling.
        space: "table of keys" = "(empty)",
    }
}

/// How trials are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SearchMethod {
    /// Trials that fall behind are stopped.
    Halving,
    /// Every trial is run to its end.
    Random,
}
words!(SearchMethod { Halving = "halving", Random = "random" });

/// `[search]`, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchSpec {
    /// How trials are run.
    pub method: SearchMethod,
    /// How many are run at most.
    pub trials: usize,
    /// 1 in this many goes on at a rung.
    pub reduction: usize,
    /// Epochs to the first rung.
    pub min_epochs: usize,
    /// Fixes the settings that are tried.
    pub seed: u64,
    /// Every searched key, by its path such as `train.learning_rate`, with its values; sorted by path.
    pub space: Vec<(String, Domain)>,
}

/// The values that a key may take.
#[derive(Debug, Clone, PartialEq)]
pub enum Domain {
    /// Between two numbers above 0, every order of magnitude as likely as another.
    Log(f64, f64),
    /// Between two numbers.
    Uniform(f64, f64),
    /// A whole number from the first to the second.
    Integer(i64, i64),
    /// One of these.
    Choice(Vec<Setting>),
}

/// The value of a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Setting {
    /// A string.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// A boolean.
    Boolean(bool),
}

impl Setting {
    pub(crate) fn to_toml(&self) -> toml::Value {
        match self {
            Self::Text(text) => text.clone().into(),
            Self::Integer(number) => (*number).into(),
            Self::Number(number) => (*number).into(),
            Self::Boolean(value) => (*value).into(),
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(number) => write!(f, "{number}"),
            // Shows that it is no whole number, as TOML does.
            Self::Number(number) => write!(f, "{number:?}"),
            Self::Boolean(value) => write!(f, "{value}"),
        }
    }
}

impl Domain {
    /// Values that show whether the key takes all of the domain: its ends, or every choice.
    pub(crate) fn ends(&self) -> Vec<Setting> {
        match self {
            Self::Log(low, high) | Self::Uniform(low, high) => {
                vec![Setting::Number(*low), Setting::Number(*high)]
            }
            Self::Integer(low, high) => vec![Setting::Integer(*low), Setting::Integer(*high)],
            Self::Choice(values) => values.clone(),
        }
    }

    fn to_toml(&self) -> toml::Value {
        let range = |kind: &str, ends: Vec<toml::Value>| {
            toml::Table::from_iter([(kind.to_owned(), toml::Value::Array(ends))]).into()
        };
        match self {
            Self::Log(low, high) => range("log", vec![(*low).into(), (*high).into()]),
            Self::Uniform(low, high) => range("uniform", vec![(*low).into(), (*high).into()]),
            Self::Integer(low, high) => range("integer", vec![(*low).into(), (*high).into()]),
            Self::Choice(values) => values.iter().map(Setting::to_toml).collect::<Vec<_>>().into(),
        }
    }
}

impl Section for SearchSpec {
    type Raw = RawSearch;

    fn check(raw: &RawSearch, problems: &mut Vec<Problem>) -> Option<Self> {
        let mut r = Reader::new("search", problems);
        let spec = Self {
            method: r.parsed("method", &raw.method).unwrap_or(SearchMethod::Halving),
            trials: r.count("trials", &raw.trials, 1..=100_000).unwrap_or(20) as usize,
            reduction: r.count("reduction", &raw.reduction, 2..=100).unwrap_or(3) as usize,
            min_epochs: r.count("min_epochs", &raw.min_epochs, 1..=10_000).unwrap_or(1) as usize,
            seed: r.count("seed", &raw.seed, 0..=i64::MAX as u64).unwrap_or(7),
            space: space(&mut r, &raw.space),
        };
        Some(spec)
    }

    fn table(&self) -> TableBuilder {
        let table = TableBuilder::default()
            .text("method", self.method)
            .value("trials", self.trials as i64)
            .value("reduction", self.reduction as i64)
            .value("min_epochs", self.min_epochs as i64)
            .value("seed", self.seed as i64);
        if self.space.is_empty() {
            return table;
        }
        let space = self.space.iter().map(|(key, domain)| (key.clone(), domain.to_toml()));
        table.value("space", toml::Table::from_iter(space))
    }
}

const DOMAINS: &str =
    "write { log = [low, high] }, { uniform = [low, high] }, { integer = [low, high] } or a list of values";

fn space(r: &mut Reader<'_>, written: &Option<Written>) -> Vec<(String, Domain)> {
    let Some(written) = written else { return Vec::new() };
    let Value::Table(entries) = &written.value else {
        r.problem("space", Some(written), "not a table", format!("write \"train.KEY\" = ...; {DOMAINS}"));
        return Vec::new();
    };
    let mut found = Vec::new();
    for (path, value) in leaves("", entries) {
        let key = format!("space.{path}");
        match may_be_searched(&path) {
            Ok(()) => found.extend(domain(r, &key, value).map(|domain| (path, domain))),
            Err(fix) => r.problem(&key, Some(value), "not a key that can be searched", fix),
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// The keys with their domains; a key may be written in quotes or as nested tables.
fn leaves<'a>(parent: &str, entries: &'a [Entry]) -> Vec<(String, &'a Written)> {
    let mut found = Vec::new();
    for entry in entries {
        let path = if parent.is_empty() { entry.key.clone() } else { format!("{parent}.{}", entry.key) };
        match &entry.value.value {
            Value::Table(inner) if !inner.iter().any(|entry| KINDS.contains(&entry.key.as_str())) => {
                found.extend(leaves(&path, inner));
            }
            _ => found.push((path, &entry.value)),
        }
    }
    found
}

const KINDS: [&str; 3] = ["log", "uniform", "integer"];

/// Rows, and the measure that trials are compared by, have to be the same for all.
fn may_be_searched(path: &str) -> Result<(), String> {
    const NOT: [&str; 3] = ["train.threads", "train.device", "train.early_stopping"];
    const MODEL: [&str; 3] = ["model.base", "model.tokenizer", "model.pooling"];
    let is_train = path.starts_with("train.") && !NOT.iter().any(|not| path.starts_with(not));
    if !is_train && !MODEL.contains(&path) {
        return Err(
            "search keys of [train] (not its threads, device or early stopping), or model.base, model.tokenizer, model.pooling".into(),
        );
    }
    let (section, key) = path.rsplit_once('.').unwrap_or(("", path));
    let known = crate::raw::SECTIONS.iter().find(|known| known.path == section);
    let names: Vec<&str> =
        known.map_or_else(Vec::new, |known| known.keys.iter().map(|key| key.name).collect());
    match names.contains(&key) {
        true => Ok(()),
        false => Err(crate::reader::one_of(key, &names)),
    }
}

fn domain(r: &mut Reader<'_>, key: &str, written: &Written) -> Option<Domain> {
    if let Value::Array(items) = &written.value {
        let values: Option<Vec<Setting>> = items.iter().map(setting).collect();
        if let Some(values) = values.filter(|values| !values.is_empty()) {
            return Some(Domain::Choice(values));
        }
    }
    if let Value::Table(entries) = &written.value
        && let [Entry { key: kind, value: Written { value: Value::Array(ends), .. }, .. }] =
            entries.as_slice()
        && let [low, high] = ends.as_slice()
    {
        let found = match (kind.as_str(), number(low), number(high)) {
            ("log", Some(low), Some(high)) if 0.0 < low && low < high => Some(Domain::Log(low, high)),
            ("uniform", Some(low), Some(high)) if low < high => Some(Domain::Uniform(low, high)),
            ("integer", ..) => match (&low.value, &high.value) {
                (Value::Integer(low), Value::Integer(high)) if low < high => {
                    Some(Domain::Integer(*low, *high))
                }
                _ => None,
            },
            _ => None,
        };
        if found.is_some() {
            return found;
        }
        r.problem(
            key,
            Some(written),
            "not a range",
            "write the lower end first; both ends of log above 0, of integer whole",
        );
        return None;
    }
    r.problem(key, Some(written), "not understood", DOMAINS);
    None
}

fn number(written: &Written) -> Option<f64> {
    match written.value {
        Value::Float(number) => Some(number).filter(|number| number.is_finite()),
        Value::Integer(number) => Some(number as f64),
        _ => None,
    }
}

fn setting(written: &Written) -> Option<Setting> {
    match &written.value {
        Value::Text(text) => Some(Setting::Text(text.clone())),
        Value::Integer(number) => Some(Setting::Integer(*number)),
        Value::Float(number) => Some(Setting::Number(*number)),
        Value::Boolean(value) => Some(Setting::Boolean(*value)),
        _ => None,
    }
}
