//! `RNN`, `GRU` and `LSTM` of the standard: one or both directions, sequences of different lengths, initial
//! states, peepholes, both layouts. The way back runs the steps again, so that nothing but the inputs is kept.

mod arguments;
mod cell;
mod curve;
mod layer;
mod on_device;
mod order;

use crate::kernels::slices;
use crate::shapes::shaped;
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site, host};
use arguments::Arguments;
use candle_core::Tensor;
use order::Order;
use refit_graph::{Attribute, Dim, Fact, OpName};

/// Which of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recurrent {
    Rnn,
    Gru,
    Lstm,
}

impl Operator for Recurrent {
    fn name(&self) -> OpName {
        OpName::standard(match self {
            Self::Rnn => "RNN",
            Self::Gru => "GRU",
            Self::Lstm => "LSTM",
        })
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let (x, r) = (inputs.fact(0), inputs.fact(2));
        let dim = |fact: &Fact, axis: usize| {
            fact.shape.as_ref().and_then(|dims| dims.get(axis)).cloned().unwrap_or(Dim::Unknown)
        };
        let (directions, hidden) = (dim(&r, 0), dim(&r, 2));
        let batch_first = site.node.int("layout").unwrap_or(0) != 0;
        let (steps, batch) = match batch_first {
            true => (dim(&x, 1), dim(&x, 0)),
            false => (dim(&x, 0), dim(&x, 1)),
        };
        let state = match batch_first {
            true => vec![batch.clone(), directions.clone(), hidden.clone()],
            false => vec![directions.clone(), batch.clone(), hidden.clone()],
        };
        let y = match batch_first {
            true => vec![batch, steps, directions, hidden],
            false => vec![steps, directions, batch, hidden],
        };
        let state = || shaped(x.dtype, Some(state.clone()));
        Ok(vec![shaped(x.dtype, Some(y)), state(), state()])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let order = Order::new(*self, site, inputs)?;
        if !slices::is_cpu(site.required(inputs, 0)?) {
            return on_device::forward(&order, site, inputs);
        }
        let arguments = Arguments::new(order, site, inputs)?;
        let sizes = arguments.order.sizes;
        let state = sizes.batch * sizes.hidden;
        let count = arguments.directions.len();
        let mut y = vec![0.0; sizes.steps * count * state];
        let (mut last_h, mut last_c) = (vec![0.0; count * state], vec![0.0; count * state]);
        for (index, direction) in arguments.directions.iter().enumerate() {
            let x = arguments.in_step_order(direction);
            let trace = arguments.layer(direction).forward(&x, &direction.h, &direction.c);
            let (_, states) = trace.h.split_at(state);
            arguments.put_outputs(index, states, &mut y);
            arguments.put_state(index, &trace.h[sizes.steps * state..], &mut last_h);
            if !trace.c.is_empty() {
                arguments.put_state(index, &trace.c[sizes.steps * state..], &mut last_c);
            }
        }
        let x = site.required(inputs, 0)?;
        let (y_shape, state_shape) = (arguments.order.output_shape(), arguments.order.state_shape());
        let mut outputs = vec![host::tensor(y, &y_shape, x)?, host::tensor(last_h, &state_shape, x)?];
        if *self == Self::Lstm {
            outputs.push(host::tensor(last_c, &state_shape, x)?);
        }
        Ok(outputs)
    }

