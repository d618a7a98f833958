use crate::{FamilyError, checkpoint};
use refit_graph::{DType, HostTensor};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// The tensors of a checkpoint, of which a family takes those that it needs.
pub(crate) struct Weights {
    path: PathBuf,
    tensors: BTreeMap<String, HostTensor>,
    /// Names outside of the encoder.
    outside: Vec<String>,
    /// First parts of the names that were taken.
    modules: BTreeSet<String>,
    missing: Vec<String>,
    misshapen: Vec<String>,
    refused: Vec<String>,
}

impl Weights {
    /// Opens the file that holds the weights of a folder.
    pub(crate) fn open(folder: &Path) -> Result<Self, FamilyError> {
        let path = checkpoint::weights_of(folder);
        let tensors = checkpoint::read_checkpoint(&path)?;
        Ok(Self {
            path,
            tensors,
            outside: Vec::new(),
            modules: BTreeSet::new(),
            missing: Vec::new(),
            misshapen: Vec::new(),
            refused: Vec::new(),
        })
    }

    /// Brings the encoder's names to the top: what stands before `anchor`, a tensor that every encoder of the
    /// family has, goes. Heads put their encoder under the family's own prefix (`bert.`), wrappers put more
    /// before it (`module.`, `0.auto_model.`).
    pub(crate) fn root_at(&mut self, anchor: &str, own: &str) {
        let prefixes: Vec<String> =
            self.tensors.keys().filter_map(|name| name.strip_suffix(anchor)).map(str::to_owned).collect();
        let is_module = |prefix: &&String| prefix.is_empty() || prefix.ends_with('.');
        let known = [own, ""].into_iter().find(|known| prefixes.iter().any(|prefix| prefix == known));
        let Some(prefix) = known.map(str::to_owned).or_else(|| prefixes.iter().find(is_module).cloned())
        else {
            return;
        };
        if prefix.is_empty() {
            return;
        }
        for (name, tensor) in std::mem::take(&mut self.tensors) {
            match name.strip_prefix(&prefix) {
                Some(short) => {
                    self.tensors.insert(short.to_owned(), tensor);
                }
                None => self.outside.push(name),
            }
        }
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
        self.modules.insert(first_part(name).to_owned());
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

    /// Takes tensors for what they are not: with them it is another kind of model.
    pub(crate) fn refuse(&mut self, prefix: &str) {
        let refused: Vec<String> =
            self.tensors.keys().filter(|name| name.starts_with(prefix)).cloned().collect();
        for name in refused {
            self.tensors.remove(&name);
            self.refused.push(name);
        }
    }

    /// Reports what was missing, misshapen, or is left over in the encoder's own modules but in `ignored`
    /// (prefixes). Gives the names of what belongs to heads and is not used.
    pub(crate) fn finish(self, ignored: &[&str]) -> Result<Vec<String>, FamilyError> {
        let belongs = |name: &String| {
            self.modules.contains(first_part(name)) && !ignored.iter().any(|prefix| name.starts_with(prefix))
        };
        let (unexpected, unused): (Vec<String>, Vec<String>) = self.tensors.into_keys().partition(belongs);
        let unexpected: Vec<String> =
            unexpected.iter().chain(&self.refused).map(|name| format!("\"{name}\"")).collect();
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
            return Ok(unused.into_iter().chain(self.outside).collect());
        }
        Err(FamilyError::Tensors { path: self.path, what: problems.join("; ") })
    }
}

/// The first few names, and how many more there are.
fn shorten(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{shown} and {more} more ({} in all)", names.len()),
        _ => shown,
    }
}

fn first_part(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}
