//! AdamW over the trainable parameters of a program (Loshchilov & Hutter 2019, decoupled decay). Its moments lie
//! where the parameters do.

use crate::checkpoint::{Saved, Unreadable, Writer};
use crate::state::sized;
use candle_core::{DType, Device, Tensor};
use refit_autodiff::{AutodiffError, Gradient, Gradients, Program, beside_kernels};
use refit_graph::{Graph, ValueId};
use refit_ops::kernels::{adamw, slices};
use refit_passes::edit::{depths, head_depth};
use std::io::{self, Write};

/// The optimizer with its state.
pub struct AdamW {
    settings: adamw::Settings,
    moments: Vec<Moments>,
}

#[derive(Clone)]
struct Moments {
    id: ValueId,
    decays: bool,
    /// Share of the step's learning rate.
    rate: f64,
    /// Float32, of the parameter's shape and on its device.
    first: Tensor,
    second: Tensor,
}

impl AdamW {
    /// State for every parameter of `program`. Parameters with fewer than two axes (biases and norms) do
    /// not decay.
    ///
    /// # Errors
    /// When the device has no memory for it.
    pub fn new(program: &Program, weight_decay: f64) -> Result<Self, AutodiffError> {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, program.device());
        let moments = program.parameters().iter().map(|parameter| {
            Ok(Moments {
                id: parameter.id,
                decays: parameter.shape.len() >= 2,
                rate: 1.0,
                first: zeros(&parameter.shape)?,
                second: zeros(&parameter.shape)?,
            })
        });
        let settings =
            adamw::Settings { weight_decay: weight_decay as f32, step: 0, ..adamw::Settings::default() };
        Ok(Self { settings, moments: moments.collect::<Result<_, AutodiffError>>()? })
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
        let device = program.device().clone();
        beside_kernels(&device, || self.step_all(program, gradients, learning_rate, scale))
    }

    fn step_all(
        &mut self,
        program: &mut Program,
        gradients: &Gradients,
        learning_rate: f64,
        scale: f32,
    ) -> Result<(), AutodiffError> {
        for moments in &mut self.moments {
            let Some(gradient) = gradients.get(moments.id) else { continue };
            let settings = adamw::Settings {
                learning_rate: (learning_rate * moments.rate) as f32,
                weight_decay: if moments.decays { self.settings.weight_decay } else { 0.0 },
                gradient_scale: scale,
                ..self.settings
            };
            if slices::is_cpu_f32(gradient.values()) {
                moments.step_on_cpu(program, gradient, &settings)?;
            } else {
                let parameter = program.parameter(moments.id)?;
                let changed = moments.step_on_device(parameter, &gradient.to_tensor()?, &settings)?;
                program.set_parameter(moments.id, changed)?;
            }
        }
        Ok(())
    }
}

impl Moments {
    /// Parameter and both moments in one pass, in place.
    fn step_on_cpu(
        &self,
        program: &mut Program,
        gradient: &Gradient,
        settings: &adamw::Settings,
    ) -> Result<(), AutodiffError> {
        let mut changed = Ok(());
        let width: usize = self.first.dims().iter().skip(1).product();
        let mut update = |values: &mut [f32], elements: &[f32]| {
            slices::with_mut(&self.first, |first| {
                let with_second = slices::with_mut(&self.second, |second| match gradient {
                    Gradient::Whole(_) => adamw::update(values, elements, first, second, settings),
                    Gradient::Rows(rows) => {
                        let part = (rows.rows(), elements);
                        adamw::update_rows(values, part, width, first, second, settings);
                    }
                });
                changed = with_second;
            })
        };
        let mut outer = Ok(());
        slices::with(gradient.values(), |elements| {
            program.update_parameter(self.id, |values| outer = update(values, elements))
        })??;
        Ok(outer.and(changed)?)
    }

