//! Everything that a run has become, beside its weights: saved and restored as one.

use crate::TrainError;
use crate::averaging::Average;
use crate::checkpoint::{Saved, Unreadable, Writer};
use crate::event::{Curve, Epoch};
use crate::optimizer::AdamW;
use crate::stopping::BestWeights;
use refit_autodiff::Program;
use refit_graph::{Graph, HostTensor, Model};
use refit_ops::kernels::slices;
use refit_spec::TrainSpec;
use std::io::{self, Write};

/// Where a run is.
pub struct TrainState {
    /// The epoch under way, from zero.
    pub epoch: usize,
    /// Optimizer steps done in it.
    pub steps_in_epoch: usize,
    /// Optimizer steps done in all.
    pub step: usize,
    /// Training loss of the epoch under way.
    pub mean: Mean,
    /// Seconds spent on it, by all processes that did.
    pub seconds: f64,
    /// The optimizer with its moments.
    pub optimizer: AdamW,
    /// The moving average of the weights, if one is kept.
    pub average: Option<Average>,
    /// Which weights are kept, and whether patience is used up.
    pub best: BestWeights,
    /// The learning curve.
    pub curve: Curve,
}

impl TrainState {
    /// The beginning.
    ///
    /// # Errors
    /// When the device has no memory for it.
    pub fn new(program: &Program, graph: &Graph, spec: &TrainSpec) -> Result<Self, TrainError> {
        Ok(Self {
            epoch: 0,
            steps_in_epoch: 0,
            step: 0,
            mean: Mean::default(),
            seconds: 0.0,
            optimizer: AdamW::new(program, spec.weight_decay)?.with_layer_decay(graph, spec.layer_decay),
            average: spec.averaging.map(|averaging| Average::new(averaging.decay)),
            best: BestWeights::new(spec.early_stopping),
            curve: Curve::default(),
        })
    }

    /// A step was made over `rows` rows with this mean loss.
    pub fn end_step(&mut self, loss: f64, rows: usize, seconds: f64) {
        self.mean.add(loss, rows);
        self.curve.losses.push(loss);
        self.seconds += seconds;
        self.steps_in_epoch += 1;
        self.step += 1;
    }

    /// The epoch under way was scored.
    pub fn end_epoch(&mut self, epoch: Epoch) {
        self.curve.epochs.push(epoch);
        self.epoch += 1;
        self.steps_in_epoch = 0;
        self.mean = Mean::default();
        self.seconds = 0.0;
    }

    /// Writes the state, the program's parameters and the best weights, which `model` holds.
    ///
    /// # Errors
    /// Those of the file.
    pub fn save<W: Write>(&self, to: &mut Writer<W>, program: &Program, model: &Model) -> io::Result<()> {
        to.counts("place", &[self.epoch, self.steps_in_epoch, self.step, self.mean.rows])?;
        to.f64s("epoch", &[self.mean.sum, self.seconds])?;
        to.f64s("curve/losses", &self.curve.losses)?;
        let epochs = serde_json::to_vec(&self.curve.epochs.iter().map(exact).collect::<Vec<_>>())?;
        to.raw("curve/epochs", &epochs)?;
        self.best.save(to)?;
        self.optimizer.save(to, program)?;
        if let Some(average) = &self.average {
            average.save(to, program)?;
        }
        for parameter in program.parameters() {
            let values = program.parameter(parameter.id).map_err(io::Error::other)?;
            let values = values.to_device(&candle_core::Device::Cpu).map_err(io::Error::other)?;
            slices::with(&values, |values| to.f32s(&format!("now/{}", parameter.name), values))
                .map_err(io::Error::other)??;
            if self.best.is_kept() {
                let best = model.graph.initializer(parameter.id).and_then(|kept| kept.tensor.to_f32());
                to.f32s(&format!("best/{}", parameter.name), &best.unwrap_or_default())?;
            }
        }
        Ok(())
    }

