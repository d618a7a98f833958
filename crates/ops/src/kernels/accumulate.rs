//! Adding gradients up, in place where that is safe.

use super::{elementwise, slices};
use candle_core::{Result, Storage, Tensor};

/// Whether two tensors lie in the same storage.
pub fn share_memory(a: &Tensor, b: &Tensor) -> bool {
    let address = |tensor: &Tensor| {
        let (storage, _) = tensor.storage_and_layout();
        std::ptr::from_ref::<Storage>(&storage).addr()
    };
    address(a) == address(b)
}

/// `sum += term`. The memory of `sum` must be nobody else's.
///
/// # Errors
/// When shapes or types differ.
pub fn add_assign(sum: &Tensor, term: &Tensor) -> Result<()> {
    if slices::is_cpu_f32(sum) && slices::is_cpu_f32(term) && sum.dims() == term.dims() {
        let term = term.contiguous()?;
        return slices::with(&term, |term| {
            slices::with_mut(sum, |sum| {
                elementwise::update(
                    sum,
                    term,
                    #[inline(always)]
                    |a, b| a + b,
                )
            })
        })?;
    }
    sum.slice_set(&(sum + term)?, 0, 0)
}

/// `a + b` of equal shapes.
///
/// # Errors
/// When shapes or types differ.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if slices::is_cpu_f32(a) && slices::is_cpu_f32(b) && a.dims() == b.dims() {
        return elementwise::zip(
            a,
            b,
            #[inline(always)]
            |a, b| a + b,
        );
    }
    a + b
}
