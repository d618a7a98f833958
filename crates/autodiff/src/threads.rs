//! On which thread a program runs.

use candle_core::Device;

/// Does `work` on a thread of the pool that kernels share: from any other thread each of the thousand kernels of a step
/// would wake the pool and be woken by it.
pub fn beside_kernels<R: Send>(device: &Device, work: impl FnOnce() -> R + Send) -> R {
    match device.is_cpu() {
        true => rayon::scope(|_| work()),
        false => work(),
    }
}
