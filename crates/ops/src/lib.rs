//! Operators: one unit each, with its ONNX name, shape rule, forward, reverse rule (VJP) and test
//! problems, on candle tensors.
//!
//! [`find`] gives the unit for a node, [`infer_facts`] the shapes of a whole graph, [`evaluate`] the
//! value of one node on the host. On the CPU the operators that training lives on run on kernels of our
//! own ([`kernels`]); everywhere else they are composed of candle's operations (in the operator's file, or in
//! `device` where a kernel is large).
//!
//! This crate knows no order of execution: that is autodiff's.

mod convert;
mod device;
mod error;
mod evaluate;
mod host;
mod infer;
pub mod kernels;
mod operator;
pub mod operators;
mod picks;
mod problem;
mod row_gradient;
mod shapes;
mod windows;

pub use convert::{storage_dtype, to_device, to_host, to_host_as};
pub use error::OpError;
pub use evaluate::evaluate;
pub use host::host_reads;
pub use infer::{infer_facts, opset_of, unsupported};
pub use operator::{Backward, Element, Known, Operator, Reads, Site};
pub use problem::Problem;
pub use row_gradient::RowGradient;

use refit_graph::OpName;
use std::{collections::HashMap, sync::OnceLock};

/// The newest version of the standard's operator set whose rules are known here.
pub const NEWEST_OPSET: i64 = 28;

/// The operator of this name, if it is supported in version `opset` of its operator set. Versions above
/// [`NEWEST_OPSET`] are read with the newest rules.
pub fn find(name: &OpName, _opset: i64) -> Option<&'static dyn Operator> {
    static INDEX: OnceLock<HashMap<OpName, &'static dyn Operator>> = OnceLock::new();
    let index = INDEX.get_or_init(|| operators::all().map(|op| (op.name(), op)).collect());
    index.get(name).copied()
}
