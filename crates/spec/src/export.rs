use crate::problem::Problem;
use crate::reader::{Reader, words};
use crate::section::section;
use crate::spec::{Section, TableBuilder};

section! {
    /// What is made of the trained model. A portable float32 ONNX file always is.
    RawExport at "export" {
        /// Which forms beside float32 are tried, and when one of them is served.
        quantize: "table" = "(see below)",
        /// Whether confidences are made true: a temperature is fitted on the validation rows (Guo et al. 2017) and shipped with the model. It changes probabilities and never a label. Single-label classification only.
        calibrate: "boolean" = "true",
    }
}

section! {
    /// Forms with fewer bits are measured on the validation rows, in every engine of this machine, and the fastest is served of those that are as good as float32. With each of them an answer is the same whatever else is in the batch.
    RawQuantize at "export.quantize" {
        /// What is tried: `"int8"` (a scale for each row and output channel, any engine), `"int8-static"` (fixed scales, from ranges seen on training rows), `"float16"` (weights in half the bytes, as fast as float32), `"int4"` (weights in 4 bits, blocks of 32, ONNX Runtime only), `"none"`; `"auto"` tries both kinds of int8.
        format: "`\"auto\"`, `\"int8\"`, `\"int8-static\"`, `\"float16\"`, `\"int4\"` or `\"none\"`" = "\"auto\"",
        /// Accuracy on held-out rows that a form may lose against float32, the upper end of the 95 % interval included. Where int8 as a whole loses more, the layers that hurt most for their size stay in float32.
        max_drop: "share" = "0.005",
        /// How much faster than float32 it has to be in the engine that serves. int8 that is slower is never served, whatever is written here.
        min_speedup: "number" = "(1.2; 0.9 for float16 and int4, which make the file smaller)",
        /// How the ranges of static int8 are found: `"min-max"`, `"percentile"` (99.99 % of the values), `"entropy"` (Kullback-Leibler), `"mse"`; `"auto"` takes the one whose answers are nearest to those of float32.
        calibration: "`\"auto\"`, `\"min-max\"`, `\"percentile\"`, `\"entropy\"` or `\"mse\"`" = "\"auto\"",
        /// How static int8 is written: `"qdq"` (operators of float32 between QuantizeLinear and DequantizeLinear, which ONNX Runtime fuses; for tract MatMulInteger), `"qoperator"` (QLinearMatMul and QLinearConv, one file for all engines, also for those that know no QDQ; results of products are rounded to integers too).
        representation: "`\"qdq\"` or `\"qoperator\"`" = "\"qdq\"",
    }
}

/// Which forms are tried beside float32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuantizeFormat {
    /// Both kinds of int8.
    Auto,
    /// int8 with a scale per row.
    Int8,
    /// int8 with fixed scales.
    Int8Static,
    /// Weights in float16.
    Float16,
    /// Weights in 4 bits.
    Int4,
    /// No other.
    None,
}
words!(QuantizeFormat {
    Auto = "auto",
    Int8 = "int8",
    Int8Static = "int8-static",
    Float16 = "float16",
    Int4 = "int4",
    None = "none",
});

impl QuantizeFormat {
    /// Whether it is asked for because its file is small.
    fn is_for_size(self) -> bool {
        matches!(self, Self::Float16 | Self::Int4)
    }
}

/// How the ranges of static int8 are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calibration {
    /// Whichever gives the best answers.
    Auto,
    /// From the least to the greatest value.
    MinMax,
    /// Without the outermost values.
    Percentile,
    /// Least relative entropy.
    Entropy,
    /// Least squared error.
    Mse,
}
words!(Calibration {
    Auto = "auto",
    MinMax = "min-max",
    Percentile = "percentile",
    Entropy = "entropy",
    Mse = "mse",
});

/// How static int8 is written, in the words of ONNX Runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Representation {
    /// Operators of float32 between QuantizeLinear and DequantizeLinear.
    Qdq,
    /// Operators of integers.
    Qoperator,
}
words!(Representation {
    Qdq = "qdq",
    Qoperator = "qoperator",
});

/// `[export]`, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportSpec {
    /// The forms beside float32.
    pub quantize: Quantize,
    /// Whether a temperature is fitted and shipped.
    pub calibrate: bool,
}

/// `export.quantize`, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantize {
    /// What is tried.
    pub format: QuantizeFormat,
    /// Accuracy that a form may lose.
    pub max_drop: f64,
    /// How much faster it has to be.
    pub min_speedup: f64,
    /// How ranges are found.
    pub calibration: Calibration,
    /// How static int8 is written.
    pub representation: Representation,
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
        let format = r.parsed("format", &raw.format).unwrap_or(QuantizeFormat::Auto);
        let usual = if format.is_for_size() { 0.9 } else { 1.2 };
        Some(Self {
            format,
            max_drop: r.number("max_drop", &raw.max_drop, 0.0..=1.0).unwrap_or(0.005),
            min_speedup: r.number("min_speedup", &raw.min_speedup, 0.0..=100.0).unwrap_or(usual),
            calibration: r.parsed("calibration", &raw.calibration).unwrap_or(Calibration::Auto),
            representation: r.parsed("representation", &raw.representation).unwrap_or(Representation::Qdq),
        })
    }

    fn table(&self) -> TableBuilder {
        TableBuilder::default()
            .text("format", self.format)
            .value("max_drop", self.max_drop)
            .value("min_speedup", self.min_speedup)
            .text("calibration", self.calibration)
            .text("representation", self.representation)
    }
}
