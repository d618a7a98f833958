//! Edits: passes that change what a model computes or which of its parameters train, each with its
//! declared tolerance.

mod cut;
mod freeze;
mod layer;
mod lora;
mod merge_lora;
mod parameters;
mod quantize;
mod random;
mod replace_head;

pub use cut::{Split, split_frozen};
pub use freeze::{Freeze, FreezePolicy};
pub use layer::{layer_of, num_layers};
pub use lora::Lora;
pub use merge_lora::MergeLora;
pub use parameters::parameters;
pub use quantize::QuantizeInt8Rows;
pub use replace_head::{HEAD_PREFIX, Pool, ReplaceHead};
