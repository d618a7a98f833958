//! Pretrained models as canonical graphs.
//!
//! [`load`] takes a Hugging Face folder (`config.json`, weights as safetensors or by `torch.save`,
//! `tokenizer.json`) or an `.onnx` file made elsewhere and gives a [`Base`]: the encoder in refit's canonical operators, its
//! parameters under the names that its authors gave them, mapped from the file and never copied.
//!
//! One file a family; a new one is a file and an entry in `FAMILIES`. What encoders of BERT's kind share is
//! in `transformer`.

mod base;
mod bert;
mod checkpoint;
mod config;
mod deberta;
mod distilbert;
mod electra;
mod error;
mod inspect;
mod mapped;
mod modernbert;
mod mpnet;
mod onnx_file;
mod peft;
mod roberta;
mod settings;
mod transfer;
mod transformer;
mod weights;

pub use base::{Base, Pooling};
pub use checkpoint::{Tensors, read_checkpoint};
pub use error::FamilyError;
pub use inspect::{Amount, HeadPlace, Inspection, MethodSummary, OperatorSummary, Port, Support, inspect};
pub use peft::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, AdapterFiles, export_adapter, import_adapter};
pub use refit_passes::edit::layer_of;
pub use transfer::{copy_parameters, read_exported};

use config::Config;
use refit_graph::Model;
use std::path::Path;

/// Name of the encoder's output: float32 `[batch, sequence, hidden]`.
pub const HIDDEN_STATE: &str = "last_hidden_state";

/// A family of models that comes as a Hugging Face folder.
struct Family {
    /// `model_type` in `config.json`: several where models differ in nothing but their name.
    names: &'static [&'static str],
    /// What `transformers` puts before the encoder's names in a model with a head.
    prefix: &'static str,
    /// Builds the encoder from the folder's configuration and weights.
    build: fn(&Config, weights::Weights) -> Result<Encoder, FamilyError>,
}

/// What a family makes of a folder.
struct Encoder {
    model: Model,
    hidden_size: usize,
    num_layers: usize,
    /// Most tokens that its positions are enough for.
    max_length: usize,
    /// What this family was pretrained to pool by.
    pooling: Pooling,
    /// Tensors of the file that the encoder does not need.
    unused: Vec<String>,
}

/// The tensor by which the encoder's names are found in a checkpoint.
const ANCHOR: &str = "embeddings.word_embeddings.weight";

const FAMILIES: [Family; 7] = [
    bert::FAMILY,
    deberta::FAMILY,
    distilbert::FAMILY,
    electra::FAMILY,
    modernbert::FAMILY,
    mpnet::FAMILY,
    roberta::FAMILY,
];

/// Loads a pretrained encoder: the folder of a Hugging Face model, or an `.onnx` file.
///
/// # Errors
/// When something is missing, damaged or of a family that is not supported; the message names the file
/// and what in it is wrong.
pub fn load(path: &Path) -> Result<Base, FamilyError> {
    load_at(path, None)
}

/// The same with the value that the head is to read; by itself, it is found. The base's output is called
/// [`HIDDEN_STATE`] in any case.
///
/// # Errors
/// As [`load`], and when there is no such value, or none that a head could read.
pub fn load_at(path: &Path, at: Option<&str>) -> Result<Base, FamilyError> {
    let metadata =
        std::fs::metadata(path).map_err(|source| FamilyError::Read { path: path.to_owned(), source })?;
    if metadata.is_dir() {
        return match at {
            None | Some(HIDDEN_STATE) => load_folder(path),
            Some(at) => Err(FamilyError::NotAnEncoder {
                path: path.to_owned(),
                what: format!(
                    "it has no value \"{at}\"; the head of a folder's model reads \"{HIDDEN_STATE}\""
                ),
            }),
        };
    }
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("onnx") => onnx_file::load(path, at),
        _ => Err(FamilyError::UnknownFormat { path: path.to_owned() }),
    }
}

fn load_folder(folder: &Path) -> Result<Base, FamilyError> {
    let config = Config::read(&folder.join("config.json"))?;
    let model_type: String = config.required("model_type")?;
    let family =
        FAMILIES.iter().find(|family| family.names.contains(&model_type.as_str())).ok_or_else(|| {
            FamilyError::UnknownFamily {
                path: config.path().to_owned(),
                family: model_type.clone(),
                supported: FAMILIES.map(|family| family.names.join(", ")).join(", "),
            }
        })?;
    let weights = weights::Weights::open(folder)?;
    let encoder = (family.build)(&config, weights)?;
    Ok(Base {
        model: encoder.model,
        tokenizer: settings::tokenizer(folder),
        hidden_size: encoder.hidden_size,
        num_layers: encoder.num_layers,
        pooling: settings::pooling(folder)?.unwrap_or(encoder.pooling),
        max_length: settings::max_length(folder)?.map_or(encoder.max_length, |m| m.min(encoder.max_length)),
        family: model_type,
        ignored_settings: config.unread(),
        ignored_weights: encoder.unused,
        module_prefix: family.prefix.to_owned(),
        cut: HIDDEN_STATE.to_owned(),
    })
}
