//! `refit engine`: what computes the answers.

use crate::cli::{EngineAction, EngineArguments};
use crate::table;
use anyhow::Result;
use refit_predictor::{EngineConfig, Engines};
use std::path::PathBuf;

pub fn run(arguments: &EngineArguments, cache: Option<PathBuf>) -> Result<()> {
    let cache = cache.unwrap_or_else(refit_trainer::data::default_cache);
    match &arguments.action {
        EngineAction::List => {
            let engines = Engines::discover(&EngineConfig { cache, onnxruntime_library: None });
            let rows: Vec<[String; 3]> = engines
                .report()
                .iter()
                .map(|engine| {
                    let version = engine.version.clone().unwrap_or_else(|| "not usable".to_owned());
                    [engine.engine.to_owned(), version, engine.detail.clone()]
                })
                .collect();
            table::print(["engine", "version", "where, or why not"], &rows);
        }
        EngineAction::Install { .. } => {
            let installed = refit_engine_ort::install(&cache)?;
            println!("ONNX Runtime is installed: {}", installed.display());
        }
    }
    Ok(())
}
