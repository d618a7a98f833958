//! The forms in which a lowered model can be served: which there are, and how each is made.

use super::Forms;
use crate::TrainError;
use refit_artifact::Precision;
use refit_engine::Engine;
use refit_engine_ort::NAME as ONNX_RUNTIME;
use refit_engine_tract::NAME as TRACT;
use refit_graph::onnx;
use refit_passes::Driver;
use refit_passes::edit::{
    FixedForm, Float16Weights, QuantizableLayer, QuantizeInt4Blocks, QuantizeInt8Fixed, QuantizeInt8Rows,
    RowsForm,
};
use refit_passes::lower::describe_ports;
use refit_spec::{QuantizeFormat, Representation};
use std::collections::BTreeSet;

/// What is tried beside float32 in an engine.
pub fn candidates(format: QuantizeFormat, engine: &str) -> &'static [Precision] {
    match format {
        QuantizeFormat::Auto => &[Precision::Int8, Precision::Int8Static],
        QuantizeFormat::Int8 => &[Precision::Int8],
        QuantizeFormat::Int8Static => &[Precision::Int8Static],
        QuantizeFormat::Float16 => &[Precision::Float16],
        // The operator is ONNX Runtime's own.
        QuantizeFormat::Int4 if engine != TRACT => &[Precision::Int4],
        QuantizeFormat::Int4 | QuantizeFormat::None => &[],
    }
}

/// Whether what is tried needs ranges of activations.
pub fn is_calibrated(format: QuantizeFormat) -> bool {
    matches!(format, QuantizeFormat::Auto | QuantizeFormat::Int8Static)
}

/// Whether a precision is for speed, so that it is of no use where it is slower than float32.
pub fn is_for_speed(precision: Precision) -> bool {
    matches!(precision, Precision::Int8 | Precision::Int8Static)
}

impl Forms {
    /// The layers that a precision changes, in the order of the graph.
    pub fn layers(&self, precision: Precision) -> Vec<QuantizableLayer> {
        match precision {
            Precision::Float32 => Vec::new(),
            Precision::Int8 => QuantizeInt8Rows::layers(&self.portable),
            Precision::Int8Static => {
                self.fixed.as_ref().map_or_else(Vec::new, |fixed| QuantizeInt8Fixed::layers(&fixed.model))
            }
            Precision::Float16 => Float16Weights::layers(&self.portable),
            Precision::Int4 => QuantizeInt4Blocks::layers(&self.portable),
        }
    }

    /// The ONNX bytes of the model in a precision for an engine, the layers of the weights `keep` in float32.
    ///
    /// # Errors
    /// When the pass refuses.
    pub fn made(
        &self,
        precision: Precision,
        keep: &BTreeSet<String>,
        engine: &dyn Engine,
    ) -> Result<Vec<u8>, TrainError> {
        let mut made = self.portable.clone();
        let mut driver = Driver::new();
        let keep = keep.clone();
        match (precision, &self.fixed) {
            (Precision::Float32, _) => return Ok(self.float32.clone()),
            (Precision::Int8, _) => {
                driver.edit(&mut made, &QuantizeInt8Rows { keep, form: rows_form(engine) })?;
            }
            (Precision::Float16, _) => driver.edit(&mut made, &Float16Weights { keep })?,
            (Precision::Int4, _) => driver.edit(&mut made, &QuantizeInt4Blocks { keep })?,
            (Precision::Int8Static, None) => return Err(TrainError::NotCalibrated),
            (Precision::Int8Static, Some(fixed)) => {
                made = fixed.model.clone();
                let (ranges, form) = (fixed.ranges.clone(), fixed_form(engine, fixed.representation));
                driver.edit(&mut made, &QuantizeInt8Fixed { ranges, keep, form })?;
            }
        }
        describe_ports(&mut made, &self.portable);
        Ok(onnx::write(&made)?)
    }

    /// int8 with a scale per row in operators of the standard, which every engine loads.
    ///
    /// # Errors
    /// When the pass refuses.
    pub fn made_portable_int8(&self, keep: &BTreeSet<String>) -> Result<Vec<u8>, TrainError> {
        let mut made = self.portable.clone();
        let (keep, form) = (keep.clone(), RowsForm::Standard);
        Driver::new().edit(&mut made, &QuantizeInt8Rows { keep, form })?;
        describe_ports(&mut made, &self.portable);
        Ok(onnx::write(&made)?)
    }

    /// How a precision was made, where there is more to say than its name.
    pub fn detail(&self, precision: Precision) -> String {
        match (precision, &self.fixed) {
            (Precision::Int8Static, Some(fixed)) => fixed.method.clone(),
            _ => String::new(),
        }
    }
}

/// ONNX Runtime fuses pairs of QuantizeLinear and DequantizeLinear with what lies between; tract does not. Operators of
/// integers are the same for both.
pub fn fixed_form(engine: &dyn Engine, asked: Representation) -> FixedForm {
    match asked {
        Representation::Qoperator => FixedForm::Operators,
        Representation::Qdq if engine.name() == TRACT => FixedForm::Products,
        Representation::Qdq => FixedForm::Pairs,
    }
}

/// ONNX Runtime has an operator that does more at once; no other engine loads it.
pub fn rows_form(engine: &dyn Engine) -> RowsForm {
    if engine.name() == ONNX_RUNTIME { RowsForm::OnnxRuntime } else { RowsForm::Standard }
}

/// The file of a precision that an engine serves: files that it alone loads have its name.
pub fn file(precision: Precision, engine: &str) -> String {
    match precision {
        Precision::Int8 if engine == ONNX_RUNTIME => format!("model.{precision}.{engine}.onnx"),
        _ => precision.file().to_owned(),
    }
}
