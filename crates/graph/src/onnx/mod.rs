//! ONNX bytes to graph and back.
//!
//! Everything that a valid file says survives the round trip: what the graph does not model
//! (functions, training information, non-tensor types, annotations) is carried through unread.
//! Documentation strings of tensors and attributes are the exception: they are dropped.

mod carried;
mod external;
pub mod proto;
mod read;
mod tensor;
mod write;

pub use carried::{Carried, CarriedGraph};
pub use external::{ExternalData, NoExternalData};
pub use read::read;
pub use write::{write, write_external};