    /// The same by the device's own operations; returns the parameter after the step.
    fn step_on_device(
        &mut self,
        parameter: &Tensor,
        gradient: &Tensor,
        settings: &adamw::Settings,
    ) -> candle_core::Result<Tensor> {
        let adamw::Settings { beta1, beta2, epsilon, step, .. } = *settings;
        let (beta1, beta2, rate) = (f64::from(beta1), f64::from(beta2), f64::from(settings.learning_rate));
        let gradient = (gradient.to_dtype(DType::F32)? * f64::from(settings.gradient_scale))?;
        self.first = ((&self.first * beta1)? + (&gradient * (1.0 - beta1))?)?;
        self.second = ((&self.second * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
        let correction = 1.0 / (1.0 - beta2.powi(step as i32));
        let scale = ((&self.second * correction)?.sqrt()? + f64::from(epsilon))?;
        let change = (&self.first / scale)? * (rate / (1.0 - beta1.powi(step as i32)));
        (parameter * (1.0 - rate * f64::from(settings.weight_decay)))? - change?
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
            for (name, tensor) in [("first", &moments.first), ("second", &moments.second)] {
                let values = tensor.to_device(&Device::Cpu).map_err(io::Error::other)?;
                slices::with(&values, |values| {
                    to.f32s(&format!("optimizer/{name}/{}", parameter.name), values)
                })
                .map_err(io::Error::other)??;
            }
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
            let mut tensor = |name: &str| {
                let stored = from.f32s(&format!("optimizer/{name}/{}", parameter.name))?;
                let values = sized(stored, like.first.elem_count())?;
                Tensor::from_vec(values, like.first.shape(), like.first.device())
                    .map_err(|_| Unreadable::Format)
            };
            let (first, second) = (tensor("first")?, tensor("second")?);
            moments.push(Moments { first, second, ..like.clone() });
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
    let mut on_device = Vec::new();
    for (_, gradient) in gradients.iter() {
        let gradient = gradient.values();
        if slices::is_cpu_f32(gradient) {
            sum += slices::with(gradient, adamw::sum_of_squares)?;
        } else {
            on_device.push(gradient.to_dtype(DType::F32)?.sqr()?.sum_all()?);
        }
    }
    if !on_device.is_empty() {
        // One wait for the device, not one a gradient.
        sum += f64::from(Tensor::stack(&on_device, 0)?.sum_all()?.to_scalar::<f32>()?);
    }
    Ok(sum.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operations_of_a_device_give_the_step_of_the_kernel() {
        let values = |from: f32| -> Vec<f32> { (0..12).map(|i| from + (i as f32 * 0.37).sin()).collect() };
        let tensor = |values: Vec<f32>| Tensor::from_vec(values, (3, 4), &Device::Cpu).expect("it fits");
        let (mut weights, mut first, mut second) = (values(0.0), vec![0.0; 12], vec![0.0; 12]);
        let mut graph = Graph::new("one");
        let id = graph.add_input("weights", refit_graph::Fact::default());
        let zeros = tensor(vec![0.0; 12]);
        let mut moments = Moments { id, decays: true, rate: 1.0, first: zeros.clone(), second: zeros };
        let mut on_device = tensor(weights.clone());
        for step in 1..=5 {
            let gradient = values(step as f32 * 0.1);
            let settings = adamw::Settings {
                step,
                learning_rate: 1e-2,
                weight_decay: 0.1,
                gradient_scale: 0.7,
                ..adamw::Settings::default()
            };
            adamw::update(&mut weights, &gradient, &mut first, &mut second, &settings);
            on_device = moments.step_on_device(&on_device, &tensor(gradient), &settings).expect("a step");
        }
        let found: Vec<f32> = on_device.flatten_all().and_then(|w| w.to_vec1()).expect("numbers");
        for (found, expected) in found.iter().zip(&weights) {
            assert!((found - expected).abs() < 1e-6, "{found} and {expected}");
        }
    }
}
