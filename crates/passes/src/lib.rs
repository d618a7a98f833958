//! Passes: every change to a model is a patch that the [`Driver`] applies, verifies and names.
//!
//! Two kinds, told apart by type: a [`Simplify`] keeps the meaning of the model, an [`Edit`] changes
//! it and says by how much. [`canonicalize`] brings a file made elsewhere into refit's canonical
//! operators; [`lower::portable`] turns those into operators of the standard for the file that is
//! served.

mod driver;
pub mod edit;
mod error;
pub mod lower;
mod outputs;
mod rewrite;
pub mod simplify;

pub use driver::{Driver, Edit, PassTiming, Report, Simplify, Tolerance};
pub use error::PassError;
pub use outputs::with_outputs;
pub use simplify::canonicalize;
