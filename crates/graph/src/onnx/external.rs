use super::proto;
use crate::GraphError;
use bytes::Bytes;
use std::collections::BTreeMap;

/// Access to the files beside a model that hold its large tensors.
///
/// An implementation must not leave the model's folder and should map files instead of reading them.
pub trait ExternalData {
    /// The bytes `offset..offset + length` of the file at `location` (relative to the model), or all
    /// from `offset` on when no length is given.
    ///
    /// # Errors
    /// A clause for an error message: why they cannot be had ("the file is missing").
    fn read(&self, location: &str, offset: u64, length: Option<u64>) -> Result<Bytes, String>;
}

/// For models that must be complete in themselves.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoExternalData;

impl ExternalData for NoExternalData {
    fn read(&self, _location: &str, _offset: u64, _length: Option<u64>) -> Result<Bytes, String> {
        Err("external files are not read here; merge them into the model first".to_owned())
    }
}

/// Reads external tensors and watches that no two of them overlap in part.
pub(super) struct ExternalReader<'a> {
    source: &'a dyn ExternalData,
    /// Ranges that were read: location -> start -> end.
    taken: BTreeMap<String, BTreeMap<u64, u64>>,
}

impl<'a> ExternalReader<'a> {
    pub(super) fn new(source: &'a dyn ExternalData) -> Self {
        Self { source, taken: BTreeMap::new() }
    }

    /// The bytes of one tensor; `expected` is what dtype and shape ask for, when that is known.
    pub(super) fn tensor(
        &mut self,
        proto: &proto::TensorProto,
        expected: Option<usize>,
    ) -> Result<Bytes, GraphError> {
        let entry = |key: &str| {
            proto
                .external_data
                .iter()
                .find(|entry| entry.key.as_deref() == Some(key))
                .and_then(|entry| entry.value.as_deref())
        };
        let location = entry("location").unwrap_or_default();
        let fail = |why: String| GraphError::External {
            name: proto.name.clone().unwrap_or_default(),
            location: location.to_owned(),
            why,
        };
        let number = |key: &str| {
            entry(key)
                .map(|text| {
                    text.trim().parse::<u64>().map_err(|_| fail(format!("its {key} \"{text}\" is no number")))
                })
                .transpose()
        };
        if !stays_inside(location) {
            return Err(fail("it must be a relative path that stays inside the model's folder".to_owned()));
        }
        let offset = number("offset")?.unwrap_or(0);
        let given = number("length")?;
        let expected = expected.map(|bytes| bytes as u64);
        if let (Some(given), Some(expected)) = (given, expected)
            && given != expected
        {
            return Err(fail(format!(
                "its length is {given} bytes, but its type and shape ask for {expected}"
            )));
        }
        let length = expected.or(given);
        let data = self.source.read(location, offset, length).map_err(fail)?;
        if length.is_some_and(|length| length != data.len() as u64) {
            return Err(fail(format!(
                "only {} of its {} bytes are there: the file is truncated",
                data.len(),
                length.unwrap_or(0)
            )));
        }
        let end = offset.checked_add(data.len() as u64);
        let end = end.ok_or_else(|| fail(format!("its offset {offset} is beyond any file")))?;
        self.claim(location, offset, end).map_err(fail)?;
        Ok(data)
    }

    /// Two tensors may share a range (tied weights) but not a part of one.
    fn claim(&mut self, location: &str, start: u64, end: u64) -> Result<(), String> {
        if start == end {
            return Ok(());
        }
        let ranges = self.taken.entry(location.to_owned()).or_default();
        let before = ranges.range(..end).next_back();
        match before {
            Some((&other_start, &other_end)) if (other_start, other_end) == (start, end) => Ok(()),
            Some((&other_start, &other_end)) if other_end > start => Err(format!(
                "its bytes {start}..{end} overlap with those of another tensor at {other_start}..{other_end}"
            )),
            _ => {
                ranges.insert(start, end);
                Ok(())
            }
        }
    }
}

fn stays_inside(location: &str) -> bool {
    !location.is_empty()
        && !location.starts_with(['/', '\\'])
        && !location.contains(['\0', ':'])
        && location.split(['/', '\\']).all(|part| part != "..")
}
