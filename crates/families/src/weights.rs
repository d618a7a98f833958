use crate::{FamilyError, mapped};
use bytes::Bytes;
use refit_graph::{DType, HostTensor};
use safetensors::{Dtype, SafeTensors};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The tensors of a mapped `.safetensors` file; float32 tensors are slices of the mapping.
pub(crate) struct Weights {
    path: PathBuf,
    tensors: BTreeMap<String, HostTensor>,
    missing: Vec<String>,
    misshapen: Vec<String>,
}

impl Weights {
    /// Maps and checks a file.
    pub(crate) fn open(path: &Path) -> Result<Self, FamilyError> {
        let bytes = mapped::map(path)?;
        let damaged = |why: String| FamilyError::Damaged { path: path.to_owned(), why };
        let parsed = SafeTensors::deserialize(&bytes).map_err(|error| damaged(error.to_string()))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in parsed.iter() {
            let data = bytes.slice_ref(view.data());
            let tensor = host_tensor(view.dtype(), view.shape(), data)
                .map_err(|why| damaged(format!("tensor \"{name}\": {why}")))?;
            tensors.insert(name.to_owned(), tensor);
        }
        Ok(Self { path: path.to_owned(), tensors, missing: Vec::new(), misshapen: Vec::new() })
    }

    /// Drops `prefix` from the names that have it, if any has.
    pub(crate) fn strip_prefix(&mut self, prefix: &str) {
        let tensors = std::mem::take(&mut self.tensors);
        self.tensors = tensors
            .into_iter()
            .map(|(name, tensor)| match name.strip_prefix(prefix) {
                Some(short) => (short.to_owned(), tensor),
                None => (name, tensor),
            })
            .collect();
    }

    /// Replaces the end `from` of every name that has it by `to`.
    pub(crate) fn rename_suffix(&mut self, from: &str, to: &str) {
        let tensors = std::mem::take(&mut self.tensors);
        self.tensors = tensors
            .into_iter()
            .map(|(name, tensor)| match name.strip_suffix(from) {
                Some(stem) => (format!("{stem}{to}"), tensor),
                None => (name, tensor),
            })
            .collect();
    }

    /// Takes a tensor out. One that is missing or of another shape is remembered for [`Self::finish`] and
    /// stands in as empty, so that every problem is reported at once.
    pub(crate) fn take(&mut self, name: &str, shape: &[usize]) -> HostTensor {
        match self.tensors.remove(name) {
            Some(tensor) if tensor.shape() == shape && tensor.dtype() == DType::F32 => return tensor,
            Some(tensor) => {
                let found = format!("{}{:?}", tensor.dtype(), tensor.shape());
                self.misshapen.push(format!("\"{name}\" is {found} instead of f32{shape:?}"));
            }
            None => self.missing.push(format!("\"{name}\"")),
        }
        HostTensor::from_f32(&[0], &[])
    }

    /// Reports what was missing, misshapen, or is left over and not in `ignored` (prefixes).
    pub(crate) fn finish(self, ignored: &[&str]) -> Result<(), FamilyError> {
        let unexpected: Vec<String> = self
            .tensors
            .keys()
            .filter(|name| !ignored.iter().any(|prefix| name.starts_with(prefix)))
            .map(|name| format!("\"{name}\""))
            .collect();
        let problems: Vec<String> = [
            ("missing", self.missing),
            ("of the wrong type or shape", self.misshapen),
            ("not part of this architecture", unexpected),
        ]
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{what}: {}", shorten(&names)))
        .collect();
        if problems.is_empty() {
            return Ok(());
        }
        Err(FamilyError::Tensors { path: self.path, what: problems.join("; ") })
    }
}

/// The first few names, and how many more there are.
fn shorten(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{shown} and {more} more"),
        _ => shown,
    }
}

fn host_tensor(dtype: Dtype, shape: &[usize], data: Bytes) -> Result<HostTensor, String> {
    let dtype = match dtype {
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::I8 => DType::I8,
        Dtype::U8 => DType::U8,
        Dtype::BOOL => DType::Bool,
        other => return Err(format!("its type {other:?} is not supported")),
    };
    let tensor = HostTensor::from_bytes(dtype, shape.to_vec(), data).map_err(|error| error.to_string())?;
    // Training runs in float32: half-precision weights are widened once, here.
    match (dtype.is_float(), tensor.to_f32()) {
        (true, Some(values)) if dtype != DType::F32 => Ok(HostTensor::from_f32(shape, &values)),
        _ => Ok(tensor),
    }
}
