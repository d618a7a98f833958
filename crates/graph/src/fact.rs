use crate::DType;
use std::fmt;

/// One dimension of a shape.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Dim {
    /// A fixed size.
    Known(usize),
    /// A named size, equal wherever the name is equal (`batch`, `sequence`).
    Symbol(String),
    /// A size about which nothing is known.
    Unknown,
}

impl Dim {
    /// The size, when it is fixed.
    pub fn known(&self) -> Option<usize> {
        match self {
            Self::Known(size) => Some(*size),
            _ => None,
        }
    }
}

impl From<usize> for Dim {
    fn from(size: usize) -> Self {
        Self::Known(size)
    }
}

impl From<&str> for Dim {
    fn from(name: &str) -> Self {
        Self::Symbol(name.to_owned())
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(size) => write!(f, "{size}"),
            Self::Symbol(name) => f.write_str(name),
            Self::Unknown => f.write_str("?"),
        }
    }
}

/// What is known of a value before anything runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fact {
    /// Element type.
    pub dtype: Option<DType>,
    /// Shape, outermost dimension first; `None` when even the rank is unknown.
    pub shape: Option<Vec<Dim>>,
    /// For small integer tensors (shapes, axes) their elements in row-major order, possibly
    /// symbolic: this is how a `Shape` -> `Concat` -> `Reshape` chain keeps its meaning.
    pub elements: Option<Vec<Dim>>,
}

impl Fact {
    /// A value of which dtype and shape are known.
    pub fn new(dtype: DType, shape: impl IntoIterator<Item = impl Into<Dim>>) -> Self {
        Self { dtype: Some(dtype), shape: Some(shape.into_iter().map(Into::into).collect()), elements: None }
    }

    /// The rank, when it is known.
    pub fn rank(&self) -> Option<usize> {
        self.shape.as_ref().map(Vec::len)
    }

    /// The shape, when every dimension is fixed.
    pub fn concrete_shape(&self) -> Option<Vec<usize>> {
        self.shape.as_ref()?.iter().map(Dim::known).collect()
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dtype {
            Some(dtype) => write!(f, "{dtype}")?,
            None => f.write_str("?")?,
        }
        match &self.shape {
            None => f.write_str("[..]"),
            Some(shape) => {
                let dims: Vec<String> = shape.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", dims.join(", "))
            }
        }
    }
}
