//! The same `refit.toml` with other values of some keys.

use crate::problem::{Problem, SpecErrors};
use crate::search::Setting;
use std::path::Path;

use crate::Spec;

/// Keys of which only one may be given: setting one takes the other away.
const INSTEAD: [(&str, &str); 2] =
    [("train.batch_size", "train.batch_tokens"), ("train.batch_tokens", "train.batch_size")];

impl Spec {
    /// Reads and checks `text` with these keys, by path, at other values. What is not given keeps its
    /// default, also where the default follows from a key that is set here. `[search]` is left out.
    ///
    /// # Errors
    /// Those of [`Spec::parse`].
    pub fn parse_with(
        text: &str,
        base_dir: &Path,
        settings: &[(String, Setting)],
    ) -> Result<Self, SpecErrors> {
        let mut document: toml::Table = match text.parse() {
            Ok(document) => document,
            // Says what is wrong with line and value.
            Err(_) => return Self::parse(text, base_dir),
        };
        document.remove("search");
        for (path, setting) in settings {
            if let Some((_, other)) = INSTEAD.iter().find(|(key, _)| key == path) {
                take(&mut document, other);
            }
            if !set(&mut document, path, setting.to_toml()) {
                return Err(SpecErrors(vec![Problem {
                    path: path.clone(),
                    line: None,
                    value: None,
                    problem: "a part of this key is not a table".into(),
                    fix: "write the key in its section".into(),
                }]));
            }
        }
        Self::parse(&document.to_string(), base_dir)
    }
}

/// Problems of a searched key whose values the spec does not take.
pub(crate) fn check_space(text: &str, spec: &Spec) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, domain) in &spec.search.space {
        let refused = domain.ends().into_iter().find_map(|setting| {
            let refused = Spec::parse_with(text, &spec.base_dir, &[(path.clone(), setting.clone())]).err()?;
            Some((setting, refused.0.into_iter().next()?))
        });
        problems.extend(refused.map(|(setting, problem)| Problem {
            path: format!("search.space.{path}"),
            line: None,
            value: Some(setting.to_string()),
            problem: problem.problem,
            fix: problem.fix,
        }));
    }
    problems
}

fn set(table: &mut toml::Table, path: &str, value: toml::Value) -> bool {
    match path.split_once('.') {
        None => {
            table.insert(path.to_owned(), value);
            true
        }
        Some((section, rest)) => {
            let inner = table.entry(section).or_insert_with(|| toml::Table::new().into());
            inner.as_table_mut().is_some_and(|inner| set(inner, rest, value))
        }
    }
}

fn take(table: &mut toml::Table, path: &str) {
    match path.split_once('.') {
        None => {
            table.remove(path);
        }
        Some((section, rest)) => {
            if let Some(inner) = table.get_mut(section).and_then(toml::Value::as_table_mut) {
                take(inner, rest);
            }
        }
    }
}
