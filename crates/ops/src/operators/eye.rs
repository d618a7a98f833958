//! `EyeLike(x)`: ones on a diagonal. `NonZero(x)`: the places of elements that are not 0. Neither depends
//! smoothly on its input: nothing is differentiated through them.

use crate::picks::strides;
use crate::shapes::{self, shaped};
use crate::{Known, OpError, Operator, Site, convert, host};
use candle_core::{Device, Tensor};
use refit_graph::{DType, Dim, Fact, OpName};

pub(crate) struct EyeLike;

impl Operator for EyeLike {
    fn name(&self) -> OpName {
        OpName::standard("EyeLike")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let x = inputs.fact(0);
        let dtype = site.node.int("dtype").map(|code| DType::from_onnx(code as i32));
        Ok(vec![shaped(dtype.or(x.dtype), x.shape)])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        let (rows, columns) = x.dims2()?;
        let k = site.node.int("k").unwrap_or(0);
        let value = |at: usize| f32::from((at % columns) as i64 - (at / columns) as i64 == k);
        let eye = Tensor::from_vec((0..rows * columns).map(value).collect(), (rows, columns), x.device())?;
        let dtype = match site.node.int("dtype") {
            Some(code) => convert::storage_dtype(DType::from_onnx(code as i32))?,
            None => x.dtype(),
        };
        Ok(vec![eye.to_dtype(dtype)?])
    }

    fn differentiable(&self, _index: usize) -> bool {
        false
    }
}

pub(crate) struct NonZero;

impl Operator for NonZero {
    fn name(&self) -> OpName {
        OpName::standard("NonZero")
    }

    fn infer(&self, _site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        Ok(vec![match inputs.fact(0).rank() {
            Some(rank) => Fact::new(DType::I64, [Dim::Known(rank.max(1)), Dim::Unknown]),
            None => shapes::of_type(Some(DType::I64)),
        }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        // A scalar counts as one entry.
        let dims = if x.rank() == 0 { vec![1] } else { x.dims().to_vec() };
        let numbers = host::numbers(x)?;
        let found: Vec<usize> = (0..numbers.len()).filter(|at| numbers[*at] != 0.0).collect();
        let steps = strides(&dims);
        let places: Vec<i64> = (0..dims.len())
            .flat_map(|axis| {
                found.iter().map(|at| (at / steps[axis] % dims[axis]) as i64).collect::<Vec<_>>()
            })
            .collect();
        Ok(vec![Tensor::from_vec(places, (dims.len(), found.len()), &Device::Cpu)?.to_device(x.device())?])
    }

    fn differentiable(&self, _index: usize) -> bool {
        false
    }
}
