//! Prometheus' registry, which also remembers what was registered, and the list that the documentation makes of it.
//!
//! A family of which no series exists yet is not gathered, so a list of gathered families would depend on what has
//! happened so far. `docs/metrics.md` is made of what is remembered here: a section a service, each written by a test of
//! its service.

mod page;
mod registry;

pub use page::Section;
pub use registry::{MetricFamily, Registry};
