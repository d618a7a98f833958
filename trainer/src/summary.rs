//! What is said about a run: the manifest, the metadata in the ONNX files, the report.

use crate::data::LoadedData;
use crate::evaluation::Assessment;
use crate::event::Curve;
use crate::export::Parity;
use crate::forgetting::Forgetting;
use crate::report;
use crate::task::Task;
use refit_artifact::{EngineSearch, Manifest, Precision, SCHEMA_VERSION, Serving, TargetScale, files};
use refit_passes::edit::ZeroWeights;
use refit_preprocess::TextSettings;
use refit_spec::Spec;
use std::collections::BTreeMap;

/// All that is known when a run ends.
pub struct Summary<'a> {
    /// What the user asked for.
    pub spec: &'a Spec,
    /// The rows.
    pub data: &'a LoadedData,
    /// The version, if it is known.
    pub version: Option<String>,
    /// The artifact that training started from, if it was not the pretrained base.
    pub parent: Option<String>,
    /// The learning curve.
    pub curve: &'a Curve,
    /// The comparisons of the model's forms.
    pub parity: &'a Parity,
    /// What each engine serves, and why; the first is the engine that serves.
    pub searches: &'a [EngineSearch],
    /// What the model forgot, where the spec names reference rows.
    pub forgetting: Option<&'a Forgetting>,
    /// What turns outputs into the numbers that are answered, where the task answers numbers.
    pub scale: Option<TargetScale>,
    /// How many weights are zero, where the spec prunes weights.
    pub zeros: Option<ZeroWeights>,
}

