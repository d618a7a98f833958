//! `refit predict`: answers without a service.

use crate::cli::PredictArguments;
use crate::home::{Home, block_on};
use anyhow::Result;
use refit_artifact::Bundle;
use refit_predictor::{LoadOptions, Predictor};
use serde_json::json;
use std::io::BufRead;
use std::path::PathBuf;

pub fn run(arguments: &PredictArguments, cache: Option<PathBuf>) -> Result<()> {
    let home = Home::open(&arguments.spec, cache)?;
    let (version, artifact) = block_on(home.artifact_of(arguments.version.as_deref()))?;
    let predictor = Predictor::load(&Bundle::open(artifact)?, &home.engines(), &LoadOptions::default())?;
    let texts: Vec<String> = match arguments.texts.as_slice() {
        [] => std::io::stdin().lock().lines().collect::<std::io::Result<_>>()?,
        texts => texts.to_vec(),
    };
    for (text, answer) in texts.iter().zip(predictor.predict_batch(&texts)?) {
        let confidence = answer.probabilities[answer.index];
        if arguments.json {
            println!(
                "{}",
                json!({
                    "text": text, "label": &*answer.label, "confidence": confidence,
                    "probabilities": answer.probabilities, "version": version,
                })
            );
        } else {
            println!("{}\t{confidence:.4}\t{text}", answer.label);
        }
    }
    Ok(())
}
