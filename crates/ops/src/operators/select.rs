//! `Where(condition, x, y)` and `Expand(x, shape)`, both broadcast.

use crate::shapes::{self, broadcast, broadcast_facts, broadcast_sizes, broadcast_to, shaped, sum_to};
use crate::{Backward, Element, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::Tensor;
use refit_graph::{Dim, Fact, HostTensor, OpName};

pub(crate) struct Where;

impl Operator for Where {
    fn name(&self) -> OpName {
        OpName::standard("Where")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let facts = [inputs.fact(0), inputs.fact(1), inputs.fact(2)];
        let fact = shaped(facts[1].dtype.or(facts[2].dtype), broadcast_facts(site, &facts)?);
        Ok(vec![Fact { elements: chosen_elements(inputs), ..fact }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let condition = site.required(inputs, 0)?;
        let (x, y) = (site.required(inputs, 1)?, site.required(inputs, 2)?);
        if x.dtype() != y.dtype() {
            return Err(site.refuse(format!("types {:?} and {:?} differ", x.dtype(), y.dtype())));
        }
        let shape = broadcast_sizes(site, x.dims(), y.dims())?;
        let shape = broadcast_sizes(site, condition.dims(), &shape)?;
        let (x, y) = (broadcast_to(x, &shape)?, broadcast_to(y, &shape)?);
        Ok(vec![broadcast_to(condition, &shape)?.where_cond(&x, &y)?])
    }

    fn differentiable(&self, index: usize) -> bool {
        index > 0
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(&[0])
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?;
        let condition = broadcast_to(site.required(back.inputs, 0)?, gradient.dims())?;
        let zeros = gradient.zeros_like()?;
        let part = |index: usize| -> Result<Option<Tensor>, OpError> {
            if !back.wants(index) {
                return Ok(None);
            }
            let (yes, no) = if index == 1 { (gradient, &zeros) } else { (&zeros, gradient) };
            Ok(Some(sum_to(&condition.where_cond(yes, no)?, &back.input_shapes[index])?))
        };
        Ok(vec![None, part(1)?, part(2)?])
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problem = Problem::new("all broadcast");
        problem.inputs.push(Some(condition(&[2, 1], &[1, 0])));
        vec![problem.random(&[3]).random(&[2, 3])]
    }
}

/// The elements of a choice between small integer tensors of one length.
fn chosen_elements(inputs: &Known) -> Option<Vec<Dim>> {
    let (condition, x, y) = (inputs.elements(0)?, inputs.elements(1)?, inputs.elements(2)?);
    let one_length = condition.len() == x.len() && x.len() == y.len();
    let choose = |(index, condition): (usize, &Element)| match condition {
        Element::Number(0) => Some(y[index].dim()),
        Element::Number(_) => Some(x[index].dim()),
        Element::Dim(_) => None,
    };
    one_length.then(|| condition.iter().enumerate().map(choose).collect()).flatten()
}

fn condition(shape: &[usize], values: &[u8]) -> HostTensor {
    HostTensor::from_u8(shape, values)
}

pub(crate) struct Expand;

impl Operator for Expand {
    fn name(&self) -> OpName {
        OpName::standard("Expand")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let x = inputs.fact(0);
        let target: Option<Vec<Dim>> =
            inputs.elements(1).map(|elements| elements.iter().map(Element::dim).collect());
        let shape = match (&x.shape, target) {
            (Some(dims), Some(target)) => Some(broadcast(site, dims, &target)?),
            _ => None,
        };
        Ok(vec![shaped(x.dtype, shape)])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        let target = shapes::integers(site, site.required(inputs, 1)?)?;
        let shape = broadcast_sizes(site, x.dims(), &shapes::sizes(site, &target)?)?;
        Ok(vec![broadcast_to(x, &shape)?])
    }

    fn host_inputs(&self) -> &'static [usize] {
        &[1]
    }

    fn differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::nothing()
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?;
        Ok(vec![Some(sum_to(gradient, &back.input_shapes[0])?), None])
    }

    fn problems(&self) -> Vec<Problem> {
        vec![
            Problem::new("both sides").random(&[3, 1]).integers(&[3], &[2, 1, 4]),
            Problem::new("to nothing").random(&[1, 3]).integers(&[2], &[0, 3]),
        ]
    }
}
