//! Passes that keep the meaning: a file made elsewhere becomes refit's canonical form.

mod attention;
mod control_flow;
mod dropout;
mod fold_constants;
mod gelu;
mod heads;
mod identity;
mod layer_norm;
mod linear;
mod rms_norm;
mod rotary;
mod silu;

pub use attention::RecogniseAttention;
pub use control_flow::UnrollControlFlow;
pub use dropout::RecogniseDropout;
pub use fold_constants::FoldConstants;
pub use gelu::RecogniseGelu;
pub use identity::RemoveIdentity;
pub use layer_norm::RecogniseLayerNorm;
pub use linear::RecogniseLinear;
pub use rms_norm::RecogniseRmsNorm;
pub use rotary::RecogniseRotary;
pub use silu::RecogniseSilu;

use crate::{Driver, PassError, Report, Simplify};
use refit_graph::Model;

/// Every simplifying pass, in the order in which they run. A new one is a file here and a line in this
/// list.
const ALL: &[&dyn Simplify] = &[
    &FoldConstants,
    &UnrollControlFlow,
    &RemoveIdentity,
    &RecogniseDropout,
    &RecogniseLinear,
    &RecogniseLayerNorm,
    &RecogniseRmsNorm,
    &RecogniseGelu,
    &RecogniseSilu,
    &RecogniseRotary,
    &RecogniseAttention,
];

/// Every simplifying pass, in the order in which they run.
pub fn all() -> &'static [&'static dyn Simplify] {
    ALL
}

/// Brings a model into canonical form: constants folded, known branches and loops unrolled, identities
/// gone, and Linear, LayerNorm, RMSNorm, GELU, SiLU, rotary embedding and attention as one `refit.*` node
/// each wherever they are recognised.
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
