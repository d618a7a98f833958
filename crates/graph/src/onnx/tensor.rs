//! Tensors: every way in which ONNX stores elements becomes little-endian bytes.

use super::{external::ExternalReader, proto};
use crate::{DType, GraphError, HostTensor};
use bytes::Bytes;

/// Reads a tensor; `place` names it in errors.
pub(super) fn read_tensor(
    proto: &proto::TensorProto,
    place: &str,
    external: &mut ExternalReader<'_>,
) -> Result<HostTensor, GraphError> {
    let malformed = |what: String| GraphError::Malformed { what: format!("{place} {what}") };
    let mut shape = Vec::with_capacity(proto.dims.len());
    for dim in &proto.dims {
        let dim = usize::try_from(*dim);
        shape.push(dim.map_err(|_| malformed(format!("has a negative dimension in {:?}", proto.dims)))?);
    }
    let count = shape
        .iter()
        .try_fold(1usize, |count, dim| count.checked_mul(*dim))
        .ok_or_else(|| GraphError::TensorTooLarge { shape: shape.clone() })?;
    if proto.segment.is_some() {
        return Err(malformed("is stored in segments, which no version of ONNX defines".to_owned()));
    }
    let dtype = match proto.data_type {
        None | Some(0) => return Err(malformed("has no element type".to_owned())),
        Some(code) => DType::from_onnx(code),
    };
    let expected = byte_count(dtype, count);
    if proto.data_location == Some(proto::DATA_LOCATION_EXTERNAL) {
        if dtype == DType::String {
            return Err(malformed("holds strings, which cannot lie in an external file".to_owned()));
        }
        let data = external.tensor(proto, expected)?;
        return HostTensor::from_bytes(dtype, shape, data);
    }
    if dtype == DType::String {
        return HostTensor::from_strings(shape, proto.string_data.clone());
    }
    let data = match &proto.raw_data {
        Some(raw) => raw.clone(),
        None => typed_bytes(proto, dtype),
    };
    if expected.is_some_and(|expected| expected != data.len()) {
        return Err(GraphError::TensorSize { dtype, shape, bytes: data.len() });
    }
    HostTensor::from_bytes(dtype, shape, data)
}

/// Bytes of `count` elements; `None` when the type is not known here.
fn byte_count(dtype: DType, count: usize) -> Option<usize> {
    match dtype {
        DType::Other(14) => count.checked_mul(8),         // complex64
        DType::Other(15) => count.checked_mul(16),        // complex128
        DType::Other(17..=20 | 24) => Some(count),        // float8
        DType::Other(21..=23) => Some(count.div_ceil(2)), // 4 bits
        DType::Other(25 | 26) => Some(count.div_ceil(4)), // 2 bits
        known => known.size().and_then(|size| count.checked_mul(size)),
    }
}

/// The typed field that the standard assigns to each element type, as little-endian bytes.
fn typed_bytes(proto: &proto::TensorProto, dtype: DType) -> Bytes {
    let ints = &proto.int32_data;
    match dtype {
        DType::F32 | DType::Other(14) => proto.float_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::F64 | DType::Other(15) => proto.double_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::I64 => proto.int64_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::U64 => proto.uint64_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::U32 => proto.uint64_data.iter().flat_map(|v| (*v as u32).to_le_bytes()).collect(),
        DType::I32 => ints.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::F16 | DType::BF16 | DType::I16 | DType::U16 => {
            ints.iter().flat_map(|v| (*v as u16).to_le_bytes()).collect()
        }
        DType::I8 | DType::U8 | DType::Bool | DType::Other(_) => ints.iter().map(|v| *v as u8).collect(),
        DType::String => Bytes::new(),
    }
}

/// Writes a tensor with its bytes inside.
pub(super) fn write_tensor(name: &str, tensor: &HostTensor) -> proto::TensorProto {
    let mut out = proto::TensorProto {
        dims: tensor.shape().iter().map(|dim| *dim as i64).collect(),
        data_type: Some(tensor.dtype().to_onnx()),
        name: (!name.is_empty()).then(|| name.to_owned()),
        ..Default::default()
    };
    match tensor.dtype() {
        DType::String => out.string_data = tensor.strings().to_vec(),
        _ => out.raw_data = Some(tensor.bytes().clone()),
    }
    out
}
