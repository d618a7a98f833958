//! The layers where their tensors lie: a step is a few of candle's operations on [batch, gates * hidden], and
//! what the inputs contribute to all steps is one product. Everything is float32 and in the order of the steps,
//! as in `layer`, whose way back this follows.

use super::cell::Cell;
use super::curve::{Clipped, Curve};
use super::layer::Sizes;
use super::order::Order;
use crate::device::activation;
use crate::picks::NOTHING;
use crate::{Backward, OpError, Site};
use candle_core::{DType, Result as TensorResult, Tensor};

/// The outputs of all directions.
pub(super) fn forward(order: &Order, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = site.required(inputs, 0)?;
    let (mut states, mut last_h, mut last_c) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..order.count() {
        let layer = Layer::new(order, site, inputs, index)?;
        let trace = layer.forward()?;
        states.push(trace.h_after()?);
        last_h.push(trace.last_h);
        last_c.extend(trace.last_c);
    }
    let rows = order.sizes.steps * order.sizes.batch;
    let mut places = vec![NOTHING; rows * order.count()];
    for index in 0..order.count() {
        order.outputs(index).for_each(|(at, place)| places[place] = (index * rows + at) as u32);
    }
    let y = picked(&Tensor::cat(&states, 0)?, places)?.reshape(order.output_shape())?;
    let mut outputs = vec![y, stacked(order, &last_h)?];
    if !last_c.is_empty() {
        outputs.push(stacked(order, &last_c)?);
    }
    Ok(outputs.into_iter().map(|output| output.to_dtype(x.dtype())).collect::<TensorResult<_>>()?)
}

/// The gradients of all inputs that want one.
pub(super) fn vjp(order: &Order, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
    let Sizes { steps, batch, hidden, .. } = order.sizes;
    let like = site.required(back.inputs, 0)?;
    let given = |index: usize| back.gradients.get(index).and_then(Option::as_ref);
    let zeros = || Tensor::zeros((batch, hidden), DType::F32, like.device());
    let state = |index: usize, direction: usize| -> TensorResult<Tensor> {
        given(index).map_or_else(zeros, |all| state_of(order, all, direction))
    };
    let mut sums: Option<Tensor> = None;
    let mut made: [Vec<Tensor>; 8] = Default::default();
    for index in 0..order.count() {
        let layer = Layer::new(order, site, back.inputs, index)?;
        let dy = match given(0) {
            Some(dy) => {
                let mut places = vec![NOTHING; steps * batch];
                order.outputs(index).for_each(|(at, place)| places[at] = place as u32);
                let rows = dy.contiguous()?.to_dtype(DType::F32)?.reshape(((), hidden))?;
                picked(&rows, places)?
            }
            None => Tensor::zeros((steps * batch, hidden), DType::F32, like.device())?,
        };
        let gradients = layer.backward(&layer.forward()?, &dy, state(1, index)?, state(2, index)?)?;
        let mut places = vec![NOTHING; steps * batch];
        order.inputs(order.reverse[index]).for_each(|(at, place)| places[place] = at as u32);
        let dx = picked(&gradients.x, places)?;
        sums = Some(match sums {
            Some(sums) => (sums + dx)?,
            None => dx,
        });
        let Gradients { w, r, bias, peepholes, h, c, .. } = gradients;
        for (input, gradient) in [(1, w), (2, r), (3, bias), (5, h), (6, c)] {
            made[input].push(gradient);
        }
        made[7].extend(peepholes);
    }
    made[0].extend(sums);
    let gradient = |(index, parts): (usize, Vec<Tensor>)| -> Result<Option<Tensor>, OpError> {
        if !back.wants(index) || parts.is_empty() {
            return Ok(None);
        }
        let gradient = match index {
            0 => parts[0].clone(),
            5 | 6 => stacked(order, &parts)?,
            _ => Tensor::stack(&parts, 0)?,
        };
        Ok(Some(gradient.reshape(back.input_shapes[index].as_slice())?.to_dtype(like.dtype())?))
    };
    made.into_iter().take(back.input_shapes.len()).enumerate().map(gradient).collect()
}

