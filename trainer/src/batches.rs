//! Which rows go together in a step: shuffled, yet close in length, so that little is padding.

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use refit_spec::Batch;

/// Batches that are sorted by length together; more means less padding and less chance.
const BATCHES_IN_A_POOL: usize = 50;

/// The batches of one epoch: every row once, as indices into `lengths` (tokens of each row).
///
/// The same seed and epoch give the same batches.
pub fn epoch_batches(lengths: &[usize], size: Batch, seed: u64, epoch: usize) -> Vec<Vec<usize>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(epoch as u64);
    let mut rows: Vec<usize> = (0..lengths.len()).collect();
    rows.shuffle(&mut random);

    let longest = lengths.iter().copied().max().unwrap_or(1).max(1);
    let rows_in_a_batch = match size {
        Batch::Rows(rows) => rows.max(1),
        Batch::Tokens(tokens) => (tokens / longest).max(1),
    };
    let mut batches = Vec::new();
    for pool in rows.chunks_mut(rows_in_a_batch * BATCHES_IN_A_POOL) {
        pool.sort_by_key(|&row| lengths[row]);
        fill(pool, lengths, size, &mut batches);
    }
    batches.shuffle(&mut random);
    batches
}

/// Batches for scoring, where order does not matter: sorted by length, so that padding is least.
pub fn scoring_batches(lengths: &[usize], size: Batch) -> Vec<Vec<usize>> {
    let mut rows: Vec<usize> = (0..lengths.len()).collect();
    rows.sort_by_key(|&row| lengths[row]);
    let mut batches = Vec::new();
    fill(&rows, lengths, size, &mut batches);
    batches
}

/// Cuts rows in order of rising length into batches.
fn fill(rows: &[usize], lengths: &[usize], size: Batch, batches: &mut Vec<Vec<usize>>) {
    let mut batch: Vec<usize> = Vec::new();
    for &row in rows {
        let full = match size {
            Batch::Rows(most) => batch.len() >= most.max(1),
            // `row` is the longest so far: all are padded to it.
            Batch::Tokens(most) => !batch.is_empty() && (batch.len() + 1) * lengths[row].max(1) > most,
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

    fn lengths() -> Vec<usize> {
        (0..1003).map(|row| 5 + (row * 7919) % 60).collect()
    }

    #[test]
    fn every_row_comes_once_and_epochs_differ() {
        for size in [Batch::Rows(32), Batch::Tokens(512)] {
            let first = epoch_batches(&lengths(), size, 7, 0);
            let mut rows: Vec<usize> = first.iter().flatten().copied().collect();
            rows.sort_unstable();
            assert_eq!(rows, (0..1003).collect::<Vec<_>>());
            assert_eq!(first, epoch_batches(&lengths(), size, 7, 0), "a seed reproduces its batches");
            assert_ne!(first, epoch_batches(&lengths(), size, 7, 1));
            assert_ne!(first, epoch_batches(&lengths(), size, 8, 0));
        }
    }

    #[test]
    fn limits_hold_and_padding_is_small() {
        let lengths = lengths();
        let padded = |batches: &[Vec<usize>]| -> usize {
            batches.iter().map(|b| b.len() * b.iter().map(|&r| lengths[r]).max().unwrap_or(0)).sum()
        };
        let batches = epoch_batches(&lengths, Batch::Tokens(512), 1, 0);
        for batch in &batches {
            assert!(padded(std::slice::from_ref(batch)) <= 512);
        }
        let tokens: usize = lengths.iter().sum();
        assert!(padded(&batches) < tokens + tokens / 10, "{} of {tokens}", padded(&batches));
    }

    #[test]
    fn a_row_longer_than_the_batch_goes_alone() {
        let batches = scoring_batches(&[3, 900, 4], Batch::Tokens(100));
        assert_eq!(batches, [vec![0, 2], vec![1]]);
        assert!(epoch_batches(&[], Batch::Rows(8), 0, 0).is_empty());
    }
}
