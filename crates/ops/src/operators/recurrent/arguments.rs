//! The inputs of a recurrent operator on the host, and the way between the order of the file and that of the
//! steps.

use super::cell::Cell;
use super::layer::{Layer, Weights};
use super::order::Order;
use crate::{OpError, Site, host};
use candle_core::Tensor;

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

/// All directions, on the host.
pub(super) struct Arguments {
    pub order: Order,
    pub directions: Vec<Direction>,
    x: Vec<f32>,
}

impl Arguments {
    pub fn new(order: Order, site: &Site, inputs: &[Option<Tensor>]) -> Result<Self, OpError> {
        let lstm = matches!(order.cells[0], Cell::Lstm { .. });
        let read = |index: usize| -> Result<Option<Vec<f32>>, OpError> {
            let given = order.part(site, inputs, index)?;
            given.map(|tensor| host::with(tensor, <[f32]>::to_vec)).transpose()
        };
        let (w, r, bias, h) = (read(1)?, read(2)?, read(3)?, read(5)?);
        let (c, peepholes) = if lstm { (read(6)?, read(7)?) } else { (None, None) };
        let x = host::with(site.required(inputs, 0)?, <[f32]>::to_vec)?;
        let mut made = Self { order, directions: Vec::new(), x };
        for index in 0..made.order.count() {
            let slice = |all: &Option<Vec<f32>>, input: usize| {
                let len = made.order.len(input);
                all.as_ref()
                    .map_or_else(|| vec![0.0; len], |all| all[index * len..(index + 1) * len].to_vec())
            };
            let state = |all: &Option<Vec<f32>>| match all {
                Some(all) => made.take_state(index, all),
                None => vec![0.0; made.order.len(5)],
            };
            let direction = Direction {
                reverse: made.order.reverse[index],
                cell: made.order.cells[index],
                w: slice(&w, 1),
                r: slice(&r, 2),
                bias: slice(&bias, 3),
                peepholes: if peepholes.is_some() { slice(&peepholes, 7) } else { Vec::new() },
                h: state(&h),
                c: if lstm { state(&c) } else { Vec::new() },
            };
            made.directions.push(direction);
        }
        Ok(made)
    }

    pub fn layer<'a>(&'a self, direction: &'a Direction) -> Layer<'a> {
        let Direction { w, r, bias, peepholes, .. } = direction;
        let weights = Weights { w, r, bias, peepholes };
        Layer { cell: direction.cell, sizes: self.order.sizes, weights, lengths: &self.order.lengths }
    }

    /// The inputs as the steps of a direction read them, [steps, batch, input].
    pub fn in_step_order(&self, direction: &Direction) -> Vec<f32> {
        let width = self.order.sizes.input;
        let mut x = vec![0.0; self.x.len()];
        for (at, place) in self.order.inputs(direction.reverse) {
            x[at * width..][..width].copy_from_slice(&self.x[place * width..][..width]);
        }
        x
    }

    /// The reverse of [`Self::in_step_order`], added.
    pub fn add_inputs(&self, direction: &Direction, dx: &[f32], sums: &mut [f32]) {
        let width = self.order.sizes.input;
        for (at, place) in self.order.inputs(direction.reverse) {
            let sums = &mut sums[place * width..][..width];
            sums.iter_mut().zip(&dx[at * width..]).for_each(|(sum, dx)| *sum += dx);
        }
    }

    pub fn put_outputs(&self, index: usize, states: &[f32], y: &mut [f32]) {
        let hidden = self.order.sizes.hidden;
        for (at, place) in self.order.outputs(index) {
            y[place * hidden..][..hidden].copy_from_slice(&states[at * hidden..][..hidden]);
        }
    }

    pub fn take_outputs(&self, index: usize, dy: &[f32]) -> Vec<f32> {
        let hidden = self.order.sizes.hidden;
        let mut taken = vec![0.0; self.order.sizes.steps * self.order.sizes.batch * hidden];
        for (at, place) in self.order.outputs(index) {
            taken[at * hidden..][..hidden].copy_from_slice(&dy[place * hidden..][..hidden]);
        }
        taken
    }

    pub fn put_state(&self, index: usize, state: &[f32], all: &mut [f32]) {
        let hidden = self.order.sizes.hidden;
        for (row, state) in state.chunks_exact(hidden).enumerate() {
            let place = self.order.state_place(index, row);
            all[place * hidden..][..hidden].copy_from_slice(state);
        }
    }

    pub fn take_state(&self, index: usize, all: &[f32]) -> Vec<f32> {
        let hidden = self.order.sizes.hidden;
        let row = |row| &all[self.order.state_place(index, row) * hidden..][..hidden];
        (0..self.order.sizes.batch).flat_map(row).copied().collect()
    }
}
