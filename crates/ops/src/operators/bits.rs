//! `BitwiseAnd`, `BitwiseOr`, `BitwiseXor`, `BitwiseNot` and `BitShift`, on integers; nothing is
//! differentiated through them.

use crate::shapes::{broadcast_facts, broadcast_sizes, broadcast_to, shaped};
use crate::{Known, OpError, Operator, Site, host};
use candle_core::{Device, Tensor};
use refit_graph::{Fact, OpName};

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bits {
    And,
    Or,
    Xor,
    Not,
    Shift,
}

impl Operator for Bits {
    fn name(&self) -> OpName {
        OpName::standard(match self {
            Self::And => "BitwiseAnd",
            Self::Or => "BitwiseOr",
            Self::Xor => "BitwiseXor",
            Self::Not => "BitwiseNot",
            Self::Shift => "BitShift",
        })
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let facts: Vec<Fact> = (0..inputs.facts.len()).map(|i| inputs.fact(i)).collect();
        Ok(vec![shaped(inputs.dtype(0), broadcast_facts(site, &facts)?)])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let a = site.required(inputs, 0)?;
        if a.dtype().is_float() {
            return Err(site.refuse("integers were expected"));
        }
        let (shape, values): (Vec<usize>, Vec<i64>) = if *self == Self::Not {
            (a.dims().to_vec(), host::integers(a)?.into_iter().map(|a| !a).collect())
        } else {
            let b = site.required(inputs, 1)?;
            let shape = broadcast_sizes(site, a.dims(), b.dims())?;
            let (a, b) = (broadcast_to(a, &shape)?, broadcast_to(b, &shape)?);
            let left = *self == Self::Shift && direction_is_left(site)?;
            let apply = |(a, b): (i64, i64)| match self {
                Self::And => a & b,
                Self::Or => a | b,
                Self::Xor => a ^ b,
                Self::Not => !a,
                Self::Shift => shift(a, b, left),
            };
            (shape, host::integers(&a)?.into_iter().zip(host::integers(&b)?).map(apply).collect())
        };
        let made = Tensor::from_vec(values, shape, &Device::Cpu)?;
        Ok(vec![made.to_dtype(a.dtype())?.to_device(a.device())?])
    }

    fn differentiable(&self, _index: usize) -> bool {
        false
    }
}

fn direction_is_left(site: &Site) -> Result<bool, OpError> {
    match site.node.text("direction") {
        Some("LEFT") => Ok(true),
        Some("RIGHT") => Ok(false),
        _ => Err(OpError::Attribute {
            op: site.node.op.clone(),
            name: "direction",
            why: "LEFT or RIGHT is required".to_owned(),
        }),
    }
}

/// Bits that leave the type are lost; to the right the sign is repeated.
fn shift(a: i64, by: i64, left: bool) -> i64 {
    let by = u32::try_from(by).unwrap_or(u32::MAX);
    match left {
        true => a.checked_shl(by).unwrap_or(0),
        false => a >> by.min(63),
    }
}
