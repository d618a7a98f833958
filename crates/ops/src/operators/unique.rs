//! `Unique(x; axis?, sorted)`: the distinct elements, or slices along an axis, with the first place of each,
//! the way back, and counts. Forward only.

use crate::shapes::{axis, shaped};
use crate::{Known, OpError, Operator, Site, host};
use candle_core::{Device, Tensor};
use refit_graph::{DType, Dim, Fact, OpName};
use std::cmp::Ordering;

pub(crate) struct Unique;

impl Operator for Unique {
    fn name(&self) -> OpName {
        OpName::standard("Unique")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let x = inputs.fact(0);
        let shape = match (x.shape, site.node.int("axis")) {
            (_, None) => Some(vec![Dim::Unknown]),
            (Some(mut dims), Some(along)) => {
                let along = axis(site, along, dims.len())?;
                dims[along] = Dim::Unknown;
                Some(dims)
            }
            (None, Some(_)) => None,
        };
        let list = || Fact::new(DType::I64, [Dim::Unknown]);
        Ok(vec![shaped(x.dtype, shape), list(), list(), list()])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        let along = site.node.int("axis").map(|along| axis(site, along, x.rank())).transpose()?;
        // Slices along the axis as rows.
        let rows = match along {
            Some(along) => x.transpose(0, along)?.contiguous()?,
            None => x.flatten_all()?,
        };
        let (count, values) = (rows.dims()[0], host::numbers(&rows)?);
        let width = values.len().checked_div(count).unwrap_or(0);
        let row = |index: usize| &values[index * width..(index + 1) * width];
        let order = |a: usize, b: usize| {
            let differs = row(a).iter().zip(row(b)).map(|(a, b)| a.total_cmp(b));
            differs.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        };
        let mut sorted: Vec<usize> = (0..count).collect();
        sorted.sort_by(|a, b| order(*a, *b).then(a.cmp(b)));
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for index in sorted {
            match groups.last_mut() {
                Some(group) if order(group[0], index).is_eq() => group.push(index),
                _ => groups.push(vec![index]),
            }
        }
        if site.node.int("sorted").unwrap_or(1) == 0 {
            groups.sort_by_key(|group| group[0]);
        }
        let mut inverse = vec![0i64; count];
        for (position, group) in groups.iter().enumerate() {
            group.iter().for_each(|index| inverse[*index] = position as i64);
        }
        let firsts: Vec<u32> = groups.iter().map(|group| group[0] as u32).collect();
        let distinct = match firsts.is_empty() {
            true => rows,
            false => rows.index_select(&Tensor::new(firsts.as_slice(), x.device())?, 0)?,
        };
        let distinct = match along {
            Some(along) => distinct.transpose(0, along)?.contiguous()?,
            None => distinct,
        };
        let list = |numbers: Vec<i64>| {
            let len = numbers.len();
            Tensor::from_vec(numbers, len, &Device::Cpu)
        };
        Ok(vec![
            distinct,
            list(firsts.iter().map(|first| i64::from(*first)).collect())?,
            list(inverse)?,
            list(groups.iter().map(|group| group.len() as i64).collect())?,
        ])
    }
}
