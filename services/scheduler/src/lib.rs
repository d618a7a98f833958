//! The loop: observes a model in production, decides, and acts.

pub mod plan;
