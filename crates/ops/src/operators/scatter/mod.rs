//! `ScatterND` and `ScatterElements` (and its older name `Scatter`): updates written over, added to or
//! combined with elements of the data. Where one place is written twice the last update stays, and the others
//! get no gradient.

mod on_device;

use super::gather_nd::starts;
use crate::kernels::slices;
use crate::picks::{NOTHING, Plan, pick, put_back, strides};
use crate::shapes::axis;
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site, host};
use candle_core::{Device, Tensor};
use on_device::Meetings;
use refit_graph::{Attribute, Fact, OpName};

/// Which scatter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scatter {
    Slices,
    Elements,
    Old,
}

/// What happens to an element that an update meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reduction {
    Replace,
    Add,
    Multiply,
    Max,
    Min,
}

impl Operator for Scatter {
    fn name(&self) -> OpName {
        OpName::standard(match self {
            Self::Slices => "ScatterND",
            Self::Elements => "ScatterElements",
            Self::Old => "Scatter",
        })
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        reduction(site)?;
        Ok(vec![Fact { elements: None, ..inputs.fact(0) }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let (data, updates) = (site.required(inputs, 0)?, site.required(inputs, 2)?);
        if data.dtype() != updates.dtype() {
            return Err(site.refuse(format!("types {:?} and {:?} differ", data.dtype(), updates.dtype())));
        }
        let places = self.places(site, data.dims(), updates.dims(), site.required(inputs, 1)?)?;
        let reduction = reduction(site)?;
        if reduction == Reduction::Replace {
            // Elements of data and updates in one row, and for each output element where it comes from.
            let count = data.elem_count();
            let writers = writers(&places, count);
            let from = |(at, writer): (usize, &u32)| match *writer {
                NOTHING => at as u32,
                writer => count as u32 + writer,
            };
            let sources = writers.iter().enumerate().map(from).collect();
            let (data_row, updates_row) =
                (data.contiguous()?.flatten_all()?, updates.contiguous()?.flatten_all()?);
            let both = match (count, places.len()) {
                (_, 0) => return Ok(vec![data.clone()]),
                _ => Tensor::cat(&[&data_row, &updates_row], 0)?,
            };
            return Ok(vec![pick(&both, &Plan { shape: data.dims().to_vec(), sources }, 0.0)?]);
        }
        if !slices::is_cpu(data)
            && data.dtype().is_float()
            && let Some(meetings) = Meetings::new(&places, data.elem_count())
        {
            return Ok(vec![meetings.combine(data, updates, reduction)?]);
        }
        let mut values = host::numbers(data)?;
        for (place, update) in places.iter().zip(host::numbers(updates)?) {
            let value = &mut values[*place];
            *value = match reduction {
                Reduction::Replace => update,
                Reduction::Add => *value + update,
                Reduction::Multiply => *value * update,
                Reduction::Max => value.max(update),
                Reduction::Min => value.min(update),
            };
        }
        let made = Tensor::from_vec(values, data.dims(), &Device::Cpu)?;
        Ok(vec![made.to_dtype(data.dtype())?.to_device(data.device())?])
    }

    fn host_inputs(&self) -> &'static [usize] {
        &[1]
    }

    fn differentiable(&self, index: usize) -> bool {
        index != 1
    }

    fn reads(&self, site: &Site, _wanted: &[bool]) -> Option<Reads> {
        match reduction(site) {
            Ok(Reduction::Replace | Reduction::Add) => Reads::inputs(&[1]),
            _ => Reads::inputs(&[0, 1, 2]),
        }
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?;
        let (data, updates) = (&back.input_shapes[0], &back.input_shapes[2]);
        let places = self.places(site, data, updates, site.required(back.inputs, 1)?)?;
        let count: usize = data.iter().product();
        let (kept, read): (Vec<u32>, Vec<u32>) = match reduction(site)? {
            Reduction::Add => ((0..count as u32).collect(), places.iter().map(|p| *p as u32).collect()),
            Reduction::Replace => {
                let writers = writers(&places, count);
                let kept = writers.iter().enumerate();
                let kept = kept.map(|(at, w)| if *w == NOTHING { at as u32 } else { NOTHING }).collect();
                let last = |(index, place): (usize, &usize)| match writers[*place] == index as u32 {
                    true => *place as u32,
                    false => NOTHING,
                };
                (kept, places.iter().enumerate().map(last).collect())
            }
            other => return self.reduced_back(site, back, other, &places),
        };
        let of_data = match back.wants(0) {
            true => Some(put_back(gradient, &kept, data)?),
            false => None,
        };
        let of_updates = match back.wants(2) {
            true => Some(pick(gradient, &Plan { shape: updates.clone(), sources: read }, 0.0)?),
            false => None,
        };
        Ok(vec![of_data, None, of_updates])
    }

    fn problems(&self) -> Vec<Problem> {
        let reduce = |problem: Problem, how: &'static str| {
            problem.attribute("reduction", Attribute::String(how.as_bytes().into()))
        };
        let add = || Attribute::String(b"add".as_slice().into());
        match self {
            Self::Slices => {
                let rows =
                    |what| Problem::new(what).random(&[4, 3]).integers(&[2, 1], &[2, -4]).random(&[2, 3]);
                let twice = |what| {
                    Problem::new(what).random(&[2, 3]).integers(&[3, 2], &[0, 1, 1, 2, 0, 1]).random(&[3])
                };
                vec![
                    rows("rows"),
                    twice("an element twice"),
                    twice("an element twice, added").attribute("reduction", add()),
                    reduce(twice("an element twice, multiplied"), "mul"),
                    reduce(twice("an element twice, the largest"), "max"),
                    reduce(rows("rows, the smallest"), "min"),
                    Problem::new("no updates").random(&[2, 3]).integers(&[0, 1], &[]).random(&[0, 3]),
                ]
            }
            Self::Elements | Self::Old => {
                let problem = |what| {
                    Problem::new(what).random(&[3, 4]).integers(&[2, 3], &[0, -1, 2, 1, 1, 0]).random(&[2, 3])
                };
                let mut problems = vec![
                    problem("the first axis"),
                    problem("the last axis, one element twice").int("axis", 1),
                ];
                if *self == Self::Elements {
                    problems.push(problem("added").int("axis", 1).attribute("reduction", add()));
                    for (what, how) in
                        [("multiplied", "mul"), ("the largest", "max"), ("the smallest", "min")]
                    {
                        problems.push(reduce(problem(what).int("axis", 1), how));
                    }
                }
                problems
            }
        }
    }
}

