//! `Sum` and `Mean` of any number of inputs, broadcast.

use crate::shapes::{broadcast_facts, broadcast_sizes, broadcast_to, shaped, sum_to};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::Tensor;
use refit_graph::{Fact, OpName};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Total {
    Sum,
    Mean,
}

impl Operator for Total {
    fn name(&self) -> OpName {
        OpName::standard(if *self == Self::Sum { "Sum" } else { "Mean" })
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let facts: Vec<Fact> = (0..inputs.facts.len()).map(|i| inputs.fact(i)).collect();
        Ok(vec![shaped(inputs.dtype(0), broadcast_facts(site, &facts)?)])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let mut sum = site.required(inputs, 0)?.clone();
        for index in 1..inputs.len() {
            let next = site.required(inputs, index)?;
            let shape = broadcast_sizes(site, sum.dims(), next.dims())?;
            sum = (broadcast_to(&sum, &shape)? + broadcast_to(next, &shape)?)?;
        }
        Ok(vec![self.scaled(&sum, inputs.len())?])
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::nothing()
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = self.scaled(site.required(back.gradients, 0)?, back.input_shapes.len())?;
        let part = |(index, shape): (usize, &Vec<usize>)| {
            back.wants(index).then(|| sum_to(&gradient, shape)).transpose()
        };
        back.input_shapes.iter().enumerate().map(part).collect()
    }

    fn problems(&self) -> Vec<Problem> {
        vec![
            Problem::new("three inputs, broadcast").random(&[3, 5]).random(&[5]).random(&[2, 1, 1]),
            Problem::new("one input").random(&[3]),
            Problem::new("an empty batch").random(&[0, 3]).random(&[3]),
        ]
    }
}

impl Total {
    fn scaled(self, sum: &Tensor, count: usize) -> Result<Tensor, OpError> {
        Ok(if self == Self::Mean && count > 1 { (sum / count as f64)? } else { sum.clone() })
    }
}