/// One direction with its parameters.
struct Layer {
    cell: Cell,
    sizes: Sizes,
    /// Inputs of [steps * batch, input].
    x: Tensor,
    /// [gates * hidden, input].
    w: Tensor,
    /// [gates * hidden, hidden].
    r: Tensor,
    /// [2, gates * hidden]: of `w`, then of `r`.
    bias: Tensor,
    /// [3, hidden]: of the gates i, o and f.
    peepholes: Option<Tensor>,
    /// [batch, hidden].
    h: Tensor,
    c: Option<Tensor>,
    /// For each step which rows are not over yet, uint8 of [batch, hidden]; `None` for all.
    active: Vec<Option<Tensor>>,
}

/// What the way back needs to know of a step.
struct Step {
    /// States before and after it.
    h: [Tensor; 2],
    c: Option<[Tensor; 2]>,
    /// Sums that enter the gates, [batch, gates * hidden].
    pre: Tensor,
    /// GRU: what r scales or has scaled.
    scaled: Option<Tensor>,
}

struct Trace {
    steps: Vec<Step>,
    last_h: Tensor,
    last_c: Option<Tensor>,
}

/// Gradients of one direction; that of `c` is 0 for cells that have no such state.
struct Gradients {
    x: Tensor,
    w: Tensor,
    r: Tensor,
    bias: Tensor,
    peepholes: Option<Tensor>,
    h: Tensor,
    c: Tensor,
}

impl Layer {
    fn new(order: &Order, site: &Site, inputs: &[Option<Tensor>], index: usize) -> Result<Self, OpError> {
        let Sizes { steps, batch, input, hidden } = order.sizes;
        let x = site.required(inputs, 0)?;
        let device = x.device();
        let width = order.cells[index].gates() * hidden;
        let part = |input: usize| -> Result<Option<Tensor>, OpError> {
            let Some(all) = order.part(site, inputs, input)? else { return Ok(None) };
            let rows = all.contiguous()?.to_dtype(DType::F32)?.reshape((order.count(), order.len(input)))?;
            Ok(Some(rows.get(index)?.contiguous()?))
        };
        let state = |input: usize| -> Result<Tensor, OpError> {
            Ok(match order.part(site, inputs, input)? {
                Some(all) => state_of(order, all, index)?,
                None => Tensor::zeros((batch, hidden), DType::F32, device)?,
            })
        };
        let weight = |input: usize| part(input)?.ok_or_else(|| site.refuse("it has no weights"));
        let bias = match part(3)? {
            Some(bias) => bias.reshape((2, width))?,
            None => Tensor::zeros((2, width), DType::F32, device)?,
        };
        let mut places = vec![NOTHING; steps * batch];
        order.inputs(order.reverse[index]).for_each(|(at, place)| places[at] = place as u32);
        let rows = x.contiguous()?.to_dtype(DType::F32)?.reshape((steps * batch, input))?;
        let lstm = matches!(order.cells[index], Cell::Lstm { .. });
        let active = |step: usize| -> TensorResult<Option<Tensor>> {
            if order.lengths.iter().all(|length| step < *length) {
                return Ok(None);
            }
            let rows: Vec<u8> = order.lengths.iter().map(|length| u8::from(step < *length)).collect();
            Ok(Some(Tensor::from_vec(rows, (batch, 1), device)?.broadcast_as((batch, hidden))?.contiguous()?))
        };
        Ok(Self {
            cell: order.cells[index],
            sizes: order.sizes,
            x: picked(&rows, places)?,
            w: weight(1)?.reshape((width, input))?,
            r: weight(2)?.reshape((width, hidden))?,
            bias,
            peepholes: match part(7)? {
                Some(peepholes) if lstm => Some(peepholes.reshape((3, hidden))?),
                _ => None,
            },
            h: state(5)?,
            c: if lstm { Some(state(6)?) } else { None },
            active: (0..steps).map(active).collect::<TensorResult<_>>()?,
        })
    }

