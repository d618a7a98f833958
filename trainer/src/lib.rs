//! Trains a model from a spec, exports it, proves the export, and compares models.
//!
//! [`train`] goes from `refit.toml` to a verified artifact; [`gate`] gives the evidence for or against a
//! promotion. The training step is in `fit.rs`.

mod adapt;
mod assess;
mod augment;
mod averaging;
mod batches;
mod calibrate;
mod checkpoint;
mod choosing;
mod class_weights;
mod compare;
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
mod forgetting;
mod gate;
mod memory;
mod mixup;
mod optimizer;
mod precision;
mod publish;
pub mod report;
mod run;
mod schedule;
pub mod spool;
mod state;
#[cfg(test)]
mod steps_against_pytorch;
mod stopping;
mod summary;
mod task;
mod training;
mod zeros;

pub use assess::evaluate_artifact;
pub use checkpoint::{CheckpointError, Checkpoints, Resume, Running, Stop};
pub use choosing::{
    CrossValidation, CrossValidationRequest, Final, Fold, RangePoint, RangeTest, RangeTestRequest,
    SearchOutcome, SearchRequest, Trial, cross_validate, find_learning_rate, search, write_whole,
};
pub use compare::{CompareRequest, ModelComparison, PairedFigure, compare};
pub use error::TrainError;
pub use event::{Curve, Epoch, Event, Listener, Step};
pub use export::{Choice, Parity};
pub use fetch::fetching;
pub use forgetting::Forgetting;
pub use gate::{Comparison, GateEvidence, GateRequest, SliceDifference, gate};
pub use run::{TrainOutcome, TrainRequest, serving_engine, train};
