//! Linear quantization: `real = (integer - zero point) * scale`. Forward only: rounding has slope zero, so
//! what lies before it gets no gradient, and asking for one is an error.

mod conv;
mod linear;
mod product;

pub(crate) use conv::ConvInteger;
pub(crate) use linear::{DequantizeLinear, DynamicQuantizeLinear, QuantizeLinear};
pub(crate) use product::ProductInteger;

use crate::{OpError, Site, host};
use candle_core::{Device, Tensor};
use refit_graph::DType;

/// Smallest and largest integer of a type that is computed with.
fn range(dtype: DType) -> Result<(f64, f64), OpError> {
    Ok(match dtype {
        DType::U8 => (0.0, 255.0),
        DType::I8 => (-128.0, 127.0),
        DType::U16 => (0.0, 65_535.0),
        DType::I16 => (-32_768.0, 32_767.0),
        DType::I32 => (f64::from(i32::MIN), f64::from(i32::MAX)),
        other => return Err(OpError::Dtype(other)),
    })
}

/// Rounded to the nearest integer, ties to even, and clipped to the type's range.
fn saturate(value: f64, (low, high): (f64, f64)) -> f64 {
    value.round_ties_even().clamp(low, high)
}

/// Integers as a tensor of the type that inference found for output `index`.
fn integers(
    site: &Site,
    index: usize,
    values: Vec<f64>,
    shape: &[usize],
    device: &Device,
) -> Result<Tensor, OpError> {
    let storage = crate::storage_dtype(site.output_type(index)?)?;
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(storage)?.to_device(device)?)
}

/// A scale or zero point, repeated over a tensor: one for all, one along an axis, or one a block.
struct Spread {
    values: Vec<f64>,
    /// Elements of the tensor for one step along the axis, entries along the axis, elements of a block.
    inner: usize,
    size: usize,
    block: usize,
}

impl Spread {
    fn new(site: &Site, parameter: &Tensor, x: &[usize]) -> Result<Self, OpError> {
        let values = host::numbers(parameter)?;
        if parameter.elem_count() == 1 && parameter.rank() <= 1 {
            return Ok(Self { values, inner: 1, size: 1, block: 1 });
        }
        let along = crate::shapes::axis(site, site.node.int("axis").unwrap_or(1), x.len())?;
        let block = match usize::try_from(site.node.int("block_size").unwrap_or(0)).unwrap_or(0) {
            0 => 1,
            block => block,
        };
        let fits = match parameter.rank() {
            1 => block == 1 && values.len() == x[along],
            rank if rank == x.len() => (0..rank).all(|axis| {
                let size = if axis == along { x[axis].div_ceil(block) } else { x[axis] };
                parameter.dims()[axis] == size
            }),
            _ => false,
        };
        if !fits {
            return Err(site.refuse(format!("scales of {:?} do not fit {x:?}", parameter.dims())));
        }
        let inner = x[along + 1..].iter().product();
        // A block belongs to one position of the other axes; a plain axis is shared by all of them.
        let block = if parameter.rank() == 1 { 0 } else { block };
        Ok(Self { values, inner, size: x[along], block })
    }

    fn at(&self, place: usize) -> f64 {
        let along = place / self.inner % self.size;
        match (self.values.len(), self.block) {
            (1, _) => self.values[0],
            (_, 0) => self.values[along],
            (_, block) => {
                let (outer, inner) = (place / self.inner / self.size, place % self.inner);
                self.values[(outer * self.size.div_ceil(block) + along / block) * self.inner + inner]
            }
        }
    }
}
