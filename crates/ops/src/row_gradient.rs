//! Gradients of tables of which a step reads few rows.

use crate::kernels::rows;
use crate::kernels::slices;
use candle_core::{Device, Result, Tensor};

/// The gradient of a float32 table: that of some of its rows; the others have none.
#[derive(Debug, Clone)]
pub struct RowGradient {
    /// Shape of the table.
    shape: Vec<usize>,
    /// The rows, ascending, each once.
    rows: Vec<usize>,
    /// `[rows, ..]`, contiguous float32 on the CPU.
    values: Tensor,
}

impl RowGradient {
    /// Adds up each row of `gradient` (`indices.len()` rows of the table's width) that stands for the same row of the
    /// table, in order, so that a sum has the same bits in every run.
    ///
    /// # Errors
    /// When `gradient` is not float32 on the CPU.
    ///
    /// # Panics
    /// When there are fewer rows than indices.
    pub fn new(gradient: &Tensor, indices: &[usize], shape: &[usize]) -> Result<Self> {
        let width = shape[1..].iter().product();
        let gradient = gradient.contiguous()?;
        let (rows, values) = slices::with(&gradient, |values| rows::merge(values, width, indices))?;
        let mut part = shape.to_vec();
        part[0] = rows.len();
        Ok(Self { shape: shape.to_vec(), rows, values: Tensor::from_vec(values, part, &Device::Cpu)? })
    }

    /// Which rows of the table, ascending.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// Their gradients: `[rows, ..]`, float32, contiguous, on the CPU.
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// The same as a tensor of the table's shape.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn to_tensor(&self) -> Result<Tensor> {
        let width = self.shape[1..].iter().product();
        let count = self.shape[0];
        let table = slices::with(&self.values, |values| rows::scatter_add(values, width, &self.rows, count))?;
        Tensor::from_vec(table, self.shape.as_slice(), &Device::Cpu)
    }

    /// The sum with the gradient of another part of the same step.
    ///
    /// # Errors
    /// When the two are of different tables.
    pub fn add(&self, other: &Self) -> Result<Self> {
        let both = Tensor::cat(&[&self.values, &other.values], 0)?;
        Self::new(&both, &[self.rows.as_slice(), &other.rows].concat(), &self.shape)
    }
}
