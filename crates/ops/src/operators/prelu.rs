//! `PRelu(x, slope)`: `x` where it is positive, else `slope * x`; the slope is broadcast.

use crate::shapes::{broadcast_to, sum_to};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::Tensor;
use refit_graph::{Fact, OpName};

pub(crate) struct PRelu;

impl Operator for PRelu {
    fn name(&self) -> OpName {
        OpName::standard("PRelu")
    }

    fn infer(&self, _site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact { elements: None, ..inputs.fact(0) }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let (x, slope) = (site.required(inputs, 0)?, site.required(inputs, 1)?);
        let slope = broadcast_to(slope, x.dims())?;
        Ok(vec![x.gt(&x.zeros_like()?)?.where_cond(x, &(x * slope)?)?])
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(&[0, 1])
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?.contiguous()?;
        let (x, slope) = (site.required(back.inputs, 0)?, site.required(back.inputs, 1)?);
        let positive = x.gt(&x.zeros_like()?)?;
        let dx = match back.wants(0) {
            true => {
                let slope = broadcast_to(slope, x.dims())?;
                Some(positive.where_cond(&gradient, &(&gradient * slope)?)?)
            }
            false => None,
        };
        let dslope = match back.wants(1) {
            true => {
                let cut = positive.where_cond(&gradient.zeros_like()?, &(&gradient * x)?)?;
                Some(sum_to(&cut, &back.input_shapes[1])?)
            }
            false => None,
        };
        Ok(vec![dx, dslope])
    }

    fn problems(&self) -> Vec<Problem> {
        vec![
            Problem::new("a slope for each channel").random_in(&[2, 3, 5], -1.0, 1.7).random(&[3, 1]),
            Problem::new("one slope").random_in(&[3, 5], -1.0, 1.7).random(&[1]),
            Problem::new("an empty batch").random(&[0, 3]).random(&[3]),
        ]
    }
}
