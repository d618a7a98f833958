//! Adapters in the layout of Hugging Face's PEFT: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! ```text
//! refit:  encoder.layer.0.attention.self.query.lora_A.weight               classifier.weight
//! PEFT:   base_model.model.bert.encoder.layer.0....query.lora_A.weight     base_model.model.classifier.weight
//! ```
//!
//! The head is one linear layer in refit, as that of `transformers`' token classifiers, under `modules_to_save`:
//! what refit writes loads on `AutoModelForTokenClassification`, whose logits, pooled as refit pools, are equal.

use crate::{Base, FamilyError, HIDDEN_STATE, Tensors, checkpoint::read_checkpoint};
use refit_graph::{HostTensor, Model};
use refit_passes::{
    Driver,
    edit::{HEAD_PREFIX, Lora, Pool, ReplaceHead},
};
use safetensors::{Dtype, tensor::TensorView};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Name of the settings of an adapter.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";
/// Name of the tensors of an adapter.
pub const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";

const TOP: &str = "base_model.model.";
const A: &str = ".lora_A.weight";
const B: &str = ".lora_B.weight";

/// The two files of an adapter.
#[derive(Debug, Clone)]
pub struct AdapterFiles {
    /// [`ADAPTER_CONFIG`].
    pub config: Vec<u8>,
    /// [`ADAPTER_WEIGHTS`].
    pub weights: Vec<u8>,
}

/// The adapters of a model and its head, as PEFT stores them. `None` for a model without adapters. `source` says
/// where the base comes from.
///
/// # Errors
/// When an adapter lacks one of its parts.
pub fn export_adapter(
    model: &Model,
    module_prefix: &str,
    source: &str,
    dropout: f64,
) -> Result<Option<AdapterFiles>, FamilyError> {
    let graph = &model.graph;
    let tensor = |name: &str| graph.find(name).and_then(|id| graph.initializer(id)).map(|i| &i.tensor);
    let broken = |what: String| FamilyError::Adapter { path: source.into(), what };
    let modules: Vec<&str> =
        graph.initializers().filter_map(|(id, _)| graph.value(id).name.strip_suffix(A)).collect();
    let mut tensors: BTreeMap<String, &HostTensor> = BTreeMap::new();
    let mut settings = None;
    for module in &modules {
        let parts = [format!("{module}{A}"), format!("{module}{B}"), format!("{module}.lora_scale")];
        let [Some(down), Some(up), Some(scale)] = parts.each_ref().map(|name| tensor(name)) else {
            return Err(broken(format!("the adapter of \"{module}\" lacks a part")));
        };
        let rank = down.shape().first().copied().unwrap_or(0);
        let scale = scale.to_f32().and_then(|values| values.first().copied()).unwrap_or(0.0);
        settings = Some((rank, f64::from(scale) * rank as f64));
        tensors.insert(format!("{TOP}{module_prefix}{module}{A}"), down);
        tensors.insert(format!("{TOP}{module_prefix}{module}{B}"), up);
    }
    let Some((rank, alpha)) = settings else { return Ok(None) };
    for (id, initializer) in graph.initializers() {
        let name = &graph.value(id).name;
        if name.starts_with(HEAD_PREFIX) && initializer.trainable {
            tensors.insert(format!("{TOP}{name}"), &initializer.tensor);
        }
    }
    let targets: Vec<String> = modules.iter().map(|module| format!("{module_prefix}{module}")).collect();
    let config = json!({
        "peft_type": "LORA",
        "task_type": "TOKEN_CLS",
        "base_model_name_or_path": source,
        "r": rank,
        // Whole numbers as such, so that the file reads as it was asked for.
        "lora_alpha": if (alpha - alpha.round()).abs() < 1e-4 { json!(alpha.round() as i64) } else { json!(alpha) },
        "lora_dropout": dropout,
        "target_modules": targets,
        "modules_to_save": [HEAD_PREFIX.trim_end_matches('.')],
        "bias": "none",
        "fan_in_fan_out": false,
        "use_rslora": false,
        "use_dora": false,
        "inference_mode": true,
    });
    let config = serde_json::to_vec_pretty(&config).map_err(|error| broken(error.to_string()))?;
    Ok(Some(AdapterFiles { config, weights: written(&tensors).map_err(broken)? }))
}

fn written(tensors: &BTreeMap<String, &HostTensor>) -> Result<Vec<u8>, String> {
    let views: Result<Vec<(&str, TensorView)>, String> = tensors
        .iter()
        .map(|(name, tensor)| {
            let view = TensorView::new(Dtype::F32, tensor.shape().to_vec(), tensor.bytes());
            Ok((name.as_str(), view.map_err(|error| error.to_string())?))
        })
        .collect();
    safetensors::serialize(views?, None).map_err(|error| error.to_string())
}

