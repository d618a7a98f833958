//! Passes that keep the meaning: a file made elsewhere becomes refit's canonical form.

mod attention;
mod dropout;
mod fold_constants;
mod gelu;
mod heads;
mod identity;
mod layer_norm;
mod linear;

pub use attention::RecogniseAttention;
pub use dropout::RecogniseDropout;
pub use fold_constants::FoldConstants;
pub use gelu::RecogniseGelu;
pub use identity::RemoveIdentity;
pub use layer_norm::RecogniseLayerNorm;
pub use linear::RecogniseLinear;

use crate::{Driver, PassError, Report, Simplify};
use refit_graph::Model;

/// Every simplifying pass, in the order in which they run. A new one is a file here and a line in this
/// list.
const ALL: &[&dyn Simplify] = &[
    &FoldConstants,
    &RemoveIdentity,
    &RecogniseDropout,
    &RecogniseLinear,
    &RecogniseLayerNorm,
    &RecogniseGelu,
    &RecogniseAttention,
];

/// Every simplifying pass, in the order in which they run.
pub fn all() -> &'static [&'static dyn Simplify] {
    ALL
}

/// Brings a model into canonical form: constants folded, identities gone, and Linear, LayerNorm,
/// GELU and attention as one `refit.*` node each wherever they are recognised.
///
/// Constants that a caller could override (graph inputs with a default value) count as constants.
///
/// # Errors
/// When the model is broken.
pub fn canonicalize(model: &mut Model) -> Result<Report, PassError> {
    let mut driver = Driver::new();
    driver.simplify(model, all())?;
    Ok(driver.report().clone())
}
