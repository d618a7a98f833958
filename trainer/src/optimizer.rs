//! AdamW over the trainable parameters of a program (Loshchilov & Hutter 2019, decoupled decay).

use crate::checkpoint::{Saved, Unreadable, Writer};
use crate::state::sized;
use refit_autodiff::{AutodiffError, Gradients, Program};
use refit_graph::{Graph, ValueId};
use refit_ops::kernels::{adamw, slices};
use refit_passes::edit::{depths, head_depth};
use std::io::{self, Write};

/// The optimizer with its state.
pub struct AdamW {
    settings: adamw::Settings,
    moments: Vec<Moments>,
}

struct Moments {
    id: ValueId,
    decays: bool,
    /// Share of the step's learning rate.
    rate: f64,
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
                    rate: 1.0,
                    first: vec![0.0; count],
                    second: vec![0.0; count],
                }
            })
            .collect();
        let settings =
            adamw::Settings { weight_decay: weight_decay as f32, step: 0, ..adamw::Settings::default() };
        Self { settings, moments }
    }

    /// Each layer learns at `decay` times the rate of the layer after it; the head at the full rate. A
    /// parameter's rate is `decay ^ (depth of the head - its own depth)` (Bao et al. 2022, after Howard and
    /// Ruder 2018). `graph` is the one that the program was made of.
    #[must_use]
    pub fn with_layer_decay(mut self, graph: &Graph, decay: f64) -> Self {
        let (depths, head) = (depths(graph), head_depth(graph));
        for moments in &mut self.moments {
            let below = head - depths.get(&moments.id).copied().unwrap_or(head).min(head);
            moments.rate = decay.powi(below as i32);
        }
        self
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
                learning_rate: (learning_rate * moments.rate) as f32,
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

impl AdamW {
    /// Writes the moments.
    ///
    /// # Errors
    /// Those of the file.
    pub fn save<W: Write>(&self, to: &mut Writer<W>, program: &Program) -> io::Result<()> {
        to.counts("optimizer/step", &[self.settings.step as usize])?;
        for (moments, parameter) in self.moments.iter().zip(program.parameters()) {
            to.f32s(&format!("optimizer/first/{}", parameter.name), &moments.first)?;
            to.f32s(&format!("optimizer/second/{}", parameter.name), &moments.second)?;
        }
        Ok(())
    }

    /// What [`Self::save`] wrote.
    ///
    /// # Errors
    /// When it is of another model.
    pub fn restored(&self, from: &mut Saved, program: &Program) -> Result<Self, Unreadable> {
        let [step] = from.counts("optimizer/step")?;
        let mut moments = Vec::with_capacity(self.moments.len());
        for (like, parameter) in self.moments.iter().zip(program.parameters()) {
            let mut list = |name: &str| {
                sized(from.f32s(&format!("optimizer/{name}/{}", parameter.name))?, like.first.len())
            };
            let (first, second) = (list("first")?, list("second")?);
            moments.push(Moments { first, second, ..*like });
        }
        let step = step.try_into().map_err(|_| Unreadable::Format)?;
        Ok(Self { settings: adamw::Settings { step, ..self.settings }, moments })
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
