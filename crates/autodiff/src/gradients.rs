use crate::AutodiffError;
use candle_core::Tensor;
use refit_graph::ValueId;
use refit_ops::kernels::accumulate;
use std::collections::BTreeMap;

/// Gradients of trainable parameters, by parameter.
#[derive(Debug, Default)]
pub struct Gradients {
    pub(crate) by_value: BTreeMap<ValueId, Tensor>,
}

impl Gradients {
    /// The gradient of a parameter: float32, contiguous, of the parameter's shape.
    pub fn get(&self, id: ValueId) -> Option<&Tensor> {
        self.by_value.get(&id)
    }

    /// All gradients, in the order of [`crate::Program::parameters`].
    pub fn iter(&self) -> impl Iterator<Item = (ValueId, &Tensor)> {
        self.by_value.iter().map(|(id, gradient)| (*id, gradient))
    }

    /// Adds the gradients of another part of the same step.
    ///
    /// # Errors
    /// When the two are of different programs.
    pub fn add(&mut self, other: Self) -> Result<(), AutodiffError> {
        for (id, gradient) in other.by_value {
            let sum = match self.by_value.remove(&id) {
                Some(sum) => accumulate::add(&sum, &gradient)?,
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
