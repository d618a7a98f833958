use crate::text::{Encoding, TextPreprocessor};

/// Encodings of one length side by side, row-major `[batch, sequence]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaddedBatch {
    /// Number of texts.
    pub batch: usize,
    /// Tokens of the longest of them.
    pub sequence: usize,
    /// Token ids, the pad id behind each text's end.
    pub ids: Vec<i64>,
    /// 1 for a token, 0 for padding.
    pub mask: Vec<i64>,
    /// Segment of each token; 0 for padding.
    pub types: Vec<i64>,
}

/// Pads encodings on the right to the longest of them.
pub fn pad(encodings: &[&Encoding], pad_id: i64) -> PaddedBatch {
    let batch = encodings.len();
    let sequence = encodings.iter().map(|encoding| encoding.len()).max().unwrap_or(0);
    let mut padded = PaddedBatch {
        batch,
        sequence,
        ids: vec![pad_id; batch * sequence],
        mask: vec![0; batch * sequence],
        types: vec![0; batch * sequence],
    };
    for (row, encoding) in encodings.iter().enumerate() {
        let place = row * sequence..row * sequence + encoding.len();
        padded.ids[place.clone()].copy_from_slice(&encoding.input_ids);
        padded.mask[place.clone()].copy_from_slice(&encoding.attention_mask);
        padded.types[place].copy_from_slice(&encoding.token_type_ids);
    }
    padded
}

impl TextPreprocessor {
    /// Pads encodings with this tokenizer's pad token.
    pub fn pad(&self, encodings: &[&Encoding]) -> PaddedBatch {
        pad(encodings, self.pad_id())
    }
}
