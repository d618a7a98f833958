//! The inference service against a bare loop of the same engine and against the servers that people use; what it needs,
//! and what it withstands. Load comes from another process (wrk), and all have the same cores.

mod bare;
mod home;
mod http;
mod images;
mod int8;
mod load;
mod lone;
mod monitoring;
mod overload;
mod peer_list;
mod peer_process;
mod peers;
mod process;
mod service;
mod size;
mod swaps;
mod throughput;
mod tract;

use super::{Options, Row, bench_python};
use crate::shell;
use anyhow::{Result, bail};
use home::{Home, Recipe};
use std::cell::OnceCell;
use std::path::PathBuf;

/// A part of the bench, by the name that `--only` takes.
type Part = (&'static str, fn(&Bench) -> Result<Vec<Row>>);

const PARTS: [Part; 10] = [
    ("throughput", throughput::run),
    ("peers", peers::run),
    ("lone", lone::run),
    ("int8", int8::run),
    ("images", images::run),
    ("tract", tract::run),
    ("swaps", swaps::run),
    ("monitoring", monitoring::run),
    ("overload", overload::run),
    ("size", size::run),
];

/// Seconds of one measurement, and of one that only warms.
const SECONDS: u64 = 6;
const WARM_SECONDS: u64 = 3;
/// Where what is measured listens.
const PORT: u16 = 18380;
/// Requests under way that goals are set for.
const CONCURRENCY: [usize; 3] = [8, 32, 64];

/// What all parts share.
pub struct Bench {
    rounds: usize,
    /// The binary that trains and promotes.
    refit: PathBuf,
    /// The one that serves, as it is shipped: what is measured.
    service: PathBuf,
    python: PathBuf,
    folder: PathBuf,
    int8: OnceCell<Home>,
    float32: OnceCell<Home>,
}

pub fn run(options: &Options) -> Result<Vec<Row>> {
    let parts: Vec<Part> = match options.only.as_deref() {
        None => PARTS.to_vec(),
        Some(only) => {
            let names: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
            let part = PARTS.iter().find(|(name, _)| *name == only);
            let Some(part) = part else {
                bail!("there is no part {only:?}: take one of {}", names.join(", "))
            };
            vec![*part]
        }
    };
    if !shell::has("wrk") {
        bail!("the load comes from wrk: install the package wrk");
    }
    let bench = Bench::prepare(options)?;
    let mut rows = Vec::new();
    for (name, part) in parts {
        eprintln!("part {name}");
        match part(&bench) {
            Ok(measured) => rows.extend(measured),
            // Hours of other parts are not thrown away for it.
            Err(error) if options.only.is_none() => eprintln!("part {name} has no rows: {error:#}"),
            Err(error) => return Err(error),
        }
    }
    Ok(rows)
}

impl Bench {
    fn prepare(options: &Options) -> Result<Self> {
        shell::run(shell::cargo().args(["build", "--quiet", "--workspace"]))?;
        let shipped = ["build", "--quiet", "--release", "--no-default-features", "--bin", "refit"];
        let beside = ["--example", "throughput", "--package", "refit", "--package", "refit-predictor"];
        shell::run(shell::cargo().args(shipped).args(beside))?;
        let folder = shell::target().join("bench/serving");
        std::fs::create_dir_all(&folder)?;
        Ok(Self {
            rounds: options.rounds,
            refit: shell::target().join("debug/refit"),
            service: shell::target().join("release/refit"),
            python: bench_python(options)?,
            folder,
            int8: OnceCell::new(),
            float32: OnceCell::new(),
        })
    }

    /// Two versions in int8, the first of which serves.
    fn int8(&self) -> Result<&Home> {
        let make = || {
            let first = Recipe { seed: 7, quantize: "{ format = \"auto\" }" };
            // It is only swapped with the first: its form need not be shown to be as good.
            let second = Recipe { seed: 8, quantize: "{ format = \"auto\", max_drop = 0.05 }" };
            let home = Home::make(self, "int8", &[first, second])?;
            let serving = home.serving("1")?;
            if serving["engine"] != "onnxruntime" || !serving["precision"].as_str().is_some_and(is_int8) {
                bail!("int8 in ONNX Runtime was not chosen to serve: {}", serving["reason"]);
            }
            Ok(home)
        };
        get_or_make(&self.int8, make)
    }

    /// A version in float32.
    fn float32(&self) -> Result<&Home> {
        let recipe = Recipe { seed: 7, quantize: "{ format = \"none\" }" };
        get_or_make(&self.float32, || Home::make(self, "float32", &[recipe]))
    }
}

fn is_int8(precision: &str) -> bool {
    precision.starts_with("int8")
}

fn get_or_make(cell: &OnceCell<Home>, make: impl FnOnce() -> Result<Home>) -> Result<&Home> {
    if let Some(home) = cell.get() {
        return Ok(home);
    }
    let made = make()?;
    Ok(cell.get_or_init(|| made))
}
