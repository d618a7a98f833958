//! What refit remembers: versions, deployments, predictions and their feedback, runs, decisions, the state of the
//! loop. One SQLite file that several processes use at the same time.
//!
//! Everything that two processes could do at once is a single transaction that takes the write lock first, and
//! everything that a restarted process may do twice is idempotent: a version by the run that made it, a decision by
//! its key, a deployment by its generation.
//!
//! | file | table |
//! |---|---|
//! | `versions.rs` | `versions`: what was trained, where its artifact lies |
//! | `deployments.rs` | `deployments`: which version serves, since when and why |
//! | `predictions.rs` | `predictions`: what was answered |
//! | `feedback.rs` | `feedback`: true labels; labelled rows in order of arrival |
//! | `runs.rs`, `decisions.rs`, `loop_state.rs` | what the scheduler did, why, and where it is |
//! | `drift.rs` | `drift_snapshots`: verdicts over windows of observations |
//! | `retention.rs` | what is forgotten, and when |

mod decisions;
mod deployments;
mod drift;
mod error;
mod feedback;
mod loop_state;
mod predictions;
mod retention;
mod row;
mod runs;
mod schema;
mod store;
mod versions;

pub use decisions::{Decision, NewDecision};
pub use deployments::{Canary, Champion, Deployment, Role, Shadow};
pub use drift::{DriftSnapshot, NewDriftSnapshot};
pub use error::StoreError;
pub use feedback::{Accepted, Feedback, LabelledQuery, LabelledRow, LabelledTally};
pub use loop_state::LoopState;
pub use predictions::PredictionRecord;
pub use retention::{Pruned, Retention};
pub use runs::{NewRun, Run, RunStatus};
pub use schema::SCHEMA_VERSION;
pub use store::{FILE_NAME, Store, StoreOptions};
pub use versions::{NewVersion, Version, VersionStatus};
