//! `model.safetensors.index.json`, `pytorch_model.bin.index.json`: which shard holds which tensor.

use super::{Tensors, damaged, read_checkpoint};
use crate::FamilyError;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

pub(super) fn read(path: &Path) -> Result<Tensors, FamilyError> {
    let text = std::fs::read(path).map_err(|source| FamilyError::Read { path: path.to_owned(), source })?;
    let index: Index = serde_json::from_slice(&text)
        .map_err(|source| FamilyError::Json { path: path.to_owned(), source })?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut tensors = Tensors::new();
    for file in index.weight_map.values().collect::<BTreeSet<_>>() {
        let is_plain = !file.is_empty()
            && !file.starts_with('.')
            && !file.contains(['/', '\\', ':', '\0'])
            && !file.ends_with(".json");
        if !is_plain {
            return Err(damaged(path, format!("it lists \"{file}\", which is not a file beside it")));
        }
        for (name, tensor) in read_checkpoint(&folder.join(file))? {
            if index.weight_map.get(&name) != Some(file) {
                return Err(damaged(path, format!("it does not say that {file} holds \"{name}\"")));
            }
            tensors.insert(name, tensor);
        }
    }
    let missing = index.weight_map.iter().find(|(name, _)| !tensors.contains_key(*name));
    if let Some((name, file)) = missing {
        return Err(damaged(path, format!("{file} should hold \"{name}\", but does not")));
    }
    Ok(tensors)
}
