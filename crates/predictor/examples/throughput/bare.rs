//! The same model in a loop that only calls the engine's own library.

use std::{path::Path, sync::Arc};

use anyhow::{Result, anyhow, ensure};
use ort::session::{Session as OrtSession, SessionInputValue, builder::GraphOptimizationLevel};
use refit_engine_ort::find_library;
use refit_predictor::EngineConfig;
use tract_onnx::prelude::{
    Framework, InferenceModelExt, IntoRunnable, TValue, Tensor, TypedRunnableModel, tvec,
};

use crate::{
    Answer,
    subject::{Setup, values},
    texts::Tokens,
};

/// One way to answer for each thread.
pub fn answers(
    setup: &Setup<'_>,
    config: &EngineConfig,
    model: &Path,
    tokens: &Tokens,
) -> Result<Vec<Answer>> {
    match setup.engine {
        "tract" => tract(setup, model, tokens),
        "onnxruntime" => onnxruntime(setup, config, model, tokens),
        other => Err(anyhow!("there is no bare loop for {other}")),
    }
}

fn tract(setup: &Setup<'_>, model: &Path, tokens: &Tokens) -> Result<Vec<Answer>> {
    ensure!(setup.session_threads == 1, "the bare loop of tract has one thread a session");
    let onnx = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
    let plan: Arc<TypedRunnableModel> =
        onnx.model_for_path(model)?.into_typed()?.into_decluttered()?.into_optimized()?.into_runnable()?;
    let graph = plan.model();
    let names = graph.input_outlets()?.iter().map(|outlet| graph.node(outlet.node).name.clone());
    let names: Vec<String> = names.collect();
    let answer = |_| -> Answer {
        let (plan, names, tokens) = (Arc::clone(&plan), names.clone(), tokens.clone());
        Box::new(move || {
            let encoding = tokens.next()?;
            let shape = [1, encoding.len()];
            let mut inputs = tvec!();
            for name in &names {
                inputs.push(TValue::from(Tensor::from_shape(&shape, values(name, &encoding)?)?));
            }
            plan.run(inputs)?;
            Ok(())
        })
    };
    Ok((0..setup.threads).map(answer).collect())
}

fn onnxruntime(
    setup: &Setup<'_>,
    config: &EngineConfig,
    model: &Path,
    tokens: &Tokens,
) -> Result<Vec<Answer>> {
    let library = find_library(None, &config.cache).map_err(|reason| anyhow!(reason))?;
    let runtime = refit_engine_ort::OnnxRuntime::from_library(&library.path)?;
    let session = || -> ort::Result<OrtSession> {
        OrtSession::builder(runtime.environment())?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(setup.session_threads)?
            // What ONNX Runtime does where nobody says otherwise; with one thread there is nobody to spin.
            .with_intra_op_spinning(setup.session_threads > 1)?
            .commit_from_file(model)
    };
    let answer = |_| -> Result<Answer> {
        let (mut session, tokens) = (session()?, tokens.clone());
        let names: Vec<String> = session.inputs().iter().map(|input| input.name().to_owned()).collect();
        Ok(Box::new(move || {
            let encoding = tokens.next()?;
            let shape = [1, encoding.len()];
            let tensor = |name: &String| -> Result<SessionInputValue<'_>> {
                let values = values(name, &encoding)?.to_vec();
                Ok(ort::value::Tensor::from_array((shape, values))?.into())
            };
            let inputs = names.iter().map(tensor).collect::<Result<Vec<_>>>()?;
            session.run(&inputs[..])?;
            Ok(())
        }))
    };
    (0..setup.threads).map(answer).collect()
}
