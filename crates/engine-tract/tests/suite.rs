//! tract against what every engine must do.

#[path = "../../engine/tests/suite/mod.rs"]
mod suite;

use refit_engine::Engine;
use refit_engine_tract::{Tract, VERSION};

#[test]
fn tract_does_what_an_engine_must_do() {
    suite::run(&Tract);
}

#[test]
fn the_version_is_the_one_that_is_built_in() {
    let workspace =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml")).unwrap();
    assert!(
        workspace.contains(&format!("tract-onnx = \"={VERSION}\"")),
        "tract is pinned to another version"
    );
    assert_eq!(Tract.version(), VERSION);
}
