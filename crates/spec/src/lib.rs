//! `refit.toml`: one file says what a model is.
//!
//! Two kinds of types. The `Raw…` sections are what the user wrote: every key optional, values
//! untyped, each with its line. [`Spec`] is what the program runs on: every value checked, every
//! default filled in. `TryFrom` goes from one to the other and reports every problem at once, each
//! with its path, the value and the fix.
//!
//! The doc comments of the raw sections are the reference: [`reference`] renders them as
//! `docs/config.md`.
//!
//! This crate reads no files and knows no clock: it turns text into values. Whether a source can be
//! reached is for the trainer's data sources to say.

mod balance;
mod budget;
mod cache;
mod checkpoint;
mod data;
mod duration;
mod export;
mod limits;
mod method;
mod metric;
mod model;
mod monitor;
mod problem;
mod prune;
mod raw;
mod reader;
mod reference;
mod refit;
mod sampling;
mod search;
mod section;
mod serve;
mod settings;
mod source;
mod spec;
mod task;
mod train;
mod transport;
mod trigger;
mod written;

pub use balance::{Augment, ClassWeights, RawAugment, Sampling};
pub use budget::FalseAlarmBudget;
pub use cache::default_cache;
pub use checkpoint::{CheckpointSpec, RawCheckpoint};
pub use data::{BrokenRows, DataSpec, Missing, NearDuplicates, RawData, RawSplit, SplitSpec};
pub use duration::Span;
pub use export::{Calibration, ExportSpec, Quantize, QuantizeFormat, RawExport, RawQuantize, Representation};
pub use limits::{LimitsSpec, RawLimits};
pub use method::Method;
pub use metric::Metric;
pub use model::{ModelSpec, PoolingChoice, RawHead, RawModel};
pub use monitor::{DriftSpec, MonitorSpec, PerformanceSpec, RawDrift, RawMonitor, RawPerformance};
pub use problem::{Problem, SpecErrors};
pub use prune::{Prune, RawPrune};
pub use raw::RawSpec;
pub use reference::reference;
pub use refit::{GateSpec, RawGate, RawRefit, RefitSpec, Start};
pub use sampling::{EventsMode, RawSampling, SamplingSpec};
pub use search::{Domain, RawSearch, SearchMethod, SearchSpec, Setting};
pub use serve::{CanarySpec, EngineChoice, RawCanary, RawServe, ServeSpec};
pub use source::{Member, Source};
pub use spec::Spec;
pub use task::Task;
pub use train::{
    Averaging, Batch, DeviceChoice, EarlyStopping, RawAveraging, RawEarlyStopping, RawTrain, Schedule,
    TrainPrecision, TrainSpec,
};
pub use transport::{RawTelemetry, RawTls, TelemetrySpec, TlsSpec};
pub use trigger::Trigger;
pub use written::nearest;
