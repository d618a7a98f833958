//! Choosing: how good a recipe is, which settings and which learning rate are best. Each part has a pure core
//! (which rows make a fold, which trial is next and when one stops, what a curve suggests) and a driver that
//! trains; what is finished is kept on disk, so that a run that was killed goes on where it was.

mod cross_validate;
mod folds;
mod kept;
mod rate;
mod recipe;
mod search;

pub use cross_validate::{CrossValidation, CrossValidationRequest, Fold, cross_validate};
pub use kept::write_whole;
pub use rate::{RangePoint, RangeTest, RangeTestRequest, find_learning_rate};
pub use search::{Final, SearchOutcome, SearchRequest, Trial, search};

/// Probabilities of logits.
fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = logits.iter().map(|&logit| f64::from(logit - largest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| (weight / sum) as f32).collect()
}
