//! Which epoch's weights are kept, and when to stop.

use crate::TrainError;
use crate::checkpoint::{Saved, Unreadable, Writer};
use refit_autodiff::Program;
use refit_graph::Model;
use refit_spec::EarlyStopping;
use std::io::{self, Write};

/// Keeps the weights of the best epoch in the model.
pub struct BestWeights {
    rule: EarlyStopping,
    best: Option<f64>,
    epochs_since: usize,
}

impl BestWeights {
    /// None kept yet.
    pub fn new(rule: EarlyStopping) -> Self {
        Self { rule, best: None, epochs_since: 0 }
    }

    /// Writes the program's weights into `model` if `metric` is better than all before.
    ///
    /// # Errors
    /// When the model is not the one that the program was made of.
    pub fn offer(&mut self, program: &Program, model: &mut Model, metric: f64) -> Result<bool, TrainError> {
        let better = self.best.is_none_or(|best| {
            if self.rule.metric.higher_is_better() { metric > best } else { metric < best }
        });
        if better {
            program.write_back(model)?;
            self.best = Some(metric);
            self.epochs_since = 0;
        } else {
            self.epochs_since += 1;
        }
        Ok(better)
    }

    /// Whether any weights were kept.
    pub fn is_kept(&self) -> bool {
        self.best.is_some()
    }

    /// Writes what is not in the model.
    ///
    /// # Errors
    /// Those of the file.
    pub fn save<W: Write>(&self, to: &mut Writer<W>) -> io::Result<()> {
        to.f64s("best", self.best.as_slice())?;
        to.counts("best/since", &[self.epochs_since])
    }

    /// What [`Self::save`] wrote.
    ///
    /// # Errors
    /// When it is not there.
    pub fn restored(&self, from: &mut Saved) -> Result<Self, Unreadable> {
        let best = from.f64s("best")?.first().copied();
        let [epochs_since] = from.counts("best/since")?;
        Ok(Self { rule: self.rule, best, epochs_since })
    }

    /// Whether patience is used up.
    pub fn is_exhausted(&self) -> bool {
        self.epochs_since >= self.rule.patience
    }
}
