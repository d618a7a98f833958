//! Sizes and attributes of a recurrent operator, checked, and the places of what each step reads and writes.

use super::Recurrent;
use super::cell::Cell;
use super::curve::{Clipped, Curve};
use super::layer::Sizes;
use crate::{OpError, Site, host};
use candle_core::Tensor;
use refit_graph::Attribute;

/// Sizes and attributes, and where each step finds what it reads.
pub(super) struct Order {
    pub sizes: Sizes,
    /// One for each direction.
    pub cells: Vec<Cell>,
    pub reverse: &'static [bool],
    pub lengths: Vec<usize>,
    pub batch_first: bool,
}

impl Order {
    pub fn new(op: Recurrent, site: &Site, inputs: &[Option<Tensor>]) -> Result<Self, OpError> {
        let input = |index: usize| site.required(inputs, index);
        let ([first, second, width], [count, rows, hidden]) = (input(0)?.dims(), input(2)?.dims()) else {
            return Err(site.refuse("input and weights need three dimensions"));
        };
        let batch_first = site.node.int("layout").unwrap_or(0) != 0;
        let (steps, batch) = if batch_first { (*second, *first) } else { (*first, *second) };
        let sizes = Sizes { steps, batch, input: *width, hidden: *hidden };
        let reverse: &'static [bool] = match site.node.text("direction").unwrap_or("forward") {
            "forward" => &[false],
            "reverse" => &[true],
            "bidirectional" => &[false, true],
            other => {
                let why = format!("\"{other}\" is not forward, reverse or bidirectional");
                return Err(OpError::Attribute { op: site.node.op.clone(), name: "direction", why });
            }
        };
        let cells = cells(op, site, reverse.len())?;
        if *count != reverse.len() || *rows != cells[0].gates() * hidden || *hidden == 0 {
            return Err(
                site.refuse(format!("recurrent weights of {:?} for {count} directions", input(2)?.dims()))
            );
        }
        let lengths = lengths(site, inputs, &sizes)?;
        Ok(Self { sizes, cells, reverse, lengths, batch_first })
    }

    pub fn count(&self) -> usize {
        self.reverse.len()
    }

    /// Elements that an input after `x` has for each direction.
    pub fn len(&self, index: usize) -> usize {
        let Sizes { batch, input, hidden, .. } = self.sizes;
        let width = self.cells[0].gates() * hidden;
        match index {
            1 => width * input,
            2 => width * hidden,
            3 => 2 * width,
            7 => 3 * hidden,
            _ => batch * hidden,
        }
    }

    /// Input `index`, which has to have [`Self::len`] elements for each direction.
    pub fn part<'a>(
        &self,
        site: &Site,
        inputs: &'a [Option<Tensor>],
        index: usize,
    ) -> Result<Option<&'a Tensor>, OpError> {
        let Some(tensor) = inputs.get(index).and_then(Option::as_ref) else {
            return if index < 3 {
                Err(OpError::MissingInput { op: site.node.op.clone(), index })
            } else {
                Ok(None)
            };
        };
        let len = self.len(index);
        if tensor.elem_count() != self.count() * len {
            let shape = tensor.dims();
            return Err(site.refuse(format!("input {index} of {shape:?} has not {len} elements a direction")));
        }
        Ok(Some(tensor))
    }

    /// The shape of all states.
    pub fn output_shape(&self) -> Vec<usize> {
        let Sizes { steps, batch, hidden, .. } = self.sizes;
        match self.batch_first {
            true => vec![batch, steps, self.count(), hidden],
            false => vec![steps, self.count(), batch, hidden],
        }
    }

    /// The shape of the last states.
    pub fn state_shape(&self) -> Vec<usize> {
        let (batch, hidden) = (self.sizes.batch, self.sizes.hidden);
        match self.batch_first {
            true => vec![batch, self.count(), hidden],
            false => vec![self.count(), batch, hidden],
        }
    }

    /// The time that a sequence is at in a step; `None` once it is over.
    fn time(&self, reverse: bool, step: usize, row: usize) -> Option<usize> {
        let length = self.lengths[row];
        (step < length).then(|| if reverse { length - 1 - step } else { step })
    }

    /// Each step and row with the places of its input in the file's order.
    pub fn inputs(&self, reverse: bool) -> impl Iterator<Item = (usize, usize)> + '_ {
        let Sizes { steps, batch, .. } = self.sizes;
        (0..steps * batch).filter_map(move |at| {
            let (step, row) = (at / batch, at % batch);
            let time = self.time(reverse, step, row)?;
            let place = if self.batch_first { row * steps + time } else { time * batch + row };
            Some((at, place))
        })
    }

    /// Each step and row with the place of its state among the outputs.
    pub fn outputs(&self, index: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let (batch, steps, count) = (self.sizes.batch, self.sizes.steps, self.count());
        let reverse = self.reverse[index];
        (0..steps * batch).filter_map(move |at| {
            let (step, row) = (at / batch, at % batch);
            let time = self.time(reverse, step, row)?;
            let place = match self.batch_first {
                true => (row * steps + time) * count + index,
                false => (time * count + index) * batch + row,
            };
            Some((at, place))
        })
    }

    /// The place of a row's state among those of all directions.
    pub fn state_place(&self, index: usize, row: usize) -> usize {
        if self.batch_first { row * self.count() + index } else { index * self.sizes.batch + row }
    }
}

