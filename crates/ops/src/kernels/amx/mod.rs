//! Float32 matrix products on the matrix unit of newer x86 CPUs (AMX), each float as two bfloat16: 16 to 17
//! bits of every factor take part, float32 adds up. On such a CPU it is several times faster than float32
//! vectors, and its error for sums of some hundred products is near that of float32 itself.
//!
//! A factor that is infinite, or rounds to infinity in bfloat16, may give NaN where float32 gives infinity.

mod pack;
#[cfg(test)]
mod tests;
mod tiles;

use super::matrix::{Matrix, Product};
use super::slices::Shared;
use pack::{Packing, Side};
use rayon::prelude::*;
use std::cell::RefCell;
use std::ops::Range;
use std::thread::LocalKey;
use tiles::{BLOCK, Configured, PANEL_STEP, STEP};

pub use tiles::is_available;

/// Most inner elements of one pass: a task's share of the left factor stays in the second-level cache.
const DEPTH: usize = 768;
/// Most rows of one task.
const ROWS: usize = 256;

/// Whether a product of this size pays for its packing.
pub fn pays(m: usize, k: usize, n: usize) -> bool {
    m >= 16 && n >= 16 && k >= 16 && m * k * n >= 64 * 64 * 64
}

/// `c = alpha * a b` or `c += alpha * a b`, `c` row-major with `stride` elements between rows.
///
/// # Safety
/// `c` must hold `a.rows()` rows of `b.columns()` elements, and nobody else may touch them meanwhile.
///
/// # Panics
/// When the matrix unit is not available or the inner dimensions differ.
pub unsafe fn multiply(c: *mut f32, stride: usize, a: &Matrix, b: &Matrix, how: Product) {
    let Product { alpha, accumulate, parallel } = how;
    let (m, k, n) = (a.rows(), a.columns(), b.columns());
    assert_eq!(k, b.rows(), "inner dimensions");
    assert!(is_available(), "no matrix unit");
    let depth = k.div_ceil(k.div_ceil(DEPTH)).next_multiple_of(STEP);
    let grid = Grid::new(m, n, if parallel { rayon::current_num_threads() } else { 1 });
    let (right, target) = (b.t(), Shared(c));
    for start in (0..k).step_by(depth) {
        let inner = start..k.min(start + depth);
        let panel = inner.len().div_ceil(STEP) * PANEL_STEP;
        with_buffer(&RIGHT, n.div_ceil(BLOCK) * panel, |packed| {
            pack(Packing { side: Side::Right, factor: 1.0 }, &right, 0, &inner, packed, parallel);
            let pass = Pass { right: packed, panel, stride, accumulate: accumulate || start > 0 };
            let task = |index: usize| {
                let (rows, columns) = grid.task(index);
                with_buffer(&LEFT, rows.len().div_ceil(BLOCK) * panel, |left| {
                    let scaled = Packing { side: Side::Left, factor: alpha };
                    pack(scaled, a, rows.start, &inner, left, false);
                    // SAFETY: the tasks write disjoint blocks of `c`, which is as large as the caller says.
                    unsafe { pass.task(&target, left, rows, columns) };
                });
            };
            match parallel {
                true => (0..grid.len()).into_par_iter().with_max_len(1).for_each(task),
                false => (0..grid.len()).for_each(task),
            }
        });
    }
}

thread_local! {
    static LEFT: RefCell<Vec<u16>> = const { RefCell::new(Vec::new()) };
    static RIGHT: RefCell<Vec<u16>> = const { RefCell::new(Vec::new()) };
}

/// Calls `work` with a buffer that the thread keeps from call to call.
fn with_buffer(kept: &'static LocalKey<RefCell<Vec<u16>>>, length: usize, work: impl FnOnce(&mut [u16])) {
    // Taken out: while a parallel pass waits, its thread may run another product.
    let mut buffer = kept.take();
    if buffer.len() < length {
        buffer.resize(length, 0);
    }
    work(&mut buffer[..length]);
    kept.set(buffer);
}