/// The slope of a reduction for each of its terms.
fn slopes(terms: &[f64], reduction: Reduction) -> Vec<f64> {
    if reduction == Reduction::Multiply {
        let others = |index: usize| {
            let rest = terms.iter().enumerate().filter(move |(other, _)| *other != index);
            rest.map(|(_, term)| term).product()
        };
        return (0..terms.len()).map(others).collect();
    }
    let largest = reduction == Reduction::Max;
    let better = |a: f64, b: f64| if largest { a.max(b) } else { a.min(b) };
    let best = terms.iter().copied().reduce(better).unwrap_or(f64::NAN);
    let hits = terms.iter().filter(|term| **term == best).count();
    terms.iter().map(|term| if *term == best { 1.0 / hits as f64 } else { 0.0 }).collect()
}

fn reduction(site: &Site) -> Result<Reduction, OpError> {
    Ok(match site.node.text("reduction").unwrap_or("none") {
        "none" => Reduction::Replace,
        "add" => Reduction::Add,
        "mul" => Reduction::Multiply,
        "max" => Reduction::Max,
        "min" => Reduction::Min,
        other => {
            let why = format!("\"{other}\" is not none, add, mul, max or min");
            return Err(OpError::Attribute { op: site.node.op.clone(), name: "reduction", why });
        }
    })
}

