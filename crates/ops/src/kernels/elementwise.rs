//! Maps over float32 elements.

use super::simd::{CHUNK, dispatch};
use super::slices;
use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

/// `f(x)` of every element.
///
/// # Errors
/// When `x` is no float32 tensor on the CPU.
pub fn map(x: &Tensor, f: impl Fn(f32) -> f32 + Sync + Copy) -> Result<Tensor> {
    let x = x.contiguous()?;
    let y = slices::with(&x, |x| {
        let mut y = slices::unwritten(x.len());
        y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| {
            dispatch(
                #[inline(always)]
                || {
                    for (y, &x) in y.iter_mut().zip(x) {
                        *y = f(x);
                    }
                },
            );
        });
        y
    })?;
    Tensor::from_vec(y, x.dims(), &Device::Cpu)
}

/// `f(a, b)` of elements at the same place.
///
/// # Errors
/// When the shapes differ, or one is no float32 tensor on the CPU.
pub fn zip(a: &Tensor, b: &Tensor, f: impl Fn(f32, f32) -> f32 + Sync + Copy) -> Result<Tensor> {
    if a.dims() != b.dims() {
        candle_core::bail!("shapes {:?} and {:?} differ", a.dims(), b.dims());
    }
    let (a, b) = (a.contiguous()?, b.contiguous()?);
    let y = slices::with(&a, |a| slices::with(&b, |b| zip_chunks(a, b, CHUNK, f)))??;
    Tensor::from_vec(y, a.dims(), &Device::Cpu)
}

/// `f(a, b)` where `b` repeats: its elements line up with the innermost dimensions of `a`.
///
/// # Errors
/// When the number of elements of `b` does not divide that of `a`, or one is no float32 tensor on the CPU.
pub fn zip_repeated(a: &Tensor, b: &Tensor, f: impl Fn(f32, f32) -> f32 + Sync + Copy) -> Result<Tensor> {
    let (a, b) = (a.contiguous()?, b.contiguous()?);
    let period = b.elem_count().max(1);
    if !a.elem_count().is_multiple_of(period) {
        candle_core::bail!("shapes {:?} and {:?} do not line up", a.dims(), b.dims());
    }
    let y = slices::with(&a, |a| {
        slices::with(&b, |b| {
            let mut y = slices::unwritten(a.len());
            let rows = (CHUNK / period).max(1) * period;
            y.par_chunks_mut(rows).zip(a.par_chunks(rows)).for_each(|(y, a)| {
                for (y, a) in y.chunks_mut(period).zip(a.chunks(period)) {
                    apply(y, a, b, f);
                }
            });
            y
        })
    })??;
    Tensor::from_vec(y, a.dims(), &Device::Cpu)
}

/// `a = f(a, b)`.
pub fn update(a: &mut [f32], b: &[f32], f: impl Fn(f32, f32) -> f32 + Sync + Copy) {
    a.par_chunks_mut(CHUNK).zip(b.par_chunks(CHUNK)).for_each(|(a, b)| {
        dispatch(
            #[inline(always)]
            || {
                for (a, &b) in a.iter_mut().zip(b) {
                    *a = f(*a, b);
                }
            },
        );
    });
}

fn zip_chunks(a: &[f32], b: &[f32], chunk: usize, f: impl Fn(f32, f32) -> f32 + Sync + Copy) -> Vec<f32> {
    let mut y = slices::unwritten(a.len());
    y.par_chunks_mut(chunk)
        .zip(a.par_chunks(chunk))
        .zip(b.par_chunks(chunk))
        .for_each(|((y, a), b)| apply(y, a, b, f));
    y
}

fn apply(y: &mut [f32], a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32 + Copy) {
    dispatch(
        #[inline(always)]
        || {
            for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
                *y = f(a, b);
            }
        },
    );
}
