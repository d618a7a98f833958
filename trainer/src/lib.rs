//! placeholder

pub mod evaluation;
pub mod report;
