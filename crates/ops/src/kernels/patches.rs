//! The patch matrix of a convolution ("im2col"), one tile at a time: a row for each channel and position
//! of the kernel, a column for each output position.

mod lines;

use super::conv::Sizes;
use super::matrix::Matrix;
use super::slices::Shared;

/// Columns that make a matrix product worth its packing.
const COLUMNS: usize = 256;
/// Elements of a tile that still lie in the second-level cache.
const ELEMENTS: usize = 192 * 1024;

/// Columns of one product: several whole images, or output rows of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tile {
    pub image: usize,
    pub images: usize,
    /// First output row, counted over the two outer dimensions.
    row: usize,
    rows: usize,
}

impl Tile {
    /// Columns of the patch matrix.
    pub fn columns(&self, sizes: &Sizes) -> usize {
        self.images * self.rows * sizes.output[2]
    }

    /// Output position of the first column.
    pub fn start(&self, sizes: &Sizes) -> usize {
        self.row * sizes.output[2]
    }
}

/// All tiles, in order of images.
pub(super) fn tiles(sizes: &Sizes) -> Vec<Tile> {
    let (positions, width) = (sizes.output_len(), sizes.output[2]);
    let all_rows = sizes.output[0] * sizes.output[1];
    if positions == 0 {
        return Vec::new();
    }
    let columns = (ELEMENTS / sizes.patch_len().max(1)).max(COLUMNS);
    if positions < columns {
        let images = (columns / positions).min(sizes.batch.div_ceil(rayon::current_num_threads())).max(1);
        return (0..sizes.batch)
            .step_by(images)
            .map(|image| Tile { image, images: images.min(sizes.batch - image), row: 0, rows: all_rows })
            .collect();
    }
    let rows = (columns / width).clamp(1, all_rows);
    let of_image = |image| {
        (0..all_rows).step_by(rows).map(move |row| Tile {
            image,
            images: 1,
            row,
            rows: rows.min(all_rows - row),
        })
    };
    (0..sizes.batch).flat_map(of_image).collect()
}

/// The stretch of output positions whose input position lies inside, along the last dimension.
pub(super) fn inside(offset: isize, stride: usize, input: usize, output: usize) -> (usize, usize) {
    let stride = stride as isize;
    let low = if offset >= 0 { 0 } else { (-offset + stride - 1) / stride };
    let room = input as isize - offset;
    let high = if room <= 0 { 0 } else { (room + stride - 1) / stride };
    let high = high.clamp(0, output as isize);
    (low.min(high) as usize, high as usize)
}

/// Where a dimension's output position reads, or `None` in the padding.
pub(super) fn source(out: usize, tap: usize, axis: usize, sizes: &Sizes) -> Option<usize> {
    let at = (out * sizes.strides[axis] + tap * sizes.dilations[axis]).checked_sub(sizes.pads[axis])?;
    (at < sizes.input[axis]).then_some(at)
}

/// Calls `f(patch range, input start, stride)` for each stretch of a tile that reads the input, and
/// `blank(patch range)` for what lies in the padding.
fn stretches(
    tile: &Tile,
    group: usize,
    sizes: &Sizes,
    mut f: impl FnMut(std::ops::Range<usize>, usize),
    mut blank: impl FnMut(std::ops::Range<usize>),
) {
    let (columns, width) = (tile.columns(sizes), sizes.output[2]);
    let [_, input_rows, input_width] = sizes.input;
    let [taps_0, taps_1, taps_2] = sizes.kernel;
    let channels = sizes.group_inputs();
    for channel in 0..channels {
        for tap in 0..taps_0 * taps_1 * taps_2 {
            let (a, b, c) = (tap / (taps_1 * taps_2), tap / taps_2 % taps_1, tap % taps_2);
            let offset = (c * sizes.dilations[2]) as isize - sizes.pads[2] as isize;
            let (low, high) = inside(offset, sizes.strides[2], input_width, width);
            let mut at = (channel * sizes.kernel_len() + tap) * columns;
            for image in tile.image..tile.image + tile.images {
                let plane = (image * sizes.in_channels + group * channels + channel) * sizes.input_len();
                for row in tile.row..tile.row + tile.rows {
                    let outer = source(row / sizes.output[1], a, 0, sizes);
                    let inner = source(row % sizes.output[1], b, 1, sizes);
                    match (outer, inner) {
                        (Some(outer), Some(inner)) if low < high => {
                            let line = plane + (outer * input_rows + inner) * input_width;
                            let first = (low * sizes.strides[2]) as isize + offset;
                            blank(at..at + low);
                            f(at + low..at + high, line + first as usize);
                            blank(at + high..at + width);
                        }
                        _ => blank(at..at + width),
                    }
                    at += width;
                }
            }
        }
    }
}

/// Writes the patch matrix of a tile.
pub(super) fn gather(x: &[f32], patch: &mut [f32], tile: &Tile, group: usize, sizes: &Sizes) {
    if let Some(width) = lines::width(sizes) {
        return lines::gather(width, x, patch, tile, group, sizes);
    }
    let patch = std::cell::RefCell::new(patch);
    let stride = sizes.strides[2];
    let copy = |range: std::ops::Range<usize>, from: usize| {
        let target = &mut patch.borrow_mut()[range];
        let line = &x[from..=from + (target.len() - 1) * stride];
        target.iter_mut().zip(line.iter().step_by(stride)).for_each(|(to, from)| *to = *from);
    };
    stretches(tile, group, sizes, copy, |range| patch.borrow_mut()[range].fill(0.0));
}

/// Adds the patch matrix of a tile to the input positions that its elements stand for.
///
/// # Safety
/// Nobody else may touch the channels of this group in the images of the tile meanwhile.
pub(super) unsafe fn scatter(patch: &[f32], dx: &Shared, tile: &Tile, group: usize, sizes: &Sizes) {
    if let Some(width) = lines::width(sizes) {
        // SAFETY: the caller keeps others away from the images of the tile.
        return unsafe { lines::scatter(width, patch, dx, tile, group, sizes) };
    }
    let stride = sizes.strides[2];
    let add = |range: std::ops::Range<usize>, to: usize| {
        let source = &patch[range];
        // SAFETY: the stretch lies inside one line of the input; the caller keeps others away.
        let line = unsafe { dx.slice(to, (source.len() - 1) * stride + 1) };
        line.iter_mut().step_by(stride).zip(source).for_each(|(to, from)| *to += *from);
    };
    stretches(tile, group, sizes, add, |_| ());
}

/// The elements of an output-shaped tensor at a tile, as [channels of the group, columns]: a view where
/// the tile lies in one image, else copied to `picked`.
pub(super) fn outputs<'a>(
    y: &'a [f32],
    picked: &'a mut Vec<f32>,
    tile: &Tile,
    group: usize,
    sizes: &Sizes,
) -> Matrix<'a> {
    let (rows, positions, columns) = (sizes.group_outputs(), sizes.output_len(), tile.columns(sizes));
    let plane = |image: usize, row: usize| (image * sizes.out_channels + group * rows + row) * positions;
    if tile.images == 1 {
        let first = plane(tile.image, 0) + tile.start(sizes);
        return Matrix::strided(&y[first..], [rows, columns], [positions, 1]);
    }
    picked.resize(rows * columns, 0.0);
    for (row, picked) in picked.chunks_exact_mut(columns).enumerate() {
        for (image, picked) in picked.chunks_exact_mut(positions).enumerate() {
            picked.copy_from_slice(&y[plane(tile.image + image, row)..][..positions]);
        }
    }
    Matrix::new(picked, rows, columns)
}
