//! How much each layer hurts: it alone is quantized, and its answers are compared with those of float32.

use super::{Forms, measure};
use crate::TrainError;
use crate::examples::Example;
use rayon::prelude::*;
use refit_artifact::{Precision, Sensitivity};
use refit_engine::Engine;
use std::collections::BTreeSet;

/// Rows that each layer answers.
const ROWS: usize = 48;

/// The layers that `precision` changes, the one first that hurts most for its size: leaving that one in
/// float32 is the cheapest way to better answers.
///
/// # Errors
/// When the engine fails.
pub fn ranked(
    forms: &Forms,
    precision: Precision,
    engine: &dyn Engine,
    output: &str,
    rows: &[Example],
) -> Result<Vec<Sensitivity>, TrainError> {
    let rows = &rows[..rows.len().min(ROWS)];
    let exact = measure::answers(engine, &forms.float32, output, rows)?;
    let layers = forms.layers(precision);
    let names: BTreeSet<String> = layers.iter().map(|layer| layer.weight.clone()).collect();
    let mut ranked: Vec<Sensitivity> = layers
        .par_iter()
        .map(|layer| {
            let mut others = names.clone();
            others.remove(&layer.weight);
            let form = forms.made(precision, &others, engine)?;
            let answers = measure::answers(engine, &form, output, rows)?;
            let error = measure::mean_squared_difference(&exact, &answers);
            let (weight, elements) = (layer.weight.clone(), layer.elements as u64);
            Ok(Sensitivity { precision, weight, elements, error })
        })
        .collect::<Result<_, TrainError>>()?;
    order(&mut ranked);
    Ok(ranked)
}

fn order(layers: &mut [Sensitivity]) {
    let harm = |layer: &Sensitivity| layer.error / layer.elements.max(1) as f64;
    layers.sort_by(|a, b| harm(b).total_cmp(&harm(a)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_harm_for_its_size_comes_first() {
        let layer = |weight: &str, elements, error| Sensitivity {
            precision: Precision::Int8,
            weight: weight.to_owned(),
            elements,
            error,
        };
        let mut layers =
            [layer("small", 10, 0.1), layer("large", 1000, 1.0), layer("broken", 1000, f64::MAX)];
        order(&mut layers);
        assert_eq!(layers.map(|layer| layer.weight), ["broken", "small", "large"]);
    }
}
