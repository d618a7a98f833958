//! What computes the training step, and why.

use crate::TrainError;
use candle_core::Device;
use refit_spec::DeviceChoice;

/// Whether this build can use a GPU at all.
const HAS_CUDA: bool = cfg!(feature = "cuda");

/// The device that the spec asks for, and what to say of it: its name and the reason.
///
/// # Errors
/// When CUDA is asked for and is not in this build, or the machine has no usable GPU.
pub fn choose(choice: DeviceChoice) -> Result<(Device, String), TrainError> {
    if choice == DeviceChoice::Cpu {
        return Ok((Device::Cpu, "the CPU, as train.device asks".to_owned()));
    }
    match (Device::new_cuda(0), choice) {
        (Ok(device), DeviceChoice::Cuda) => Ok((device, "GPU 0, as train.device asks".to_owned())),
        (Ok(device), _) => Ok((device, "GPU 0, the first that the driver shows".to_owned())),
        (Err(source), DeviceChoice::Cuda) => Err(TrainError::NoGpu { source }),
        (Err(source), _) if HAS_CUDA => {
            // The first line says it; below it candle prints where it happened.
            let reason = source.to_string();
            let reason = reason.lines().next().unwrap_or_default();
            Ok((Device::Cpu, format!("the CPU, because no GPU can be used ({reason})")))
        }
        (Err(_), _) => Ok((Device::Cpu, "the CPU, because this build has no CUDA".to_owned())),
    }
}

/// An error of a step on `device`: that of an accelerator means that it, not the model, failed.
pub fn lost(device: &Device, step: usize, error: TrainError) -> TrainError {
    let is_of_device = matches!(error, TrainError::Tensor(_) | TrainError::Autodiff(_));
    if device.is_cpu() || !is_of_device {
        return error;
    }
    TrainError::DeviceLost { step, source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_said() {
        let (device, said) = choose(DeviceChoice::Cpu).unwrap();
        assert!(device.is_cpu());
        assert_eq!(said, "the CPU, as train.device asks");
        let (device, said) = choose(DeviceChoice::Auto).unwrap();
        assert!(device.is_cuda() || said.contains("because"), "{said}");
    }

    #[test]
    #[cfg(not(feature = "cuda"))]
    fn a_gpu_that_this_build_cannot_use_is_refused() {
        let error = choose(DeviceChoice::Cuda).unwrap_err().to_string();
        assert!(error.contains("build with --features cuda"), "{error}");
    }
}
