//! What lies beside the weights: tokenizer, pooling and length, in the layout of sentence-transformers.

use crate::{FamilyError, Pooling, config::Config};
use std::path::{Path, PathBuf};

/// The `tokenizer.json` in a folder.
pub(crate) fn tokenizer(folder: &Path) -> Option<PathBuf> {
    Some(folder.join("tokenizer.json")).filter(|path| path.is_file())
}

/// The pooling that `1_Pooling/config.json` asks for; `None` without that file.
pub(crate) fn pooling(folder: &Path) -> Result<Option<Pooling>, FamilyError> {
    let path = folder.join("1_Pooling").join("config.json");
    if !path.is_file() {
        return Ok(None);
    }
    let config = Config::read(&path)?;
    let mode = |key| config.optional::<bool>(key).map(|value| value.unwrap_or(false));
    match (mode("pooling_mode_cls_token")?, mode("pooling_mode_mean_tokens")?) {
        (true, false) => Ok(Some(Pooling::Cls)),
        (false, true) => Ok(Some(Pooling::Mean)),
        (true, true) => {
            Err(config.bad("pooling_mode_cls_token", "false when pooling_mode_mean_tokens is true"))
        }
        (false, false) => {
            Err(config.bad("pooling_mode_mean_tokens", "true, or pooling_mode_cls_token must be"))
        }
    }
}

/// The longest text in tokens that `sentence_bert_config.json` allows; `None` without that file.
pub(crate) fn max_length(folder: &Path) -> Result<Option<usize>, FamilyError> {
    let path = folder.join("sentence_bert_config.json");
    if !path.is_file() {
        return Ok(None);
    }
    let config = Config::read(&path)?;
    match config.optional::<usize>("max_seq_length")? {
        Some(0) => Err(config.bad("max_seq_length", "at least 1")),
        length => Ok(length),
    }
}
