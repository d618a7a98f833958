//! `refit engine`: what computes the answers.

use crate::cli::{EngineAction, EngineArguments};
use crate::table;
use anyhow::Result;
use refit_engine_ort::Build;
use refit_predictor::{EngineConfig, Engines};
use refit_spec::DeviceChoice;
use std::path::PathBuf;

pub fn run(arguments: &EngineArguments, cache: Option<PathBuf>) -> Result<()> {
    let cache = cache.unwrap_or_else(refit_spec::default_cache);
    match &arguments.action {
        EngineAction::List => {
            let device = DeviceChoice::Auto;
            let engines = Engines::discover(&EngineConfig { cache, onnxruntime_library: None, device });
            let rows: Vec<[String; 3]> = engines
                .report()
                .iter()
                .map(|engine| {
                    let version = engine.version.clone().unwrap_or_else(|| "not usable".to_owned());
                    [engine.engine.to_owned(), version, engine.detail.clone()]
                })
                .collect();
            table::print(["engine", "version", "where, or why not"], &rows);
            if let Ok(computing) = engines.computing() {
                println!("\ndevice {}: {}", computing.device, computing.reason);
            }
        }
        EngineAction::Install { device, .. } => {
            let build = if device == "cuda" { Build::Cuda } else { Build::Cpu };
            let installed = refit_engine_ort::install_build(build, &cache)?;
            println!("ONNX Runtime is installed: {}", installed.display());
            if build == Build::Cuda {
                println!(
                    "On a GPU it needs the libraries of CUDA 13 and cuDNN 9; `refit engine list` tries it."
                );
            }
        }
    }
    Ok(())
}
