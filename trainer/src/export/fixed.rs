//! How static int8 is made of a model: which ranges, and whether outliers are moved into the weights first. What is
//! tried is judged by its answers on training rows.

use super::calibration::Activations;
use super::format::fixed_form;
use super::measure;
use crate::TrainError;
use crate::examples::{Example, Examples};
use refit_engine::Engine;
use refit_graph::{Model, onnx};
use refit_passes::Driver;
use refit_passes::edit::{ActivationRange, FixedForm, QuantizeInt8Fixed, SmoothActivations};
use refit_spec::{Calibration, Quantize, Representation};
use refit_stats::RangeRule;
use std::collections::BTreeMap;

/// Training rows that ranges are found on.
const ROWS: usize = 128;
/// Of these, rows that answers are compared on.
const COMPARED: usize = 48;
/// Share of the values that is inside of a range by percentile.
const PERCENTILE: f64 = 0.9999;
/// How much of an outlier the weights take, as in the paper.
const ALPHA: f32 = 0.5;

/// What static int8 is made of.
#[derive(Debug, Clone)]
pub struct Fixed {
    /// The lowered model, its outliers moved into the weights where that helps.
    pub model: Model,
    /// The range of each activation.
    pub ranges: BTreeMap<String, ActivationRange>,
    /// How it is written.
    pub representation: Representation,
    /// How they were found, in words.
    pub method: String,
}

/// Rows of the training set, evenly spread over it.
///
/// # Errors
/// When they cannot be read.
pub fn calibration_rows(train: &Examples) -> Result<Vec<Example>, TrainError> {
    let count = train.len().min(ROWS);
    let numbers: Vec<usize> = (0..count).map(|index| index * train.len() / count.max(1)).collect();
    train.batch(&numbers)
}

/// The best of what is asked for on training `rows`; `None` where the model has nothing to quantize.
///
/// # Errors
/// When the engine fails.
pub fn fitted(
    portable: &Model,
    output: &str,
    rows: &[Example],
    engine: &dyn Engine,
    asked: &Quantize,
) -> Result<Option<Fixed>, TrainError> {
    if QuantizeInt8Fixed::layers(portable).is_empty() || rows.is_empty() {
        return Ok(None);
    }
    let compared = &rows[..rows.len().min(COMPARED)];
    let exact = measure::answers(engine, &onnx::write(portable)?, output, compared)?;
    let mut best: Option<(f64, Fixed)> = None;
    let representation = asked.representation;
    let form = fixed_form(engine, representation);
    for Variant { model, activations, how } in variants(portable, form, engine, rows)? {
        for (rule, name) in rules(asked.calibration) {
            let ranges = activations.ranges(rule)?;
            let edit = QuantizeInt8Fixed { ranges, form, ..QuantizeInt8Fixed::default() };
            let mut made = model.clone();
            Driver::new().edit(&mut made, &edit)?;
            let answers = measure::answers(engine, &onnx::write(&made)?, output, compared)?;
            let error = measure::mean_squared_difference(&exact, &answers);
            if best.as_ref().is_none_or(|(least, _)| error < *least) {
                let method = format!("ranges by {name} on {} training rows{how}", rows.len());
                let (model, ranges) = (model.clone(), edit.ranges);
                best = Some((error, Fixed { model, ranges, representation, method }));
            }
        }
    }
    Ok(best.map(|(_, fixed)| fixed))
}

/// A model that computes the same, and what its activations are like.
struct Variant {
    model: Model,
    activations: Activations,
    /// What was done to it, in words.
    how: &'static str,
}

/// The model as it is and, where its activations have outliers, with them moved into the weights.
fn variants(
    portable: &Model,
    form: FixedForm,
    engine: &dyn Engine,
    rows: &[Example],
) -> Result<Vec<Variant>, TrainError> {
    let activations = Activations::of(portable, form, engine, rows)?;
    let maxima = activations.outliers();
    let mut variants = vec![Variant { model: portable.clone(), activations, how: "" }];
    if !maxima.is_empty() {
        let mut model = portable.clone();
        Driver::new().edit(&mut model, &SmoothActivations { maxima, alpha: ALPHA })?;
        let activations = Activations::of(&model, form, engine, rows)?;
        variants.push(Variant { model, activations, how: ", outliers moved into the weights (SmoothQuant)" });
    }
    Ok(variants)
}

fn rules(asked: Calibration) -> Vec<(RangeRule, &'static str)> {
    let all = [
        (Calibration::MinMax, RangeRule::MinMax, "least and greatest value"),
        (Calibration::Percentile, RangeRule::Percentile(PERCENTILE), "percentile"),
        (Calibration::Entropy, RangeRule::Entropy, "entropy"),
        (Calibration::Mse, RangeRule::Mse, "squared error"),
    ];
    let wanted = all.into_iter().filter(|(word, _, _)| asked == Calibration::Auto || asked == *word);
    wanted.map(|(_, rule, name)| (rule, name)).collect()
}
