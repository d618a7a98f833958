//! The inference service: raw text in, answers out, and everything that it answers is watched.
//!
//! The path of a text: `routes` read the request, `answer` chooses the version and puts the text into the bounded line
//! of its model in the `queue`. One of the `workers` takes the model's turn and computes as `scheduling` decides, mostly
//! the text alone on one thread; it counts the answer (`monitor`), hands it to the `recorder` that writes to the store
//! in batches, and replies. `follow` polls the store, and the `catalog` puts another version in place once it is verified,
//! loaded and warm; requests keep the version that they began with. On a machine with several memories `numa` says where
//! the workers and their sessions lie.
//!
//! gRPC (`grpc`) and REST (`routes/oip`) are two ways to write the same protocol (`oip`), at the same address.
//! Around it: `connections` keeps every connection in its bounds, `access` knows who may ask, `layers` are what happens to
//! every request, `sampling` chooses the texts that are kept, `spool` keeps them while the store is away.
//!
//! When you add a route: a function under `routes/`, a line in `routes::router`, a path in `openapi.json`. A metric: a
//! field of the module's `Metrics` struct. Something that happens to every request: a file under `layers/`.

mod access;
mod answer;
mod api_error;
mod app;
mod background;
mod body;
mod cache;
mod catalog;
mod config;
mod connections;
mod deployed;
mod error;
mod events;
mod follow;
mod grpc;
mod job;
mod layers;
mod limits;
mod loaded;
mod memory;
mod monitor;
mod numa;
mod oip;
mod process;
mod queue;
mod recorder;
mod reload;
mod repository;
mod residence;
mod routes;
mod routing;
mod sampling;
mod scheduling;
mod server;
mod shadow;
mod spool;
mod telemetry;
mod tls;
mod workers;

pub use access::{NewToken, Scope, TokenFileError};
pub use config::{DrainConfig, MonitorConfig, RecordConfig, ServeConfig, Source};
pub use error::{LoadError, ServeError};
pub use refit_metrics::MetricFamily;
pub use server::{Server, run, stop_signal};
pub use tls::TlsError;
