//! What computes the training step.

use crate::TrainError;
use candle_core::Device;
use refit_spec::DeviceChoice;

/// The device that the spec asks for, and what it is called.
///
/// # Errors
/// When CUDA is asked for and is not in this build, or the machine has no usable GPU.
pub fn choose(choice: DeviceChoice) -> Result<(Device, &'static str), TrainError> {
    if choice == DeviceChoice::Cpu {
        return Ok((Device::Cpu, "the CPU"));
    }
    match (Device::new_cuda(0), choice) {
        (Ok(device), _) => Ok((device, "the GPU")),
        (Err(source), DeviceChoice::Cuda) => Err(TrainError::NoGpu { source }),
        (Err(_), _) => Ok((Device::Cpu, "the CPU")),
    }
}
