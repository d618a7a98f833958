//! Which fold each row is tested in.

use crate::data::Row;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};

/// The fold of every row, `0..count`: each label is spread evenly where `stratify` says so, rows of one group
/// stay together, and the same rows and seed give the same folds in any order.
///
/// Groups are dealt out the largest first, each to the fold whose labels then lie closest to an even share
/// (as in scikit-learn's `StratifiedGroupKFold`); without groups every row is a group of its own.
pub fn assign(rows: &[Row], count: usize, stratify: bool, seed: u64) -> Vec<usize> {
    let mut groups: BTreeMap<([u8; 32], &str), Vec<usize>> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        let (kind, name) = match &row.group {
            Some(group) => ("group", group.as_str()),
            None => ("row", row.text.as_str()),
        };
        groups.entry((place(seed, kind, name), name)).or_default().push(index);
    }
    let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));

    let mut labels: HashMap<&str, usize> = HashMap::new();
    let label_of: Vec<usize> = rows
        .iter()
        .map(|row| {
            let next = labels.len();
            if stratify { *labels.entry(row.label.as_str()).or_insert(next) } else { 0 }
        })
        .collect();
    let kinds = labels.len().max(1);
    let mut in_label = vec![0usize; kinds];
    label_of.iter().for_each(|&label| in_label[label] += 1);

    let mut filled = vec![vec![0usize; kinds]; count];
    let mut sizes = vec![0usize; count];
    let mut fold_of = vec![0; rows.len()];
    for group in groups {
        // The fold that lacks most of what the group has; of equals the smallest.
        let lack = |fold: usize| -> f64 {
            group
                .iter()
                .map(|&row| {
                    let label = label_of[row];
                    1.0 - filled[fold][label] as f64 * count as f64 / in_label[label] as f64
                })
                .sum()
        };
        let better = |a: &usize, b: &usize| {
            lack(*a).total_cmp(&lack(*b)).then(sizes[*b].cmp(&sizes[*a])).then(b.cmp(a))
        };
        let fold = (0..count).max_by(better).unwrap_or(0);
        for row in group {
            filled[fold][label_of[row]] += 1;
            sizes[fold] += 1;
            fold_of[row] = fold;
        }
    }
    fold_of
}

/// Chance that only the seed and the name decide.
fn place(seed: u64, kind: &str, name: &str) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(b"fold\0");
    hasher.update(seed.to_le_bytes());
    hasher.update(kind.as_bytes());
    hasher.update([0]);
    hasher.update(name.as_bytes());
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize, group_of: impl Fn(usize) -> Option<usize>) -> Vec<Row> {
        (0..count)
            .map(|index| {
                let label = if index % 4 == 0 { "rare" } else { "common" };
                let mut row = Row::new(format!("text {index}"), label, format!("rows.csv:{index}"));
                row.group = group_of(index).map(|group| group.to_string());
                row
            })
            .collect()
    }

    fn counts(rows: &[Row], folds: &[usize], count: usize, label: &str) -> Vec<usize> {
        let of = |fold| rows.iter().zip(folds).filter(|(r, f)| r.label == label && **f == fold).count();
        (0..count).map(of).collect()
    }

    #[test]
    fn labels_are_spread_evenly_and_order_does_not_matter() {
        let rows = rows(103, |_| None);
        let folds = assign(&rows, 5, true, 7);
        for label in ["rare", "common"] {
            let counts = counts(&rows, &folds, 5, label);
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(most - least <= 1, "{label}: {counts:?}");
        }
        let mut reversed = rows.clone();
        reversed.reverse();
        let mut of_reversed = assign(&reversed, 5, true, 7);
        of_reversed.reverse();
        assert_eq!(folds, of_reversed);
        assert_ne!(folds, assign(&rows, 5, true, 8));
    }

    #[test]
    fn groups_stay_together() {
        let rows = rows(200, |index| Some(index * index % 23));
        let folds = assign(&rows, 4, true, 7);
        let mut fold_of_group: HashMap<&str, usize> = HashMap::new();
        for (row, fold) in rows.iter().zip(&folds) {
            let group = row.group.as_deref().unwrap();
            assert_eq!(fold_of_group.entry(group).or_insert(*fold), fold, "group {group}");
        }
        let common = counts(&rows, &folds, 4, "common");
        assert!(common.iter().all(|count| (25..=50).contains(count)), "{common:?}");
    }
}
