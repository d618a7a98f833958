//! A moving average of the weights (Polyak and Juditsky 1992; its exponential form as in Tarvainen and Valpola
//! 2017): evaluated and exported in place of the last weights, which jump about with every batch.

use crate::checkpoint::{Saved, Unreadable, Writer};
use crate::state::sized;
use candle_core::{Device, Tensor};
use refit_autodiff::{AutodiffError, Program};
use refit_graph::ValueId;
use refit_ops::kernels::slices;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// The average of every trainable parameter.
pub struct Average {
    decay: f64,
    updates: usize,
    /// Float32, where the parameters lie.
    values: BTreeMap<ValueId, Tensor>,
}

impl Average {
    /// None taken yet; `decay` is the share that is kept at each step once enough steps are done.
    pub fn new(decay: f64) -> Self {
        Self { decay, updates: 0, values: BTreeMap::new() }
    }

    /// Takes the weights after a step in: `average = d * average + (1 - d) * weights`, where after n updates
    /// `d = min(decay, (1 + n) / (10 + n))`, TensorFlow's rule for short runs. The first update copies.
    ///
    /// # Errors
    /// When a parameter cannot be read from its device.
    pub fn update(&mut self, program: &mut Program) -> Result<(), AutodiffError> {
        let done = self.updates as f64;
        let kept = self.decay.min((1.0 + done) / (10.0 + done));
        let taken = (1.0 - kept) as f32;
        for id in ids(program) {
            let weights = program.parameter(id)?;
            match self.values.get_mut(&id) {
                None => {
                    self.values.insert(id, weights.copy()?);
                }
                Some(average) if slices::is_cpu_f32(average) => {
                    slices::with(weights, |weights| {
                        slices::with_mut(average, |average| {
                            for (average, weight) in average.iter_mut().zip(weights) {
                                *average += taken * (weight - *average);
                            }
                        })
                    })??;
                }
                Some(average) => {
                    *average = (&*average + ((weights - &*average)? * f64::from(taken))?)?;
                }
            }
        }
        self.updates += 1;
        Ok(())
    }

    /// Exchanges the program's weights and the average; a second time brings both back, bit for bit.
    ///
    /// # Errors
    /// When a parameter cannot be written to its device.
    pub fn swap(&mut self, program: &mut Program) -> Result<(), AutodiffError> {
        for (id, average) in &mut self.values {
            let weights = program.parameter(*id)?.clone();
            program.set_parameter(*id, std::mem::replace(average, weights))?;
        }
        Ok(())
    }

    /// Writes the average.
    ///
    /// # Errors
    /// Those of the file.
    pub fn save<W: Write>(&self, to: &mut Writer<W>, program: &Program) -> io::Result<()> {
        to.counts("average/updates", &[self.updates])?;
        for parameter in program.parameters() {
            if let Some(values) = self.values.get(&parameter.id) {
                let values = values.to_device(&Device::Cpu).map_err(io::Error::other)?;
                slices::with(&values, |values| to.f32s(&format!("average/{}", parameter.name), values))
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
        let [updates] = from.counts("average/updates")?;
        let mut values = BTreeMap::new();
        for parameter in program.parameters().iter().filter(|_| updates > 0) {
            let average = from.f32s(&format!("average/{}", parameter.name))?;
            let average = sized(average, parameter.shape.iter().product())?;
            let average = Tensor::from_vec(average, parameter.shape.as_slice(), program.device());
            values.insert(parameter.id, average.map_err(|_| Unreadable::Format)?);
        }
        Ok(Self { decay: self.decay, updates, values })
    }
}

fn ids(program: &Program) -> Vec<ValueId> {
    program.parameters().iter().map(|parameter| parameter.id).collect()
}
