//! Float32 elements on the CPU, for operators whose kernels live there alone: other element types and
//! other devices go there and back.

use crate::OpError;
use crate::kernels::slices;
use candle_core::{DType, Device, Tensor};
use std::cell::Cell;

thread_local! {
    static READS: Cell<usize> = const { Cell::new(0) };
}

/// How often operators on this thread have asked for elements on the host, wherever they lay. An operator
/// for which it grows where there are no kernels ([`crate::kernels::slices::without_kernels`]) computes on the
/// host, on CUDA too: this is how `docs/operators.md` knows.
pub fn host_reads() -> usize {
    READS.get()
}

/// The tensor as contiguous float32 on the CPU; nothing is copied where it is that already.
pub(crate) fn floats(tensor: &Tensor) -> Result<Tensor, OpError> {
    READS.set(READS.get() + 1);
    Ok(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.contiguous()?)
}

/// The elements as float64, in order.
pub(crate) fn numbers(tensor: &Tensor) -> Result<Vec<f64>, OpError> {
    READS.set(READS.get() + 1);
    Ok(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

/// The elements of an input that the operator has on the host everywhere
/// ([`crate::Operator::host_inputs`]), as float64 in order.
pub(crate) fn constants(tensor: &Tensor) -> Result<Vec<f64>, OpError> {
    Ok(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

/// The elements of indices and sizes as int64, in order: these lie on the host everywhere.
pub(crate) fn integers(tensor: &Tensor) -> Result<Vec<i64>, OpError> {
    Ok(tensor.to_device(&Device::Cpu)?.to_dtype(DType::I64)?.flatten_all()?.to_vec1()?)
}

/// Float32 elements as a tensor of the type and on the device of `like`.
pub(crate) fn tensor(data: Vec<f32>, shape: &[usize], like: &Tensor) -> Result<Tensor, OpError> {
    let made = Tensor::from_vec(data, shape, &Device::Cpu)?;
    Ok(made.to_dtype(like.dtype())?.to_device(like.device())?)
}

/// Calls `f` with the elements of one tensor.
pub(crate) fn with<R>(a: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R, OpError> {
    Ok(slices::with(&floats(a)?, f)?)
}

/// Calls `f` with the elements of two tensors.
pub(crate) fn with2<R>(a: &Tensor, b: &Tensor, f: impl FnOnce(&[f32], &[f32]) -> R) -> Result<R, OpError> {
    let (a, b) = (floats(a)?, floats(b)?);
    Ok(slices::with(&a, |a| slices::with(&b, |b| f(a, b)))??)
}

/// Calls `f` with the elements of three tensors.
pub(crate) fn with3<R>(
    [a, b, c]: [&Tensor; 3],
    f: impl FnOnce(&[f32], &[f32], &[f32]) -> R,
) -> Result<R, OpError> {
    let c = floats(c)?;
    with2(a, b, |a, b| slices::with(&c, |c| f(a, b, c)))?.map_err(OpError::from)
}
