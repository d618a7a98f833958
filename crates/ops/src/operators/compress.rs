//! `Compress(x, condition)`: the slices along an axis, or the elements, whose condition holds.
//! `ReverseSequence(x, lengths)`: the first elements of each row backwards.

use crate::picks::{Picking, Plan, separable, strides};
use crate::shapes::{self, axis, shaped};
use crate::{Known, OpError, Problem, Site, host};
use candle_core::Tensor;
use refit_graph::{Dim, Fact, HostTensor};

pub(crate) static COMPRESS: Picking = Picking {
    name: "Compress",
    host_inputs: &[1],
    infer: |site, inputs| {
        let x = inputs.fact(0);
        let (Some(mut shape), at) = (x.shape, site.node.int("axis")) else {
            return Ok(vec![shapes::of_type(x.dtype)]);
        };
        let chosen = |known: &Known| known.integers(1).map(|flags| flags.iter().filter(|f| **f != 0).count());
        let count = chosen(inputs).map_or(Dim::Unknown, Dim::Known);
        match at {
            Some(at) => {
                let along = axis(site, at, shape.len())?;
                shape[along] = count;
            }
            None => shape = vec![count],
        }
        Ok(vec![shaped(x.dtype, Some(shape))])
    },
    plan: compress,
    problems: || {
        let flags = |mut problem: Problem, flags: &[u8]| {
            problem.inputs.push(Some(HostTensor::from_u8(&[flags.len()], flags)));
            problem
        };
        vec![
            flags(Problem::new("an axis").random(&[2, 3]).int("axis", 1), &[1, 0, 1]),
            flags(Problem::new("elements").random(&[2, 3]), &[0, 1, 0, 0, 1]),
            flags(Problem::new("nothing").random(&[2, 3]).int("axis", 0), &[0, 0]),
        ]
    },
};

fn compress(site: &Site, x: &[usize], inputs: &[Option<Tensor>]) -> Result<Plan, OpError> {
    let condition = host::integers(site.required(inputs, 1)?)?;
    let chosen: Vec<usize> = (0..condition.len()).filter(|index| condition[*index] != 0).collect();
    let along = site.node.int("axis").map(|at| axis(site, at, x.len())).transpose()?;
    let size = along.map_or_else(|| x.iter().product(), |along| x[along]);
    if chosen.last().is_some_and(|last| *last >= size) {
        return Err(site.refuse(format!("the condition is longer than {size} entries")));
    }
    Ok(match along {
        Some(along) => {
            let mut places: Vec<Vec<Option<usize>>> =
                x.iter().map(|size| (0..*size).map(Some).collect()).collect();
            places[along] = chosen.into_iter().map(Some).collect();
            separable(x, &places)
        }
        None => Plan { shape: vec![chosen.len()], sources: chosen.iter().map(|at| *at as u32).collect() },
    })
}

pub(crate) static REVERSE_SEQUENCE: Picking = Picking {
    name: "ReverseSequence",
    host_inputs: &[1],
    infer: |_, inputs| Ok(vec![Fact { elements: None, ..inputs.fact(0) }]),
    plan: reverse,
    problems: || {
        vec![
            Problem::new("time first").random(&[4, 3]).integers(&[3], &[4, 1, 2]),
            Problem::new("batch first")
                .random(&[2, 4, 2])
                .integers(&[2], &[3, 2])
                .int("batch_axis", 0)
                .int("time_axis", 1),
        ]
    },
};

fn reverse(site: &Site, x: &[usize], inputs: &[Option<Tensor>]) -> Result<Plan, OpError> {
    let lengths = host::integers(site.required(inputs, 1)?)?;
    let batch = axis(site, site.node.int("batch_axis").unwrap_or(1), x.len())?;
    let time = axis(site, site.node.int("time_axis").unwrap_or(0), x.len())?;
    let fits = |length: &i64| (0..=x[time] as i64).contains(length);
    if lengths.len() != x[batch] || !lengths.iter().all(fits) {
        return Err(site.refuse(format!("lengths {lengths:?} do not fit {x:?}")));
    }
    let steps = strides(x);
    let count: usize = x.iter().product();
    let source = |at: usize| {
        let length = lengths[at / steps[batch] % x[batch]] as usize;
        let step = at / steps[time] % x[time];
        let from = if step < length { length - 1 - step } else { step };
        (at + from * steps[time] - step * steps[time]) as u32
    };
    Ok(Plan { shape: x.to_vec(), sources: (0..count).map(source).collect() })
}
