use crate::{DType, GraphError};
use bytes::Bytes;

/// A constant tensor in host memory: little-endian elements, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    dtype: DType,
    shape: Vec<usize>,
    data: Bytes,
    strings: Vec<Bytes>,
}

impl HostTensor {
    /// Wraps `data` without copying it.
    ///
    /// # Errors
    /// When `data` does not hold exactly the elements that `shape` asks for.
    pub fn from_bytes(dtype: DType, shape: Vec<usize>, data: Bytes) -> Result<Self, GraphError> {
        let count = element_count(&shape)?;
        if let Some(size) = dtype.size() {
            let expected = count.checked_mul(size);
            if expected != Some(data.len()) {
                return Err(GraphError::TensorSize { dtype, shape, bytes: data.len() });
            }
        }
        Ok(Self { dtype, shape, data, strings: Vec::new() })
    }

    /// A tensor of strings.
    ///
    /// # Errors
    /// When the number of strings is not the product of `shape`.
    pub fn from_strings(shape: Vec<usize>, strings: Vec<Bytes>) -> Result<Self, GraphError> {
        if element_count(&shape)? != strings.len() {
            return Err(GraphError::TensorSize { dtype: DType::String, shape, bytes: strings.len() });
        }
        Ok(Self { dtype: DType::String, shape, data: Bytes::new(), strings })
    }

    /// A float32 tensor.
    ///
    /// # Panics
    /// When `values` does not fit `shape`; use [`Self::from_bytes`] for data from outside.
    pub fn from_f32(shape: &[usize], values: &[f32]) -> Self {
        Self::from_elements(DType::F32, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// An int64 tensor. See [`Self::from_f32`].
    pub fn from_i64(shape: &[usize], values: &[i64]) -> Self {
        Self::from_elements(DType::I64, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// An int8 tensor. See [`Self::from_f32`].
    pub fn from_i8(shape: &[usize], values: &[i8]) -> Self {
        Self::from_elements(DType::I8, shape, values.iter().map(|v| *v as u8).collect())
    }

    /// A uint8 tensor. See [`Self::from_f32`].
    pub fn from_u8(shape: &[usize], values: &[u8]) -> Self {
        Self::from_elements(DType::U8, shape, values.to_vec())
    }

    fn from_elements(dtype: DType, shape: &[usize], data: Vec<u8>) -> Self {
        Self::from_bytes(dtype, shape.to_vec(), data.into()).expect("elements fit the shape")
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Shape, outermost dimension first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as little-endian bytes; empty for strings.
    pub fn bytes(&self) -> &Bytes {
        &self.data
    }

    /// The elements of a string tensor.
    pub fn strings(&self) -> &[Bytes] {
        &self.strings
    }

    /// The elements as float32 (from f16, bf16, f32 and f64); `None` for other types.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        let data = &self.data;
        Some(match self.dtype {
            DType::F32 => chunks(data).map(f32::from_le_bytes).collect(),
            DType::F64 => chunks(data).map(|b| f64::from_le_bytes(b) as f32).collect(),
            DType::F16 => chunks(data).map(|b| half::f16::from_le_bytes(b).to_f32()).collect(),
            DType::BF16 => chunks(data).map(|b| half::bf16::from_le_bytes(b).to_f32()).collect(),
            _ => return None,
        })
    }

    /// The elements as int64 (from every integer type and bool); `None` for other types.
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        let data = &self.data;
        Some(match self.dtype {
            DType::I64 => chunks(data).map(i64::from_le_bytes).collect(),
            DType::I32 => chunks(data).map(|b| i32::from_le_bytes(b).into()).collect(),
            DType::I16 => chunks(data).map(|b| i16::from_le_bytes(b).into()).collect(),
            DType::I8 => chunks(data).map(|b| i8::from_le_bytes(b).into()).collect(),
            DType::U8 | DType::Bool => chunks(data).map(|b| u8::from_le_bytes(b).into()).collect(),
            DType::U16 => chunks(data).map(|b| u16::from_le_bytes(b).into()).collect(),
            DType::U32 => chunks(data).map(|b| u32::from_le_bytes(b).into()).collect(),
            DType::U64 => chunks(data).map(|b| u64::from_le_bytes(b) as i64).collect(),
            _ => return None,
        })
    }
}

fn element_count(shape: &[usize]) -> Result<usize, GraphError> {
    shape
        .iter()
        .try_fold(1usize, |count, &dim| count.checked_mul(dim))
        .ok_or_else(|| GraphError::TensorTooLarge { shape: shape.to_vec() })
}

fn chunks<const N: usize>(data: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    data.as_chunks::<N>().0.iter().copied()
}
