//! From a pretrained encoder to the graph that is trained: head, method, loss.

use crate::TrainError;
use refit_artifact::{Bundle, files};
use refit_families::{Base, HIDDEN_STATE, Pooling, copy_parameters};
use refit_graph::{Attribute, DType, Dim, Fact, Model, OpName, Patch, onnx};
use refit_passes::edit::{Freeze, FreezePolicy, Lora, Pool, ReplaceHead};
use refit_passes::{Driver, PassError, Tolerance, canonicalize};
use refit_spec::{Method, PoolingChoice, Spec};

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
        let mut model = onnx::read(bytes.into(), &onnx::NoExternalData)?;
        canonicalize(&mut model)?;
        Ok(Self { model, labels: bundle.manifest().labels.clone() })
    }
}

/// The encoder with a head for `labels`, its trainable parameters marked as the method asks. Weights come
/// from the champion where there is one, rows of the head for the labels that it knew included.
///
/// # Errors
/// When a pass refuses, or the champion is of another architecture.
pub fn adapt(
    base: &Base,
    champion: Option<&Champion>,
    spec: &Spec,
    labels: &[String],
) -> Result<Model, TrainError> {
    let mut model = base.model.clone();
    let mut driver = Driver::new();
    let head = |labels: usize, carried: Vec<Option<usize>>| ReplaceHead {
        at: HIDDEN_STATE.to_owned(),
        pool: pool(base, spec.model.pooling),
        labels,
        dropout: spec.train.dropout as f32,
        carried,
        seed: spec.train.seed,
    };
    match champion {
        None => driver.edit(&mut model, &head(labels.len(), Vec::new()))?,
        Some(champion) => {
            driver.edit(&mut model, &head(champion.labels.len(), Vec::new()))?;
            let failed = |source| TrainError::Base {
                source_text: "of the champion".to_owned(),
                source: Box::new(source),
            };
            copy_parameters(&champion.model, &mut model).map_err(failed)?;
            if champion.labels != labels {
                let known = |label: &String| champion.labels.iter().position(|known| known == label);
                driver.edit(&mut model, &head(labels.len(), labels.iter().map(known).collect()))?;
            }
        }
    }
    match &spec.train.method {
        Method::Full => driver.edit(&mut model, &Freeze { train: FreezePolicy::Nothing })?,
        Method::Partial { last_layers } => {
            driver.edit(&mut model, &Freeze { train: FreezePolicy::LastLayers(*last_layers) })?;
        }
        Method::FeatureExtraction => driver.edit(&mut model, &Freeze { train: FreezePolicy::HeadOnly })?,
        Method::Lora { rank, alpha, targets } => {
            let lora =
                Lora { rank: *rank, alpha: *alpha as f32, targets: targets.clone(), seed: spec.train.seed };
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
    }
}

/// Adds the loss that is trained: input `labels` (i64 `[batch]`), output `loss` beside `logits`.
///
/// ```text
/// logits -> ...            logits -> ...
///                    =>    logits, labels -> SoftmaxCrossEntropy -> loss
/// ```
pub struct AddLoss {
    /// Share of the target that is spread over all labels.
    pub label_smoothing: f32,
}

impl refit_passes::Edit for AddLoss {
    fn name(&self) -> &'static str {
        "add-loss"
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance::Exact
    }

    fn apply(&self, model: &Model) -> Result<Patch, PassError> {
        let graph = &model.graph;
        let logits = graph
            .find("logits")
            .ok_or_else(|| PassError::refused("the model has no value \"logits\" to compute a loss of"))?;
        let mut patch = Patch::new(graph);
        let labels = patch.input("labels", Fact::new(DType::I64, [Dim::Symbol("batch".to_owned())]));
        let smoothing = Attribute::Float(self.label_smoothing);
        let op = OpName::refit("SoftmaxCrossEntropy");
        let loss = patch.node(op, "loss", &[logits, labels], [("label_smoothing", smoothing)]);
        patch.set_outputs(vec![loss, logits]);
        Ok(patch)
    }
}
