//! `Shape(x)` and `Size(x)`: what is known of a value before it is computed.

use crate::shapes;
use crate::{Known, OpError, Operator, Site};
use candle_core::{Device, Tensor};
use refit_graph::{DType, Dim, Fact, OpName};

pub(crate) struct Shape;

impl Operator for Shape {
    fn name(&self) -> OpName {
        OpName::standard("Shape")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let Some(dims) = inputs.fact(0).shape else {
            return Ok(vec![Fact::new(DType::I64, [Dim::Unknown])]);
        };
        let (start, end) = range(site, dims.len());
        let elements = dims[start..end].to_vec();
        Ok(vec![Fact { elements: Some(elements), ..Fact::new(DType::I64, [end - start]) }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let dims = site.required(inputs, 0)?.dims();
        let (start, end) = range(site, dims.len());
        let sizes: Vec<i64> = dims[start..end].iter().map(|size| *size as i64).collect();
        Ok(vec![Tensor::from_vec(sizes, end - start, &Device::Cpu)?])
    }

    fn differentiable(&self, _index: usize) -> bool {
        false
    }
}

fn range(site: &Site, rank: usize) -> (usize, usize) {
    let rank = rank as i64;
    let clamp = |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize;
    let start = clamp(site.node.int("start").unwrap_or(0));
    (start, clamp(site.node.int("end").unwrap_or(rank)).max(start))
}

pub(crate) struct Size;

impl Operator for Size {
    fn name(&self) -> OpName {
        OpName::standard("Size")
    }

    fn infer(&self, _site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let elements = inputs.fact(0).shape.map(|dims| vec![shapes::product(&dims)]);
        Ok(vec![Fact { elements, ..Fact::new(DType::I64, Vec::<usize>::new()) }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let count = site.required(inputs, 0)?.elem_count() as i64;
        Ok(vec![Tensor::from_vec(vec![count], (), &Device::Cpu)?])
    }

    fn differentiable(&self, _index: usize) -> bool {
        false
    }
}
