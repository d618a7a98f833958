//! The loop: observes a model in production, decides, and acts.

pub mod metrics;
pub mod plan;
