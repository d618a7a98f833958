use refit_engine::Device;
use refit_spec::DeviceChoice;

/// What computes, and why: for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Computing {
    /// The device.
    pub device: Device,
    /// One sentence.
    pub reason: String,
}

/// Chooses the device. `on_cuda` is what came of trying a GPU: `None` where nobody tried, else why it cannot be used.
///
/// # Errors
/// The reason, when a GPU was asked for.
pub(crate) fn decide<T>(
    choice: DeviceChoice,
    on_cuda: Option<&Result<T, String>>,
) -> Result<Computing, String> {
    let (device, reason) = match (choice, on_cuda) {
        (DeviceChoice::Cpu, _) | (DeviceChoice::Auto, None) => {
            (Device::Cpu, "no GPU is asked for".to_owned())
        }
        (DeviceChoice::Auto, Some(Ok(_))) => {
            (Device::Cuda, "ONNX Runtime is built with CUDA and computes on the first GPU".to_owned())
        }
        (DeviceChoice::Auto, Some(Err(reason))) => (Device::Cpu, format!("no GPU can be used: {reason}")),
        (DeviceChoice::Cuda, Some(Ok(_))) => (Device::Cuda, "a GPU is asked for".to_owned()),
        (DeviceChoice::Cuda, Some(Err(reason))) => return Err(reason.clone()),
        (DeviceChoice::Cuda, None) => return Err("no GPU was looked for".to_owned()),
    };
    Ok(Computing { device, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_falls_back_with_the_reason_and_what_is_asked_for_does_not() {
        let (works, fails) = (Ok(()), Err("no driver".to_owned()));
        let check = |choice, on_cuda: Option<&Result<(), String>>, expected: Result<(Device, &str), &str>| {
            let found = decide(choice, on_cuda);
            let found = found.as_ref().map(|it| (it.device, it.reason.as_str())).map_err(String::as_str);
            assert_eq!(found, expected);
        };
        let built = "ONNX Runtime is built with CUDA and computes on the first GPU";
        check(DeviceChoice::Cpu, None, Ok((Device::Cpu, "no GPU is asked for")));
        check(DeviceChoice::Cpu, Some(&works), Ok((Device::Cpu, "no GPU is asked for")));
        check(DeviceChoice::Auto, Some(&works), Ok((Device::Cuda, built)));
        check(DeviceChoice::Auto, Some(&fails), Ok((Device::Cpu, "no GPU can be used: no driver")));
        check(DeviceChoice::Cuda, Some(&works), Ok((Device::Cuda, "a GPU is asked for")));
        check(DeviceChoice::Cuda, Some(&fails), Err("no driver"));
    }
}
