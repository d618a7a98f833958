//! `MatMul(a, b)` with NumPy's rules: batches are broadcast, vectors get a dimension that is dropped again.

use crate::kernels::matrix::{self, Matrix, MatrixMut, Product};
use crate::kernels::slices;
use crate::shapes::{broadcast, broadcast_sizes, broadcast_to, of_type, shaped, sum_to};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::{DType, Tensor};
use rayon::prelude::*;
use refit_graph::{Dim, Fact, OpName};

pub(crate) struct MatMul;

impl Operator for MatMul {
    fn name(&self) -> OpName {
        OpName::standard("MatMul")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let (a, b) = (inputs.fact(0), inputs.fact(1));
        let (Some(mut left), Some(mut right)) = (a.shape, b.shape) else { return Ok(vec![of_type(a.dtype)]) };
        if left.is_empty() || right.is_empty() {
            return Err(site.refuse("scalars cannot be multiplied as matrices"));
        }
        let (left_vector, right_vector) = (left.len() == 1, right.len() == 1);
        if left_vector {
            left.insert(0, Dim::Known(1));
        }
        if right_vector {
            right.push(Dim::Known(1));
        }
        let (left_batch, left_matrix) = left.split_at(left.len() - 2);
        let (right_batch, right_matrix) = right.split_at(right.len() - 2);
        if let (Dim::Known(a), Dim::Known(b)) = (&left_matrix[1], &right_matrix[0])
            && a != b
        {
            return Err(site.refuse(format!("{a} columns meet {b} rows")));
        }
        let mut shape = broadcast(site, left_batch, right_batch)?;
        if !left_vector {
            shape.push(left_matrix[0].clone());
        }
        if !right_vector {
            shape.push(right_matrix[1].clone());
        }
        Ok(vec![shaped(a.dtype, Some(shape))])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let (a, b) = (site.required(inputs, 0)?, site.required(inputs, 1)?);
        let (a, left_vector) = as_matrix(site, a, 0)?;
        let (b, right_vector) = as_matrix(site, b, 1)?;
        let mut y = multiply(site, &a, &b)?;
        if right_vector {
            y = y.squeeze(y.rank() - 1)?;
        }
        if left_vector {
            let axis = y.rank() - if right_vector { 1 } else { 2 };
            y = y.squeeze(axis)?;
        }
        Ok(vec![y])
    }

    fn reads(&self, _site: &Site, wanted: &[bool]) -> Option<Reads> {
        match wanted {
            [true, false] => Reads::inputs(&[1]),
            [false, true] => Reads::inputs(&[0]),
            _ => Reads::inputs(&[0, 1]),
        }
    }

    /// `da = g b^T`, `db = a^T g`, summed over what was broadcast.
    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?;
        let matrix_shape = |index: usize| -> Vec<usize> {
            match back.input_shapes[index].as_slice() {
                [width] if index == 0 => vec![1, *width],
                [width] => vec![*width, 1],
                shape => shape.to_vec(),
            }
        };
        let (left, right) = (matrix_shape(0), matrix_shape(1));
        let mut full = broadcast_sizes(site, &left[..left.len() - 2], &right[..right.len() - 2])?;
        full.extend([left[left.len() - 2], right[right.len() - 1]]);
        let gradient = gradient.reshape(full)?;
        let mut gradients = vec![None, None];
        if back.wants(0) {
            let (b, _) = as_matrix(site, site.required(back.inputs, 1)?, 1)?;
            let da = sum_to(&multiply(site, &gradient, &b.t()?)?, &left)?;
            gradients[0] = Some(da.reshape(back.input_shapes[0].as_slice())?);
        }
        if back.wants(1) {
            let (a, _) = as_matrix(site, site.required(back.inputs, 0)?, 0)?;
            // A weight that every example shares: one product over all rows, instead of a sum of many.
            let db = if right.len() == 2 && left.len() > 2 {
                let rows = |t: &Tensor| t.reshape(((), t.dims()[t.rank() - 1]));
                multiply(site, &rows(&a)?.t()?, &rows(&gradient)?)?
            } else {
                sum_to(&multiply(site, &a.t()?, &gradient)?, &right)?
            };
            gradients[1] = Some(db.reshape(back.input_shapes[1].as_slice())?);
        }
        Ok(gradients)
    }

    fn problems(&self) -> Vec<Problem> {
        let pair = |what, a: &[usize], b: &[usize]| Problem::new(what).random(a).random(b);
        vec![
            pair("matrices", &[3, 5], &[5, 2]),
            pair("a shared weight", &[2, 3, 5], &[5, 4]),
            pair("broadcast batches", &[2, 1, 3, 4], &[3, 4, 2]),
            pair("vectors", &[5], &[5]),
            pair("a vector on the right", &[2, 3, 5], &[5]),
            pair("a vector on the left", &[4], &[2, 4, 3]),
            pair("an empty batch", &[0, 3, 4], &[4, 2]),
        ]
    }
}

