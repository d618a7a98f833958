use refit_engine::{DataType, EngineError, Tensor, TensorData};
use tract_onnx::prelude::{DatumType, TValue, Tensor as TractTensor, TractResult};

pub(crate) fn data_type(datum_type: DatumType) -> Option<DataType> {
    match datum_type {
        DatumType::F32 => Some(DataType::F32),
        DatumType::I64 => Some(DataType::I64),
        DatumType::I32 => Some(DataType::I32),
        DatumType::U8 => Some(DataType::U8),
        DatumType::I8 => Some(DataType::I8),
        DatumType::Bool => Some(DataType::Bool),
        _ => None,
    }
}

pub(crate) fn to_tract(tensor: &Tensor) -> TractResult<TractTensor> {
    let shape = tensor.shape();
    match tensor.data() {
        TensorData::F32(values) => TractTensor::from_shape(shape, values),
        TensorData::I64(values) => TractTensor::from_shape(shape, values),
        TensorData::I32(values) => TractTensor::from_shape(shape, values),
        TensorData::U8(values) => TractTensor::from_shape(shape, values),
        TensorData::I8(values) => TractTensor::from_shape(shape, values),
        TensorData::Bool(values) => TractTensor::from_shape(shape, values),
    }
}

pub(crate) fn from_tract(name: &str, value: TValue) -> Result<Tensor, EngineError> {
    let unreadable =
        |_| EngineError::OutputType { name: name.to_owned(), dtype: format!("{:?}", value.datum_type()) };
    let shape = value.shape().to_vec();
    // Shape arithmetic of exported models leaves tract as symbolic dimensions that have values by now.
    let cast = match value.datum_type() {
        DatumType::TDim => Some(value.cast_to::<i64>().map_err(unreadable)?),
        _ => None,
    };
    let plain = cast.as_deref().unwrap_or(&value).try_as_plain_ram().map_err(unreadable)?;
    let data = match plain.datum_type() {
        DatumType::F32 => TensorData::F32(plain.as_slice().map_err(unreadable)?.to_vec()),
        DatumType::I64 => TensorData::I64(plain.as_slice().map_err(unreadable)?.to_vec()),
        DatumType::I32 => TensorData::I32(plain.as_slice().map_err(unreadable)?.to_vec()),
        DatumType::U8 => TensorData::U8(plain.as_slice().map_err(unreadable)?.to_vec()),
        DatumType::I8 => TensorData::I8(plain.as_slice().map_err(unreadable)?.to_vec()),
        DatumType::Bool => TensorData::Bool(plain.as_slice().map_err(unreadable)?.to_vec()),
        other => return Err(EngineError::OutputType { name: name.to_owned(), dtype: format!("{other:?}") }),
    };
    Tensor::new(shape, data)
}