/// What is read of `adapter_config.json`.
#[derive(Deserialize)]
struct Config {
    peft_type: String,
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default)]
    bias: Option<String>,
    #[serde(default)]
    alpha_pattern: BTreeMap<String, Value>,
    #[serde(default)]
    rank_pattern: BTreeMap<String, Value>,
}

impl Config {
    /// The first setting that makes it another kind of adapter than refit's.
    fn unsupported(&self) -> Option<String> {
        let is = |what: &str| Some(format!("it {what}, which is not supported"));
        match () {
            () if self.peft_type != "LORA" => is(&format!("is a {} adapter", self.peft_type)),
            () if self.use_dora => is("uses DoRA"),
            () if self.fan_in_fan_out => is("has fan_in_fan_out"),
            () if self.bias.as_deref().is_some_and(|bias| bias != "none") => is("trains biases"),
            () if !(self.alpha_pattern.is_empty() && self.rank_pattern.is_empty()) => {
                is("gives layers ranks or alphas of their own")
            }
            () if self.r == 0 || self.r > 4096 => is(&format!("is of rank {}", self.r)),
            () => None,
        }
    }
}

/// The base with the adapter in `folder` beside its layers, and its head. Merge it with
/// [`refit_passes::edit::MergeLora`].
///
/// # Errors
/// When a file is missing or damaged, the adapter is of a kind that is not supported, or does not fit the base.
pub fn import_adapter(folder: &Path, base: &Base, pool: Pool) -> Result<Model, FamilyError> {
    let path = folder.join(ADAPTER_CONFIG);
    let text = std::fs::read(&path).map_err(|source| FamilyError::Read { path: path.clone(), source })?;
    let config: Config =
        serde_json::from_slice(&text).map_err(|source| FamilyError::Json { path: path.clone(), source })?;
    let broken = |what: String| FamilyError::Adapter { path: folder.to_owned(), what };
    if let Some(what) = config.unsupported() {
        return Err(broken(what));
    }
    let weights = [folder.join(ADAPTER_WEIGHTS), folder.join("adapter_model.bin")];
    let weights = weights.iter().find(|path| path.is_file()).unwrap_or(&weights[0]);
    let tensors = renamed(read_checkpoint(weights)?, &base.module_prefix);

    let modules: BTreeSet<String> =
        tensors.keys().filter_map(|name| name.strip_suffix(A)).map(str::to_owned).collect();
    let labels = match tensors.get("classifier.weight").map(HostTensor::shape) {
        Some([labels, size]) if *size == base.hidden_size => *labels,
        _ => {
            let what = format!(
                "it holds no head \"classifier.weight\" [labels, {}]: save it by modules_to_save",
                base.hidden_size
            );
            return Err(broken(what));
        }
    };
    let mut model = base.model.clone();
    let mut driver = Driver::new();
    let failed = |error: refit_passes::PassError| {
        broken(std::error::Error::source(&error).map_or(error.to_string(), ToString::to_string))
    };
    let head =
        ReplaceHead { at: HIDDEN_STATE.to_owned(), pool, labels, dropout: 0.0, carried: Vec::new(), seed: 0 };
    driver.edit(&mut model, &head).map_err(failed)?;
    let factor = if config.use_rslora { (config.r as f64).sqrt() } else { 1.0 };
    let lora = Lora {
        rank: config.r,
        alpha: (config.lora_alpha * factor) as f32,
        targets: modules.into_iter().collect(),
        dropout: 0.0,
        seed: 0,
    };
    driver.edit(&mut model, &lora).map_err(failed)?;
    fill(&mut model, tensors).map_err(broken)?;
    Ok(model)
}

/// Names as they are in the graph.
fn renamed(tensors: Tensors, prefix: &str) -> Tensors {
    let plain = |name: String| {
        let name = name.strip_prefix(TOP).unwrap_or(&name).replace(".default.", ".");
        let name = name.replace("modules_to_save.", "");
        name.strip_prefix(prefix).unwrap_or(&name).to_owned()
    };
    tensors.into_iter().map(|(name, tensor)| (plain(name), tensor)).collect()
}

/// Puts every tensor in the place of its name.
fn fill(model: &mut Model, tensors: Tensors) -> Result<(), String> {
    let mut strangers = Vec::new();
    for (name, tensor) in tensors {
        let id = model.graph.find(&name).filter(|id| model.graph.initializer(*id).is_some());
        let Some(id) = id else {
            strangers.push(format!("\"{name}\""));
            continue;
        };
        let expected = model.graph.initializer(id).map(|i| i.tensor.shape().to_vec()).unwrap_or_default();
        if expected != tensor.shape() {
            return Err(format!("\"{name}\" is {:?}, but the base takes {expected:?}", tensor.shape()));
        }
        model.graph.set_initializer(id, tensor).map_err(|error| error.to_string())?;
    }
    match strangers.as_slice() {
        [] => Ok(()),
        _ => Err(format!("the base has no place for {}", strangers.join(", "))),
    }
}
