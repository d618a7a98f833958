use crate::{Activations, AutodiffError, Mode, Program};
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

    /// Puts another value in place of a trainable parameter.
    ///
    /// # Errors
    /// When `id` is no trainable parameter, or the value has another shape or type.
    pub fn set_parameter(&mut self, id: ValueId, value: Tensor) -> Result<(), AutodiffError> {
        let trains = self.parameters.iter().any(|parameter| parameter.id == id);
        let Some(present) = self.constants.get_mut(&id).filter(|_| trains) else {
            return Err(AutodiffError::UnknownParameter { id });
        };
        if present.dims() != value.dims() || present.dtype() != value.dtype() {
            return Err(AutodiffError::ParameterValue {
                expected: present.dims().to_vec(),
                given: value.dims().to_vec(),
            });
        }
        *present = value;
        Ok(())
    }

    /// Takes over the running statistics that a forward run in training left behind. Call it once a
    /// batch, before its backward run frees them; does nothing for a program that has none.
    pub fn update_statistics(&mut self, activations: &Activations) {
        if activations.mode == Mode::Eval {
            return;
        }
        for (constant, next) in &self.statistics {
            if let Some(value) = &activations.values[next.index()] {
                self.constants.insert(*constant, value.clone());
            }
        }
    }

    /// Constants that training changes without a gradient.
    pub fn statistics(&self) -> impl Iterator<Item = ValueId> {
        self.statistics.iter().map(|(constant, _)| *constant)
    }

    /// Copies every trainable parameter and running statistic into the model that the program was compiled
    /// from.
    ///
    /// # Errors
    /// When the model is another one.
    pub fn write_back(&self, model: &mut Model) -> Result<(), AutodiffError> {
        let parameters = self.parameters.iter().map(|parameter| parameter.id);
        for id in parameters.chain(self.statistics()) {
            let tensor = refit_ops::to_host(self.parameter(id)?)?;
            model.graph.set_initializer(id, tensor)?;
        }
        Ok(())
    }
}
