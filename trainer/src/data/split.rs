//! Divides rows. The side of a row follows from a hash of its key and the seed alone, so it keeps
//! its side when rows are added, removed or reordered.

use std::collections::BTreeMap;

use refit_spec::SplitSpec;
use sha2::{Digest, Sha256};

use super::index::Index;

/// Where a row goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// To learn from.
    Train,
    /// To choose the best epoch on.
    Validation,
    /// To make the final figures on.
    Test,
}

/// A number from the seed and a key, evenly distributed.
pub(super) fn hash(seed: u64, key: &str) -> u64 {
    let mut hasher = Sha256::new();
    hasher.update(seed.to_le_bytes());
    hasher.update(key.as_bytes());
    let digest = hasher.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first)
}

/// A number in [0, 1) from a hash.
pub(super) fn position(hash: u64) -> f64 {
    // 53 bits fill a double exactly.
    (hash >> 11) as f64 / (1u64 << 53) as f64
}

/// The side of every row, in their order.
///
/// A hash gives each label its share up to chance. `stratify` sees to the labels for which chance is
/// unkind: one with three rows or more gets at least one on each side that has a share, the one
/// nearest to that side. Groups stay whole and are left as they fall.
///
/// By time the newest rows are test and those before them validation; rows of one time stay together, on
/// the newer side.
pub(super) fn sides(rows: &Index, spec: &SplitSpec) -> Vec<Side> {
    if spec.time.is_some() {
        return by_time(&rows.splits, spec);
    }
    let hashes = if spec.group.is_some() { &rows.splits } else { &rows.keys };
    let positions: Vec<f64> = hashes.iter().map(|&hash| position(hash)).collect();
    let side = |&position: &f64| match position {
        p if p < spec.test => Side::Test,
        p if p < spec.test + spec.validation => Side::Validation,
        _ => Side::Train,
    };
    let mut sides: Vec<Side> = positions.iter().map(side).collect();
    if spec.stratify && spec.group.is_none() {
        represent_every_label(&rows.labels, spec, &positions, &mut sides);
    }
    sides
}

fn by_time(times: &[u64], spec: &SplitSpec) -> Vec<Side> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    let oldest = |share: f64| match (share * times.len() as f64).round() as usize {
        0 => u64::MAX,
        many => sorted.get(many - 1).copied().unwrap_or(u64::MAX),
    };
    let (test, validation) = (oldest(spec.test), oldest(spec.test + spec.validation));
    let side = |&time: &u64| match time {
        time if spec.test > 0.0 && time >= test => Side::Test,
        time if spec.validation > 0.0 && time >= validation => Side::Validation,
        _ => Side::Train,
    };
    times.iter().map(side).collect()
}

fn represent_every_label(labels: &[u32], spec: &SplitSpec, positions: &[f64], sides: &mut [Side]) {
    let mut by_label: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (index, label) in labels.iter().enumerate() {
        by_label.entry(*label).or_default().push(index);
    }
    let wanted = [(Side::Train, 1.0), (Side::Test, spec.test), (Side::Validation, spec.validation)];
    for mut members in by_label.into_values().filter(|members| members.len() >= 3) {
        members.sort_by(|&a, &b| positions[a].total_cmp(&positions[b]));
        for (side, share) in wanted {
            let on =
                |side: Side, sides: &[Side]| members.iter().filter(|&&index| sides[index] == side).count();
            if share == 0.0 || on(side, sides) > 0 {
                continue;
            }
            let richest =
                [Side::Train, Side::Validation, Side::Test].into_iter().max_by_key(|&s| on(s, sides));
            let mut donors = members.iter().copied().filter(|&index| Some(sides[index]) == richest);
            let donor = if side == Side::Train { donors.next_back() } else { donors.next() };
            if let Some(donor) = donor {
                sides[donor] = side;
            }
        }
    }
}
