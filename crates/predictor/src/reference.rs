use refit_artifact::{Projection, Reference, features};
use refit_stats::{ReferenceDistribution, StatsError, project, projection_directions};

use crate::{Observation, Prediction, PredictorError};

/// How the reference distributions are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReferenceOptions {
    /// The most bins of a numeric feature.
    pub bins: usize,
    /// The number of directions onto which embeddings are projected.
    pub projections: usize,
    /// Fixes the directions.
    pub seed: u64,
}

impl Default for ReferenceOptions {
    fn default() -> Self {
        Self { bins: 10, projections: 4, seed: 0 }
    }
}

/// Makes the reference from the answers to held-out rows: a model is surer of rows that it was trained on, and a
/// reference made of those would see drift in every new text.
pub fn build_reference(
    labels: &[String],
    rows: &[Prediction],
    options: &ReferenceOptions,
) -> Result<Reference, PredictorError> {
    let hidden = rows.first().map_or(0, |row| row.embedding.len());
    let count = if hidden == 0 { 0 } else { options.projections };
    let projections: Vec<Projection> = projection_directions(options.seed, hidden, count)
        .into_iter()
        .enumerate()
        .map(|(index, direction)| Projection { feature: format!("embedding_{index}"), direction })
        .collect();
    let distributions = distributions(labels, rows, &projections, options.bins)
        .map_err(|source| PredictorError::Reference { rows: rows.len(), source })?;
    Ok(Reference { distributions, projections })
}

fn distributions(
    labels: &[String],
    rows: &[Prediction],
    projections: &[Projection],
    bins: usize,
) -> Result<Vec<ReferenceDistribution>, StatsError> {
    let numeric = |feature: &str, value: &dyn Fn(&Observation) -> f64| {
        let values: Vec<f64> = rows.iter().map(|row| value(&row.observation)).collect();
        ReferenceDistribution::numeric(feature, &values, bins)
    };
    let mut distributions = vec![
        numeric(features::TEXT_LENGTH, &|observation| observation.text_length as f64)?,
        numeric(features::TOKEN_COUNT, &|observation| observation.token_count as f64)?,
        numeric(features::UNKNOWN_TOKEN_RATE, &|observation| observation.unknown_token_rate)?,
    ];
    let classes: Option<Vec<&str>> =
        rows.iter().map(|row| row.observation.predicted_class.as_deref()).collect();
    if let Some(classes) = classes.filter(|classes| !classes.is_empty()) {
        let feature = features::PREDICTED_CLASS;
        distributions.push(ReferenceDistribution::categorical(feature, labels, classes)?);
    }
    for (feature, value) in [
        (features::CONFIDENCE, (|row| row.confidence) as fn(&Observation) -> Option<f64>),
        (features::PREDICTED_NUMBER, |row| row.number),
    ] {
        let values: Option<Vec<f64>> = rows.iter().map(|row| value(&row.observation)).collect();
        if let Some(values) = values.filter(|values| !values.is_empty()) {
            distributions.push(ReferenceDistribution::numeric(feature, &values, bins)?);
        }
    }
    for projection in projections {
        let values: Vec<f64> =
            rows.iter().map(|row| project(&projection.direction, &row.embedding)).collect();
        distributions.push(ReferenceDistribution::numeric(&projection.feature, &values, bins)?);
    }
    Ok(distributions)
}
