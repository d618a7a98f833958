//! Embedding tables: rows picked by index, and their gradient.

use super::slices::unwritten;
use rayon::prelude::*;

/// Indices that one task copies.
const ROWS: usize = 64;

/// The rows of `table` (each `width` wide) at `indices`.
///
/// # Panics
/// When an index is out of range: check first.
pub fn gather(table: &[f32], width: usize, indices: &[usize]) -> Vec<f32> {
    let mut output = unwritten(indices.len() * width);
    if width > 0 {
        output.par_chunks_mut(ROWS * width).zip(indices.par_chunks(ROWS)).for_each(|(rows, indices)| {
            for (row, &index) in rows.chunks_exact_mut(width).zip(indices) {
                row.copy_from_slice(&table[index * width..(index + 1) * width]);
            }
        });
    }
    output
}

/// Adds each row of `gradient` to row `indices[i]` of a zero table of `count` rows, in order, so that the
/// sum has the same bits in every run.
///
/// # Panics
/// When an index is out of range.
pub fn scatter_add(gradient: &[f32], width: usize, indices: &[usize], count: usize) -> Vec<f32> {
    let mut table = vec![0f32; count * width];
    if width > 0 {
        for (row, &index) in gradient.chunks_exact(width).zip(indices) {
            for (sum, &x) in table[index * width..(index + 1) * width].iter_mut().zip(row) {
                *sum += x;
            }
        }
    }
    table
}

/// The same without the rows that nothing is added to: which rows are left, ascending, and their sums. Each sum has the
/// bits that [`scatter_add`] gives it.
///
/// # Panics
/// When `gradient` has fewer rows than there are indices.
pub fn merge(gradient: &[f32], width: usize, indices: &[usize]) -> (Vec<usize>, Vec<f32>) {
    assert!(gradient.len() >= indices.len() * width, "rows of a gradient");
    let mut rows = indices.to_vec();
    rows.sort_unstable();
    rows.dedup();
    let places: Vec<usize> = indices.iter().map(|index| rows.partition_point(|row| row < index)).collect();
    let sums = scatter_add(gradient, width, &places, rows.len());
    (rows, sums)
}
