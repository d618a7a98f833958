use crate::EngineError;

/// A dense tensor in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: TensorData,
}

/// The elements of a [`Tensor`].
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// float32
    F32(Vec<f32>),
    /// int64
    I64(Vec<i64>),
    /// int32
    I32(Vec<i32>),
    /// uint8
    U8(Vec<u8>),
    /// int8
    I8(Vec<i8>),
    /// bool
    Bool(Vec<bool>),
}

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataType {
    /// float32
    F32,
    /// int64
    I64,
    /// int32
    I32,
    /// uint8
    U8,
    /// int8
    I8,
    /// bool
    Bool,
}

impl Tensor {
    /// A tensor of `shape` with these elements. Fails when their number is not the product of `shape`.
    pub fn new(shape: Vec<usize>, data: TensorData) -> Result<Self, EngineError> {
        let expected = shape.iter().try_fold(1usize, |product, &axis| product.checked_mul(axis));
        if expected != Some(data.len()) {
            return Err(EngineError::TensorShape { shape, elements: data.len() });
        }
        Ok(Self { shape, data })
    }

    /// A float32 tensor.
    pub fn f32(shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Result<Self, EngineError> {
        Self::new(shape.into(), TensorData::F32(values))
    }

    /// An int64 tensor.
    pub fn i64(shape: impl Into<Vec<usize>>, values: Vec<i64>) -> Result<Self, EngineError> {
        Self::new(shape.into(), TensorData::I64(values))
    }

    /// The size of every axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements.
    pub fn data(&self) -> &TensorData {
        &self.data
    }

    /// Gives up the shape and the elements.
    pub fn into_parts(self) -> (Vec<usize>, TensorData) {
        (self.shape, self.data)
    }

    /// The elements of a float32 tensor, `None` for any other type.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            TensorData::F32(values) => Some(values),
            _ => None,
        }
    }

    /// The elements of an int64 tensor, `None` for any other type.
    pub fn as_i64(&self) -> Option<&[i64]> {
        match &self.data {
            TensorData::I64(values) => Some(values),
            _ => None,
        }
    }
}

impl TensorData {
    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::I32(values) => values.len(),
            Self::U8(values) => values.len(),
            Self::I8(values) => values.len(),
            Self::Bool(values) => values.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type of the elements.
    pub fn data_type(&self) -> DataType {
        match self {
            Self::F32(_) => DataType::F32,
            Self::I64(_) => DataType::I64,
            Self::I32(_) => DataType::I32,
            Self::U8(_) => DataType::U8,
            Self::I8(_) => DataType::I8,
            Self::Bool(_) => DataType::Bool,
        }
    }
}

impl DataType {
    /// The name that messages use.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::I64 => "int64",
            Self::I32 => "int32",
            Self::U8 => "uint8",
            Self::I8 => "int8",
            Self::Bool => "bool",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_elements_must_match_the_shape() {
        assert!(Tensor::f32([2, 3], vec![0.0; 6]).is_ok());
        assert!(matches!(
            Tensor::f32([2, 3], vec![0.0; 5]),
            Err(EngineError::TensorShape { elements: 5, .. })
        ));
        assert!(Tensor::f32([usize::MAX, 2], Vec::new()).is_err());
        assert!(Tensor::i64([0, 7], Vec::new()).is_ok());
    }
}
