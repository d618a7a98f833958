//! The inference service: raw text in, answers out, and everything that it answers is watched.
//!
//! The path of a text: `routes` read the request, `answer` chooses the version and puts the text into the bounded
//! `queue`, one of the `workers` computes it alone on a thread of its own, counts it (`monitor`), hands it to the
//! `recorder` that writes to the store in batches, and replies. `follow` polls the store and puts another version in
//! place once it is verified, loaded and warm; requests keep the version that they began with.
//!
//! When you add a route: a function under `routes/`, a line in `routes::router`, a path in `openapi.json`. A metric: a
//! field of the module's `Metrics` struct. Something that happens to every request: a file under `layers/`.

mod answer;
mod api_error;
mod app;
mod background;
mod body;
mod config;
mod error;
mod follow;
mod layers;
mod loaded;
mod monitor;
mod queue;
mod recorder;
mod routes;
mod routing;
mod server;
mod workers;

pub use config::{DrainConfig, MonitorConfig, RecordConfig, ServeConfig, Source};
pub use error::{LoadError, ServeError};
pub use server::{Server, run, stop_signal};
