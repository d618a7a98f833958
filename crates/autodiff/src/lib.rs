//! Runs a graph forwards and backwards: our own reverse pass over its nodes, with initializers as
//! parameters.
//!
//! [`Program::compile`] decides once what is computed: which values a gradient has to reach (those
//! between a trainable parameter and an output), which forward values the reverse rules will read, and
//! when every other value can be freed. Frozen parameters cost no gradient.
//!
//! This crate knows no operator by name; rules are the operators' own (`refit_ops::Operator`). It has no
//! optimizer and no loss: those are the trainer's.

mod backward;
mod compile;
mod error;
mod finite;
mod footprint;
mod forward;
mod gradients;
mod parameters;
mod plan;
mod segments;
mod threads;

pub use compile::{Parameter, Program};
pub use error::AutodiffError;
pub use footprint::{Footprint, Probe};
pub use forward::{Activations, Mode};
pub use gradients::{Gradient, Gradients};
pub use threads::beside_kernels;
