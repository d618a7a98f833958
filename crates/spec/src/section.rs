//! Declares the sections of `refit.toml`: one list of keys makes the raw type, its reading and its
//! place in the reference.

use crate::problem::Problem;
use crate::written::{Value, Written, nearest};

/// What the reference says about one section.
pub(crate) struct SectionReference {
    pub path: &'static str,
    pub docs: &'static [&'static str],
    pub keys: &'static [KeyReference],
}

/// What the reference says about one key. `default` is TOML, or empty when the key is required, or
/// a sentence in parentheses when the default is not a constant.
pub(crate) struct KeyReference {
    pub name: &'static str,
    pub docs: &'static [&'static str],
    pub kind: &'static str,
    pub default: &'static str,
}

macro_rules! section {
    (
        $(#[doc = $docs:literal])*
        $name:ident at $path:literal {
            $( $(#[doc = $key_docs:literal])* $key:ident: $kind:literal = $default:literal, )*
        }
    ) => {
        $(#[doc = $docs])*
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name {
            $( $(#[doc = $key_docs])* pub $key: Option<crate::written::Written>, )*
        }

        impl $name {
            pub(crate) const REFERENCE: crate::section::SectionReference = crate::section::SectionReference {
                path: $path,
                docs: &[$($docs),*],
                keys: &[$( crate::section::KeyReference {
                    name: stringify!($key),
                    docs: &[$($key_docs),*],
                    kind: $kind,
                    default: $default,
                } ),*],
            };

            /// Takes the section's keys from what was written; unknown keys are problems.
            pub(crate) fn read(
                written: Option<&crate::written::Written>,
                problems: &mut Vec<crate::problem::Problem>,
            ) -> Self {
                let mut section = Self::default();
                for (key, value) in crate::section::entries(written, &Self::REFERENCE, problems) {
                    match key {
                        $( stringify!($key) => section.$key = Some(value.clone()), )*
                        _ => {}
                    }
                }
                section
            }
        }
    };
}
pub(crate) use section;

/// The known entries of a section; everything else becomes a problem.
pub(crate) fn entries<'a>(
    written: Option<&'a Written>,
    reference: &SectionReference,
    problems: &mut Vec<Problem>,
) -> Vec<(&'a str, &'a Written)> {
    let Some(written) = written else { return Vec::new() };
    let Value::Table(entries) = &written.value else {
        problems.push(Problem {
            path: reference.path.into(),
            line: Some(written.line),
            value: Some(written.show()),
            problem: "not a table".into(),
            fix: format!("write {}", example(reference)),
        });
        return Vec::new();
    };
    let mut known = Vec::with_capacity(entries.len());
    for entry in entries {
        if reference.keys.iter().any(|key| key.name == entry.key) {
            known.push((entry.key.as_str(), &entry.value));
        } else {
            let names = reference.keys.iter().map(|key| key.name);
            problems.push(unknown_key(reference.path, &entry.key, entry.line, names));
        }
    }
    known
}

pub(crate) fn unknown_key<'a>(
    section: &str,
    key: &str,
    line: usize,
    names: impl Iterator<Item = &'a str> + Clone,
) -> Problem {
    let fix = match nearest(key, names.clone()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("known here: {}", names.collect::<Vec<_>>().join(", ")),
    };
    let path = if section.is_empty() { key.into() } else { format!("{section}.{key}") };
    Problem { path, line: Some(line), value: None, problem: "no such key".into(), fix }
}

fn example(reference: &SectionReference) -> String {
    let keys: Vec<_> = reference
        .keys
        .iter()
        .filter(|key| !key.default.is_empty() && !key.default.starts_with('('))
        .map(|key| format!("{} = {}", key.name, key.default))
        .collect();
    match reference.path.rsplit_once('.') {
        Some((_, name)) => format!("`{name} = {{ {} }}`", keys.join(", ")),
        None => format!("a section `[{}]` with its keys below it", reference.path),
    }
}
