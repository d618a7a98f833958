//! ONNX Runtime against what every engine must do, and what happens when its library is not what it should be.
//!
//! The library is the one that `find_library` finds. Without one these tests say that they are skipped, unless
//! `REFIT_REQUIRE_ORT=1` makes that a failure.

#[path = "../../engine/tests/suite/mod.rs"]
mod suite;

use std::{env, fs, path::PathBuf};

use refit_engine::{Engine, EngineError};
use refit_engine_ort::{OnnxRuntime, find_library};

fn cache() -> PathBuf {
    let cache = env::var_os("REFIT_CACHE").map(PathBuf::from);
    cache.unwrap_or_else(|| PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache/refit"))
}

fn library() -> Option<PathBuf> {
    match find_library(None, &cache()) {
        Ok(library) => Some(library.path),
        Err(reason) if env::var_os("REFIT_REQUIRE_ORT").is_some_and(|value| value == "1") => {
            panic!("{reason}")
        }
        Err(reason) => {
            eprintln!("skipped: {reason}");
            None
        }
    }
}

/// One test, because a process can load only one library, and the wrong ones have to come first.
#[test]
fn onnxruntime_does_what_an_engine_must_do() {
    let folder = tempfile::tempdir().unwrap();
    let no_library = folder.path().join("libonnxruntime.so");
    fs::write(&no_library, b"not a library").unwrap();
    let unavailable = |path: &std::path::Path| match OnnxRuntime::from_library(path) {
        Err(error @ EngineError::Unavailable { .. }) => error.to_string(),
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("{} was loaded", path.display()),
    };
    let message = unavailable(&no_library);
    assert!(message.contains("refit engine install onnxruntime"), "{message}");
    let message = unavailable(&folder.path().join("missing.so"));
    assert!(message.contains("missing.so cannot be read"), "{message}");

    let Some(path) = library() else { return };
    // Another library of the same wheel: it loads, but is not ONNX Runtime.
    let providers = path.with_file_name("libonnxruntime_providers_shared.so");
    if providers.exists() {
        let message = unavailable(&providers);
        assert!(message.contains("OrtGetApiBase"), "{message}");
    }

    let engine = OnnxRuntime::from_library(&path).unwrap();
    assert!(engine.version().starts_with("1."), "{}", engine.version());
    suite::run(&engine);

    let again = OnnxRuntime::from_library(&path).unwrap();
    assert_eq!(again.library(), engine.library());
    let copy = folder.path().join("libonnxruntime.so.1.31.1");
    fs::copy(&path, &copy).unwrap();
    let message = unavailable(&copy);
    assert!(message.contains("already uses"), "{message}");
}