    /// Block `index` of [batch, gates * hidden].
    fn gate(&self, pre: &Tensor, index: usize) -> TensorResult<Tensor> {
        pre.narrow(1, index * self.sizes.hidden, self.sizes.hidden)
    }

    /// The weights of a gate's cell state times that state.
    fn peep(&self, index: usize, c: &Tensor) -> TensorResult<Option<Tensor>> {
        let Some(peepholes) = &self.peepholes else { return Ok(None) };
        Ok(Some(c.broadcast_mul(&peepholes.narrow(0, index, 1)?)?))
    }

    /// `new` in the rows that are not over, else `old`.
    fn keep(&self, step: usize, new: Tensor, old: &Tensor) -> TensorResult<Tensor> {
        match &self.active[step] {
            Some(active) => active.where_cond(&new, old),
            None => Ok(new),
        }
    }

    fn forward(&self) -> TensorResult<Trace> {
        let Sizes { steps, batch, .. } = self.sizes;
        let of_x = self.x.matmul(&self.w.t()?)?.broadcast_add(&self.bias.narrow(0, 0, 1)?)?;
        let (mut h, mut c) = (self.h.clone(), self.c.clone());
        let mut made = Vec::with_capacity(steps);
        for step in 0..steps {
            let of_x = of_x.narrow(0, step * batch, batch)?;
            let (pre, scaled) = self.sums(&of_x, &h)?;
            let (pre, next_h, next_c) = self.step(pre, &h, c.as_ref())?;
            let next_h = self.keep(step, next_h, &h)?;
            let next_c = match (next_c, &c) {
                (Some(next), Some(c)) => Some(self.keep(step, next, c)?),
                _ => None,
            };
            let cells = c.zip(next_c.clone()).map(|(before, after)| [before, after]);
            made.push(Step { h: [h, next_h.clone()], c: cells, pre, scaled });
            (h, c) = (next_h, next_c);
        }
        Ok(Trace { steps: made, last_h: h, last_c: c })
    }

    /// What enters the gates, without peepholes.
    fn sums(&self, of_x: &Tensor, h: &Tensor) -> TensorResult<(Tensor, Option<Tensor>)> {
        let bias = self.bias.narrow(0, 1, 1)?;
        let Cell::Gru { f, reset_after, .. } = self.cell else {
            let of_h = h.matmul(&self.r.t()?)?.broadcast_add(&bias)?;
            return Ok(((of_x + of_h)?, None));
        };
        let hidden = self.sizes.hidden;
        let (of_gates, of_new) = (self.r.narrow(0, 0, 2 * hidden)?, self.r.narrow(0, 2 * hidden, hidden)?);
        let of_h = h.matmul(&of_gates.t()?)?.broadcast_add(&bias.narrow(1, 0, 2 * hidden)?)?;
        let gates = (of_x.narrow(1, 0, 2 * hidden)? + of_h)?;
        let (r, bias) = (value(f, &self.gate(&gates, 1)?)?, bias.narrow(1, 2 * hidden, hidden)?);
        let (scaled, of_h) = match reset_after {
            true => {
                let scaled = h.matmul(&of_new.t()?)?.broadcast_add(&bias)?;
                let of_h = (&r * &scaled)?;
                (scaled, of_h)
            }
            false => {
                let scaled = (&r * h)?;
                let of_h = scaled.matmul(&of_new.t()?)?.broadcast_add(&bias)?;
                (scaled, of_h)
            }
        };
        let new = (self.gate(of_x, 2)? + of_h)?;
        Ok((Tensor::cat(&[gates, new], 1)?, Some(scaled)))
    }

