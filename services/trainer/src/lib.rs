//! Training as a service: specs are submitted, wait in a queue, and are trained one at a time on each device.
//!
//! A run is a child process (`refit train`), so that nothing it does can harm the service or another run. What is known of
//! a run lies in its folder: a restart of the service takes up the queue, and a run that was under way goes on from its
//! last checkpoint. The service decides nothing about models: it trains and registers.

mod config;
mod error;
mod follow;
mod metrics;
mod process;
mod queue;
mod routes;
mod run;
mod server;

pub use config::TrainerConfig;
pub use error::TrainerError;
pub use run::{Run, Status};
pub use server::run as serve;
