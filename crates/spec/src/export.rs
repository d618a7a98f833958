use crate::problem::Problem;
use crate::reader::{Reader, words};
use crate::section::section;
use crate::spec::{Section, TableBuilder};

section! {
    /// What is made of the trained model. A portable float32 ONNX file always is.
    RawExport at "export" {
        /// Whether an int8 file is made, and when it is the one that serves.
        quantize: "table" = "(see below)",
        /// Whether confidences are made true: a temperature is fitted on the validation rows (Guo et al. 2017) and shipped with the model. It changes probabilities and never a label. Single-label classification only.
        calibrate: "boolean" = "true",
    }
}

section! {
    /// int8 with a scale per row: exactly the same answer whatever else is in the batch.
    RawQuantize at "export.quantize" {
        /// `"auto"` serves int8 when it is as good and faster on this machine, `"int8"` says so loudly when it is not, `"none"` makes no int8 file.
        format: "`\"auto\"`, `\"int8\"` or `\"none\"`" = "\"auto\"",
        /// Accuracy on held-out rows that int8 may lose against float32.
        max_drop: "share" = "0.005",
        /// How much faster than float32 it has to be in the engine that serves.
        min_speedup: "number" = "1.2",
    }
}

/// Whether an int8 file is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuantizeFormat {
    /// If it is as good and faster.
    Auto,
    /// It is wanted.
    Int8,
    /// No.
    None,
}
words!(QuantizeFormat { Auto = "auto", Int8 = "int8", None = "none" });

/// `[export]`, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportSpec {
    /// The int8 file.
    pub quantize: Quantize,
    /// Whether a temperature is fitted and shipped.
    pub calibrate: bool,
}

/// `export.quantize`, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantize {
    /// Whether it is made.
    pub format: QuantizeFormat,
    /// Accuracy that it may lose.
    pub max_drop: f64,
    /// How much faster it has to be.
    pub min_speedup: f64,
}

impl Section for ExportSpec {
    type Raw = RawExport;

    fn check(raw: &RawExport, problems: &mut Vec<Problem>) -> Option<Self> {
        let quantize = RawQuantize::read(raw.quantize.as_ref(), problems);
        let quantize = Quantize::check(&quantize, problems)?;
        let calibrate = Reader::new("export", problems).boolean("calibrate", &raw.calibrate, true);
        Some(Self { quantize, calibrate })
    }

    fn table(&self) -> TableBuilder {
        TableBuilder::default().value("calibrate", self.calibrate).section("quantize", &self.quantize)
    }
}

impl Section for Quantize {
    type Raw = RawQuantize;

    fn check(raw: &RawQuantize, problems: &mut Vec<Problem>) -> Option<Self> {
        let mut r = Reader::new("export.quantize", problems);
        Some(Self {
            format: r.parsed("format", &raw.format).unwrap_or(QuantizeFormat::Auto),
            max_drop: r.number("max_drop", &raw.max_drop, 0.0..=1.0).unwrap_or(0.005),
            min_speedup: r.number("min_speedup", &raw.min_speedup, 0.0..=100.0).unwrap_or(1.2),
        })
    }

    fn table(&self) -> TableBuilder {
        TableBuilder::default()
            .text("format", self.format)
            .value("max_drop", self.max_drop)
            .value("min_speedup", self.min_speedup)
    }
}
