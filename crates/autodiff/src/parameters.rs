use crate::{AutodiffError, Program};
use candle_core::Tensor;
use refit_graph::{Model, ValueId};
use refit_ops::kernels::slices;

impl Program {
    /// The present value of a parameter or constant.
    ///
    /// # Errors
    /// When the program holds no such value.
    pub fn parameter(&self, id: ValueId) -> Result<&Tensor, AutodiffError> {
        self.constants.get(&id).ok_or(AutodiffError::UnknownParameter { id })
    }

    /// Changes the elements of a trainable parameter in place, row-major.
    ///
    /// # Errors
    /// When `id` is no trainable parameter.
    pub fn update_parameter(
        &mut self,
        id: ValueId,
        change: impl FnOnce(&mut [f32]),
    ) -> Result<(), AutodiffError> {
        if !self.parameters.iter().any(|parameter| parameter.id == id) {
            return Err(AutodiffError::UnknownParameter { id });
        }
        let tensor = self.constants.get_mut(&id).ok_or(AutodiffError::UnknownParameter { id })?;
        if tensor.device().is_cpu() {
            slices::with_mut(tensor, change)?;
        } else {
            let mut values = tensor.flatten_all()?.to_vec1::<f32>()?;
            change(&mut values);
            *tensor = Tensor::from_vec(values, tensor.dims(), tensor.device())?;
        }
        Ok(())
    }

    /// Copies every trainable parameter into the model that the program was compiled from.
    ///
    /// # Errors
    /// When the model is another one.
    pub fn write_back(&self, model: &mut Model) -> Result<(), AutodiffError> {
        for parameter in &self.parameters {
            let tensor = refit_ops::to_host(self.parameter(parameter.id)?)?;
            model.graph.set_initializer(parameter.id, tensor)?;
        }
        Ok(())
    }
}
