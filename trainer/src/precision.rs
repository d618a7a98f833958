//! In which numbers a training step computes.

use crate::TrainError;
use crate::task::Task;
use candle_core::{Device, cuda};
use refit_autodiff::Program;
use refit_graph::Model;
use refit_passes::{Driver, edit::MixedPrecision};
use refit_spec::TrainPrecision;

/// The program of a training step of `model`, a graph with a loss, on `device` in the numbers that the spec asks for.
/// Its parameters are those of `model`, in float32.
///
/// # Errors
/// When the graph cannot be trained.
pub fn compile(
    model: &Model,
    task: &dyn Task,
    precision: TrainPrecision,
    device: &Device,
) -> Result<Program, TrainError> {
    let outputs = ["loss", task.output()];
    cuda::set_gemm_reduced_precision_f32(precision != TrainPrecision::Float32);
    if device.is_cpu() || precision != TrainPrecision::Bf16 {
        return Ok(Program::compile(model, &outputs, device)?);
    }
    let mut mixed = model.clone();
    Driver::new().edit(&mut mixed, &MixedPrecision)?;
    Ok(Program::compile(&mixed, &outputs, device)?)
}

/// What a reader of the log should know of the numbers.
pub fn described(precision: TrainPrecision, device: &Device) -> &'static str {
    match (device.is_cpu(), precision) {
        (true, TrainPrecision::Auto | TrainPrecision::Float32) => "float32",
        (true, _) => "float32, since train.precision is for GPUs",
        (false, TrainPrecision::Float32) => "float32",
        (false, TrainPrecision::Auto | TrainPrecision::Tf32) => "float32 with TF32 products",
        (false, TrainPrecision::Bf16) => "bfloat16 products over float32 weights",
    }
}
