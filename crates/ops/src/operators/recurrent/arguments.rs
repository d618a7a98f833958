//! Inputs and attributes of a recurrent operator, checked, and the way between the order of the file and
//! that of the steps.

use super::Recurrent;
use super::cell::Cell;
use super::curve::{Clipped, Curve};
use super::layer::{Layer, Sizes, Weights};
use crate::{OpError, Site, host};
use candle_core::Tensor;
use refit_graph::Attribute;

/// One direction.
pub(super) struct Direction {
    pub reverse: bool,
    pub cell: Cell,
    w: Vec<f32>,
    r: Vec<f32>,
    bias: Vec<f32>,
    peepholes: Vec<f32>,
    /// Initial states, [batch, hidden]; `c` is empty for cells that have none.
    pub h: Vec<f32>,
    pub c: Vec<f32>,
}

/// All of them, on the host.
pub(super) struct Arguments {
    pub sizes: Sizes,
    pub directions: Vec<Direction>,
    lengths: Vec<usize>,
    batch_first: bool,
    x: Vec<f32>,
}

impl Arguments {
    pub fn new(op: Recurrent, site: &Site, inputs: &[Option<Tensor>]) -> Result<Self, OpError> {
        let input = |index: usize| site.required(inputs, index);
        let ([first, second, width], [count, rows, hidden]) = (input(0)?.dims(), input(2)?.dims()) else {
            return Err(site.refuse("input and weights need three dimensions"));
        };
        let batch_first = site.node.int("layout").unwrap_or(0) != 0;
        let (steps, batch) = if batch_first { (*second, *first) } else { (*first, *second) };
        let sizes = Sizes { steps, batch, input: *width, hidden: *hidden };
        let reverse: &[bool] = match site.node.text("direction").unwrap_or("forward") {
            "forward" => &[false],
            "reverse" => &[true],
            "bidirectional" => &[false, true],
            other => {
                let why = format!("\"{other}\" is not forward, reverse or bidirectional");
                return Err(OpError::Attribute { op: site.node.op.clone(), name: "direction", why });
            }
        };
        let cells = cells(op, site, reverse.len())?;
        let gates = cells[0].gates();
        if *count != reverse.len() || *rows != gates * hidden || *hidden == 0 {
            return Err(
                site.refuse(format!("recurrent weights of {:?} for {count} directions", input(2)?.dims()))
            );
        }
        let lengths = lengths(site, inputs, &sizes)?;
        let expected = |index, len: usize| part(site, inputs, index, reverse.len(), len);
        let w = expected(1, gates * hidden * width)?;
        let r = expected(2, gates * hidden * hidden)?;
        let bias = expected(3, 2 * gates * hidden)?;
        let lstm = op == Recurrent::Lstm;
        let states = |index| expected(index, batch * hidden);
        let c = if lstm { Some(states(6)?) } else { None };
        let peepholes = if lstm { expected(7, 3 * hidden)? } else { None };
        let mut made = Self {
            sizes,
            directions: Vec::new(),
            lengths,
            batch_first,
            x: host::with(input(0)?, <[f32]>::to_vec)?,
        };
        let h = states(5)?;
        for (index, cell) in cells.into_iter().enumerate() {
            let slice = |all: &Option<Vec<f32>>, len: usize| match all {
                Some(all) => all[index * len..(index + 1) * len].to_vec(),
                None => vec![0.0; len],
            };
            let state = |all: &Option<Vec<f32>>| match all {
                Some(all) => made.take_state_of(index, all, reverse.len()),
                None => vec![0.0; batch * hidden],
            };
            let direction = Direction {
                reverse: reverse[index],
                cell,
                w: slice(&w, gates * hidden * width),
                r: slice(&r, gates * hidden * hidden),
                bias: slice(&bias, 2 * gates * hidden),
                peepholes: if peepholes.is_some() { slice(&peepholes, 3 * hidden) } else { Vec::new() },
                h: state(&h),
                c: c.as_ref().map_or_else(Vec::new, &state),
            };
            made.directions.push(direction);
        }
        Ok(made)
    }

    pub fn layer<'a>(&'a self, direction: &'a Direction) -> Layer<'a> {
        let Direction { w, r, bias, peepholes, .. } = direction;
        let weights = Weights { w, r, bias, peepholes };
        Layer { cell: direction.cell, sizes: self.sizes, weights, lengths: &self.lengths }
    }

    /// The shape of all states.
    pub fn output_shape(&self) -> Vec<usize> {
        let Sizes { steps, batch, hidden, .. } = self.sizes;
        match self.batch_first {
            true => vec![batch, steps, self.directions.len(), hidden],
            false => vec![steps, self.directions.len(), batch, hidden],
        }
    }

