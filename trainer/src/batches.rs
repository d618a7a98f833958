//! Which rows go together in a step: shuffled, yet close in length, so that little is padding.

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use refit_spec::Batch;

/// Batches that are sorted by length together; more means less padding and less chance.
const BATCHES_IN_A_POOL: usize = 50;

/// What an epoch is made of.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// Tokens of each row.
    pub lengths: &'a [u32],
    /// The label of each row, where every label is to come as often as every other.
    pub balanced: Option<&'a [u32]>,
    /// How large a batch is.
    pub size: Batch,
    /// Another seed, another order.
    pub seed: u64,
}

impl Plan<'_> {
    /// The batches of one epoch as row numbers: every row once, or with balance as many rows of every label.
    ///
    /// The same seed and epoch give the same batches.
    pub fn epoch(&self, epoch: usize) -> Vec<Vec<usize>> {
        match self.balanced {
            None => self.divide((0..self.lengths.len()).collect(), epoch),
            Some(labels) => self.divide(balanced(labels, self.seed, epoch), epoch),
        }
    }

    fn divide(&self, mut rows: Vec<usize>, epoch: usize) -> Vec<Vec<usize>> {
        let Self { lengths, size, .. } = *self;
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(epoch as u64);
        rows.shuffle(&mut random);

        let mut batches = Vec::new();
        for pool in rows.chunks_mut(rows_in_a_pool(lengths, size)) {
            pool.sort_by_key(|&row| lengths[row]);
            fill(pool, lengths, size, &mut batches);
        }
        batches.shuffle(&mut random);
        batches
    }
}

/// As many rows as an epoch of all rows has, of every label as many. Rows of a label come in turn, in an
/// order that is drawn anew each time that all of them have come: over epochs none comes twice more often
/// than another.
fn balanced(labels: &[u32], seed: u64, epoch: usize) -> Vec<usize> {
    let mut members: std::collections::BTreeMap<u32, Vec<usize>> = std::collections::BTreeMap::new();
    for (row, label) in labels.iter().enumerate() {
        members.entry(*label).or_default().push(row);
    }
    let share = labels.len().div_ceil(members.len().max(1));
    let mut rows = Vec::with_capacity(share * members.len());
    for (label, members) in members {
        let (mut turn, mut order) = (usize::MAX, Vec::new());
        for place in epoch * share..(epoch + 1) * share {
            if place / members.len() != turn {
                turn = place / members.len();
                let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x6261_6c61_6e63_6500);
                random.set_stream(u64::from(label) << 32 | turn as u64 & 0xffff_ffff);
                order.clone_from(&members);
                order.shuffle(&mut random);
            }
            rows.push(order[place % members.len()]);
        }
    }
    rows
}

/// Rows that are sorted by length together.
fn rows_in_a_pool(lengths: &[u32], size: Batch) -> usize {
    let rows = match size {
        Batch::Rows(rows) => rows.max(1),
        Batch::Tokens(tokens) => {
            let longest = lengths.iter().copied().max().unwrap_or(1).max(1) as usize;
            (tokens / longest).max(1)
        }
    };
    rows * BATCHES_IN_A_POOL
}

/// Batches for scoring, where order does not matter: sorted by length, so that padding is least.
pub fn scoring_batches(lengths: &[u32], size: Batch) -> Vec<Vec<usize>> {
    let mut rows: Vec<usize> = (0..lengths.len()).collect();
    rows.sort_by_key(|&row| lengths[row]);
    let mut batches = Vec::new();
    fill(&rows, lengths, size, &mut batches);
    batches
}

/// Cuts rows in order of rising length into batches.
fn fill(rows: &[usize], lengths: &[u32], size: Batch, batches: &mut Vec<Vec<usize>>) {
    let mut batch: Vec<usize> = Vec::new();
    for &row in rows {
        let full = match size {
            Batch::Rows(most) => batch.len() >= most.max(1),
            // `row` is the longest so far: all are padded to it.
            Batch::Tokens(most) => {
                !batch.is_empty() && (batch.len() + 1) * lengths[row].max(1) as usize > most
            }
        };
        if full {
            batches.push(std::mem::take(&mut batch));
        }
        batch.push(row);
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths() -> Vec<u32> {
        (0..1003u32).map(|row| 5 + (row * 7919) % 60).collect()
    }

    #[test]
    fn every_row_comes_once_and_epochs_differ() {
        for size in [Batch::Rows(32), Batch::Tokens(512)] {
            let lengths = lengths();
            let epoch = |seed, epoch| Plan { lengths: &lengths, balanced: None, size, seed }.epoch(epoch);
            let first = epoch(7, 0);
            let mut rows: Vec<usize> = first.iter().flatten().copied().collect();
            rows.sort_unstable();
            assert_eq!(rows, (0..1003).collect::<Vec<_>>());
            assert_eq!(first, epoch(7, 0), "a seed reproduces its batches");
            assert_ne!(first, epoch(7, 1));
            assert_ne!(first, epoch(8, 0));
        }
    }

    #[test]
    fn balance_takes_every_label_as_often_and_every_row_in_turn() {
        let lengths = lengths();
        let labels: Vec<u32> = (0..1003).map(|row| if row % 50 == 0 { 2 } else { row % 2 }).collect();
        let plan = Plan { lengths: &lengths, balanced: Some(&labels), size: Batch::Rows(32), seed: 7 };
        let mut times = vec![0usize; 1003];
        for epoch in 0..3 {
            let mut by_label = [0; 3];
            for row in plan.epoch(epoch).into_iter().flatten() {
                times[row] += 1;
                by_label[labels[row] as usize] += 1;
            }
            assert_eq!(by_label, [335; 3]);
        }
        for label in 0..3 {
            let of = || (0..1003).filter(|&row| labels[row] == label).map(|row| times[row]);
            assert!(of().max() <= of().min().map(|least| least + 1), "label {label}");
        }
        assert_eq!(plan.epoch(1), plan.epoch(1));
    }

    #[test]
    fn limits_hold_and_padding_is_small() {
        let lengths = lengths();
        let padded = |batches: &[Vec<usize>]| -> usize {
            batches.iter().map(|b| b.len() * b.iter().map(|&r| lengths[r] as usize).max().unwrap_or(0)).sum()
        };
        let plan = Plan { lengths: &lengths, balanced: None, size: Batch::Tokens(512), seed: 1 };
        let batches = plan.epoch(0);
        for batch in &batches {
            assert!(padded(std::slice::from_ref(batch)) <= 512);
        }
        let tokens = lengths.iter().sum::<u32>() as usize;
        assert!(padded(&batches) < tokens + tokens / 10, "{} of {tokens}", padded(&batches));
    }

    #[test]
    fn a_row_longer_than_the_batch_goes_alone() {
        let batches = scoring_batches(&[3, 900, 4], Batch::Tokens(100));
        assert_eq!(batches, [vec![0, 2], vec![1]]);
        let none = Plan { lengths: &[], balanced: None, size: Batch::Rows(8), seed: 0 };
        assert!(none.epoch(0).is_empty());
        assert!(Plan { balanced: Some(&[]), ..none }.epoch(0).is_empty());
    }
}
