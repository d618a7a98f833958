//! Weighted sums along one axis, one tap of all outputs after the other.

use crate::kernels::resample::Taps;
use crate::picks::NOTHING;
use candle_core::{Result, Tensor};

/// What [`crate::kernels::resample::along`] computes, along `axis` of a float32 tensor.
pub(crate) fn along(x: &Tensor, taps: &Taps, axis: usize) -> Result<Tensor> {
    let (outputs, device) = (taps.outputs.len(), x.device());
    let mut shape = x.dims().to_vec();
    shape[axis] = outputs;
    let most = taps.outputs.iter().map(Vec::len).max().unwrap_or(0);
    let mut sum: Option<Tensor> = None;
    let x = x.contiguous()?;
    for tap in 0..most {
        let of = |output: &Vec<(usize, f32)>| output.get(tap).copied();
        let places: Vec<u32> =
            taps.outputs.iter().map(|output| of(output).map_or(NOTHING, |(at, _)| at as u32)).collect();
        let weights: Vec<f32> =
            taps.outputs.iter().map(|output| of(output).map_or(1.0, |tap| tap.1)).collect();
        let mut part = x.index_select(&Tensor::new(places, device)?, axis)?;
        if weights.iter().any(|weight| *weight != 1.0) {
            let mut along = vec![1; shape.len()];
            along[axis] = outputs;
            part = part.broadcast_mul(&Tensor::from_vec(weights, along, device)?)?;
        }
        sum = Some(match sum {
            Some(sum) => (sum + part)?,
            None => part,
        });
    }
    sum.map_or_else(|| Tensor::zeros(shape, x.dtype(), device), Ok)
}