    fn host_inputs(&self) -> &'static [usize] {
        &[4]
    }

    fn differentiable(&self, index: usize) -> bool {
        index != 4
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(&[0, 1, 2, 3, 4, 5, 6, 7])
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let order = Order::new(*self, site, back.inputs)?;
        if !slices::is_cpu(site.required(back.inputs, 0)?) {
            return on_device::vjp(&order, site, back);
        }
        let arguments = Arguments::new(order, site, back.inputs)?;
        let (sizes, count) = (arguments.order.sizes, arguments.directions.len());
        let state = sizes.batch * sizes.hidden;
        let gradient = |index: usize, len: usize| -> Result<Vec<f32>, OpError> {
            match back.gradients.get(index).and_then(Option::as_ref) {
                Some(gradient) => host::with(gradient, <[f32]>::to_vec),
                None => Ok(vec![0.0; len]),
            }
        };
        let dy = gradient(0, sizes.steps * count * state)?;
        let (dh, dc) = (gradient(1, count * state)?, gradient(2, count * state)?);
        let mut dx = vec![0.0; sizes.steps * sizes.batch * sizes.input];
        let (mut dw, mut dr, mut dbias, mut dpeep) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut dh0, mut dc0) = (vec![0.0; count * state], vec![0.0; count * state]);
        for (index, direction) in arguments.directions.iter().enumerate() {
            let x = arguments.in_step_order(direction);
            let layer = arguments.layer(direction);
            let trace = layer.forward(&x, &direction.h, &direction.c);
            let dy = arguments.take_outputs(index, &dy);
            let (dh, dc) = (arguments.take_state(index, &dh), arguments.take_state(index, &dc));
            let made = layer.backward(&x, &trace, &dy, dh, dc);
            arguments.add_inputs(direction, &made.x, &mut dx);
            dw.extend(made.w);
            dr.extend(made.r);
            dbias.extend(made.bias);
            dpeep.extend(made.peepholes);
            arguments.put_state(index, &made.h, &mut dh0);
            arguments.put_state(index, &made.c, &mut dc0);
        }
        let like = site.required(back.inputs, 0)?;
        let made = [dx, dw, dr, dbias, Vec::new(), dh0, dc0, dpeep];
        let gradients = made.into_iter().take(back.input_shapes.len()).enumerate();
        let wanted = |(index, data): (usize, Vec<f32>)| match back.wants(index) {
            true => Ok(Some(host::tensor(data, &back.input_shapes[index], like)?)),
            false => Ok(None),
        };
        gradients.map(wanted).collect()
    }

    fn problems(&self) -> Vec<Problem> {
        problems(*self)
    }
}

fn problems(op: Recurrent) -> Vec<Problem> {
    let gates = match op {
        Recurrent::Rnn => 1,
        Recurrent::Gru => 3,
        Recurrent::Lstm => 4,
    };
    let outputs = if op == Recurrent::Lstm { 3 } else { 2 };
    let (input, hidden) = (3, 2);
    let layer = |what, x: &[usize], directions: usize| {
        let problem = Problem::new(what).random(x).random(&[directions, gates * hidden, input]);
        problem.random(&[directions, gates * hidden, hidden]).int("hidden_size", 2).outputs(outputs)
    };
    let text = |value: &'static str| Attribute::String(value.as_bytes().into());
    let both = |what, x: &[usize], state: &[usize]| {
        let problem = layer(what, x, 2).random(&[2, 2 * gates * hidden]).integers(&[2], &[4, 2]);
        let problem = problem.random(state).attribute("direction", text("bidirectional"));
        if op == Recurrent::Lstm { problem.random(state).random(&[2, 3 * hidden]) } else { problem }
    };
    let mut problems = vec![
        layer("forward alone", &[3, 2, input], 1),
        layer("reverse, with a bias", &[3, 1, input], 1)
            .random(&[1, 2 * gates * hidden])
            .attribute("direction", text("reverse")),
        both("both directions, lengths, states", &[4, 2, input], &[2, 2, hidden]),
        both("batch first", &[2, 4, input], &[2, 2, hidden]).int("layout", 1),
        layer("an empty batch", &[3, 0, input], 1),
    ];
    match op {
        Recurrent::Rnn => {
            let names = vec!["Affine".into()];
            let affine = layer("another function", &[2, 1, input], 1)
                .attribute("activations", Attribute::Strings(names));
            problems.push(affine.attribute("activation_alpha", Attribute::Floats(vec![0.7])));
        }
        Recurrent::Gru => {
            let after = both("reset after the product", &[4, 2, input], &[2, 2, hidden]);
            problems.push(after.int("linear_before_reset", 1));
        }
        Recurrent::Lstm => {
            problems.push(both("coupled gates", &[4, 2, input], &[2, 2, hidden]).int("input_forget", 1));
            problems.push(layer("clipped", &[2, 2, input], 1).float("clip", 0.4));
        }
    }
    problems
}
