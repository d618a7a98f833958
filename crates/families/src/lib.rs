//! Pretrained models as canonical graphs.
//!
//! [`load`] takes a Hugging Face folder (`config.json`, `model.safetensors`, `tokenizer.json`) or an
//! `.onnx` file made elsewhere and gives a [`Base`]: the encoder in refit's canonical operators, its
//! parameters under the names that its authors gave them, mapped from the file and never copied.
//!
//! One file a family; a new one is a file and an entry in `FAMILIES`. What encoders of BERT's kind share is
//! in `transformer`.

mod base;
mod bert;
mod config;
mod distilbert;
mod electra;
mod error;
mod mapped;
mod mpnet;
mod onnx_file;
mod roberta;
mod settings;
mod transfer;
mod transformer;
mod weights;

pub use base::{Base, Pooling};
pub use error::FamilyError;
pub use refit_passes::edit::layer_of;
pub use transfer::copy_parameters;

use config::Config;
use refit_graph::Model;
use std::path::Path;

/// Name of the encoder's output: float32 `[batch, sequence, hidden]`.
pub const HIDDEN_STATE: &str = "last_hidden_state";

/// A family of models that comes as a Hugging Face folder.
struct Family {
    /// `model_type` in `config.json`: several where models differ in nothing but their name.
    names: &'static [&'static str],
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
}

const FAMILIES: [Family; 5] =
    [bert::FAMILY, distilbert::FAMILY, electra::FAMILY, mpnet::FAMILY, roberta::FAMILY];

/// Loads a pretrained encoder: the folder of a Hugging Face model, or an `.onnx` file.
///
/// # Errors
/// When something is missing, damaged or of a family that is not supported; the message names the file
/// and what in it is wrong.
pub fn load(path: &Path) -> Result<Base, FamilyError> {
    let metadata =
        std::fs::metadata(path).map_err(|source| FamilyError::Read { path: path.to_owned(), source })?;
    if metadata.is_dir() {
        return load_folder(path);
    }
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("onnx") => onnx_file::load(path),
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
    let weights = weights::Weights::open(&folder.join("model.safetensors"))?;
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
    })
}
