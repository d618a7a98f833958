//! What `torch.save` writes.
//!
//! - Since 1.6 a zip archive, nothing compressed: `NAME/data.pkl` describes tensors as views of storages, and
//!   `NAME/data/KEY` are those.
//! - Before: pickles of a magic number, a version, facts of the machine, the value, and the list of storages;
//!   after them for each storage its length and its elements.

use super::{
    Tensors, as_float32, damaged,
    pickle::{self, Pickle, PickleError, StorageSource, TensorView, Value},
};
use crate::FamilyError;
use bytes::Bytes;
use refit_graph::{DType, HostTensor};
use std::{collections::HashMap, io::Cursor, path::Path};

/// Longest pickle that describes tensors: some 100 bytes each.
const MAX_PICKLE: usize = 64 << 20;

/// `torch.serialization.MAGIC_NUMBER` as a pickle of protocol 2: what all files before the zip form begin with.
const OLD: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// Under what training scripts put the weights beside other things.
const NESTED: [&str; 5] = ["state_dict", "model_state_dict", "model", "module", "state_dict_ema"];

pub(super) fn is_torch(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\x80")
}

pub(super) fn read(path: &Path, bytes: &Bytes) -> Result<Tensors, FamilyError> {
    let parsed = match bytes.starts_with(b"PK") {
        true => zipped(bytes),
        false => old(bytes),
    };
    let tensors = parsed.and_then(|(pickle, storages)| tensors(&pickle, &storages, bytes.len()));
    tensors.map_err(|error| match error {
        PickleError::Damaged(why) => damaged(path, why),
        PickleError::Refused(what) => FamilyError::Unsafe { path: path.to_owned(), what },
    })
}

type Storages = HashMap<String, Bytes>;

fn wrong<T>(why: impl Into<String>) -> Result<T, PickleError> {
    Err(PickleError::Damaged(why.into()))
}

fn zipped(bytes: &Bytes) -> Result<(Pickle, Storages), PickleError> {
    let broken = |error: zip::result::ZipError| PickleError::Damaged(error.to_string());
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes.clone())).map_err(broken)?;
    let mut files = HashMap::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(broken)?;
        // The first folder is named after the file.
        let name = entry.name().map_err(broken)?.into_owned();
        let Some((_, name)) = name.split_once('/') else { continue };
        if !(name == "data.pkl" || name.starts_with("data/") || name == "byteorder") {
            continue;
        }
        if entry.compression() != zip::CompressionMethod::Stored {
            return wrong(format!("its \"{name}\" is compressed, as torch never writes it"));
        }
        let start = entry.data_start().and_then(|start| usize::try_from(start).ok());
        let size = usize::try_from(entry.size()).ok();
        let range = start.zip(size).and_then(|(start, size)| Some(start..start.checked_add(size)?));
        let Some(range) = range.filter(|range| range.end <= bytes.len()) else {
            return wrong(format!("its \"{name}\" reaches beyond its end"));
        };
        files.insert(name.strip_prefix("data/").unwrap_or(name).to_owned(), bytes.slice(range));
    }
    if files.get("byteorder").is_some_and(|order| order.as_ref() == b"big") {
        return wrong("its numbers are big-endian: save it on a little-endian machine");
    }
    let Some(description) = files.remove("data.pkl") else {
        return wrong("it is a zip archive without \"data.pkl\", which torch would have written");
    };
    if description.len() > MAX_PICKLE {
        return wrong(format!("its pickle of {} bytes is too long to describe tensors", description.len()));
    }
    Ok((pickle::read(&description)?, files))
}

fn old(bytes: &Bytes) -> Result<(Pickle, Storages), PickleError> {
    if !bytes.starts_with(OLD) {
        // Only to say what it asks for.
        pickle::read(&bytes[..bytes.len().min(MAX_PICKLE)])?;
        return wrong("it is a pickle, but not one that torch.save wrote");
    }
    let mut at = OLD.len();
    let mut next = || -> Result<Pickle, PickleError> {
        let rest = bytes.get(at..).unwrap_or_default();
        let pickle = pickle::read(&rest[..rest.len().min(MAX_PICKLE)])?;
        at += pickle.length;
        Ok(pickle)
    };
    let (_version, _machine, value, keys) = (next()?, next()?, next()?, next()?);
    let keys = keys.arena.sequence(keys.value).unwrap_or_default().iter().map(|key| keys.arena.text(*key));
    let Some(keys) = keys.collect::<Option<Vec<&str>>>() else {
        return wrong("its list of storages holds what is no name");
    };
    let types: HashMap<&str, DType> = value
        .arena
        .storages
        .iter()
        .filter_map(|storage| Some((storage.source.key.as_str(), storage.dtype?)))
        .collect();
    let mut storages = HashMap::new();
    for key in keys {
        let length = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()).map(|b| u64::from_le_bytes(*b));
        let size = types.get(key).copied().unwrap_or(DType::U8).size().unwrap_or(1);
        let count = length.and_then(|length| usize::try_from(length).ok()?.checked_mul(size));
        let start = at + 8;
        let Some(end) = count.and_then(|count| start.checked_add(count)).filter(|end| *end <= bytes.len())
        else {
            return wrong(format!("it ends within the storage \"{}\"", key.escape_debug()));
        };
        storages.insert(key.to_owned(), bytes.slice(start..end));
        at = end;
    }
    Ok((value, storages))
}

