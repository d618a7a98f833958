//! The loop: observes a model in production, decides, and acts.
//!
//! | module | what |
//! |---|---|
//! | [`observe`] | store and `/metrics` to a [`plan::State`]: what is missing is a state of its own |
//! | [`mod@plan`] | pure: a state to actions and reasons |
//! | [`execute`] | carries actions out; each can be repeated after `kill -9` at any point |
//! | [`memory`] | what survives a restart, written by compare-and-swap |
//! | [`api`] | control API, metrics and the console page |
//!
//! The loop asks for one small step at a time: observe, plan, execute, observe again. Nothing that was interrupted needs
//! to be remembered: the next observation finds it.

pub mod api;
mod config;
mod error;
pub mod execute;
pub mod memory;
mod metrics;
pub mod observe;
pub mod operate;
pub mod plan;
mod scheduler;
mod view;

pub use config::SchedulerConfig;
pub use error::SchedulerError;
pub use scheduler::{Scheduler, run};
