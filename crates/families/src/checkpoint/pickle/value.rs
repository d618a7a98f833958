use super::{Global, PickleError};
use refit_graph::DType;

/// A value on the stack. Whatever has a size lies in the [`Arena`].
#[derive(Debug, Clone, Copy)]
pub(in crate::checkpoint) enum Value {
    None,
    Bool,
    Int(i128),
    Float,
    Text(usize),
    /// Of a tuple or a list.
    Sequence(usize),
    Dict(usize),
    Global(Global),
    Storage(usize),
    Tensor(usize),
    /// Something of which nothing is needed (a device, a set of hooks).
    Opaque,
}

/// Where the values of a pickle live.
#[derive(Debug, Default)]
pub(in crate::checkpoint) struct Arena {
    pub(in crate::checkpoint) texts: Vec<String>,
    pub(in crate::checkpoint) sequences: Vec<Vec<Value>>,
    pub(in crate::checkpoint) dicts: Vec<Vec<(Value, Value)>>,
    pub(in crate::checkpoint) storages: Vec<Storage>,
    pub(in crate::checkpoint) tensors: Vec<TensorView>,
    /// Values that may still be copied: a pickle can name a long list again and again.
    pub(super) copies_left: usize,
}

impl Arena {
    pub(in crate::checkpoint) fn text(&self, value: Value) -> Option<&str> {
        match value {
            Value::Text(index) => self.texts.get(index).map(String::as_str),
            _ => None,
        }
    }

    pub(in crate::checkpoint) fn sequence(&self, value: Value) -> Option<&[Value]> {
        match value {
            Value::Sequence(index) => self.sequences.get(index).map(Vec::as_slice),
            _ => None,
        }
    }

    pub(in crate::checkpoint) fn dict(&self, value: Value) -> Option<&[(Value, Value)]> {
        match value {
            Value::Dict(index) => self.dicts.get(index).map(Vec::as_slice),
            _ => None,
        }
    }

    pub(in crate::checkpoint) fn tensor(&self, value: Value) -> Option<&TensorView> {
        match value {
            Value::Tensor(index) => self.tensors.get(index),
            _ => None,
        }
    }

    /// Counts so many values that are copied.
    pub(super) fn charge(&mut self, values: usize) -> Result<(), PickleError> {
        let left = self.copies_left.checked_sub(values);
        self.copies_left =
            left.ok_or_else(|| PickleError::Damaged("its pickle repeats itself without end".to_owned()))?;
        Ok(())
    }

    /// The elements of a sequence of sizes.
    pub(super) fn sizes(&self, value: Value) -> Option<Vec<usize>> {
        self.sequence(value)?.iter().map(|value| size(*value)).collect()
    }
}

/// A whole number of zero or more that fits in memory.
pub(super) fn size(value: Value) -> Option<usize> {
    match value {
        Value::Int(number) => usize::try_from(number).ok(),
        _ => None,
    }
}

/// What a pickle says of a storage: the bytes lie elsewhere in the file.
#[derive(Debug, Clone)]
pub(in crate::checkpoint) struct Storage {
    pub(in crate::checkpoint) source: StorageSource,
    /// `None`: bytes, whose type the tensor names.
    pub(in crate::checkpoint) dtype: Option<DType>,
    /// Elements.
    pub(in crate::checkpoint) length: usize,
}

/// Which storage, and where in it.
#[derive(Debug, Clone)]
pub(in crate::checkpoint) struct StorageSource {
    pub(in crate::checkpoint) key: String,
    /// First element, for a view of another storage.
    pub(in crate::checkpoint) offset: usize,
}

/// A tensor as a view of a storage.
#[derive(Debug, Clone)]
pub(in crate::checkpoint) struct TensorView {
    pub(in crate::checkpoint) storage: usize,
    pub(in crate::checkpoint) dtype: DType,
    /// First element.
    pub(in crate::checkpoint) offset: usize,
    pub(in crate::checkpoint) shape: Vec<usize>,
    pub(in crate::checkpoint) strides: Vec<usize>,
}
