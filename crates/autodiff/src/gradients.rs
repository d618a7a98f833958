use crate::AutodiffError;
use candle_core::Tensor;
use refit_graph::ValueId;
use refit_ops::{RowGradient, kernels::accumulate};
use std::collections::BTreeMap;

/// Gradients of trainable parameters, by parameter.
#[derive(Debug, Default)]
pub struct Gradients {
    pub(crate) by_value: BTreeMap<ValueId, Gradient>,
}

/// The gradient of one parameter.
#[derive(Debug, Clone)]
pub enum Gradient {
    /// Float32, contiguous, of the parameter's shape and on its device.
    Whole(Tensor),
    /// Of an embedding table on the CPU: that of the rows that the step read.
    Rows(RowGradient),
}

impl Gradient {
    /// A tensor of the parameter's shape.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn to_tensor(&self) -> Result<Tensor, AutodiffError> {
        match self {
            Self::Whole(tensor) => Ok(tensor.clone()),
            Self::Rows(rows) => Ok(rows.to_tensor()?),
        }
    }

    /// The elements that are held, float32 and contiguous: all of them, or those of the rows.
    pub fn values(&self) -> &Tensor {
        match self {
            Self::Whole(tensor) => tensor,
            Self::Rows(rows) => rows.values(),
        }
    }

    /// The sum with another part.
    ///
    /// # Errors
    /// When the two are of different parameters.
    #[allow(clippy::should_implement_trait, reason = "it can fail")]
    pub fn add(self, other: &Self) -> Result<Self, AutodiffError> {
        Ok(match (&self, other) {
            (Self::Rows(a), Self::Rows(b)) => Self::Rows(a.add(b)?),
            _ => Self::Whole(accumulate::add(&self.to_tensor()?, &other.to_tensor()?)?),
        })
    }
}

impl Gradients {
    /// The gradient of a parameter.
    pub fn get(&self, id: ValueId) -> Option<&Gradient> {
        self.by_value.get(&id)
    }

    /// All gradients, in the order of [`crate::Program::parameters`].
    pub fn iter(&self) -> impl Iterator<Item = (ValueId, &Gradient)> {
        self.by_value.iter().map(|(id, gradient)| (*id, gradient))
    }

    /// Puts another gradient, of the same shape, in the place of a parameter's.
    pub fn set(&mut self, id: ValueId, gradient: Tensor) {
        self.by_value.insert(id, Gradient::Whole(gradient));
    }

    /// Adds the gradients of another part of the same step.
    ///
    /// # Errors
    /// When the two are of different programs.
    pub fn add(&mut self, other: Self) -> Result<(), AutodiffError> {
        for (id, gradient) in other.by_value {
            let sum = match self.by_value.remove(&id) {
                Some(sum) => sum.add(&gradient)?,
                None => gradient,
            };
            self.by_value.insert(id, sum);
        }
        Ok(())
    }

    /// Number of gradients.
    pub fn len(&self) -> usize {
        self.by_value.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_value.is_empty()
    }
}
