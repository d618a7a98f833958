//! What is kept in memory of each row while rows are compared and divided: some twenty bytes.

use std::collections::HashMap;
use std::sync::Arc;

use super::audit::{Audit, FindingKind};
use super::error::DataError;
use super::row::Row;
use crate::spool::{Spool, Spooled};

/// The rows of one file, or of one side: columns of equal length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Index {
    /// Where the rows are in the spool.
    pub(super) places: Vec<u64>,
    /// Hash of the text, white space and case aside, with the seed of the split: what duplicates share.
    /// Of 100 million rows two different ones share it with a chance of 0.0003.
    pub(super) keys: Vec<u64>,
    /// Number of the label among [`LabelNames`].
    pub(super) labels: Vec<u32>,
    /// Hash of the group, or the time in an order-preserving form; empty where the split has neither.
    pub(super) splits: Vec<u64>,
    /// Hash that `data.limit` chooses by; empty where there is no limit.
    pub(super) limits: Vec<u64>,
}

/// Labels by number, in the order in which they were met.
#[derive(Debug, Default)]
pub(super) struct LabelNames {
    numbers: HashMap<String, u32>,
    pub(super) names: Vec<String>,
}

impl LabelNames {
    pub(super) fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Keeps the rows for which `kept` is true.
    pub(super) fn keep(&mut self, kept: &[bool]) {
        retain(&mut self.places, kept);
        retain(&mut self.keys, kept);
        retain(&mut self.labels, kept);
        retain(&mut self.splits, kept);
        retain(&mut self.limits, kept);
    }

    /// A copy of the rows that `wanted` names, without what they were divided by.
    pub(super) fn select(&self, wanted: impl Fn(usize) -> bool) -> Self {
        let many = (0..self.len()).filter(|&row| wanted(row)).count();
        let (places, keys) = (Vec::with_capacity(many), Vec::with_capacity(many));
        let mut rows = Self { places, keys, labels: Vec::with_capacity(many), ..Self::default() };
        for row in (0..self.len()).filter(|&row| wanted(row)) {
            rows.places.push(self.places[row]);
            rows.keys.push(self.keys[row]);
            rows.labels.push(self.labels[row]);
        }
        rows
    }

    /// Leaves out the rows that have a finding, and notes them.
    pub(super) fn without(
        &mut self,
        findings: &[Option<FindingKind>],
        spool: &Spool<Row>,
        audit: &mut Audit,
    ) -> Result<(), DataError> {
        for (&place, kind) in self.places.iter().zip(findings) {
            if let Some(kind) = kind {
                let row = if audit.wants_example(*kind) { Some(spool.get(place)?) } else { None };
                audit.note(*kind, || row.map_or_else(String::new, |row: Row| row.place()));
            }
        }
        let kept: Vec<bool> = findings.iter().map(Option::is_none).collect();
        self.keep(&kept);
        Ok(())
    }

    /// Row numbers in the order of their keys; equal keys in the order of the rows.
    pub(super) fn by_key(&self) -> Vec<u32> {
        use rayon::slice::ParallelSliceMut;
        let mut order: Vec<u32> = (0..self.len() as u32).collect();
        order.par_sort_unstable_by_key(|&row| (self.keys[row as usize], row));
        order
    }

    /// The rows themselves.
    pub(super) fn rows(&self, spool: &Arc<Spool<Row>>) -> Spooled<Row> {
        let mut rows = Spooled::new(Arc::clone(spool));
        self.places.iter().for_each(|&place| rows.push_place(place));
        rows
    }
}

fn retain<T>(values: &mut Vec<T>, kept: &[bool]) {
    let mut kept = kept.iter();
    values.retain(|_| kept.next().copied().unwrap_or(true));
    values.shrink_to_fit();
}
