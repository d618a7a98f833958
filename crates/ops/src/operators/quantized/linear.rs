//! `QuantizeLinear`, `DequantizeLinear` and `DynamicQuantizeLinear`.

use super::{Spread, integers, range, saturate};
use crate::shapes::shaped;
use crate::{Known, OpError, Operator, Site, host};
use candle_core::{Device, Tensor};
use refit_graph::{DType, Fact, OpName};

/// `round(x / scale) + zero point`, clipped.
pub(crate) struct QuantizeLinear;

impl Operator for QuantizeLinear {
    fn name(&self) -> OpName {
        OpName::standard("QuantizeLinear")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let asked = site.node.int("output_dtype").filter(|code| *code != 0);
        let asked = asked.and_then(|code| i32::try_from(code).ok()).map(DType::from_onnx);
        let dtype = if inputs.has(2) { inputs.dtype(2) } else { Some(asked.unwrap_or(DType::U8)) };
        Ok(vec![shaped(dtype, inputs.fact(0).shape)])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let (x, limits) = (site.required(inputs, 0)?, range(site.output_type(0)?)?);
        let scale = Spread::new(site, site.required(inputs, 1)?, x.dims())?;
        let zero = inputs.get(2).and_then(Option::as_ref);
        let zero = zero.map(|zero| Spread::new(site, zero, x.dims())).transpose()?;
        // Divided in the type of the input, as the standard has it: a tie is one in that type.
        let quotient = |x: f64, scale: f64| f64::from(x as f32 / scale as f32).round_ties_even();
        let quantized = host::numbers(x)?.into_iter().enumerate().map(|(place, x)| {
            let zero = zero.as_ref().map_or(0.0, |zero| zero.at(place));
            saturate(quotient(x, scale.at(place)) + zero, limits)
        });
        Ok(vec![integers(site, 0, quantized.collect(), x.dims(), x.device())?])
    }
}

/// `(x - zero point) * scale`.
pub(crate) struct DequantizeLinear;

impl Operator for DequantizeLinear {
    fn name(&self) -> OpName {
        OpName::standard("DequantizeLinear")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let asked = site.node.int("output_dtype").filter(|code| *code != 0);
        let asked = asked.and_then(|code| i32::try_from(code).ok()).map(DType::from_onnx);
        Ok(vec![shaped(asked.or(inputs.dtype(1)), inputs.fact(0).shape)])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let (x, scales) = (site.required(inputs, 0)?, site.required(inputs, 1)?);
        let scale = Spread::new(site, scales, x.dims())?;
        let zero = inputs.get(2).and_then(Option::as_ref);
        let zero = zero.map(|zero| Spread::new(site, zero, x.dims())).transpose()?;
        let real = host::numbers(x)?
            .into_iter()
            .enumerate()
            .map(|(place, x)| (x - zero.as_ref().map_or(0.0, |zero| zero.at(place))) * scale.at(place));
        let real = Tensor::from_vec(real.collect::<Vec<f64>>(), x.dims(), &Device::Cpu)?;
        let dtype = site.types.first().copied().flatten().map(crate::storage_dtype).transpose()?;
        Ok(vec![real.to_dtype(dtype.unwrap_or_else(|| scales.dtype()))?.to_device(x.device())?])
    }
}

/// `uint8` with scale and zero point from the range of the values, 0 included.
pub(crate) struct DynamicQuantizeLinear;

impl Operator for DynamicQuantizeLinear {
    fn name(&self) -> OpName {
        OpName::standard("DynamicQuantizeLinear")
    }

    fn infer(&self, _site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let scalar = |dtype| shaped(dtype, Some(Vec::new()));
        let quantized = Fact { elements: None, dtype: Some(DType::U8), ..inputs.fact(0) };
        Ok(vec![quantized, scalar(Some(DType::F32)), scalar(Some(DType::U8))])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        let values = host::numbers(x)?;
        let (low, high) = values.iter().fold((0f64, 0f64), |(low, high), x| (low.min(*x), high.max(*x)));
        let scale = ((high - low) as f32) / 255.0;
        // Zeros alone have no range; any scale gives them back.
        let divisor = if scale == 0.0 { 1.0 } else { scale };
        let limits = (0.0, 255.0);
        let zero = saturate(f64::from(-low as f32 / divisor), limits);
        let quantize =
            |x: f64| saturate(f64::from(x as f32 / divisor).round_ties_even() + zero, limits) as u8;
        let quantized: Vec<u8> = values.into_iter().map(quantize).collect();
        let device = x.device();
        Ok(vec![
            Tensor::from_vec(quantized, x.dims(), device)?,
            Tensor::from_vec(vec![scale], (), device)?,
            Tensor::from_vec(vec![zero as u8], (), device)?,
        ])
    }
}