    /// The shape of the last states.
    pub fn state_shape(&self) -> Vec<usize> {
        let (batch, hidden) = (self.sizes.batch, self.sizes.hidden);
        match self.batch_first {
            true => vec![batch, self.directions.len(), hidden],
            false => vec![self.directions.len(), batch, hidden],
        }
    }

    /// The time that a sequence is at in a step; `None` once it is over.
    fn time(&self, reverse: bool, step: usize, row: usize) -> Option<usize> {
        let length = self.lengths[row];
        (step < length).then(|| if reverse { length - 1 - step } else { step })
    }

    /// Each step and row with the places of its input in the file's order.
    fn inputs(&self, reverse: bool) -> impl Iterator<Item = (usize, usize)> + '_ {
        let Sizes { steps, batch, .. } = self.sizes;
        (0..steps * batch).filter_map(move |at| {
            let (step, row) = (at / batch, at % batch);
            let time = self.time(reverse, step, row)?;
            let place = if self.batch_first { row * steps + time } else { time * batch + row };
            Some((at, place))
        })
    }

    /// The inputs as the steps of a direction read them, [steps, batch, input].
    pub fn in_step_order(&self, direction: &Direction) -> Vec<f32> {
        let width = self.sizes.input;
        let mut x = vec![0.0; self.x.len()];
        for (at, place) in self.inputs(direction.reverse) {
            x[at * width..][..width].copy_from_slice(&self.x[place * width..][..width]);
        }
        x
    }

    /// The reverse of [`Self::in_step_order`], added.
    pub fn add_inputs(&self, direction: &Direction, dx: &[f32], sums: &mut [f32]) {
        let width = self.sizes.input;
        for (at, place) in self.inputs(direction.reverse) {
            let sums = &mut sums[place * width..][..width];
            sums.iter_mut().zip(&dx[at * width..]).for_each(|(sum, dx)| *sum += dx);
        }
    }

    /// Each step and row with the place of its state among the outputs.
    fn outputs(&self, index: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let (batch, steps, count) = (self.sizes.batch, self.sizes.steps, self.directions.len());
        let reverse = self.directions[index].reverse;
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

    pub fn put_outputs(&self, index: usize, states: &[f32], y: &mut [f32]) {
        let hidden = self.sizes.hidden;
        for (at, place) in self.outputs(index) {
            y[place * hidden..][..hidden].copy_from_slice(&states[at * hidden..][..hidden]);
        }
    }

    pub fn take_outputs(&self, index: usize, dy: &[f32]) -> Vec<f32> {
        let hidden = self.sizes.hidden;
        let mut taken = vec![0.0; self.sizes.steps * self.sizes.batch * hidden];
        for (at, place) in self.outputs(index) {
            taken[at * hidden..][..hidden].copy_from_slice(&dy[place * hidden..][..hidden]);
        }
        taken
    }

    /// The place of a row's state among those of `count` directions.
    fn state_place(&self, index: usize, row: usize, count: usize) -> usize {
        if self.batch_first { row * count + index } else { index * self.sizes.batch + row }
    }

    pub fn put_state(&self, index: usize, state: &[f32], all: &mut [f32]) {
        let hidden = self.sizes.hidden;
        for (row, state) in state.chunks_exact(hidden).enumerate() {
            let place = self.state_place(index, row, self.directions.len());
            all[place * hidden..][..hidden].copy_from_slice(state);
        }
    }

    pub fn take_state(&self, index: usize, all: &[f32]) -> Vec<f32> {
        self.take_state_of(index, all, self.directions.len())
    }

    fn take_state_of(&self, index: usize, all: &[f32], count: usize) -> Vec<f32> {
        let hidden = self.sizes.hidden;
        let row = |row| &all[self.state_place(index, row, count) * hidden..][..hidden];
        (0..self.sizes.batch).flat_map(row).copied().collect()
    }
}

/// An optional input of `len` elements for each direction.
fn part(
    site: &Site,
    inputs: &[Option<Tensor>],
    index: usize,
    directions: usize,
    len: usize,
) -> Result<Option<Vec<f32>>, OpError> {
    let Some(tensor) = inputs.get(index).and_then(Option::as_ref) else {
        return if index < 3 {
            Err(OpError::MissingInput { op: site.node.op.clone(), index })
        } else {
            Ok(None)
        };
    };
    if tensor.elem_count() != directions * len {
        let shape = tensor.dims();
        return Err(site.refuse(format!("input {index} of {shape:?} has not {len} elements a direction")));
    }
    host::with(tensor, |data| Some(data.to_vec()))
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
