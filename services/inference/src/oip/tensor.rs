//! Tensors as they travel: elements in row-major order, and their raw form of little-endian bytes.

use crate::api_error::{ApiError, Code};

/// The data types that inputs and outputs have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataType {
    Bytes,
    Int64,
    Fp32,
}

/// The elements of a tensor.
#[derive(Debug, PartialEq)]
pub(crate) enum Elements {
    /// BYTES, which are text here.
    Bytes(Vec<String>),
    Int64(Vec<i64>),
    Fp32(Vec<f32>),
}

/// A tensor of a request.
#[derive(Debug)]
pub(crate) struct InputTensor {
    pub name: String,
    pub shape: Vec<u64>,
    pub elements: Elements,
}

/// A tensor of an answer.
#[derive(Debug)]
pub(crate) struct OutputTensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub elements: Elements,
    /// The labels that head the columns, as a JSON list: parameters are scalars in this protocol.
    pub labels: Option<String>,
}

impl DataType {
    pub fn name(self) -> &'static str {
        match self {
            Self::Bytes => "BYTES",
            Self::Int64 => "INT64",
            Self::Fp32 => "FP32",
        }
    }
}

impl Elements {
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(values) => values.len(),
            Self::Int64(values) => values.len(),
            Self::Fp32(values) => values.len(),
        }
    }

    pub fn datatype(&self) -> DataType {
        match self {
            Self::Bytes(_) => DataType::Bytes,
            Self::Int64(_) => DataType::Int64,
            Self::Fp32(_) => DataType::Fp32,
        }
    }

    /// Elements of the input `name` from their raw form.
    ///
    /// # Errors
    /// [`Code::Malformed`] when an element is cut off or text is not UTF-8.
    pub fn from_raw(name: &str, datatype: DataType, bytes: &[u8]) -> Result<Self, ApiError> {
        let whole = |size: usize| {
            let message = format!("the {} bytes of {name:?} are no whole number of elements", bytes.len());
            if bytes.len().is_multiple_of(size) { Ok(()) } else { Err(malformed(message)) }
        };
        match datatype {
            DataType::Bytes => raw_texts(name, bytes).map(Self::Bytes),
            DataType::Int64 => {
                whole(8)?;
                let (values, _) = bytes.as_chunks::<8>();
                Ok(Self::Int64(values.iter().map(|value| i64::from_le_bytes(*value)).collect()))
            }
            DataType::Fp32 => {
                whole(4)?;
                let (values, _) = bytes.as_chunks::<4>();
                Ok(Self::Fp32(values.iter().map(|value| f32::from_le_bytes(*value)).collect()))
            }
        }
    }

    /// Appends the raw form.
    pub fn append_to(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Bytes(texts) => {
                for text in texts {
                    bytes.extend((text.len() as u32).to_le_bytes());
                    bytes.extend(text.as_bytes());
                }
            }
            Self::Int64(values) => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Self::Fp32(values) => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
        }
    }
}

fn malformed(message: String) -> ApiError {
    ApiError::new(Code::Malformed, message)
}

/// The text of element `index` of the input `name`.
///
/// # Errors
/// [`Code::Malformed`] when it is not UTF-8.
pub(crate) fn text(name: &str, index: usize, bytes: &[u8]) -> Result<String, ApiError> {
    let text = std::str::from_utf8(bytes);
    text.map(str::to_owned).map_err(|_| malformed(format!("element {index} of {name:?} is not UTF-8")))
}

/// Each element is its length in four bytes, little-endian, and its bytes.
fn raw_texts(name: &str, mut bytes: &[u8]) -> Result<Vec<String>, ApiError> {
    let mut texts = Vec::new();
    while !bytes.is_empty() {
        let short = || malformed(format!("element {} of {name:?} is cut off", texts.len()));
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(short)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (element, rest) = rest.split_at_checked(length).ok_or_else(short)?;
        texts.push(text(name, texts.len(), element)?);
        bytes = rest;
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(text: &[u8]) -> Vec<u8> {
        [&(text.len() as u32).to_le_bytes()[..], text].concat()
    }

    #[test]
    fn raw_elements_are_read_and_bad_ones_refused() {
        let two = [element(b"one"), element("zwei \u{e4}".as_bytes())].concat();
        let read = |bytes: &[u8]| Elements::from_raw("text", DataType::Bytes, bytes);
        let texts = |texts: &[&str]| Elements::Bytes(texts.iter().map(|text| text.to_string()).collect());
        assert_eq!(read(&two).unwrap(), texts(&["one", "zwei \u{e4}"]));
        assert_eq!(read(&element(b"")).unwrap(), texts(&[""]));
        for bad in [&two[..two.len() - 1], &[1, 0], &[255, 255, 255, 255, 1], &element(b"\xff")] {
            assert_eq!(read(bad).unwrap_err().code, Code::Malformed, "{bad:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let texts = Elements::Bytes(vec!["a".to_owned(), String::new(), "\u{1f3ac}".to_owned()]);
        for elements in [texts, Elements::Int64(vec![0, -1, i64::MAX]), Elements::Fp32(vec![0.5, -2.0])] {
            let mut bytes = Vec::new();
            elements.append_to(&mut bytes);
            assert_eq!(Elements::from_raw("a", elements.datatype(), &bytes).unwrap(), elements);
            if elements.datatype() != DataType::Bytes {
                assert!(Elements::from_raw("a", elements.datatype(), &bytes[1..]).is_err());
            }
        }
    }
}
