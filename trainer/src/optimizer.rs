//! AdamW over the trainable parameters of a program (Loshchilov & Hutter 2019, decoupled decay).

use refit_autodiff::{AutodiffError, Gradients, Program};
use refit_graph::ValueId;
use refit_ops::kernels::{adamw, slices};

/// The optimizer with its state.
pub struct AdamW {
    settings: adamw::Settings,
    moments: Vec<Moments>,
}

struct Moments {
    id: ValueId,
    decays: bool,
    first: Vec<f32>,
    second: Vec<f32>,
}

impl AdamW {
    /// State for every parameter of `program`. Parameters with fewer than two axes (biases and norms) do
    /// not decay.
    pub fn new(program: &Program, weight_decay: f64) -> Self {
        let moments = program
            .parameters()
            .iter()
            .map(|parameter| {
                let count = parameter.shape.iter().product();
                Moments {
                    id: parameter.id,
                    decays: parameter.shape.len() >= 2,
                    first: vec![0.0; count],
                    second: vec![0.0; count],
                }
            })
            .collect();
        let settings =
            adamw::Settings { weight_decay: weight_decay as f32, step: 0, ..adamw::Settings::default() };
        Self { settings, moments }
    }

    /// One step with `learning_rate`; every gradient is multiplied by `scale` first (clipping).
    ///
    /// # Errors
    /// When a gradient does not have the shape of its parameter.
    pub fn step(
        &mut self,
        program: &mut Program,
        gradients: &Gradients,
        learning_rate: f64,
        scale: f32,
    ) -> Result<(), AutodiffError> {
        self.settings.step += 1;
        for moments in &mut self.moments {
            let Some(gradient) = gradients.get(moments.id) else { continue };
            let settings = adamw::Settings {
                learning_rate: learning_rate as f32,
                weight_decay: if moments.decays { self.settings.weight_decay } else { 0.0 },
                gradient_scale: scale,
                ..self.settings
            };
            let gradient = gradient.to_device(&candle_core::Device::Cpu)?;
            slices::with(&gradient, |gradient| {
                program.update_parameter(moments.id, |values| {
                    adamw::update(values, gradient, &mut moments.first, &mut moments.second, &settings);
                })
            })??;
        }
        Ok(())
    }
}

/// The Euclidean norm over all gradients.
///
/// # Errors
/// When a gradient cannot be read back from its device.
pub fn global_norm(gradients: &Gradients) -> Result<f64, AutodiffError> {
    let mut sum = 0.0;
    for (_, gradient) in gradients.iter() {
        let gradient = gradient.to_device(&candle_core::Device::Cpu)?;
        sum += slices::with(&gradient, adamw::sum_of_squares)?;
    }
    Ok(sum.sqrt())
}
