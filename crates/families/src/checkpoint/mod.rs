//! Files of weights: safetensors, and what `torch.save` writes, in its zip form and in the one before it; whole
//! or in shards that an index lists.
//!
//! Nothing in a file is executed: a pickle is read by [`pickle`], which knows containers, numbers, texts and
//! the few functions that put tensors together, and refuses everything else.

mod index;
mod pickle;
mod safetensors;
mod torch;

use crate::{FamilyError, mapped};
use refit_graph::HostTensor;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Tensors by name. Floating point is float32; of float32 files, tensors are slices of the mapped file.
pub type Tensors = BTreeMap<String, HostTensor>;

/// Files of a Hugging Face folder that may hold its weights, the preferred one first.
const WEIGHT_FILES: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// Reads a `.safetensors`, `.bin`, `.pth` or `.pt` file, or the shards that an `.index.json` lists. What it is
/// is told by its first bytes.
///
/// # Errors
/// When it is truncated or damaged, or a pickle that asks for more than tensors; nothing is executed.
pub fn read_checkpoint(path: &Path) -> Result<Tensors, FamilyError> {
    if path.extension().is_some_and(|extension| extension == "json") {
        return index::read(path);
    }
    let bytes = mapped::map(path)?;
    if torch::is_torch(&bytes) {
        return torch::read(path, &bytes);
    }
    safetensors::read(path, &bytes)
}

/// The file of a folder that holds its weights; the name of the preferred one where there is none.
pub(crate) fn weights_of(folder: &Path) -> PathBuf {
    let present = WEIGHT_FILES.iter().map(|file| folder.join(file)).find(|path| path.is_file());
    present.unwrap_or_else(|| folder.join(WEIGHT_FILES[0]))
}

fn damaged(path: &Path, why: impl Into<String>) -> FamilyError {
    FamilyError::Damaged { path: path.to_owned(), why: why.into() }
}

/// Training runs in float32: other precisions are brought to it once, here.
fn as_float32(tensor: HostTensor) -> HostTensor {
    let is_other = tensor.dtype().is_float() && tensor.dtype() != refit_graph::DType::F32;
    match tensor.to_f32().filter(|_| is_other) {
        Some(values) => HostTensor::from_f32(tensor.shape(), &values),
        None => tensor,
    }
}
