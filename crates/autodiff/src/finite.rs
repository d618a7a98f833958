//! Where a run leaves the numbers.

use crate::{AutodiffError, Mode, Program};
use candle_core::{DType, Tensor};
use std::collections::HashMap;

impl Program {
    /// The first tensor that is not finite in a run of these inputs: an input, a parameter, or what a node makes, in
    /// words. Negative infinity counts only when nothing else is found, because masks are made of it.
    ///
    /// # Errors
    /// When an operator refuses.
    pub fn first_not_finite(
        &self,
        inputs: &HashMap<String, Tensor>,
        mode: Mode,
    ) -> Result<Option<String>, AutodiffError> {
        for parameter in &self.parameters {
            if let Some(what) = worst(self.parameter(parameter.id)?)? {
                return Ok(Some(format!("the parameter \"{}\" has {}", parameter.name, what.name())));
            }
        }
        let mut values = self.bound(inputs)?;
        for id in &self.inputs {
            if let Some(tensor) = &values[id.index()]
                && let Some(what) = worst(tensor)?
            {
                return Ok(Some(format!("the input \"{}\" has {}", self.names[id.index()], what.name())));
            }
        }
        let mut lowest = None;
        for step in &self.steps {
            let outputs = self.run(step, &values, mode).map_err(|error| error.at(self.place(step)))?;
            for (id, output) in step.node.outputs.iter().zip(outputs) {
                let Some(id) = id else { continue };
                let found = worst(&output)?;
                let place = || format!("{} made {}", self.place(step), found.map_or("", Worst::name));
                match found {
                    None => {}
                    Some(Worst::Lowest) => lowest = lowest.or_else(|| Some(place())),
                    Some(_) => return Ok(Some(place())),
                }
                values[id.index()] = Some(output);
            }
            for id in &step.dead_after_evaluation {
                values[id.index()] = None;
            }
        }
        Ok(lowest)
    }
}

#[derive(Clone, Copy)]
enum Worst {
    NotANumber,
    Infinite,
    Lowest,
}

impl Worst {
    fn name(self) -> &'static str {
        match self {
            Self::NotANumber => "a value that is not a number",
            Self::Infinite => "an infinite value",
            Self::Lowest => "a negative infinite value",
        }
    }
}

fn worst(tensor: &Tensor) -> Result<Option<Worst>, AutodiffError> {
    if !tensor.dtype().is_float() {
        return Ok(None);
    }
    let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    Ok(if values.iter().any(|value| value.is_nan()) {
        Some(Worst::NotANumber)
    } else if values.contains(&f32::INFINITY) {
        Some(Worst::Infinite)
    } else {
        values.contains(&f32::NEG_INFINITY).then_some(Worst::Lowest)
    })
}
