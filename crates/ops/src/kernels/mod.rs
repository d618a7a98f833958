//! CPU kernels on float32 slices: parallel, SIMD chosen at run time, the same bits for the same number of
//! threads.

pub mod accumulate;
pub mod adamw;
#[cfg(target_arch = "x86_64")]
pub mod amx;
pub mod attention;
pub mod conv;
mod depthwise;
pub mod elementwise;
pub mod gelu;
pub mod layer_norm;
pub mod math;
pub mod matrix;
mod patches;
pub mod planes;
pub mod pool;
pub mod random;
pub mod resample;
pub mod rms_norm;
pub mod rotary;
pub mod rows;
mod side_by_side;
mod simd;
pub mod slices;
pub mod softmax;