    /// The states after a step, and the sums with what the peepholes add to them.
    fn step(
        &self,
        pre: Tensor,
        h: &Tensor,
        c: Option<&Tensor>,
    ) -> TensorResult<(Tensor, Tensor, Option<Tensor>)> {
        match (self.cell, c) {
            (Cell::Lstm { f, g, h: out, coupled }, Some(c)) => {
                let i = added(self.gate(&pre, 0)?, self.peep(0, c)?)?;
                let of_forget = added(self.gate(&pre, 2)?, self.peep(2, c)?)?;
                let input = value(f, &i)?;
                let forget = if coupled { input.affine(-1.0, 1.0)? } else { value(f, &of_forget)? };
                let of_new = self.gate(&pre, 3)?;
                let next = ((forget * c)? + (input * value(g, &of_new)?)?)?;
                let o = added(self.gate(&pre, 1)?, self.peep(1, &next)?)?;
                let h = (value(f, &o)? * value(out, &next)?)?;
                Ok((Tensor::cat(&[i, o, of_forget, of_new], 1)?, h, Some(next)))
            }
            (Cell::Gru { f, g, .. }, _) => {
                let (z, new) = (value(f, &self.gate(&pre, 0)?)?, value(g, &self.gate(&pre, 2)?)?);
                let next = (&new + (z * (h - &new)?)?)?;
                Ok((pre, next, None))
            }
            (Cell::Plain { f }, _) => {
                let next = value(f, &pre)?;
                Ok((pre, next, None))
            }
            (Cell::Lstm { .. }, None) => unreachable!("an LSTM has cell states"),
        }
    }

    /// The way back: `dy` is the gradient of every step's state, `dh` and `dc` those of the last ones.
    fn backward(
        &self,
        trace: &Trace,
        dy: &Tensor,
        mut dh: Tensor,
        mut dc: Tensor,
    ) -> TensorResult<Gradients> {
        let Sizes { steps, batch, hidden, .. } = self.sizes;
        // Gradients of the sums as `w` sees them, and as `r` does; a GRU that resets after differs in n.
        let (mut da, mut du) = (Vec::with_capacity(steps), Vec::with_capacity(steps));
        let mut peepholes = self.peepholes.as_ref().map(Tensor::zeros_like).transpose()?;
        for (step, seen) in trace.steps.iter().enumerate().rev() {
            // What is over has no output, so nothing is added to its row.
            dh = (dh + dy.narrow(0, step * batch, batch)?)?;
            let made = self.step_back(seen, &dh, &dc)?;
            let rows = |sums: Tensor| match &self.active[step] {
                Some(active) => {
                    let active = active.narrow(1, 0, 1)?.broadcast_as(sums.shape())?;
                    active.where_cond(&sums, &sums.zeros_like()?)
                }
                None => Ok(sums),
            };
            let of_w = rows(made.da)?;
            if let (Some(sums), Some([before, after])) = (peepholes.as_mut(), seen.c.as_ref()) {
                let of_gate = |gate: usize, c: &Tensor| (self.gate(&of_w, gate)? * c)?.sum_keepdim(0);
                let parts = [of_gate(0, before)?, of_gate(1, after)?, of_gate(2, before)?];
                *sums = (&*sums + Tensor::cat(&parts, 0)?)?;
            }
            dh = self.keep(step, made.dh, &dh)?;
            dc = self.keep(step, made.dc, &dc)?;
            du.push(match made.du {
                Some(du) => rows(du)?,
                None => of_w.clone(),
            });
            da.push(of_w);
        }
        da.reverse();
        du.reverse();
        let (da, du) = (Tensor::cat(&da, 0)?, Tensor::cat(&du, 0)?);
        let before: Vec<&Tensor> = trace.steps.iter().map(|step| &step.h[0]).collect();
        let mut r = du.t()?.matmul(&Tensor::cat(&before, 0)?)?;
        if matches!(self.cell, Cell::Gru { reset_after: false, .. }) {
            let scaled: Vec<&Tensor> = trace.steps.iter().filter_map(|step| step.scaled.as_ref()).collect();
            let of_new = self.gate(&du, 2)?.contiguous()?.t()?.matmul(&Tensor::cat(&scaled, 0)?)?;
            r = Tensor::cat(&[r.narrow(0, 0, 2 * hidden)?, of_new], 0)?;
        }
        Ok(Gradients {
            x: da.matmul(&self.w)?,
            w: da.t()?.matmul(&self.x)?,
            r,
            bias: Tensor::stack(&[da.sum(0)?, du.sum(0)?], 0)?,
            peepholes,
            h: dh,
            c: dc,
        })
    }