/// Packs rows of `matrix` from `first` on, as many panels as the buffer holds.
fn pack(
    packing: Packing,
    matrix: &Matrix,
    first: usize,
    inner: &Range<usize>,
    buffer: &mut [u16],
    parallel: bool,
) {
    let panel = inner.len().div_ceil(STEP) * PANEL_STEP;
    // SAFETY: only called where the matrix unit is available, and then the CPU has the instructions.
    let one = |(index, target): (usize, &mut [u16])| unsafe {
        pack::panel(packing, matrix, first + index * BLOCK, inner.clone(), target);
    };
    match parallel {
        true => buffer.par_chunks_mut(panel).enumerate().with_min_len(2).for_each(one),
        false => buffer.chunks_mut(panel).enumerate().for_each(one),
    }
}

/// How a product is divided into tasks: by rows, and by columns too where rows are few. The division changes
/// nothing in the result.
struct Grid {
    size: [usize; 2],
    task: [usize; 2],
    tasks: [usize; 2],
}

impl Grid {
    fn new(m: usize, n: usize, threads: usize) -> Self {
        let share = |size: usize, tasks: usize| size.div_ceil(tasks.max(1)).next_multiple_of(BLOCK);
        let rows = share(m, (2 * threads).max(m.div_ceil(ROWS))).clamp(2 * BLOCK, ROWS);
        let down = m.div_ceil(rows);
        let across = if threads == 1 { 1 } else { (2 * threads).div_ceil(down).min(n.div_ceil(2 * BLOCK)) };
        let columns = share(n, across);
        Self { size: [m, n], task: [rows, columns], tasks: [down, n.div_ceil(columns)] }
    }

    fn len(&self) -> usize {
        self.tasks[0] * self.tasks[1]
    }

    /// Rows and columns of a task.
    fn task(&self, index: usize) -> (Range<usize>, Range<usize>) {
        let part = |axis: usize, index: usize| {
            let start = index * self.task[axis];
            start..self.size[axis].min(start + self.task[axis])
        };
        (part(0, index / self.tasks[1]), part(1, index % self.tasks[1]))
    }
}

/// One pass over a range of inner elements.
struct Pass<'a> {
    right: &'a [u16],
    /// Elements of one panel.
    panel: usize,
    stride: usize,
    accumulate: bool,
}

impl Pass<'_> {
    /// The blocks of some rows, packed in `left`, and some columns; both start at a whole block.
    ///
    /// # Safety
    /// As of [`multiply`], for this part of the target.
    unsafe fn task(&self, target: &Shared, left: &[u16], rows: Range<usize>, columns: Range<usize>) {
        let tiles = Configured::new();
        for column in columns.clone().step_by(BLOCK) {
            let right = &self.right[column / BLOCK * self.panel..][..self.panel];
            let width = BLOCK.min(columns.end - column);
            for (row, left) in rows.clone().step_by(BLOCK).zip(left.chunks_exact(self.panel)) {
                let c = target.at(row * self.stride + column);
                // SAFETY: the block lies in this task's part of the target.
                unsafe { self.block(&tiles, left, right, c, [BLOCK.min(rows.end - row), width]) };
            }
        }
    }

    /// # Safety
    /// `c` must be `height` rows of `width` elements that nobody else touches.
    unsafe fn block(
        &self,
        tiles: &Configured,
        left: &[u16],
        right: &[u16],
        c: *mut f32,
        [height, width]: [usize; 2],
    ) {
        let (left, right, steps) = (left.as_ptr(), right.as_ptr(), self.panel / PANEL_STEP);
        // SAFETY: the panels have this many steps; of a block at the edge only what lies inside is written.
        unsafe {
            if height == BLOCK && width == BLOCK {
                return tiles.block(left, right, steps, c, self.stride, self.accumulate);
            }
            let mut edge = [0f32; BLOCK * BLOCK];
            tiles.block(left, right, steps, edge.as_mut_ptr(), BLOCK, false);
            for (offset, made) in edge.chunks_exact(BLOCK).take(height).enumerate() {
                let row = std::slice::from_raw_parts_mut(c.add(offset * self.stride), width);
                for (c, made) in row.iter_mut().zip(made) {
                    *c = if self.accumulate { *c + made } else { *made };
                }
            }
        }
    }
}