/// Metadata that makes an ONNX file usable without refit, but for the tokenizer that lies beside it: `examples/`
/// does so in Python.
pub fn metadata(
    spec: &Spec,
    version: Option<&str>,
    task: &dyn Task,
    labels: &[String],
    settings: &TextSettings,
) -> BTreeMap<String, String> {
    let mut metadata = BTreeMap::from([
        ("refit.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("refit.model".to_owned(), spec.model.name.clone()),
        ("refit.base".to_owned(), spec.model.base.to_string()),
        ("refit.task".to_owned(), spec.model.task.to_string()),
        ("refit.output".to_owned(), task.output().to_owned()),
        ("refit.labels".to_owned(), serde_json::to_string(labels).unwrap_or_default()),
        ("refit.preprocessing".to_owned(), serde_json::to_string(settings).unwrap_or_default()),
        ("refit.max_length".to_owned(), settings.max_length.to_string()),
    ]);
    metadata.extend(version.map(|version| ("refit.model_version".to_owned(), version.to_owned())));
    if let Some(scale) = task.scale() {
        // What a regression puts out times the deviation, plus the mean, is the number.
        metadata.insert("refit.scale".to_owned(), serde_json::to_string(&scale).unwrap_or_default());
    }
    metadata
}

/// The manifest; a draft has no evaluation yet.
pub fn manifest(summary: &Summary<'_>, evaluation: Option<&Assessment>) -> Manifest {
    let mut metrics = BTreeMap::new();
    if let Some(evaluation) = evaluation {
        metrics.insert("rows".to_owned(), evaluation.rows() as f64);
        for figure in evaluation.figures() {
            metrics.insert(format!("{}_lower", figure.name), figure.value.lower);
            metrics.insert(format!("{}_upper", figure.name), figure.value.upper);
            metrics.extend(figure.baseline.map(|baseline| (format!("baseline_{}", figure.name), baseline)));
            metrics.insert(figure.name, figure.value.estimate);
        }
    }
    if let Some(forgetting) = summary.forgetting {
        metrics.insert("reference_before".to_owned(), forgetting.before.estimate);
        metrics.insert("reference_after".to_owned(), forgetting.after.estimate);
    }
    metrics.extend(summary.zeros.map(|zeros| ("zero_weights".to_owned(), zeros.share())));
    Manifest {
        schema_version: SCHEMA_VERSION,
        model: summary.spec.model.name.clone(),
        version: summary.version.clone(),
        created_at: jiff::Timestamp::now(),
        code_version: env!("CARGO_PKG_VERSION").to_owned(),
        task: summary.spec.model.task.to_string(),
        labels: summary.data.labels.names().to_vec(),
        scale: summary.scale,
        files: BTreeMap::new(),
        config: summary.spec.to_toml(),
        data_fingerprint: summary.data.fingerprint.clone(),
        base: summary.spec.model.base.to_string(),
        parent: summary.parent.clone(),
        metrics,
        serving: summary.searches.first().map_or_else(float32, |search| search.serving.clone()),
        searches: summary.searches.to_vec(),
        parity: summary.parity.checks.clone(),
    }
}

/// What is served where nothing was measured.
fn float32() -> Serving {
    Serving {
        file: files::MODEL_FLOAT32.to_owned(),
        precision: Precision::Float32,
        float_layers: Vec::new(),
        engine: "tract".to_owned(),
        reason: "nothing else was measured".to_owned(),
    }
}

/// The report as one HTML page.
pub fn report(summary: &Summary<'_>, evaluation: &Assessment) -> String {
    let spec = summary.spec;
    let mut facts = vec![
        ("base", spec.model.base.to_string()),
        ("method", spec.train.method.to_string()),
        (
            "rows",
            format!(
                "{} train, {} validation, {} test",
                summary.data.train.len(),
                summary.data.validation.len(),
                summary.data.test.len()
            ),
        ),
        ("data fingerprint", summary.data.fingerprint.clone()),
        ("started from", summary.parent.clone().unwrap_or_else(|| "the pretrained base".to_owned())),
    ];
    facts.extend(spec.train.prune.map(|prune| ("pruned", prune.to_string())));
    facts.extend(summary.zeros.map(|zeros| ("weights that are zero", zeros.to_string())));
    report::render(&report::Report {
        model: spec.model.name.clone(),
        version: summary.version.clone().unwrap_or_default(),
        created_at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        facts: facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        learning_curve: learning_curve(summary),
        evaluation: evaluation.clone(),
        class_balance: summary
            .data
            .balance
            .iter()
            .map(|class| report::ClassBalance {
                label: class.label.clone(),
                train: class.train as u64,
                validation: class.validation as u64,
                test: class.test as u64,
            })
            .collect(),
        audit: summary
            .data
            .audit
            .findings
            .iter()
            .map(|finding| report::Finding {
                name: finding.kind.name().to_owned(),
                rows: finding.rows as u64,
                action: finding.kind.action().to_owned(),
            })
            .collect(),
        parity: summary
            .parity
            .checks
            .iter()
            .map(|check| report::ParityCheck {
                name: format!("{} = {}", check.expected, check.actual),
                rows: check.rows as u64,
                max_abs: check.max_abs,
                tolerance: check.tolerance,
            })
            .collect(),
        quantization: quantization(summary),
        forgetting: summary.forgetting.cloned(),
        config: spec.to_toml(),
    })
}

fn learning_curve(summary: &Summary<'_>) -> report::LearningCurve {
    /// Points that the eye can follow; the loss between two of them is averaged.
    const POINTS: usize = 60;
    let Curve { losses, epochs } = summary.curve;
    let width = losses.len().div_ceil(POINTS).max(1);
    let mean = |(index, part): (usize, &[f64])| {
        ((index * width + part.len()) as u64, part.iter().sum::<f64>() / part.len() as f64)
    };
    report::LearningCurve {
        metric: summary.spec.train.early_stopping.metric.to_string(),
        train_loss: losses.chunks(width).enumerate().map(mean).collect(),
        validation: epochs.iter().map(|epoch| (epoch.steps as u64, epoch.metric)).collect(),
        best_step: epochs.iter().rev().find(|epoch| epoch.best).map(|epoch| epoch.steps as u64),
    }
}

fn quantization(summary: &Summary<'_>) -> report::Quantization {
    let asked = &summary.spec.export.quantize;
    report::Quantization {
        searches: summary.searches.to_vec(),
        max_drop: asked.max_drop,
        min_speedup: asked.min_speedup,
    }
}
