//! `Slice(x, starts, ends, axes?, steps?)`; before opset 10 these are attributes.

use crate::shapes::{self, shaped};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::{Device, Tensor};
use refit_graph::{Dim, Fact, OpName};

pub(crate) struct Slice;

/// What is taken along one axis.
struct Cut {
    axis: usize,
    start: i64,
    end: i64,
    step: i64,
}

impl Operator for Slice {
    fn name(&self) -> OpName {
        OpName::standard("Slice")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let x = inputs.fact(0);
        let Some(mut shape) = x.shape else { return Ok(vec![shapes::of_type(x.dtype)]) };
        let given: Vec<Option<Vec<i64>>> = (1..5).map(|index| inputs.integers(index)).collect();
        let open = (1..5).any(|index| inputs.has(index) && given[index - 1].is_none());
        if open {
            let axes = match (&given[2], inputs.has(3)) {
                (Some(axes), _) => shapes::axes(site, axes, shape.len())?,
                _ => (0..shape.len()).collect(),
            };
            let ends = inputs.elements(2).filter(|ends| ends.len() == axes.len());
            let from_start = given[0].iter().flatten().all(|start| *start == 0)
                && given[3].iter().flatten().all(|step| *step == 1)
                && given[0].is_some();
            for (position, axis) in axes.into_iter().enumerate() {
                shape[axis] = match &ends {
                    // A table cut to the length of the sequence: a longer sequence fits nothing that it
                    // is added to, so the length is the size wherever a run succeeds.
                    Some(ends) if from_start => ends[position].dim(),
                    _ => Dim::Unknown,
                };
            }
            return Ok(vec![shaped(x.dtype, Some(shape))]);
        }
        let cuts = cuts(site, given, shape.len())?;
        let mut elements = x.elements;
        for cut in cuts {
            let size = shape[cut.axis].known();
            elements = match (elements, size) {
                (Some(all), Some(size)) => Some(cut.positions(size).map(|i| all[i].clone()).collect()),
                _ => None,
            };
            shape[cut.axis] = match size {
                Some(size) => Dim::Known(cut.positions(size).count()),
                None if cut.takes_all() => shape[cut.axis].clone(),
                None => Dim::Unknown,
            };
        }
        let elements = elements.filter(|_| shape.len() == 1);
        Ok(vec![Fact { dtype: x.dtype, shape: Some(shape), elements }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let mut y = site.required(inputs, 0)?.clone();
        for cut in cuts(site, given(site, inputs)?, y.rank())? {
            let positions: Vec<usize> = cut.positions(y.dims()[cut.axis]).collect();
            y = match positions.first() {
                Some(first) if cut.step == 1 => y.narrow(cut.axis, *first, positions.len())?,
                Some(_) => y.contiguous()?.index_select(&indices(&positions, y.device())?, cut.axis)?,
                None => y.narrow(cut.axis, 0, 0)?,
            };
        }
        Ok(vec![y])
    }

    fn host_inputs(&self) -> &'static [usize] {
        &[1, 2, 3, 4]
    }

    fn differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(&[1, 2, 3, 4])
    }

    /// The gradient goes back to the places that were taken; the others get zero.
    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let mut gradient = site.required(back.gradients, 0)?.clone();
        let shape = &back.input_shapes[0];
        let cuts = cuts(site, given(site, back.inputs)?, shape.len())?;
        for cut in cuts.iter().rev() {
            let size = shape[cut.axis];
            let positions: Vec<usize> = cut.positions(size).collect();
            let mut full = gradient.dims().to_vec();
            full[cut.axis] = size;
            let zeros = Tensor::zeros(full, gradient.dtype(), gradient.device())?;
            gradient = if gradient.elem_count() == 0 {
                zeros
            } else {
                let indices = indices(&positions, gradient.device())?;
                zeros.index_add(&indices, &gradient.contiguous()?, cut.axis)?
            };
        }
        Ok(vec![Some(gradient)])
    }

    fn problems(&self) -> Vec<Problem> {
        let x = |what| Problem::new(what).random(&[4, 5]);
        vec![
            x("the middle").integers(&[2], &[1, 0]).integers(&[2], &[3, -1]),
            x("backwards in steps")
                .integers(&[1], &[-1])
                .integers(&[1], &[i64::MIN])
                .integers(&[1], &[1])
                .integers(&[1], &[-2]),
            x("nothing").integers(&[1], &[3]).integers(&[1], &[3]),
            x("attributes").ints("starts", &[1]).ints("ends", &[9]).ints("axes", &[1]).opset(9),
        ]
    }
}

fn indices(positions: &[usize], device: &Device) -> Result<Tensor, OpError> {
    let positions: Vec<u32> = positions.iter().map(|p| *p as u32).collect();
    Ok(Tensor::new(positions, device)?)
}

fn given(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Option<Vec<i64>>>, OpError> {
    let input = |index: usize| inputs.get(index).and_then(Option::as_ref);
    (1..5).map(|index| input(index).map(|t| shapes::integers(site, t)).transpose()).collect()
}

/// Pairs up starts, ends, axes and steps, from inputs or attributes.
fn cuts(site: &Site, given: Vec<Option<Vec<i64>>>, rank: usize) -> Result<Vec<Cut>, OpError> {
    let names = ["starts", "ends", "axes", "steps"];
    let mut lists = given
        .into_iter()
        .zip(names)
        .map(|(input, name)| input.or_else(|| site.node.ints(name).map(<[i64]>::to_vec)));
    let (Some(Some(starts)), Some(Some(ends)), axes, steps) =
        (lists.next(), lists.next(), lists.next().flatten(), lists.next().flatten())
    else {
        return Err(site.refuse("starts and ends are needed"));
    };
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] || steps.contains(&0) {
        return Err(site.refuse("starts, ends, axes and steps do not belong together"));
    }
    let axes = shapes::axes(site, &axes, rank)?;
    let cut = |i: usize| Cut { axis: axes[i], start: starts[i], end: ends[i], step: steps[i] };
    Ok((0..starts.len()).map(cut).collect())
}

impl Cut {
    /// The positions that are taken from `size` elements, in order.
    fn positions(&self, size: usize) -> impl Iterator<Item = usize> + use<> {
        let (size, step) = (size as i64, self.step);
        let from_end = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
        let (start, end) = match step > 0 {
            true => (from_end(self.start).clamp(0, size), from_end(self.end).clamp(0, size)),
            false => (from_end(self.start).clamp(-1, size - 1), from_end(self.end).clamp(-1, size - 1)),
        };
        let distance = if step > 0 { end - start } else { start - end };
        let count = distance.max(0).unsigned_abs().div_ceil(step.unsigned_abs());
        (0..count as i64).map(move |i| (start + i * step) as usize)
    }

    fn takes_all(&self) -> bool {
        self.step == 1 && self.start == 0 && self.end >= i64::from(i32::MAX)
    }
}
