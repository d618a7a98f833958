//! The real wheel through the real pip. It needs the package registry, so it runs where ONNX Runtime is required.

use std::{env, fs, time::SystemTime};

use refit_engine_ort::{Origin, find_library, install, library_folder};

#[test]
fn the_wheel_is_fetched_and_its_library_found() {
    if env::var_os("REFIT_REQUIRE_ORT").is_none_or(|value| value != "1") {
        eprintln!("skipped: set REFIT_REQUIRE_ORT=1 to download ONNX Runtime's wheel");
        return;
    }
    let cache = tempfile::tempdir().unwrap();
    let library = install(cache.path()).unwrap();
    let modified = || -> SystemTime { fs::metadata(&library).unwrap().modified().unwrap() };
    let installed_at = modified();
    if env::var_os("ORT_DYLIB_PATH").is_none() {
        let found = find_library(None, cache.path()).unwrap();
        assert_eq!((found.path.as_path(), found.origin), (library.as_path(), Origin::Cache));
    }
    let folder = library_folder(cache.path(), refit_engine_ort::DEFAULT_VERSION);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "the library and its record, nothing else");
    assert_eq!(
        fs::read_dir(cache.path().join("engines")).unwrap().count(),
        1,
        "the download was left behind"
    );

    assert_eq!(install(cache.path()).unwrap(), library);
    assert_eq!(modified(), installed_at, "an intact library was fetched again");
    fs::write(&library, b"damaged").unwrap();
    assert_eq!(install(cache.path()).unwrap(), library);
    assert!(fs::metadata(&library).unwrap().len() > 1 << 20, "a damaged library was kept");
}
