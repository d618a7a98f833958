//! Training rows that are nearly held-out rows: the figures would be of what the model has seen.
//!
//! Held-out rows are indexed by the bands of their sketch, 136 bytes each; training rows stream past, and
//! what shares a band with one is compared with it exactly.

use std::sync::Arc;

use rayon::prelude::*;
use refit_spec::{DataSpec, NearDuplicates};
use refit_stats::similarity::{BANDS, bands_of_text, jaccard, shingles};

use super::audit::{Audit, FindingKind, normalized};
use super::error::DataError;
use super::index::Index;
use super::row::Row;
use crate::spool::Spool;

/// Rows that are compared at once, one a thread.
const ROWS_AT_ONCE: usize = 4096;
/// Held-out rows that one training row is compared with; more share a band only among texts that mostly
/// repeat a form letter.
const MOST_CANDIDATES: usize = 64;

/// Held-out rows by band.
struct Bands {
    /// For each band, (hash, number of the row), sorted.
    rows: Vec<Vec<(u32, u32)>>,
    places: Vec<u64>,
}

/// Leaves out of `train`, or reports only, what is nearly one of the held-out rows.
pub(super) fn without_near_leakage(
    train: &mut Index,
    held_out: &[&Index],
    spool: &Arc<Spool<Row>>,
    spec: &DataSpec,
    audit: &mut Audit,
) -> Result<(), DataError> {
    let kind = match spec.near_duplicates {
        NearDuplicates::Ignore => return Ok(()),
        NearDuplicates::Drop => FindingKind::NearLeakage,
        NearDuplicates::Report => FindingKind::NearLeakageKept,
    };
    let index = Bands::of(held_out, spool)?;
    let mut kept = Vec::with_capacity(train.len());
    for rows in train.rows(spool).chunks(ROWS_AT_ONCE) {
        let rows = rows?;
        let near: Vec<_> = rows
            .par_iter()
            .map(|row| index.nearest(row, spec.near_threshold, spool))
            .collect::<Result<_, _>>()?;
        for (row, near) in rows.iter().zip(near) {
            kept.push(near.is_none() || kind == FindingKind::NearLeakageKept);
            if let Some((of, similarity)) = near {
                audit.note(kind, || format!("{} is {similarity:.2} of {}", row.place(), of.place()));
            }
        }
    }
    train.keep(&kept);
    Ok(())
}

impl Bands {
    fn of(held_out: &[&Index], spool: &Arc<Spool<Row>>) -> Result<Self, DataError> {
        let many = held_out.iter().map(|rows| rows.len()).sum();
        let rows = (0..BANDS).map(|_| Vec::with_capacity(many)).collect();
        let mut index = Self { rows, places: Vec::with_capacity(many) };
        for part in held_out {
            let mut number = index.places.len() as u32;
            index.places.extend(&part.places);
            for rows in part.rows(spool).chunks(ROWS_AT_ONCE) {
                let sketches: Vec<_> = rows?.par_iter().map(bands_of_row).collect();
                for sketch in sketches {
                    index.rows.iter_mut().zip(sketch).for_each(|(band, hash)| band.push((hash, number)));
                    number += 1;
                }
            }
        }
        index.rows.par_iter_mut().for_each(|band| band.sort_unstable());
        Ok(index)
    }

    /// The most similar held-out row that is at least as similar as asked.
    fn nearest(
        &self,
        row: &Row,
        threshold: f64,
        spool: &Spool<Row>,
    ) -> Result<Option<(Row, f64)>, DataError> {
        let mut candidates = Vec::new();
        for (band, hash) in self.rows.iter().zip(bands_of_row(row)) {
            let first = band.partition_point(|(other, _)| *other < hash);
            let same = band[first..].iter().take_while(|(other, _)| *other == hash);
            candidates.extend(same.take(MOST_CANDIDATES).map(|(_, number)| *number));
        }
        candidates.sort_unstable();
        candidates.dedup();
        let mut best: Option<(Row, f64)> = None;
        for number in candidates.into_iter().take(MOST_CANDIDATES) {
            let other = spool.get(self.places[number as usize])?;
            let similarity = similarity(row, &other);
            if similarity >= threshold && best.as_ref().is_none_or(|(_, best)| similarity > *best) {
                best = Some((other, similarity));
            }
        }
        Ok(best)
    }
}

/// Bands of all texts of a row together.
fn bands_of_row(row: &Row) -> [u32; BANDS] {
    bands_of_text(&texts(row).concat())
}

/// Of each text with its like, the least: two questions about one text are two rows.
fn similarity(a: &Row, b: &Row) -> f64 {
    let pairs = texts(a).into_iter().zip(texts(b));
    pairs.map(|(a, b)| jaccard(&shingles(&a), &shingles(&b))).fold(1.0, f64::min)
}

/// With margins, so that a letter at an end is in as many runs of letters as one in the middle: "row 15" and "row 151"
/// are two texts.
fn texts(row: &Row) -> Vec<String> {
    const MARGIN: &str = "\0\0\0\0";
    let texts = [Some(&row.text), row.pair.as_ref(), row.negative.as_ref()];
    texts.into_iter().flatten().map(|text| format!("{MARGIN}{}{MARGIN}", normalized(text))).collect()
}
