use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value as the user wrote it, with its line, so that a problem can point at it.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// The line, from 1.
    pub line: usize,
    pub(crate) value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Array(Vec<Written>),
    Table(Vec<Entry>),
    /// A TOML type that no key takes (a date), or a number that does not fit, by its text.
    Other(String),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub key: String,
    pub line: usize,
    pub value: Written,
}

impl Written {
    /// The whole document as one table.
    pub(crate) fn document(text: &str, table: &DeTable<'_>) -> Self {
        let lines = Lines(text.match_indices('\n').map(|(at, _)| at).collect());
        Self { line: 1, value: lines.table(table) }
    }

    pub(crate) fn show(&self) -> String {
        match &self.value {
            Value::Text(text) => format!("{text:?}"),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Boolean(value) => value.to_string(),
            Value::Other(text) => text.clone(),
            Value::Array(items) => {
                format!("[{}]", items.iter().map(Self::show).collect::<Vec<_>>().join(", "))
            }
            Value::Table(entries) => {
                let entries: Vec<_> =
                    entries.iter().map(|entry| format!("{} = {}", entry.key, entry.value.show())).collect();
                format!("{{ {} }}", entries.join(", "))
            }
        }
    }
}

/// Byte offsets of the line ends.
struct Lines(Vec<usize>);

impl Lines {
    fn of(&self, offset: usize) -> usize {
        1 + self.0.partition_point(|&end| end < offset)
    }

    fn written(&self, value: &Spanned<DeValue<'_>>) -> Written {
        let line = self.of(value.span().start);
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => Value::Other(number.to_string()),
            },
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => Value::Float(number),
                Err(_) => Value::Other(number.to_string()),
            },
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Datetime(date) => Value::Other(date.to_string()),
            DeValue::Array(items) => Value::Array(items.iter().map(|item| self.written(item)).collect()),
            DeValue::Table(table) => self.table(table),
        };
        Written { line, value }
    }

    fn table(&self, table: &DeTable<'_>) -> Value {
        let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| Entry {
            key: std::borrow::Cow::to_string(key.get_ref()),
            line: self.of(key.span().start),
            value: self.written(value),
        };
        Value::Table(table.iter().map(entry).collect())
    }
}

/// The name among `known` that `word` was most likely meant to be, if any is near enough.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    known
        .into_iter()
        .map(|name| (name, strsim::damerau_levenshtein(&word, &name.to_lowercase())))
        .filter(|&(name, distance)| distance <= 1 + name.chars().count().max(word.chars().count()) / 4)
        .min_by_key(|&(_, distance)| distance)
        .map(|(name, _)| name)
}
