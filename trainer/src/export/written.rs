//! The files that go into an artifact beside float32.

use super::{Choice, Forms, format};
use crate::TrainError;
use refit_artifact::Precision;
use refit_engine::Engine;
use std::collections::BTreeSet;

/// A file beside the one in float32.
#[derive(Debug, Clone)]
pub struct WrittenForm {
    /// Its name in the artifact.
    pub file: String,
    /// Its precision.
    pub precision: Precision,
    /// The engines that have golden answers of it. Of one precision an engine has one file.
    pub engines: Vec<&'static str>,
    /// ONNX bytes.
    pub model: Vec<u8>,
}

impl WrittenForm {
    /// Whether an engine has golden answers of it.
    pub fn is_for(&self, engine: &str) -> bool {
        self.engines.contains(&engine)
    }
}

/// What each engine serves, as a file; and int8, where it was tried, in every engine for whoever asks for it. The
/// name of the file that an engine serves comes with it, in the order of `choices`.
///
/// # Errors
/// When a pass refuses.
pub fn written(
    forms: &Forms,
    choices: &[Choice],
    engines: &[&dyn Engine],
) -> Result<(Vec<WrittenForm>, Vec<String>), TrainError> {
    let mut written: Vec<WrittenForm> = Vec::new();
    let mut names = Vec::new();
    for choice in choices {
        let engine = engines.iter().find(|engine| engine.name() == choice.engine);
        let Some(engine) = engine.filter(|_| choice.precision != Precision::Float32) else {
            names.push(Precision::Float32.file().to_owned());
            continue;
        };
        let keep: BTreeSet<String> = choice.float_layers.iter().cloned().collect();
        let model = forms.made(choice.precision, &keep, *engine)?;
        names.push(add(&mut written, choice.precision, choice.engine, model));
    }
    if choices.iter().any(|choice| choice.whole(Precision::Int8).is_some()) {
        add_portable_int8(&mut written, forms, choices, engines)?;
    }
    Ok((written, names))
}

/// int8 that every engine loads, with the layers in float32 that the first engine that serves int8 has there; golden
/// answers of it are for the engines that have no int8 of their own.
fn add_portable_int8(
    written: &mut Vec<WrittenForm>,
    forms: &Forms,
    choices: &[Choice],
    engines: &[&dyn Engine],
) -> Result<(), TrainError> {
    let (file, precision) = (Precision::Int8.file().to_owned(), Precision::Int8);
    if !written.iter().any(|form| form.file == file) {
        let served = choices.iter().find(|choice| choice.precision == precision);
        let keep = served.map(|choice| choice.float_layers.iter().cloned().collect()).unwrap_or_default();
        let model = forms.made_portable_int8(&keep)?;
        written.push(WrittenForm { file: file.clone(), precision, engines: Vec::new(), model });
    }
    for engine in engines.iter().map(|engine| engine.name()) {
        let has_one = written.iter().any(|form| form.precision == precision && form.is_for(engine));
        if let Some(portable) = written.iter_mut().find(|form| form.file == file && !has_one) {
            portable.engines.push(engine);
        }
    }
    Ok(())
}

/// The name under which `model` is among `written`: that of its precision, unless another engine's file has it.
fn add(written: &mut Vec<WrittenForm>, precision: Precision, engine: &'static str, model: Vec<u8>) -> String {
    let same = |form: &&mut WrittenForm| form.precision == precision && form.model == model;
    if let Some(form) = written.iter_mut().find(same) {
        form.engines.push(engine);
        return form.file.clone();
    }
    let usual = format::file(precision, engine);
    let taken = written.iter().any(|form| form.file == usual);
    let file = if taken { format!("model.{precision}.{engine}.onnx") } else { usual };
    written.push(WrittenForm { file: file.clone(), precision, engines: vec![engine], model });
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_engine_finds_its_own_file() {
        let mut written = Vec::new();
        let (int8, one, other) = (Precision::Int8, vec![1], vec![2]);
        assert_eq!(add(&mut written, int8, "tract", one.clone()), "model.int8.onnx");
        assert_eq!(add(&mut written, int8, "another", one), "model.int8.onnx");
        assert_eq!(written[0].engines, ["tract", "another"]);
        assert_eq!(add(&mut written, int8, "third", other.clone()), "model.int8.third.onnx");
        // What ONNX Runtime alone loads has its name in any case.
        assert_eq!(
            add(&mut written, int8, "onnxruntime", other[..0].to_vec()),
            "model.int8.onnxruntime.onnx"
        );
        assert_eq!(written.len(), 3);
    }
}
