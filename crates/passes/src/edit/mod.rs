//! Edits: passes that change what a model computes or which of its parameters train, each with its
//! declared tolerance.

mod batch_statistics;
mod cut;
mod depth;
mod embed;
mod fold_batch_norm;
mod freeze;
mod insert_dropout;
mod layer;
mod lora;
mod merge_lora;
mod mixed_precision;
mod parameters;
mod pool;
mod prune_feed_forward;
mod prune_heads;
mod prune_weights;
mod quantize;
mod random;
mod replace_head;
mod set_dropout;
mod slices;

pub use batch_statistics::BatchStatistics;
pub use cut::{Split, split_frozen};
pub use depth::{depths, head_depth};
pub use embed::Embed;
pub use fold_batch_norm::FoldBatchNorm;
pub use freeze::{Freeze, FreezePolicy};
pub use insert_dropout::InsertDropout;
pub use layer::{layer_of, num_layers};
pub use lora::Lora;
pub use merge_lora::MergeLora;
pub use mixed_precision::MixedPrecision;
pub use parameters::parameters;
pub use pool::Pool;
pub use prune_feed_forward::PruneFeedForward;
pub use prune_heads::PruneHeads;
pub use prune_weights::{PruneWeights, ZeroWeights};
pub use quantize::{
    ActivationRange, FixedForm, Float16Weights, QuantizableLayer, QuantizeInt4Blocks, QuantizeInt8Fixed,
    QuantizeInt8Rows, RowsForm, SmoothActivations,
};
pub use replace_head::{HEAD_PREFIX, ReplaceHead, TokenHead};
pub use set_dropout::SetDropout;
