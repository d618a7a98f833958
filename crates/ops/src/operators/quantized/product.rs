//! `MatMulInteger(a, b, a_zero?, b_zero?)` and
//! `QLinearMatMul(a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero)`, whose `b_scale` may have one number for each
//! column of `b`.

use super::{integers, range, saturate};
use crate::shapes::{broadcast_sizes, shaped};
use crate::{Known, OpError, Operator, Site, find, host};
use candle_core::{DType as Storage, Tensor};
use refit_graph::{DType, Fact, OpName};

/// Which of the two products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProductInteger {
    Plain,
    Scaled,
}

impl Operator for ProductInteger {
    fn name(&self) -> OpName {
        OpName::standard(if *self == Self::Plain { "MatMulInteger" } else { "QLinearMatMul" })
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        // The shape is that of a product of real numbers.
        let [a, b] = self.factors();
        let known = Known {
            facts: vec![inputs.facts.get(a).copied().flatten(), inputs.facts.get(b).copied().flatten()],
            constants: vec![None, None],
        };
        let product =
            find(&OpName::standard("MatMul"), site.opset).map(|product| product.infer(site, &known));
        let shape =
            product.transpose()?.and_then(|facts| facts.into_iter().next()).and_then(|fact| fact.shape);
        let dtype = if *self == Self::Plain { Some(DType::I32) } else { inputs.dtype(7) };
        Ok(vec![shaped(dtype, shape)])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let [a, b] = self.factors();
        let zeros = if *self == Self::Plain { [2, 3] } else { [2, 5] };
        let factor = |index, zero, rows| centred(site, inputs, index, zero, rows);
        // Exact: no sum of 8-bit products comes near 2^53.
        let product = multiply(site, &factor(a, zeros[0], true)?, &factor(b, zeros[1], false)?)?;
        let (shape, device) = (product.dims().to_vec(), product.device().clone());
        let mut values = host::numbers(&product)?;
        if *self == Self::Scaled {
            let limits = range(site.output_type(0)?)?;
            let (a_scale, y_scale, zero) =
                (one(site, inputs, 1)?, one(site, inputs, 6)?, one(site, inputs, 7)?);
            let columns = if site.required(inputs, b)?.rank() > 1 { shape[shape.len() - 1] } else { 1 };
            let b_scales = one_or_each(site, inputs, 4, columns)?;
            for (place, value) in values.iter_mut().enumerate() {
                let factor = a_scale * b_scales[place % b_scales.len()] / y_scale;
                *value = saturate(*value * factor + zero, limits);
            }
        }
        Ok(vec![integers(site, 0, values, &shape, &device)?])
    }
}

impl ProductInteger {
    fn factors(self) -> [usize; 2] {
        if self == Self::Plain { [0, 1] } else { [0, 3] }
    }
}

/// The only element of a scale or zero point.
fn one(site: &Site, inputs: &[Option<Tensor>], index: usize) -> Result<f64, OpError> {
    match host::numbers(site.required(inputs, index)?)?.as_slice() {
        [number] => Ok(*number),
        several => {
            Err(site.refuse(format!("input {index} has {} elements; one is supported", several.len())))
        }
    }
}

/// The scales of the right factor: one for all, or one for each of its columns.
fn one_or_each(
    site: &Site,
    inputs: &[Option<Tensor>],
    index: usize,
    columns: usize,
) -> Result<Vec<f64>, OpError> {
    let scales = host::numbers(site.required(inputs, index)?)?;
    if scales.len() == 1 || scales.len() == columns && columns > 0 {
        return Ok(scales);
    }
    Err(site.refuse(format!("input {index} has {} elements for {columns} columns", scales.len())))
}

/// A factor less its zero point: one for all, one a row (of the left factor) or one a column.
fn centred(
    site: &Site,
    inputs: &[Option<Tensor>],
    index: usize,
    zero: usize,
    rows: bool,
) -> Result<Tensor, OpError> {
    let x = site.required(inputs, index)?.to_dtype(Storage::F64)?;
    let Some(zero) = inputs.get(zero).and_then(Option::as_ref) else { return Ok(x) };
    let zero = match (zero.rank(), rows) {
        (1, true) if zero.elem_count() > 1 => zero.unsqueeze(1)?,
        _ => zero.clone(),
    };
    Ok(x.broadcast_sub(&zero.to_dtype(Storage::F64)?)?)
}

/// The product of two stacks of matrices, vectors included, as `MatMul` has it.
fn multiply(site: &Site, a: &Tensor, b: &Tensor) -> Result<Tensor, OpError> {
    let (left, right) = (
        if a.rank() == 1 { a.unsqueeze(0)? } else { a.clone() },
        if b.rank() == 1 { b.unsqueeze(1)? } else { b.clone() },
    );
    let stacks = |t: &Tensor| t.dims()[..t.rank() - 2].to_vec();
    let stack = broadcast_sizes(site, &stacks(&left), &stacks(&right))?;
    let spread = |t: &Tensor| {
        let shape = [stack.as_slice(), &t.dims()[t.rank() - 2..]].concat();
        t.broadcast_as(shape)?.contiguous()
    };
    let mut product = spread(&left)?.matmul(&spread(&right)?)?;
    if b.rank() == 1 {
        product = product.squeeze(product.rank() - 1)?;
    }
    if a.rank() == 1 {
        product = product.squeeze(product.rank() - if b.rank() == 1 { 1 } else { 2 })?;
    }
    Ok(product)
}