    /// Takes up what [`Self::save`] wrote. When something is not usable, nothing was changed.
    ///
    /// # Errors
    /// When the program or the model refuse their own parameters.
    pub fn restore(
        &mut self,
        from: &mut Saved,
        program: &mut Program,
        model: &mut Model,
    ) -> Result<Result<(), Unreadable>, TrainError> {
        let (state, now, best) = match self.read(from, program) {
            Ok(read) => read,
            Err(why) => return Ok(Err(why)),
        };
        for (parameter, values) in program.parameters().to_vec().iter().zip(now) {
            program.update_parameter(parameter.id, |weights| weights.copy_from_slice(&values))?;
        }
        for (parameter, values) in program.parameters().iter().zip(best) {
            model
                .graph
                .set_initializer(parameter.id, HostTensor::from_f32(&parameter.shape, &values))
                .map_err(refit_autodiff::AutodiffError::from)?;
        }
        *self = state;
        Ok(Ok(()))
    }

    /// The state, the present weights and the best ones (none if no epoch has ended), by parameter.
    #[allow(clippy::type_complexity, reason = "read at one place")]
    fn read(
        &self,
        from: &mut Saved,
        program: &Program,
    ) -> Result<(Self, Vec<Vec<f32>>, Vec<Vec<f32>>), Unreadable> {
        let [epoch, steps_in_epoch, step, rows] = from.counts("place")?;
        let [sum, seconds] = array(from.f64s("epoch")?)?;
        let losses = from.f64s("curve/losses")?;
        let epochs: Vec<serde_json::Value> =
            serde_json::from_slice(from.raw("curve/epochs")?).map_err(|_| Unreadable::Format)?;
        let epochs = epochs.into_iter().map(from_exact).collect::<Option<Vec<Epoch>>>();
        let best = self.best.restored(from)?;
        let optimizer = self.optimizer.restored(from, program)?;
        let average = self.average.as_ref().map(|average| average.restored(from, program)).transpose()?;
        let (mut now, mut kept) = (Vec::new(), Vec::new());
        for parameter in program.parameters() {
            let count = parameter.shape.iter().product();
            now.push(sized(from.f32s(&format!("now/{}", parameter.name))?, count)?);
            if best.is_kept() {
                kept.push(sized(from.f32s(&format!("best/{}", parameter.name))?, count)?);
            }
        }
        let state = Self {
            epoch,
            steps_in_epoch,
            step,
            mean: Mean { sum, rows },
            seconds,
            optimizer,
            average,
            best,
            curve: Curve { losses, epochs: epochs.ok_or(Unreadable::Format)? },
        };
        Ok((state, now, kept))
    }
}

/// `values` if there are `count` of them.
///
/// # Errors
/// When there are others: the file is of another model.
pub fn sized(values: Vec<f32>, count: usize) -> Result<Vec<f32>, Unreadable> {
    if values.len() == count { Ok(values) } else { Err(Unreadable::Format) }
}

/// Exactly `N` numbers.
///
/// # Errors
/// When there are more or fewer.
pub fn array<const N: usize>(values: Vec<f64>) -> Result<[f64; N], Unreadable> {
    values.try_into().map_err(|_| Unreadable::Format)
}

/// An epoch as JSON in which every fraction is written as text: that comes back bit for bit, where a JSON
/// number may be rounded by its reader.
fn exact(epoch: &Epoch) -> serde_json::Value {
    let mut value = serde_json::to_value(epoch).unwrap_or_default();
    for (_, field) in value.as_object_mut().into_iter().flatten() {
        if let Some(number) = field.as_f64().filter(|_| field.is_f64()) {
            *field = number.to_string().into();
        }
    }
    value
}

fn from_exact(mut value: serde_json::Value) -> Option<Epoch> {
    for (_, field) in value.as_object_mut()? {
        if let Some(number) = field.as_str().and_then(|text| text.parse::<f64>().ok()) {
            *field = number.into();
        }
    }
    serde_json::from_value(value).ok()
}

/// A mean over rows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mean {
    /// The sum over rows.
    pub sum: f64,
    /// The rows.
    pub rows: usize,
}

impl Mean {
    /// Adds `rows` rows with this mean.
    pub fn add(&mut self, value: f64, rows: usize) {
        self.sum += value * rows as f64;
        self.rows += rows;
    }

    /// The mean; 0 of nothing.
    pub fn value(&self) -> f64 {
        self.sum / self.rows.max(1) as f64
    }
}
