//! The artifact of a run: written as a draft first, loaded as the service will load it, evaluated through
//! that, and only then published.

use crate::TrainError;
use crate::data::Row;
use crate::examples::{Example, Target};
use crate::export::{self, Forms, WrittenForm};
use refit_artifact::{
    Bundle, Golden, GoldenExample, GoldenLogits, Manifest, Precision, Reference, Writer, files,
};
use refit_engine::Engine;
use refit_preprocess::TextSettings;
use refit_stats::Temperature;
use std::path::Path;
use std::sync::Arc;

/// Golden examples of an artifact.
const GOLDEN_EXAMPLES: usize = 16;

/// What goes into an artifact, whatever was found out about it.
pub struct Contents<'a> {
    /// The model's forms.
    pub forms: &'a Forms,
    /// The files beside the one in float32.
    pub written: &'a [WrittenForm],
    /// `tokenizer.json`.
    pub tokenizer: &'a [u8],
    /// Settings of the preprocessing.
    pub settings: &'a TextSettings,
    /// Examples whose answers are replayed at load.
    pub golden: &'a Golden,
    /// The temperature that makes confidences true, once it is known.
    pub calibration: Option<Temperature>,
}

impl Contents<'_> {
    /// Writes an artifact at `target`; `reports` are further files.
    ///
    /// # Errors
    /// When there is something at `target` already, or the disk is full: nothing is left then.
    pub fn write(
        &self,
        target: &Path,
        manifest: Manifest,
        reference: &Reference,
        reports: &[(&str, &[u8])],
    ) -> Result<Bundle, TrainError> {
        let mut writer = Writer::begin(target)?;
        writer.add_file(files::MODEL_FLOAT32, &self.forms.float32)?;
        for form in self.written {
            writer.add_file(&form.file, &form.model)?;
        }
        writer.add_file(files::TOKENIZER, self.tokenizer)?;
        writer.add_json(files::PREPROCESSING, self.settings)?;
        writer.add_json(files::LABELS, &manifest.labels)?;
        writer.add_json(files::REFERENCE, reference)?;
        writer.add_json(files::GOLDEN, self.golden)?;
        if let Some(calibration) = &self.calibration {
            writer.add_json(files::CALIBRATION, calibration)?;
        }
        writer.add_file(files::CONFIG, manifest.config.as_bytes())?;
        for (name, content) in reports {
            writer.add_file(name, content)?;
        }
        writer.finish(manifest)?;
        Ok(Bundle::open(target)?)
    }
}

/// Answers (the output `name`) of every form in every engine to the first of `rows`, made of `source` in their order.
///
/// # Errors
/// When an engine fails.
pub fn golden(
    source: &[Row],
    rows: &[Example],
    forms: &Forms,
    written: &[WrittenForm],
    name: &str,
    engines: &[Arc<dyn Engine>],
) -> Result<Golden, TrainError> {
    let first_windows = first_windows(rows, source.len());
    let first = |(row, example): (&Row, &&Example)| {
        let input_ids = example.texts[0].encoding.input_ids.clone();
        // Texts that are answered one by one are examples of one text.
        let pair = row.pair.clone().filter(|_| example.texts.len() == 1);
        GoldenExample { text: row.text.clone(), pair, input_ids, logits: Vec::new() }
    };
    let mut examples: Vec<GoldenExample> =
        source.iter().zip(&first_windows).map(first).take(GOLDEN_EXAMPLES).collect();
    for engine in engines {
        let of_engine = written.iter().filter(|form| form.is_for(engine.name()));
        let others = of_engine.map(|form| (form.precision, &form.model));
        for (precision, model) in [(Precision::Float32, &forms.float32)].into_iter().chain(others) {
            let mut session = export::session(engine.as_ref(), model)?;
            for (example, row) in examples.iter_mut().zip(&first_windows) {
                let values = export::answer_text(session.as_mut(), name, &row.texts[0].encoding)?;
                example.logits.push(GoldenLogits { precision, engine: engine.name().to_owned(), values });
            }
        }
    }
    Ok(Golden { examples })
}

/// The first example of each row: where a row is read in several windows, the first stands for all.
fn first_windows(examples: &[Example], rows: usize) -> Vec<&Example> {
    let mut seen = None;
    let is_first = |example: &&Example| match &example.target {
        Target::Span(span) => seen.replace(span.row) != Some(span.row),
        _ => true,
    };
    examples.iter().filter(|example| !example.texts.is_empty()).filter(is_first).take(rows).collect()
}