fn lengths(site: &Site, inputs: &[Option<Tensor>], sizes: &Sizes) -> Result<Vec<usize>, OpError> {
    let Some(given) = inputs.get(4).and_then(Option::as_ref) else {
        return Ok(vec![sizes.steps; sizes.batch]);
    };
    let given = host::integers(given)?;
    let lengths: Vec<usize> = given.iter().filter_map(|length| usize::try_from(*length).ok()).collect();
    if lengths.len() != sizes.batch || given.len() != sizes.batch || lengths.iter().any(|l| *l > sizes.steps)
    {
        return Err(
            site.refuse(format!("lengths {given:?} for {} rows of {} steps", sizes.batch, sizes.steps))
        );
    }
    Ok(lengths)
}

/// The cells of all directions, with their activation functions.
fn cells(op: Recurrent, site: &Site, directions: usize) -> Result<Vec<Cell>, OpError> {
    let defaults: &[&str] = match op {
        Recurrent::Rnn => &["Tanh"],
        Recurrent::Gru => &["Sigmoid", "Tanh"],
        Recurrent::Lstm => &["Sigmoid", "Tanh", "Tanh"],
    };
    let names: Vec<String> = match site.node.attributes.get("activations") {
        Some(Attribute::Strings(names)) => {
            names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
        }
        _ => defaults.repeat(directions).into_iter().map(str::to_owned).collect(),
    };
    if names.len() != defaults.len() * directions {
        let why = format!("{} functions for {directions} directions", names.len());
        return Err(OpError::Attribute { op: site.node.op.clone(), name: "activations", why });
    }
    let floats = |name| match site.node.attributes.get(name) {
        Some(Attribute::Floats(values)) => values.clone(),
        _ => Vec::new(),
    };
    let (mut alphas, mut betas) =
        (floats("activation_alpha").into_iter(), floats("activation_beta").into_iter());
    let clip = site.node.float("clip").filter(|clip| *clip > 0.0).unwrap_or(f32::INFINITY);
    let mut curves = Vec::new();
    for name in &names {
        let (alpha, beta) = Curve::takes(name);
        let alpha = if alpha { alphas.next() } else { None };
        let beta = if beta { betas.next() } else { None };
        curves.push(Clipped { curve: Curve::named(site, name, alpha, beta)?, clip });
    }
    let flag = |name| site.node.int(name).unwrap_or(0) != 0;
    let cell = |curves: &[Clipped]| match (op, curves) {
        (Recurrent::Gru, [f, g]) => {
            Some(Cell::Gru { f: *f, g: *g, reset_after: flag("linear_before_reset") })
        }
        (Recurrent::Lstm, [f, g, h]) => {
            // The state has no sum to clip: only what enters a gate has.
            let h = Clipped { clip: f32::INFINITY, ..*h };
            Some(Cell::Lstm { f: *f, g: *g, h, coupled: flag("input_forget") })
        }
        (Recurrent::Rnn, [f]) => Some(Cell::Plain { f: *f }),
        _ => None,
    };
    let cells = curves.chunks(defaults.len()).map(cell).collect::<Option<Vec<Cell>>>();
    cells.ok_or_else(|| site.refuse("there are too few activation functions"))
}
