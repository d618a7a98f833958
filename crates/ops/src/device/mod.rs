//! What the large kernels compute, composed of candle's forward operations for tensors on any device: each
//! operation has float32 and bfloat16 kernels for CUDA, or is a product of cuBLAS. A file computes what that of
//! its name in [`crate::kernels`] does, and the tests of the operators compare the two.
//!
//! Nothing here scatters: candle's `index_add` for CUDA gives all indices of a row to one thread. A sum over
//! what was picked is a second table that picks in turn ([`table::Table::inverse`]).

pub(crate) mod activation;
pub(crate) mod conv;
pub(crate) mod planes;
pub(crate) mod pool;
pub(crate) mod resample;
pub(crate) mod table;
