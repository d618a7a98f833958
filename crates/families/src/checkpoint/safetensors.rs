use super::{Tensors, as_float32, damaged};
use crate::FamilyError;
use ::safetensors::{Dtype, SafeTensors};
use bytes::Bytes;
use refit_graph::{DType, HostTensor};
use std::path::Path;

pub(super) fn read(path: &Path, bytes: &Bytes) -> Result<Tensors, FamilyError> {
    let parsed = SafeTensors::deserialize(bytes).map_err(|error| damaged(path, error.to_string()))?;
    let mut tensors = Tensors::new();
    for (name, view) in parsed.iter() {
        let data = bytes.slice_ref(view.data());
        let tensor = host_tensor(view.dtype(), view.shape(), data)
            .map_err(|why| damaged(path, format!("tensor \"{name}\": {why}")))?;
        tensors.insert(name.to_owned(), tensor);
    }
    Ok(tensors)
}

fn host_tensor(dtype: Dtype, shape: &[usize], data: Bytes) -> Result<HostTensor, String> {
    let dtype = match dtype {
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::I8 => DType::I8,
        Dtype::U8 => DType::U8,
        Dtype::BOOL => DType::Bool,
        other => return Err(format!("its type {other:?} is not supported")),
    };
    HostTensor::from_bytes(dtype, shape.to_vec(), data).map(as_float32).map_err(|error| error.to_string())
}
