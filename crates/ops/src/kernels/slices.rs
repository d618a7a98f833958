//! Float32 slices of CPU tensors, without copies.

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Storage, Tensor, bail};
use std::cell::{Cell, RefCell};

thread_local! {
    static OFF: Cell<bool> = const { Cell::new(false) };
}

/// Calls `f` with the elements of a contiguous float32 tensor on the CPU.
///
/// # Errors
/// When the tensor is anything else.
pub fn with<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(data)), Some((start, end))) => Ok(f(&data[start..end])),
        _ => bail!("a contiguous float32 tensor on the CPU was expected"),
    }
}

/// Calls `f` with the elements of a contiguous float32 tensor on the CPU, to be changed. Every tensor
/// that shares the memory changes with it.
///
/// # Errors
/// When the tensor is anything else.
pub fn with_mut(tensor: &Tensor, f: impl FnOnce(&mut [f32])) -> Result<()> {
    struct Change<F>(RefCell<Option<F>>);
    impl<F: FnOnce(&mut [f32])> InplaceOp1 for Change<F> {
        fn name(&self) -> &'static str {
            "change"
        }

        fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
            match (storage, layout.contiguous_offsets(), self.0.take()) {
                (CpuStorage::F32(data), Some((start, end)), Some(f)) => {
                    f(&mut data[start..end]);
                    Ok(())
                }
                _ => bail!("a contiguous float32 tensor on the CPU was expected"),
            }
        }
    }
    tensor.inplace_op1(&Change(RefCell::new(Some(f))))
}

/// Whether kernels compute with this tensor, its elements made float32 first if they are not.
pub fn is_cpu(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && !OFF.get()
}

/// Whether the CPU kernels can take this tensor (made contiguous first).
pub fn is_cpu_f32(tensor: &Tensor) -> bool {
    is_cpu(tensor) && tensor.dtype() == candle_core::DType::F32
}

/// Runs `f` on this thread as if every tensor lay on another device: operators go the way that they go there,
/// by candle's operations, whose results can so be compared with those of the kernels without such a device.
pub fn without_kernels<R>(f: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            OFF.set(self.0);
        }
    }
    let _restore = Restore(OFF.replace(true));
    f()
}

/// A buffer for a kernel that writes every element.
#[allow(clippy::uninit_vec, reason = "the caller writes every element; zeroing costs a pass over memory")]
pub(crate) fn unwritten(len: usize) -> Vec<f32> {
    let mut buffer = Vec::with_capacity(len);
    // SAFETY: `f32` has no invalid bit patterns and no destructor, and the capacity was just reserved.
    unsafe { buffer.set_len(len) };
    buffer
}

/// A buffer that tasks write to in disjoint blocks.
pub(super) struct Shared(pub(super) *mut f32);

// SAFETY: the tasks write disjoint blocks, and the buffer outlives the parallel loop.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

impl Shared {
    pub(super) fn at(&self, offset: usize) -> *mut f32 {
        self.0.wrapping_add(offset)
    }

    /// A block of the buffer.
    ///
    /// # Safety
    /// The block must lie inside the live buffer, and nobody else may touch its elements meanwhile.
    #[allow(clippy::mut_from_ref, reason = "the blocks of different tasks do not overlap")]
    pub(super) unsafe fn slice(&self, offset: usize, len: usize) -> &mut [f32] {
        // SAFETY: the caller says so.
        unsafe { std::slice::from_raw_parts_mut(self.at(offset), len) }
    }
}