    /// One step back.
    fn step_back(&self, step: &Step, dh: &Tensor, dc: &Tensor) -> TensorResult<StepGradients> {
        let pre = |gate: usize| self.gate(&step.pre, gate);
        match (self.cell, &step.c) {
            (Cell::Plain { f }, _) => {
                let da = (dh * slope(f, &step.pre)?)?;
                let before = da.matmul(&self.r)?;
                Ok(StepGradients { da, du: None, dh: before, dc: dc.clone() })
            }
            (Cell::Lstm { f, g, h: out, coupled }, Some([before, after])) => {
                let (input, o, new) = (value(f, &pre(0)?)?, value(f, &pre(1)?)?, value(g, &pre(3)?)?);
                let forget = if coupled { input.affine(-1.0, 1.0)? } else { value(f, &pre(2)?)? };
                let of_o = ((dh * value(out, after)?)? * slope(f, &pre(1)?)?)?;
                let through = ((dh * o)? * slope(out, after)?)?;
                let state = added((dc + through)?, self.peep(1, &of_o)?)?;
                let of_forget = (&state * before)?;
                let mut of_i = (&state * new)?;
                if coupled {
                    of_i = (of_i - &of_forget)?;
                }
                let of_i = (of_i * slope(f, &pre(0)?)?)?;
                let of_forget = match coupled {
                    true => of_forget.zeros_like()?,
                    false => (of_forget * slope(f, &pre(2)?)?)?,
                };
                let of_new = ((&state * input)? * slope(g, &pre(3)?)?)?;
                let dc = added((state * forget)?, self.peep(0, &of_i)?)?;
                let dc = added(dc, self.peep(2, &of_forget)?)?;
                let da = Tensor::cat(&[of_i, of_o, of_forget, of_new], 1)?;
                let before = da.matmul(&self.r)?;
                Ok(StepGradients { da, du: None, dh: before, dc })
            }
            (Cell::Gru { f, g, reset_after }, _) => {
                let (h, scaled) = (&step.h[0], step.scaled.as_ref());
                let scaled = scaled.map_or_else(|| h.zeros_like(), |scaled| Ok(scaled.clone()))?;
                let (z, r, new) = (value(f, &pre(0)?)?, value(f, &pre(1)?)?, value(g, &pre(2)?)?);
                let of_z = ((dh * (h - &new)?)? * slope(f, &pre(0)?)?)?;
                let of_new = ((dh * z.affine(-1.0, 1.0)?)? * slope(g, &pre(2)?)?)?;
                let by_z = (dh * z)?;
                let hidden = self.sizes.hidden;
                let (of_r, seen, before) = match reset_after {
                    true => ((&of_new * scaled)?, (&of_new * &r)?, by_z),
                    false => {
                        let through = of_new.matmul(&self.r.narrow(0, 2 * hidden, hidden)?)?;
                        ((&through * h)?, of_new.clone(), (by_z + (&through * &r)?)?)
                    }
                };
                let of_r = (of_r * slope(f, &pre(1)?)?)?;
                let du = Tensor::cat(&[&of_z, &of_r, &seen], 1)?;
                let of_h = match reset_after {
                    true => du.matmul(&self.r)?,
                    false => Tensor::cat(&[&of_z, &of_r], 1)?.matmul(&self.r.narrow(0, 0, 2 * hidden)?)?,
                };
                let da = Tensor::cat(&[of_z, of_r, of_new], 1)?;
                Ok(StepGradients { da, du: Some(du), dh: (before + of_h)?, dc: dc.clone() })
            }
            (Cell::Lstm { .. }, None) => unreachable!("an LSTM has cell states"),
        }
    }
}

