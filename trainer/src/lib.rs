//! Trains a model from a spec, exports it, proves the export, and compares models.
//!
//! [`train`] goes from `refit.toml` to a verified artifact; [`gate`] gives the evidence for or against a
//! promotion. The training step is in `fit.rs`.

mod adapt;
mod assess;
mod batches;
pub mod data;
mod device;
mod error;
pub mod evaluation;
mod event;
mod examples;
mod export;
mod features;
mod fetch;
mod fit;
mod gate;
mod optimizer;
mod publish;
pub mod report;
mod run;
mod schedule;
mod stopping;
mod summary;

pub use assess::evaluate_artifact;
pub use error::TrainError;
pub use event::{Curve, Epoch, Event, Listener, Step};
pub use export::{Candidate, Choice, Parity};
pub use fetch::fetching;
pub use gate::{Comparison, GateEvidence, GateRequest, SliceDifference, gate};
pub use run::{TrainOutcome, TrainRequest, serving_engine, train};
