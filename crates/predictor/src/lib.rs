//! An artifact, an engine and the preprocessing together: raw text in, answers out.
//!
//! Training, the gate, the service and the command line all answer through this crate, so that they cannot disagree.
//! An answer never depends on what else is asked at the same time. Texts run alone, without padding: on a CPU a batch
//! costs per token about what single texts cost, and padding costs more. Who has measured that a batch pays can ask for
//! one (`together`), after it has seen that its answers are the same.

mod answer;
mod choice;
mod device;
mod elsewhere;
mod engines;
mod entities;
mod error;
mod golden;
mod input;
mod machine;
mod observation;
mod places;
mod prediction;
mod predictor;
mod reference;
mod span;
mod together;
mod worker;

pub use answer::{Answer, Entity, Span, TaggedWord};
pub use choice::{Choice, Form};
pub use device::Computing;
pub use engines::{Availability, EngineConfig, Engines};
pub use error::PredictorError;
pub use golden::{FLOAT32_TOLERANCE, GoldenReplay, INT8_OTHER_ENGINE_TOLERANCE, INT8_TOLERANCE};
pub use input::Input;
pub use machine::machine;
pub use observation::{FeatureValue, Observation};
pub use prediction::Prediction;
pub use predictor::{LoadOptions, Predictor};
pub use reference::{ReferenceOptions, build_reference};
pub use span::best_span;
pub use worker::Worker;