impl Trace {
    /// The states after all steps, [steps * batch, hidden].
    fn h_after(&self) -> TensorResult<Tensor> {
        match self.steps.as_slice() {
            [] => self.last_h.narrow(0, 0, 0),
            steps => Tensor::cat(&steps.iter().map(|step| &step.h[1]).collect::<Vec<_>>(), 0),
        }
    }
}

/// Gradients of a step: of the sums as `w` sees them and as `r` does, where that differs, and of the states
/// before.
struct StepGradients {
    da: Tensor,
    du: Option<Tensor>,
    dh: Tensor,
    dc: Tensor,
}

/// Rows of [rows, width]; [`NOTHING`] is a row of zeros.
fn picked(rows: &Tensor, places: Vec<u32>) -> TensorResult<Tensor> {
    if places.is_empty() {
        return rows.narrow(0, 0, 0);
    }
    rows.contiguous()?.index_select(&Tensor::new(places, rows.device())?, 0)
}

/// The states of a direction, float32 of [batch, hidden].
fn state_of(order: &Order, all: &Tensor, direction: usize) -> TensorResult<Tensor> {
    let Sizes { batch, hidden, .. } = order.sizes;
    let all = all.contiguous()?.to_dtype(DType::F32)?.reshape(((), hidden))?;
    picked(&all, (0..batch).map(|row| order.state_place(direction, row) as u32).collect())
}

/// The reverse of [`state_of`] for all directions.
fn stacked(order: &Order, states: &[Tensor]) -> TensorResult<Tensor> {
    Tensor::stack(states, usize::from(order.batch_first))?.reshape(order.state_shape())
}

fn added(sums: Tensor, more: Option<Tensor>) -> TensorResult<Tensor> {
    more.map_or(Ok(sums.clone()), |more| sums + more)
}

fn value(curve: Clipped, x: &Tensor) -> TensorResult<Tensor> {
    let (functions, parameters) = functions(curve.curve)?;
    match curve.clip.is_finite() {
        true => (functions.value)(&x.clamp(-curve.clip, curve.clip)?, parameters),
        false => (functions.value)(x, parameters),
    }
}

fn slope(curve: Clipped, x: &Tensor) -> TensorResult<Tensor> {
    let (functions, parameters) = functions(curve.curve)?;
    let slope = (functions.slope)(x, parameters)?;
    match curve.clip.is_finite() {
        true => x.abs()?.gt(curve.clip)?.where_cond(&slope.zeros_like()?, &slope),
        false => Ok(slope),
    }
}

fn functions(curve: Curve) -> TensorResult<(activation::Functions, [f64; 2])> {
    let (name, a, b) = match curve {
        Curve::Affine(a, b) => ("Affine", a, b),
        Curve::Elu(a) => ("Elu", a, 0.0),
        Curve::HardSigmoid(a, b) => ("HardSigmoid", a, b),
        Curve::LeakyRelu(a) => ("LeakyRelu", a, 0.0),
        Curve::Relu => ("Relu", 0.0, 0.0),
        Curve::ScaledTanh(a, b) => ("ScaledTanh", a, b),
        Curve::Sigmoid => ("Sigmoid", 0.0, 0.0),
        Curve::Softplus => ("Softplus", 0.0, 0.0),
        Curve::Softsign => ("Softsign", 0.0, 0.0),
        Curve::Tanh => ("Tanh", 0.0, 0.0),
        Curve::ThresholdedRelu(a) => ("ThresholdedRelu", a, 0.0),
    };
    match activation::of(name) {
        Some(functions) => Ok((functions, [f64::from(a), f64::from(b)])),
        None => candle_core::bail!("{name} is no function of a device"),
    }
}
