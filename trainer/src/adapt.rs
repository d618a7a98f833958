//! From a pretrained encoder to the graph that is trained: head and method.

use crate::TrainError;
use crate::task::{Head, Task};
use refit_artifact::{Bundle, files};
use refit_families::{Base, HIDDEN_STATE, Pooling, copy_parameters, read_exported};
use refit_graph::Model;
use refit_passes::edit::{
    Freeze, FreezePolicy, InsertDropout, Lora, Pool, PruneFeedForward, PruneHeads, PruneWeights, SetDropout,
};
use refit_passes::{Driver, Edit};
use refit_spec::{Method, PoolingChoice, Spec, TrainSpec};

/// The weights and labels of a champion that a refit starts from.
pub struct Champion {
    /// Its graph in canonical form.
    model: Model,
    /// Its labels in the order of its logits.
    labels: Vec<String>,
}

impl Champion {
    /// Reads the float32 model of an artifact.
    ///
    /// # Errors
    /// When the artifact is not intact, or its model is none that refit exported.
    pub fn read(bundle: &Bundle) -> Result<Self, TrainError> {
        let bytes = bundle.read(files::MODEL_FLOAT32)?;
        let failed =
            |source| TrainError::Base { source_text: "of the champion".to_owned(), source: Box::new(source) };
        let model = read_exported(bytes.into()).map_err(failed)?;
        Ok(Self { model, labels: bundle.manifest().labels.clone() })
    }
}

/// The encoder, pruned where the spec asks for it, with the head of `task`, its trainable parameters marked as the method asks. Weights come
/// from the champion where there is one, rows of the head for the labels that it knew included.
///
/// # Errors
/// When a pass refuses, or the champion is of another architecture.
pub fn adapt(
    base: &Base,
    champion: Option<&Champion>,
    spec: &Spec,
    task: &dyn Task,
    labels: &[String],
) -> Result<Model, TrainError> {
    let mut model = base.model.clone();
    let mut driver = Driver::new();
    if let Some(prune) = spec.train.prune {
        // By the pretrained weights, so that a refit takes out what its champion lacks.
        for (share, edit) in [
            (prune.heads, &PruneHeads { share: prune.heads } as &dyn Edit),
            (prune.feed_forward, &PruneFeedForward { share: prune.feed_forward }),
        ] {
            if share > 0.0 {
                driver.edit(&mut model, edit)?;
            }
        }
    }
    let ratio = spec.train.dropout.unwrap_or(TrainSpec::USUAL_DROPOUT) as f32;
    if InsertDropout::is_needed(&model.graph) {
        driver.edit(&mut model, &InsertDropout { ratio })?;
    } else if spec.train.dropout.is_some() {
        driver.edit(&mut model, &SetDropout { ratio })?;
    }
    let head = |outputs: usize, carried: Vec<Option<usize>>| {
        task.head(Head {
            at: HIDDEN_STATE.to_owned(),
            pool: pool(base, spec.model.pooling),
            outputs,
            dropout: ratio,
            carried,
            seed: spec.train.seed,
        })
    };
    match champion {
        None => driver.edit(&mut model, head(task.outputs(), Vec::new()).as_ref())?,
        Some(champion) => {
            // A task without labels has the same outputs in every version.
            let outputs = if labels.is_empty() { task.outputs() } else { champion.labels.len() };
            driver.edit(&mut model, head(outputs, Vec::new()).as_ref())?;
            let failed = |source| TrainError::Base {
                source_text: "of the champion".to_owned(),
                source: Box::new(source),
            };
            copy_parameters(&champion.model, &mut model).map_err(failed)?;
            if champion.labels != labels {
                let known = |label: &String| champion.labels.iter().position(|known| known == label);
                let carried = labels.iter().map(known).collect();
                driver.edit(&mut model, head(task.outputs(), carried).as_ref())?;
            }
        }
    }
    if let Some(prune) = spec.train.prune.filter(|prune| prune.weights > 0.0) {
        // By the weights that training starts from: what is 0 in a champion stays 0.
        driver.edit(&mut model, &PruneWeights { share: prune.weights })?;
    }
    match &spec.train.method {
        Method::Full => driver.edit(&mut model, &Freeze { train: FreezePolicy::Nothing })?,
        Method::Partial { last_layers } => {
            driver.edit(&mut model, &Freeze { train: FreezePolicy::LastLayers(*last_layers) })?;
        }
        Method::FeatureExtraction => driver.edit(&mut model, &Freeze { train: FreezePolicy::HeadOnly })?,
        Method::Lora { rank, alpha, targets, dropout } => {
            let lora = Lora {
                rank: *rank,
                alpha: *alpha as f32,
                targets: targets.clone(),
                dropout: *dropout as f32,
                seed: spec.train.seed,
            };
            driver.edit(&mut model, &lora)?;
        }
    }
    Ok(model)
}

/// What the spec says about pooling, else what the model's authors did.
fn pool(base: &Base, choice: PoolingChoice) -> Pool {
    match (choice, base.pooling) {
        (PoolingChoice::Mean, _) | (PoolingChoice::Auto, Pooling::Mean) => Pool::Mean,
        (PoolingChoice::Cls, _) | (PoolingChoice::Auto, Pooling::Cls) => Pool::Cls,
        (PoolingChoice::Max, _) | (PoolingChoice::Auto, Pooling::Max) => Pool::Max,
        (PoolingChoice::None, _) | (PoolingChoice::Auto, Pooling::None) => Pool::None,
    }
}
