use std::{
    path::{Path, PathBuf},
    sync::Mutex,
};

use refit_engine::Device;

use crate::{OnnxRuntime, library::version_of};

/// The one ONNX Runtime of this process. It is never let go: ONNX Runtime cannot be started a second time.
static LOADED: Mutex<Option<OnnxRuntime>> = Mutex::new(None);

/// Loads the library, or explains in one sentence why it cannot be used.
pub(crate) fn load(path: &Path) -> Result<OnnxRuntime, String> {
    let library: PathBuf =
        path.canonicalize().map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    // A panic while loading is reported to its own caller; the next one may try another library.
    let mut loaded = LOADED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(runtime) = loaded.as_ref() {
        if runtime.library == library {
            return Ok(runtime.clone());
        }
        let (first, second) = (runtime.library.display(), library.display());
        return Err(format!("this process already uses {first} and cannot load {second} too: restart it"));
    }
    let environment = ort::init_from(&library)
        .map_err(|error| format!("{error}; run `refit engine install onnxruntime` for a library that fits"))?
        .with_name("refit")
        .with_telemetry(false)
        .build()
        .map_err(|error| format!("{} does not start: {error}", library.display()))?;
    let version = version_of(&library).unwrap_or_else(|| "unknown".to_owned());
    let runtime = OnnxRuntime { environment, version, library, device: Device::Cpu };
    *loaded = Some(runtime.clone());
    Ok(runtime)
}

/// The one that is loaded.
pub(crate) fn loaded() -> Option<OnnxRuntime> {
    LOADED.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
}
