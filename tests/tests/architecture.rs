//! The arrows between the crates point one way, and the pure crates stay pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every crate may depend on those above it only (ARCHITECTURE.md, "The map").
const ORDER: &[&str] = &[
    "refit-graph",
    "refit-ops",
    "refit-autodiff",
    "refit-passes",
    "refit-families",
    "refit-preprocess",
    "refit-stats",
    "refit-spec",
    "refit-artifact",
    "refit-engine",
    "refit-engine-tract",
    "refit-engine-ort",
    "refit-predictor",
    "refit-store",
    "refit-metrics",
    "refit-trainer",
    "refit-inference",
    "refit-scheduler",
    "refit-training",
    "refit",
    "refit-tests",
    "xtask",
];

/// What code that only computes must not reach: by crate name and by path in the source.
const IMPURE_CRATES: &[&str] =
    &["tokio", "axum", "reqwest", "ureq", "sqlx", "memmap2", "tempfile", "jiff", "tracing"];
const IMPURE_PATHS: &[&str] = &[
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant::now",
    "tokio::",
    "jiff::Timestamp::now",
    "File::open",
];

const PURE_CRATES: &[(&str, &str)] = &[
    ("refit-graph", "crates/graph"),
    ("refit-stats", "crates/stats"),
    ("refit-preprocess", "crates/preprocess"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_owned()
}

/// Direct dependencies of every crate of the workspace, those of its own tests left out.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("dependencies");
            let names = dependencies
                .iter()
                .filter(|dependency| dependency["kind"] != "dev")
                .filter_map(|dependency| dependency["name"].as_str().map(str::to_owned));
            (package["name"].as_str().expect("a name").to_owned(), names.collect())
        })
        .collect()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Lines of `source` outside comments, before its unit tests.
fn code(source: &str) -> impl Iterator<Item = (usize, &str)> {
    source
        .lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn impurities(files: &[PathBuf]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        let source = std::fs::read_to_string(file).expect("a source file");
        for (number, line) in code(&source) {
            for path in IMPURE_PATHS.iter().filter(|path| line.contains(**path)) {
                found.push(format!("{}:{}: {path}", file.display(), number + 1));
            }
        }
    }
    found
}

#[test]
fn dependencies_point_one_way() {
    let mut forbidden = Vec::new();
    for (name, dependencies) in dependencies() {
        let Some(position) = ORDER.iter().position(|known| *known == name) else {
            panic!("{name} has no place in the order of crates: add it to ORDER and to ARCHITECTURE.md");
        };
        for dependency in dependencies {
            if let Some(other) = ORDER.iter().position(|known| **known == dependency)
                && other >= position
            {
                forbidden.push(format!("{name} -> {dependency}"));
            }
        }
    }
    assert!(forbidden.is_empty(), "forbidden: {forbidden:?}");
}

#[test]
fn pure_crates_reach_no_files_clocks_or_networks() {
    let dependencies = dependencies();
    let mut files = Vec::new();
    for (name, folder) in PURE_CRATES {
        let impure: Vec<&&str> =
            IMPURE_CRATES.iter().filter(|impure| dependencies[*name].contains(**impure)).collect();
        assert!(impure.is_empty(), "{name} depends on {impure:?}");
        rust_files(&root().join(folder).join("src"), &mut files);
    }
    assert!(files.len() > 10);
    assert_eq!(impurities(&files), Vec::<String>::new());
}

#[test]
fn the_planner_is_a_pure_function() {
    let folder = root().join("services/scheduler/src");
    let mut files = Vec::new();
    rust_files(&folder, &mut files);
    files.retain(|file| {
        let inside = file.strip_prefix(&folder).expect("inside");
        inside == Path::new("plan.rs") || (inside.starts_with("plan") && !inside.ends_with("tests.rs"))
    });
    assert!(!files.is_empty(), "the planner has moved: tell this test where it is");
    assert_eq!(impurities(&files), Vec::<String>::new());
}

#[test]
fn no_crate_takes_candle_but_those_that_compute() {
    let allowed = ["refit-ops", "refit-autodiff", "refit-passes", "refit-trainer", "refit-tests"];
    for (name, dependencies) in dependencies() {
        let candle = dependencies.iter().any(|dependency| dependency.starts_with("candle"));
        assert!(!candle || allowed.contains(&name.as_str()), "{name} depends on candle");
    }
}

/// What `refit` pulls in with these flags, tests left out.
fn tree(flags: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--package", "refit", "--edges", "normal", "--prefix", "none"])
        .args(flags)
        .current_dir(root())
        .output()
        .expect("cargo tree runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn a_binary_that_serves_only_holds_nothing_that_trains() {
    let (whole, serving) = (tree(&[]), tree(&["--no-default-features"]));
    for name in ["candle-core", "refit-autodiff", "refit-trainer", "refit-training", "parquet"] {
        let holds = |tree: &str| tree.lines().any(|line| line.starts_with(&format!("{name} ")));
        assert!(holds(&whole), "{name} is not in the whole binary: name what is");
        assert!(!holds(&serving), "{name} is in the binary without the feature `train`");
    }
}