/// The operand with at least two dimensions, and whether it was a vector.
fn as_matrix(site: &Site, x: &Tensor, index: usize) -> Result<(Tensor, bool), OpError> {
    match x.rank() {
        0 => Err(site.refuse("scalars cannot be multiplied as matrices")),
        1 => Ok((x.unsqueeze(index)?, true)),
        _ => Ok((x.clone(), false)),
    }
}

/// The product of matrices with broadcast batches.
pub(super) fn multiply(site: &Site, a: &Tensor, b: &Tensor) -> Result<Tensor, OpError> {
    let (left, right) = (a.dims(), b.dims());
    let (m, k) = (left[left.len() - 2], left[left.len() - 1]);
    let (inner, n) = (right[right.len() - 2], right[right.len() - 1]);
    if k != inner {
        return Err(site.refuse(format!("{k} columns meet {inner} rows")));
    }
    let batch = broadcast_sizes(site, &left[..left.len() - 2], &right[..right.len() - 2])?;
    let with = |rows: usize, columns: usize| [batch.as_slice(), &[rows, columns]].concat();
    if m == 0 || n == 0 || k == 0 || batch.contains(&0) {
        return Ok(Tensor::zeros(with(m, n), a.dtype(), a.device())?);
    }
    if slices::is_cpu_f32(a) && slices::is_cpu_f32(b) {
        if right.len() == 2 && a.is_contiguous() {
            let b = Strided::new(b)?;
            let rows = a.elem_count() / k;
            let y = slices::with(a, |a| b.with(0, |b| matrix::product(Matrix::new(a, rows, k), b)))??;
            return Ok(Tensor::from_vec(y, with(m, n), a.device())?);
        }
        let (a, b) = (broadcast_to(a, &with(m, k))?, broadcast_to(b, &with(k, n))?);
        let y = batched(&Strided::new(&a)?, &Strided::new(&b)?, m * n, n)?;
        return Ok(Tensor::from_vec(y, with(m, n), a.device())?);
    }
    let (a, b) = (broadcast_to(a, &with(m, k))?, broadcast_to(b, &with(k, n))?);
    if !a.dtype().is_float() {
        let product = a.to_dtype(DType::F64)?.contiguous()?.matmul(&b.to_dtype(DType::F64)?.contiguous()?)?;
        return Ok(product.to_dtype(a.dtype())?);
    }
    Ok(a.contiguous()?.matmul(&b.contiguous()?)?)
}

/// A stack of matrices with any strides: transposes and heads need no copy.
struct Strided<'a> {
    tensor: &'a Tensor,
}

impl<'a> Strided<'a> {
    fn new(tensor: &'a Tensor) -> Result<Self, OpError> {
        Ok(Self { tensor })
    }

    fn batches(&self) -> usize {
        self.tensor.dims()[..self.tensor.rank() - 2].iter().product()
    }

    /// Calls `f` with matrix `index` of the stack.
    fn with<R>(&self, index: usize, f: impl FnOnce(Matrix) -> R) -> candle_core::Result<R> {
        let (storage, layout) = self.tensor.storage_and_layout();
        let candle_core::Storage::Cpu(candle_core::CpuStorage::F32(data)) = &*storage else {
            candle_core::bail!("a float32 tensor on the CPU was expected");
        };
        let (dims, strides) = (layout.dims(), layout.stride());
        let outer = dims.len() - 2;
        let (mut rest, mut offset) = (index, layout.start_offset());
        for axis in (0..outer).rev() {
            offset += rest % dims[axis] * strides[axis];
            rest /= dims[axis];
        }
        let shape = [dims[outer], dims[outer + 1]];
        Ok(f(Matrix::strided(&data[offset..], shape, [strides[outer], strides[outer + 1]])))
    }
}

fn batched(a: &Strided, b: &Strided, size: usize, columns: usize) -> candle_core::Result<Vec<f32>> {
    let batches = a.batches();
    let mut y = slices::unwritten(batches * size);
    let how = if batches == 1 { Product::PARALLEL } else { Product::SERIAL };
    let one = |index: usize, y: &mut [f32]| {
        a.with(index, |a| b.with(index, |b| matrix::multiply(MatrixMut::new(y, columns), a, b, how)))?
    };
    if batches == 1 {
        one(0, &mut y)?;
    } else {
        y.par_chunks_mut(size).enumerate().try_for_each(|(index, y)| one(index, y))?;
    }
    Ok(y)
}
