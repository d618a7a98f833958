//! Between the graph's tensors (bytes and an ONNX type) and candle's.

use crate::OpError;
use candle_core::{DType as Candle, Device, Tensor};
use half::{bf16, f16};
use refit_graph::{DType, HostTensor};

/// The candle type that holds elements of a graph type: `bool` as `u8`, `int8` as `i16`, `uint16` as
/// `u32`, `uint64` as `i64`.
///
/// # Errors
/// For strings and types that are not read.
pub fn storage_dtype(dtype: DType) -> Result<Candle, OpError> {
    Ok(match dtype {
        DType::F32 => Candle::F32,
        DType::F64 => Candle::F64,
        DType::F16 => Candle::F16,
        DType::BF16 => Candle::BF16,
        DType::Bool | DType::U8 => Candle::U8,
        DType::I8 | DType::I16 => Candle::I16,
        DType::I32 => Candle::I32,
        DType::I64 | DType::U64 => Candle::I64,
        DType::U16 | DType::U32 => Candle::U32,
        DType::String | DType::Other(_) => return Err(OpError::Dtype(dtype)),
    })
}

/// Copies a constant to a device.
///
/// # Errors
/// For strings and types that are not read, or when the device refuses.
pub fn to_device(tensor: &HostTensor, device: &Device) -> Result<Tensor, OpError> {
    let (data, shape) = (tensor.bytes(), tensor.shape());
    let refuse = || OpError::Dtype(tensor.dtype());
    Ok(match tensor.dtype() {
        DType::F32 => Tensor::from_vec(elements(data, f32::from_le_bytes), shape, device)?,
        DType::F64 => Tensor::from_vec(elements(data, f64::from_le_bytes), shape, device)?,
        DType::F16 => Tensor::from_vec(elements(data, f16::from_le_bytes), shape, device)?,
        DType::BF16 => Tensor::from_vec(elements(data, bf16::from_le_bytes), shape, device)?,
        DType::U8 => Tensor::from_vec(data.to_vec(), shape, device)?,
        DType::Bool => Tensor::from_vec(elements(data, |[b]: [u8; 1]| u8::from(b != 0)), shape, device)?,
        DType::I8 => Tensor::from_vec(elements(data, |b| i16::from(i8::from_le_bytes(b))), shape, device)?,
        DType::I16 => Tensor::from_vec(elements(data, i16::from_le_bytes), shape, device)?,
        DType::I32 => Tensor::from_vec(elements(data, i32::from_le_bytes), shape, device)?,
        DType::U16 => Tensor::from_vec(elements(data, |b| u32::from(u16::from_le_bytes(b))), shape, device)?,
        DType::U32 => Tensor::from_vec(elements(data, u32::from_le_bytes), shape, device)?,
        DType::I64 | DType::U64 => Tensor::from_vec(tensor.to_i64().ok_or_else(refuse)?, shape, device)?,
        DType::String | DType::Other(_) => return Err(refuse()),
    })
}

/// Copies a tensor to the host, with the graph type that corresponds to candle's.
///
/// # Errors
/// For candle types that the graph has not.
pub fn to_host(tensor: &Tensor) -> Result<HostTensor, OpError> {
    let dtype = match tensor.dtype() {
        Candle::F32 => DType::F32,
        Candle::F64 => DType::F64,
        Candle::F16 => DType::F16,
        Candle::BF16 => DType::BF16,
        Candle::U8 => DType::U8,
        Candle::I16 => DType::I16,
        Candle::I32 => DType::I32,
        Candle::I64 => DType::I64,
        Candle::U32 => DType::U32,
        other => return Err(candle_core::Error::UnsupportedDTypeForOp(other, "to_host").into()),
    };
    to_host_as(tensor, dtype)
}

/// Copies a tensor to the host as elements of a graph type that is stored in the tensor's type.
///
/// # Errors
/// When the tensor's type cannot hold `dtype`.
pub fn to_host_as(tensor: &Tensor, dtype: DType) -> Result<HostTensor, OpError> {
    let flat = tensor.to_device(&Device::Cpu)?.to_dtype(storage_dtype(dtype)?)?.flatten_all()?;
    let data: Vec<u8> = match dtype {
        DType::F32 => bytes(&flat.to_vec1::<f32>()?, |v| v.to_le_bytes()),
        DType::F64 => bytes(&flat.to_vec1::<f64>()?, |v| v.to_le_bytes()),
        DType::F16 => bytes(&flat.to_vec1::<f16>()?, |v| v.to_le_bytes()),
        DType::BF16 => bytes(&flat.to_vec1::<bf16>()?, |v| v.to_le_bytes()),
        DType::U8 | DType::Bool => flat.to_vec1::<u8>()?,
        DType::I8 => bytes(&flat.to_vec1::<i16>()?, |v| [v as u8]),
        DType::I16 => bytes(&flat.to_vec1::<i16>()?, |v| v.to_le_bytes()),
        DType::I32 => bytes(&flat.to_vec1::<i32>()?, |v| v.to_le_bytes()),
        DType::U16 => bytes(&flat.to_vec1::<u32>()?, |v| (v as u16).to_le_bytes()),
        DType::U32 => bytes(&flat.to_vec1::<u32>()?, |v| v.to_le_bytes()),
        DType::I64 | DType::U64 => bytes(&flat.to_vec1::<i64>()?, |v| v.to_le_bytes()),
        DType::String | DType::Other(_) => return Err(OpError::Dtype(dtype)),
    };
    Ok(HostTensor::from_bytes(dtype, tensor.dims().to_vec(), data.into())?)
}

fn elements<const N: usize, T>(data: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    data.as_chunks::<N>().0.iter().map(|bytes| read(*bytes)).collect()
}

fn bytes<T: Copy, const N: usize>(values: &[T], write: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|value| write(*value)).collect()
}