/// For each element of the data the update that is written to it last.
fn writers(places: &[usize], count: usize) -> Vec<u32> {
    let mut writers = vec![NOTHING; count];
    for (index, place) in places.iter().enumerate() {
        writers[*place] = index as u32;
    }
    writers
}

impl Scatter {
    /// The reverse rule of products, largest and smallest values. Equal largest (or smallest) ones, the data
    /// included, share a gradient, as PyTorch's `scatter_reduce` has it.
    fn reduced_back(
        self,
        site: &Site,
        back: &Backward,
        reduction: Reduction,
        places: &[usize],
    ) -> Result<Vec<Option<Tensor>>, OpError> {
        let (data, updates) = (site.required(back.inputs, 0)?, site.required(back.inputs, 2)?);
        let gradient = site.required(back.gradients, 0)?;
        if !slices::is_cpu(gradient)
            && let Some(meetings) = Meetings::new(places, data.elem_count())
        {
            let [of_data, of_updates] = meetings.gradients(gradient, data, updates, reduction)?;
            return Ok(vec![Some(of_data), None, Some(of_updates)]);
        }
        let gradient = host::numbers(gradient)?;
        let (values, moved) = (host::numbers(data)?, host::numbers(updates)?);
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); values.len()];
        for (index, place) in places.iter().enumerate() {
            members[*place].push(index);
        }
        let (mut of_data, mut of_updates) = (gradient.clone(), vec![0.0; moved.len()]);
        for (place, members) in members.iter().enumerate().filter(|(_, members)| !members.is_empty()) {
            // The data first, then the updates that meet it.
            let terms: Vec<f64> =
                std::iter::once(values[place]).chain(members.iter().map(|index| moved[*index])).collect();
            for (position, slope) in slopes(&terms, reduction).into_iter().enumerate() {
                match position.checked_sub(1) {
                    None => of_data[place] = gradient[place] * slope,
                    Some(member) => of_updates[members[member]] = gradient[place] * slope,
                }
            }
        }
        let tensor = |made: Vec<f64>, like: &Tensor| -> Result<Tensor, OpError> {
            let made = Tensor::from_vec(made, like.dims(), &Device::Cpu)?;
            Ok(made.to_dtype(like.dtype())?.to_device(like.device())?)
        };
        Ok(vec![Some(tensor(of_data, data)?), None, Some(tensor(of_updates, updates)?)])
    }

    /// The place in the flat data of each update element.
    fn places(
        self,
        site: &Site,
        data: &[usize],
        updates: &[usize],
        indices: &Tensor,
    ) -> Result<Vec<usize>, OpError> {
        if self == Self::Slices {
            let starts = starts(site, data, indices, 0)?;
            let depth = indices.dims()[indices.rank() - 1];
            let length: usize = data[depth..].iter().product();
            if updates != [&indices.dims()[..indices.rank() - 1], &data[depth..]].concat() {
                return Err(site.refuse(format!("updates of {updates:?} do not fit the indices")));
            }
            return Ok(starts.into_iter().flat_map(|start| start..start + length).collect());
        }
        let along = axis(site, site.node.int("axis").unwrap_or(0), data.len())?;
        let fits = |axis: usize| axis == along || indices.dims()[axis] <= data[axis];
        if indices.dims() != updates || updates.len() != data.len() || !(0..data.len()).all(fits) {
            return Err(site.refuse(format!(
                "indices of {:?} and updates of {updates:?} for data of {data:?}",
                indices.dims()
            )));
        }
        let (steps, own, size) = (strides(data), strides(updates), data[along] as i64);
        let place = |(at, index): (usize, i64)| {
            let shifted = if index < 0 { index.saturating_add(size) } else { index };
            if !(0..size).contains(&shifted) {
                return Err(site.refuse(format!("index {index} lies outside {size} entries")));
            }
            let axis_place = |axis: usize| match axis == along {
                true => shifted as usize,
                false => at / own[axis] % updates[axis],
            };
            Ok((0..data.len()).map(|axis| axis_place(axis) * steps[axis]).sum())
        };
        host::integers(indices)?.into_iter().enumerate().map(place).collect()
    }
}
