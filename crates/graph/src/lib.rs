//! The model as one graph: an intermediate representation over ONNX.
//!
//! A [`Model`] is read from ONNX bytes ([`onnx::read`]), changed by [`Patch`]es, checked by
//! [`verify`], and written back ([`onnx::write`]). Values are named, carry a dtype and a symbolic
//! shape ([`Fact`]), and initializers keep their bytes where they were read from (`Bytes`, so a
//! memory-mapped file is never copied).
//!
//! This crate knows nothing of candle, of files, of clocks or of networks.

mod dtype;
mod error;
mod fact;
mod graph;
mod inline;
mod node;
pub mod onnx;
mod patch;
mod tensor;
mod tidy;
mod verify;

pub use dtype::DType;
pub use error::GraphError;
pub use fact::{Dim, Fact};
pub use graph::{Graph, Initializer, Model, NodeId, Value, ValueId};
pub use inline::Bindings;
pub use node::{Attribute, Node, OpName, REFIT_DOMAIN, STANDARD_DOMAIN};
pub use patch::Patch;
pub use tensor::HostTensor;
pub use verify::verify;
