use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::problem::Problem;
use crate::section::{SectionReference, unknown_key};
use crate::written::{Value, Written};
use crate::{
    RawAugment, RawAveraging, RawCanary, RawCheckpoint, RawData, RawDrift, RawEarlyStopping, RawExport,
    RawGate, RawHead, RawLimits, RawModel, RawMonitor, RawPerformance, RawPrune, RawQuantize, RawRefit,
    RawSampling, RawSearch, RawServe, RawSplit, RawTelemetry, RawTls, RawTrain,
};

/// A `refit.toml` as it was written, with what is already known to be wrong in it.
///
/// Not serde: serde stops at the first unknown key or wrong type, and the user wants all of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RawSpec {
    /// `[model]`
    pub model: RawModel,
    /// `[data]`
    pub data: RawData,
    /// `[train]`
    pub train: RawTrain,
    /// `[search]`
    pub search: RawSearch,
    /// `[export]`
    pub export: RawExport,
    /// `[serve]`
    pub serve: RawServe,
    /// `[monitor]`
    pub monitor: RawMonitor,
    /// `[refit]`
    pub refit: RawRefit,
    /// Relative paths start here.
    pub base_dir: PathBuf,
    /// Syntax errors and unknown keys.
    pub problems: Vec<Problem>,
}

/// Every section, in the order of the reference.
pub(crate) const SECTIONS: &[&SectionReference] = &[
    &RawModel::REFERENCE,
    &RawHead::REFERENCE,
    &RawData::REFERENCE,
    &RawSplit::REFERENCE,
    &RawTrain::REFERENCE,
    &RawEarlyStopping::REFERENCE,
    &RawAugment::REFERENCE,
    &RawCheckpoint::REFERENCE,
    &RawAveraging::REFERENCE,
    &RawPrune::REFERENCE,
    &RawSearch::REFERENCE,
    &RawExport::REFERENCE,
    &RawQuantize::REFERENCE,
    &RawServe::REFERENCE,
    &RawCanary::REFERENCE,
    &RawLimits::REFERENCE,
    &RawTls::REFERENCE,
    &RawSampling::REFERENCE,
    &RawTelemetry::REFERENCE,
    &RawMonitor::REFERENCE,
    &RawDrift::REFERENCE,
    &RawPerformance::REFERENCE,
    &RawRefit::REFERENCE,
    &RawGate::REFERENCE,
];

impl RawSpec {
    /// Reads TOML; whatever is wrong is kept in `problems`.
    pub fn read(text: &str, base_dir: &Path) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut problems: Vec<Problem> = errors.iter().map(|error| syntax_problem(text, error)).collect();
        let document = Written::document(text, table.get_ref());
        let section = |name: &str| match &document.value {
            Value::Table(entries) => entries.iter().find(|entry| entry.key == name).map(|entry| &entry.value),
            _ => None,
        };
        if let Value::Table(entries) = &document.value {
            let names = SECTIONS.iter().map(|section| section.path).filter(|path| !path.contains('.'));
            for entry in entries {
                if !names.clone().any(|name| name == entry.key) {
                    problems.push(unknown_key("", &entry.key, entry.line, names.clone()));
                }
            }
        }
        Self {
            model: RawModel::read(section("model"), &mut problems),
            data: RawData::read(section("data"), &mut problems),
            train: RawTrain::read(section("train"), &mut problems),
            search: RawSearch::read(section("search"), &mut problems),
            export: RawExport::read(section("export"), &mut problems),
            serve: RawServe::read(section("serve"), &mut problems),
            monitor: RawMonitor::read(section("monitor"), &mut problems),
            refit: RawRefit::read(section("refit"), &mut problems),
            base_dir: base_dir.to_path_buf(),
            problems,
        }
    }
}

fn syntax_problem(text: &str, error: &toml::de::Error) -> Problem {
    let line =
        error.span().map(|span| 1 + text.get(..span.start).map_or(0, |head| head.matches('\n').count()));
    Problem {
        path: String::new(),
        line,
        value: None,
        problem: format!("not TOML: {}", error.message()),
        fix: "see https://toml.io for the syntax".into(),
    }
}