/// The tensors of a dictionary, or of the one within it that holds the weights. What is no tensor is left out.
fn tensors(pickle: &Pickle, storages: &Storages, file_size: usize) -> Result<Tensors, PickleError> {
    let Some(items) = weights(pickle) else {
        return wrong("it holds no dictionary of tensors by their names");
    };
    // Views may overlap, and a copy is made of every one that is not plain: that has to end somewhere.
    let mut budget = file_size.saturating_mul(8).saturating_add(1 << 20);
    let mut found = Tensors::new();
    for (key, value) in items {
        let (Some(name), Some(view)) = (pickle.arena.text(*key), pickle.arena.tensor(*value)) else {
            continue;
        };
        let tensor = tensor(pickle, storages, view, &mut budget);
        let tensor = tensor.map_err(|why| PickleError::Damaged(format!("tensor \"{name}\": {why}")))?;
        found.insert(name.to_owned(), tensor);
    }
    Ok(found)
}

fn weights(pickle: &Pickle) -> Option<&[(Value, Value)]> {
    let arena = &pickle.arena;
    let items = arena.dict(pickle.value)?;
    let has_tensors =
        |items: &[(Value, Value)]| items.iter().any(|(_, value)| arena.tensor(*value).is_some());
    if has_tensors(items) {
        return Some(items);
    }
    let named = |name: &str| {
        let item = items.iter().find(|(key, _)| arena.text(*key) == Some(name))?;
        arena.dict(item.1).filter(|items| has_tensors(items))
    };
    NESTED.iter().find_map(|name| named(name))
}

fn tensor(
    pickle: &Pickle,
    storages: &Storages,
    view: &TensorView,
    budget: &mut usize,
) -> Result<HostTensor, String> {
    let storage = pickle.arena.storages.get(view.storage).ok_or("it has no storage")?;
    let StorageSource { key, offset } = &storage.source;
    let bytes =
        storages.get(key).ok_or_else(|| format!("its storage \"{}\" is missing", key.escape_debug()))?;
    let size = view.dtype.size().ok_or("it is of no type with a size")?;
    let stored = bytes.len() / size;
    if storage.dtype.is_some_and(|dtype| dtype == view.dtype) && storage.length > stored {
        return Err(format!("its storage holds {stored} elements instead of {}", storage.length));
    }
    let elements = view.shape.iter().try_fold(1usize, |count, dim| count.checked_mul(*dim));
    let elements =
        elements.filter(|count| *count <= stored).ok_or("it has more elements than its storage")?;
    let outside = || "it reaches beyond its storage".to_owned();
    let first = offset.checked_add(view.offset).ok_or_else(outside)?;
    let last =
        view.shape.iter().zip(&view.strides).try_fold(first, |last, (dim, stride)| {
            last.checked_add(dim.saturating_sub(1).checked_mul(*stride)?)
        });
    if elements == 0 {
        return HostTensor::from_bytes(view.dtype, view.shape.clone(), Bytes::new())
            .map(as_float32)
            .map_err(|error| error.to_string());
    }
    last.filter(|last| *last < stored).ok_or_else(outside)?;
    let data = match is_plain(view) {
        true => bytes.slice(first * size..(first + elements) * size),
        false => {
            spend(budget, elements * size)?;
            gathered(bytes, view, first, elements, size)
        }
    };
    if view.dtype != DType::F32 && view.dtype.is_float() {
        spend(budget, elements * 4)?;
    }
    HostTensor::from_bytes(view.dtype, view.shape.clone(), data)
        .map(as_float32)
        .map_err(|error| error.to_string())
}

fn spend(budget: &mut usize, bytes: usize) -> Result<(), String> {
    *budget = budget.checked_sub(bytes).ok_or("the tensors together are many times as large as the file")?;
    Ok(())
}

/// Whether the elements lie one after the other.
fn is_plain(view: &TensorView) -> bool {
    let mut expected = 1usize;
    view.shape.iter().zip(&view.strides).rev().all(|(dim, stride)| {
        let fits = *dim == 1 || *stride == expected;
        expected = expected.saturating_mul(*dim);
        fits
    })
}

/// The elements of a strided view in their order. The caller has checked that all lie inside.
fn gathered(bytes: &[u8], view: &TensorView, first: usize, elements: usize, size: usize) -> Bytes {
    let mut out = Vec::with_capacity(elements * size);
    let mut index = vec![0usize; view.shape.len()];
    let mut at = first;
    for _ in 0..elements {
        out.extend_from_slice(&bytes[at * size..(at + 1) * size]);
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            at += view.strides[axis];
            if index[axis] < view.shape[axis] {
                break;
            }
            at -= view.strides[axis] * index[axis];
            index[axis] = 0;
        }
    }
    out.into()
}
