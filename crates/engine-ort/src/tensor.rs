use ort::{
    session::SessionInputValue,
    value::{DynValue, TensorElementType, TensorRef, ValueType},
};
use refit_engine::{DataType, EngineError, Port, Tensor, TensorData};

use crate::NAME;

pub(crate) fn data_type(element: TensorElementType) -> Option<DataType> {
    match element {
        TensorElementType::Float32 => Some(DataType::F32),
        TensorElementType::Int64 => Some(DataType::I64),
        TensorElementType::Int32 => Some(DataType::I32),
        TensorElementType::Uint8 => Some(DataType::U8),
        TensorElementType::Int8 => Some(DataType::I8),
        TensorElementType::Bool => Some(DataType::Bool),
        _ => None,
    }
}

/// A view of the tensor: ONNX Runtime reads the elements where they are.
pub(crate) fn to_runtime(tensor: &Tensor) -> ort::Result<SessionInputValue<'_>> {
    let shape = tensor.shape();
    Ok(match tensor.data() {
        TensorData::F32(values) => TensorRef::from_array_view((shape, &values[..]))?.into(),
        TensorData::I64(values) => TensorRef::from_array_view((shape, &values[..]))?.into(),
        TensorData::I32(values) => TensorRef::from_array_view((shape, &values[..]))?.into(),
        TensorData::U8(values) => TensorRef::from_array_view((shape, &values[..]))?.into(),
        TensorData::I8(values) => TensorRef::from_array_view((shape, &values[..]))?.into(),
        TensorData::Bool(values) => TensorRef::from_array_view((shape, &values[..]))?.into(),
    })
}

pub(crate) fn from_runtime(port: &Port, value: &DynValue) -> Result<(String, Tensor), EngineError> {
    let failed = |error: ort::Error| EngineError::Run { engine: NAME, reason: error.to_string() };
    let other_type = |dtype: String| EngineError::OutputType { name: port.name.clone(), dtype };
    let ValueType::Tensor { ty, shape, .. } = value.dtype() else {
        return Err(other_type(value.dtype().to_string()));
    };
    let data = match data_type(*ty).ok_or_else(|| other_type(ty.to_string()))? {
        DataType::F32 => TensorData::F32(value.try_extract_tensor().map_err(failed)?.1.to_vec()),
        DataType::I64 => TensorData::I64(value.try_extract_tensor().map_err(failed)?.1.to_vec()),
        DataType::I32 => TensorData::I32(value.try_extract_tensor().map_err(failed)?.1.to_vec()),
        DataType::U8 => TensorData::U8(value.try_extract_tensor().map_err(failed)?.1.to_vec()),
        DataType::I8 => TensorData::I8(value.try_extract_tensor().map_err(failed)?.1.to_vec()),
        DataType::Bool => TensorData::Bool(value.try_extract_tensor().map_err(failed)?.1.to_vec()),
    };
    let shape = shape.iter().map(|&axis| usize::try_from(axis).unwrap_or(0)).collect();
    Ok((port.name.clone(), Tensor::new(shape, data)?))
}
