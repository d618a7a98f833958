//! Values out of nothing: `Constant`, `ConstantOfShape`, `Range`.

use crate::shapes::{self, shaped};
use crate::{Known, OpError, Operator, Site, convert};
use candle_core::{DType as Storage, Tensor};
use refit_graph::{Attribute, Dim, Fact, HostTensor, OpName};

pub(crate) struct Constant;

impl Operator for Constant {
    fn name(&self) -> OpName {
        OpName::standard("Constant")
    }

    fn infer(&self, site: &Site, _inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let value = value(site)?;
        Ok(vec![Fact::new(value.dtype(), value.shape().to_vec())])
    }

    fn forward(&self, site: &Site, _inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        Ok(vec![convert::to_device(&value(site)?, site.device)?])
    }
}

fn value(site: &Site) -> Result<HostTensor, OpError> {
    let attributes = &site.node.attributes;
    let named = |name: &str| attributes.get(name);
    let count = |len: usize| [len];
    Ok(
        match (
            named("value"),
            named("value_int"),
            named("value_ints"),
            named("value_float"),
            named("value_floats"),
        ) {
            (Some(Attribute::Tensor(tensor)), ..) => tensor.clone(),
            (_, Some(Attribute::Int(n)), ..) => HostTensor::from_i64(&[], &[*n]),
            (_, _, Some(Attribute::Ints(n)), ..) => HostTensor::from_i64(&count(n.len()), n),
            (_, _, _, Some(Attribute::Float(x)), _) => HostTensor::from_f32(&[], &[*x]),
            (.., Some(Attribute::Floats(x))) => HostTensor::from_f32(&count(x.len()), x),
            _ => {
                return Err(OpError::Attribute {
                    op: site.node.op.clone(),
                    name: "value",
                    why: "only tensors, integers and floats are read".to_owned(),
                });
            }
        },
    )
}

pub(crate) struct ConstantOfShape;

impl ConstantOfShape {
    fn fill(site: &Site) -> HostTensor {
        site.node.tensor("value").cloned().unwrap_or_else(|| HostTensor::from_f32(&[1], &[0.0]))
    }
}

impl Operator for ConstantOfShape {
    fn name(&self) -> OpName {
        OpName::standard("ConstantOfShape")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let shape = match inputs.integers(0) {
            Some(sizes) => Some(shapes::sizes(site, &sizes)?.into_iter().map(Dim::Known).collect()),
            None => inputs.fact(0).elements,
        };
        Ok(vec![shaped(Some(Self::fill(site).dtype()), shape)])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let shape = shapes::sizes(site, &shapes::integers(site, site.required(inputs, 0)?)?)?;
        let fill = convert::to_device(&Self::fill(site), site.device)?.reshape(())?;
        Ok(vec![fill.broadcast_as(shape)?.contiguous()?])
    }

    fn host_inputs(&self) -> &'static [usize] {
        &[0]
    }

    fn differentiable(&self, _index: usize) -> bool {
        false
    }
}

pub(crate) struct Range;

impl Operator for Range {
    fn name(&self) -> OpName {
        OpName::standard("Range")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let number = |index| inputs.integers(index).and_then(|n| n.first().copied());
        let size = match (number(0), number(1), number(2)) {
            (Some(start), Some(end), Some(step)) => {
                Dim::Known(count(site, start as f64, end as f64, step as f64)?)
            }
            (Some(0), None, Some(1)) => match inputs.fact(1).elements.as_deref() {
                Some([end]) => end.clone(),
                _ => Dim::Unknown,
            },
            _ => Dim::Unknown,
        };
        Ok(vec![shaped(inputs.dtype(0), Some(vec![size]))])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let number = |index| -> Result<f64, OpError> {
            let tensor = site.required(inputs, index)?.to_dtype(Storage::F64)?.flatten_all()?;
            let numbers = tensor.to_vec1::<f64>()?;
            numbers.first().copied().ok_or_else(|| site.refuse("a number was expected"))
        };
        let (start, end, step) = (number(0)?, number(1)?, number(2)?);
        let count = count(site, start, end, step)?;
        let values: Vec<f64> = (0..count).map(|i| start + i as f64 * step).collect();
        let dtype = site.required(inputs, 0)?.dtype();
        Ok(vec![Tensor::from_vec(values, count, &candle_core::Device::Cpu)?.to_dtype(dtype)?])
    }

    fn host_inputs(&self) -> &'static [usize] {
        &[0, 1, 2]
    }

    fn differentiable(&self, _index: usize) -> bool {
        false
    }
}

/// Numbers in a range; a range that no memory could hold is refused.
fn count(site: &Site, start: f64, end: f64, step: f64) -> Result<usize, OpError> {
    let count = ((end - start) / step).ceil().max(0.0);
    if count.is_finite() && count < 1e9 {
        Ok(count as usize)
    } else {
        Err(site.refuse(format!("a range from {start} to {end} in steps of {step} has no usable length")))
    }
}
