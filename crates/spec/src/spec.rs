use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::problem::{Problem, SpecErrors};
use crate::raw::RawSpec;
use crate::settings::check_space;
use crate::train::{RawEarlyStopping, RawTrain};
use crate::{DataSpec, ExportSpec, ModelSpec, MonitorSpec, RefitSpec, SearchSpec, ServeSpec, TrainSpec};

/// A `refit.toml` that was checked: what the program runs on.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// What the model is.
    pub model: ModelSpec,
    /// Where the rows are.
    pub data: DataSpec,
    /// How it is trained.
    pub train: TrainSpec,
    /// What a search tries.
    pub search: SearchSpec,
    /// What is made of it.
    pub export: ExportSpec,
    /// How it is served.
    pub serve: ServeSpec,
    /// What is watched.
    pub monitor: MonitorSpec,
    /// When it is trained again.
    pub refit: RefitSpec,
    /// Where relative paths start: the folder of `refit.toml`.
    pub base_dir: PathBuf,
}

impl Spec {
    /// Reads and checks a `refit.toml`.
    ///
    /// # Errors
    /// Every problem at once, in the order of the file.
    pub fn parse(text: &str, base_dir: &Path) -> Result<Self, SpecErrors> {
        let spec: Self = RawSpec::read(text, base_dir).try_into()?;
        match check_space(text, &spec) {
            problems if problems.is_empty() => Ok(spec),
            problems => Err(SpecErrors(problems)),
        }
    }

    /// The configuration of a run that starts from the champion.
    #[must_use]
    pub fn from_champion(&self) -> Self {
        let mut spec = self.clone();
        spec.train.epochs = self.refit.epochs.unwrap_or(self.train.epochs);
        spec
    }

    /// Everything that decides what a training makes, by path (`train.epochs`), as TOML values. Where
    /// checkpoints are kept, and whether memory is saved, changes no result and is not among them.
    pub fn training_keys(&self) -> BTreeMap<String, String> {
        let mut keys = BTreeMap::new();
        for (name, table) in
            [("model", self.model.table()), ("data", self.data.table()), ("train", self.train.table())]
        {
            flatten(name, &toml::Value::Table(table.0), &mut keys);
        }
        keys.retain(|key, _| {
            !key.starts_with("train.checkpoint.") && key != "train.activation_checkpointing"
        });
        keys
    }

    /// The effective configuration, defaults included; parsing it again gives the same values.
    pub fn to_toml(&self) -> String {
        let table = TableBuilder::default()
            .section("model", &self.model)
            .section("data", &self.data)
            .section("train", &self.train)
            .section("search", &self.search)
            .section("export", &self.export)
            .section("serve", &self.serve)
            .section("monitor", &self.monitor)
            .section("refit", &self.refit);
        table.0.to_string()
    }
}

fn flatten(path: &str, value: &toml::Value, keys: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                flatten(&format!("{path}.{key}"), value, keys);
            }
        }
        value => {
            keys.insert(path.to_owned(), value.to_string());
        }
    }
}

impl TryFrom<RawSpec> for Spec {
    type Error = SpecErrors;

    fn try_from(raw: RawSpec) -> Result<Self, SpecErrors> {
        let mut problems = raw.problems;
        // After a syntax error the rest of the file is a guess: its problems would mislead.
        if problems.iter().any(|problem| problem.path.is_empty()) {
            problems.retain(|problem| problem.path.is_empty());
            return Err(SpecErrors(problems));
        }
        let model = ModelSpec::check(&raw.model, &mut problems);
        let data = DataSpec::check(&raw.data, &mut problems);
        let train = TrainSpec::check(&raw.train, &mut problems);
        let search = SearchSpec::check(&raw.search, &mut problems);
        let export = ExportSpec::check(&raw.export, &mut problems);
        let serve = ServeSpec::check(&raw.serve, &mut problems);
        let monitor = MonitorSpec::check(&raw.monitor, &mut problems);
        let refit = RefitSpec::check(&raw.refit, &mut problems);
        if let (true, Some(model), Some(data), Some(train), Some(search), Some(export)) =
            (problems.is_empty(), model, data, train, search, export)
            && let (Some(serve), Some(monitor), Some(refit)) = (serve, monitor, refit)
        {
            let metric_is_given = metric_is_given(&raw.train);
            let base_dir = raw.base_dir;
            let mut spec = Self { model, data, train, search, export, serve, monitor, refit, base_dir };
            crate::task::check(&mut spec, metric_is_given, &mut problems);
            return if problems.is_empty() { Ok(spec) } else { Err(SpecErrors(problems)) };
        }
        // Missing keys have no line: they come last.
        problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        Err(SpecErrors(problems))
    }
}

/// Whether the metric of early stopping was written, or is the task's first.
fn metric_is_given(train: &RawTrain) -> bool {
    RawEarlyStopping::read(train.early_stopping.as_ref(), &mut Vec::new()).metric.is_some()
}

/// A section: from what was written to what is run on, and back.
pub(crate) trait Section: Sized {
    type Raw;

    /// None only when a required key has no usable value, which then is among the problems.
    fn check(raw: &Self::Raw, problems: &mut Vec<Problem>) -> Option<Self>;

    /// Every key with its effective value.
    fn table(&self) -> TableBuilder;
}

/// Builds the TOML of the effective configuration.
#[derive(Default)]
pub(crate) struct TableBuilder(toml::Table);

impl TableBuilder {
    pub(crate) fn value(mut self, key: &str, value: impl Into<toml::Value>) -> Self {
        self.0.insert(key.into(), value.into());
        self
    }

    pub(crate) fn text(self, key: &str, value: impl std::fmt::Display) -> Self {
        self.value(key, value.to_string())
    }

    pub(crate) fn texts(self, key: &str, values: &[impl std::fmt::Display]) -> Self {
        self.value(key, values.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    pub(crate) fn optional(self, key: &str, value: Option<impl std::fmt::Display>) -> Self {
        self.optional_value(key, value.map(|value| value.to_string()))
    }

    pub(crate) fn optional_value(self, key: &str, value: Option<impl Into<toml::Value>>) -> Self {
        match value {
            Some(value) => self.value(key, value),
            None => self,
        }
    }

    pub(crate) fn section(self, key: &str, section: &impl Section) -> Self {
        self.value(key, section.table().0)
    }
}
