//! Panels for the matrix unit: every float as the sum of two bfloat16, a high and a low one, which together
//! keep 16 to 17 bits of its 24 (Henry, Tang, Heinecke 2019, "Leveraging the bfloat16 artificial
//! intelligence datatype for higher-precision computations").
//!
//! A tile row of the left factor holds 32 inner elements of one row; a tile row of the right factor holds
//! pairs of inner elements of 16 columns. Seen as 32-bit pairs one is the transpose of the other.

use super::super::matrix::Matrix;
use super::super::simd::transpose;
use super::tiles::{BLOCK, PANEL_STEP, STEP, TILE};
use std::arch::x86_64::*;

/// Which factor a panel is packed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Rows of the left factor.
    Left,
    /// Columns of the right factor.
    Right,
}

/// How a factor is packed.
#[derive(Debug, Clone, Copy)]
pub struct Packing {
    /// Which factor it is.
    pub side: Side,
    /// What its elements are multiplied by.
    pub factor: f32,
}

/// Packs 32 rows of `matrix` from `row` on, inner elements `inner`, into steps of [`PANEL_STEP`]; what lies
/// outside the matrix is 0. For the right factor `matrix` is its transpose.
///
/// # Panics
/// When `panel` is too short.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub fn panel(
    packing: Packing,
    matrix: &Matrix,
    row: usize,
    inner: std::ops::Range<usize>,
    panel: &mut [u16],
) {
    let along_inner = matrix.column_stride() == 1;
    let mut staged = [0f32; TILE];
    for (step, target) in inner.clone().step_by(STEP).zip(panel.chunks_exact_mut(PANEL_STEP)) {
        let width = STEP.min(inner.end - step);
        for tile in 0..2 {
            let first = row + tile * (BLOCK / 2);
            let height = (BLOCK / 2).min(matrix.rows().saturating_sub(first));
            let is_whole = height == 16 && width == STEP;
            let parts = match is_whole {
                true if along_inner => {
                    Lines::rows(matrix.from(first, step), matrix.row_stride(), packing.factor)
                }
                true if matrix.row_stride() == 1 => {
                    Lines::pairs(matrix.from(first, step), matrix.column_stride(), packing.factor)
                }
                _ => {
                    stage(matrix, [first, step], [height, width], &mut staged);
                    Lines::rows(&staged, STEP, packing.factor)
                }
            };
            let (high, low) = target[tile * TILE..].split_at_mut(2 * TILE);
            parts.store(packing.side, &mut high[..TILE], &mut low[..TILE]);
        }
    }
}

/// Copies a part of the matrix into 16 rows of 32, zeros around it.
fn stage(matrix: &Matrix, [row, column]: [usize; 2], [height, width]: [usize; 2], staged: &mut [f32; TILE]) {
    staged.fill(0.0);
    for (offset, target) in staged.chunks_exact_mut(STEP).take(height).enumerate() {
        for (inner, target) in target.iter_mut().take(width).enumerate() {
            *target = matrix.at(row + offset, column + inner);
        }
    }
}

/// A tile before it is stored: 16 lines, each from two vectors of 16 floats.
struct Lines<'a> {
    data: &'a [f32],
    stride: usize,
    factor: f32,
    /// Whether a line is 32 inner elements of one row, or a pair of inner elements of 16 rows.
    are_rows: bool,
}

impl<'a> Lines<'a> {
    /// 16 rows of 32 inner elements, `stride` apart.
    fn rows(data: &'a [f32], stride: usize, factor: f32) -> Self {
        Self { data, stride, factor, are_rows: true }
    }

    /// 32 inner elements, `stride` apart, of 16 rows that lie side by side.
    fn pairs(data: &'a [f32], stride: usize, factor: f32) -> Self {
        Self { data, stride, factor, are_rows: false }
    }

    /// The high and low parts of a line, as 16 pairs of inner elements.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    #[inline]
    fn line(&self, index: usize) -> [__m512i; 2] {
        let (first, second) = match self.are_rows {
            true => (index * self.stride, index * self.stride + 16),
            false => (2 * index * self.stride, (2 * index + 1) * self.stride),
        };
        let (first, second) = (&self.data[first..first + 16], &self.data[second..second + 16]);
        // SAFETY: both have 16 elements.
        let (first, second) = unsafe { (_mm512_loadu_ps(first.as_ptr()), _mm512_loadu_ps(second.as_ptr())) };
        let factor = _mm512_set1_ps(self.factor);
        let parts = split(_mm512_mul_ps(first, factor), _mm512_mul_ps(second, factor));
        match self.are_rows {
            true => parts,
            false => [interleave(parts[0]), interleave(parts[1])],
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    #[inline]
    fn store(&self, side: Side, high: &mut [u16], low: &mut [u16]) {
        let put = |target: &mut [u16], line| {
            debug_assert!(target.len() == STEP);
            // SAFETY: a line of a tile has 64 bytes.
            unsafe { _mm512_storeu_si512(target.as_mut_ptr().cast(), line) };
        };
        let targets = high.chunks_exact_mut(STEP).zip(low.chunks_exact_mut(STEP)).enumerate();
        if self.are_rows == (side == Side::Left) {
            for (index, (high, low)) in targets {
                let [h, l] = self.line(index);
                put(high, h);
                put(low, l);
            }
            return;
        }
        let mut parts = [[_mm512_setzero_si512(); 16]; 2];
        let [high_lines, low_lines] = &mut parts;
        for (index, (high, low)) in high_lines.iter_mut().zip(low_lines).enumerate() {
            [*high, *low] = self.line(index);
        }
        let [h, l] = [transpose(parts[0]), transpose(parts[1])];
        for (index, (high, low)) in targets {
            put(high, h[index]);
            put(low, l[index]);
        }
    }
}

/// The elements of the two halves in turn.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn interleave(halves: __m512i) -> __m512i {
    const ORDER: [u16; 32] = {
        let mut order = [0; 32];
        let mut lane = 0;
        while lane < 16 {
            order[2 * lane] = lane as u16;
            order[2 * lane + 1] = lane as u16 + 16;
            lane += 1;
        }
        order
    };
    // SAFETY: the constant has 64 bytes.
    let order = unsafe { _mm512_loadu_si512(ORDER.as_ptr().cast()) };
    _mm512_permutexvar_epi16(order, halves)
}

/// Both vectors rounded to bfloat16, and what the rounding took away, rounded likewise.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
fn split(first: __m512, second: __m512) -> [__m512i; 2] {
    // SAFETY: the two types are 64 bytes of plain data.
    let bits = |vector: __m512bh| unsafe { std::mem::transmute::<__m512bh, __m512i>(vector) };
    let high = bits(_mm512_cvtne2ps_pbh(second, first));
    let lower = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(high));
    let upper = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64::<1>(high));
    let float = |half: __m512i| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(half));
    let low = _mm512_cvtne2ps_pbh(_mm512_sub_ps(second, float(upper)), _mm512_sub_ps(first, float(lower)));
    [high, bits(low)]
}
