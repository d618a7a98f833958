//! The patch matrix where output lines have a width that is a vector or a few: whole lines are moved at once,
//! the part in the padding blanked by a mask. Lines of convolutional networks are so short that a loop over
//! single stretches costs more than the products.

use super::super::conv::Sizes;
use super::super::simd::dispatch;
use super::super::slices::Shared;
use super::{Tile, inside};

/// The width of the output lines, if it is one that is handled here.
pub(super) fn width(sizes: &Sizes) -> Option<usize> {
    let is_planar = sizes.output[0] == 1 && sizes.kernel[0] == 1 && sizes.input[0] == 1;
    let width = sizes.output[2];
    let fits = is_planar && sizes.strides[2] == 1 && sizes.pads[0] == 0;
    (fits && matches!(width, 2 | 4 | 8 | 16 | 32)).then_some(width)
}

/// As [`super::gather`].
pub(super) fn gather(width: usize, x: &[f32], patch: &mut [f32], tile: &Tile, group: usize, sizes: &Sizes) {
    match width {
        2 => gather_lines::<2>(x, patch, tile, group, sizes),
        4 => gather_lines::<4>(x, patch, tile, group, sizes),
        8 => gather_lines::<8>(x, patch, tile, group, sizes),
        16 => gather_lines::<16>(x, patch, tile, group, sizes),
        _ => gather_lines::<32>(x, patch, tile, group, sizes),
    }
}

/// As [`super::scatter`].
///
/// # Safety
/// As of [`super::scatter`], for all channels of the images.
pub(super) unsafe fn scatter(
    width: usize,
    patch: &[f32],
    dx: &Shared,
    tile: &Tile,
    group: usize,
    sizes: &Sizes,
) {
    // SAFETY: the caller says so.
    unsafe {
        match width {
            2 => scatter_lines::<2>(patch, dx, tile, group, sizes),
            4 => scatter_lines::<4>(patch, dx, tile, group, sizes),
            8 => scatter_lines::<8>(patch, dx, tile, group, sizes),
            16 => scatter_lines::<16>(patch, dx, tile, group, sizes),
            _ => scatter_lines::<32>(patch, dx, tile, group, sizes),
        }
    }
}

/// The lines of one channel, tap and image.
struct Lines {
    /// Where the image's lines begin in the patch matrix.
    patch: usize,
    /// Lines before, inside and behind the input.
    blank_before: usize,
    inside: usize,
    blank_behind: usize,
    /// The input channel.
    plane: usize,
    /// Position in the plane of the first inside line's first element; negative where that is padding.
    first: isize,
    /// Positions from one line to the next.
    step: usize,
    /// Elements of a line that are not padding.
    columns: (usize, usize),
}

#[inline(always)]
fn each_lines(tile: &Tile, group: usize, sizes: &Sizes, mut f: impl FnMut(&Lines)) {
    let columns = tile.columns(sizes);
    let [_, height, width] = sizes.input;
    let (channels, taps) = (sizes.group_inputs(), sizes.kernel_len());
    for channel in 0..channels {
        for tap in 0..taps {
            let (b, c) = (tap / sizes.kernel[2], tap % sizes.kernel[2]);
            let down = (b * sizes.dilations[1]) as isize - sizes.pads[1] as isize;
            let across = (c * sizes.dilations[2]) as isize - sizes.pads[2] as isize;
            let (low, high) = inside(down, sizes.strides[1], height, sizes.output[1]);
            let begin = low.clamp(tile.row, tile.row + tile.rows);
            let end = high.clamp(begin, tile.row + tile.rows);
            let top = (begin * sizes.strides[1]) as isize + down;
            for image in 0..tile.images {
                f(&Lines {
                    patch: (channel * taps + tap) * columns + image * tile.rows * sizes.output[2],
                    blank_before: begin - tile.row,
                    inside: end - begin,
                    blank_behind: tile.row + tile.rows - end,
                    plane: (tile.image + image) * sizes.in_channels + group * channels + channel,
                    first: top * width as isize + across,
                    step: sizes.strides[1] * width,
                    columns: inside(across, 1, width, sizes.output[2]),
                });
            }
        }
    }
}

/// All bits for the columns that are not padding.
#[inline(always)]
fn mask<const W: usize>((low, high): (usize, usize)) -> [u32; W] {
    std::array::from_fn(|column| if column >= low && column < high { u32::MAX } else { 0 })
}

#[inline(always)]
fn masked<const W: usize>(line: &[f32; W], mask: &[u32; W]) -> [f32; W] {
    std::array::from_fn(|column| f32::from_bits(line[column].to_bits() & mask[column]))
}

fn gather_lines<const W: usize>(x: &[f32], patch: &mut [f32], tile: &Tile, group: usize, sizes: &Sizes) {
    dispatch(
        #[inline(always)]
        || {
            each_lines(tile, group, sizes, |lines| {
                let rows = lines.blank_before + lines.inside + lines.blank_behind;
                let target = patch[lines.patch..lines.patch + rows * W].as_chunks_mut::<W>().0;
                let (before, target) = target.split_at_mut(lines.blank_before);
                let (target, behind) = target.split_at_mut(lines.inside);
                before.iter_mut().chain(behind).for_each(|line| *line = [0.0; W]);
                let mask = mask::<W>(lines.columns);
                let mut at = (lines.plane * sizes.input_len()) as isize + lines.first;
                for target in target {
                    let whole = usize::try_from(at).ok().and_then(|at| x.get(at..)?.first_chunk::<W>());
                    *target = match whole {
                        Some(line) => masked(line, &mask),
                        None => std::array::from_fn(|column| {
                            let inside = mask[column] != 0;
                            if inside { x[at.wrapping_add_unsigned(column) as usize] } else { 0.0 }
                        }),
                    };
                    at += lines.step as isize;
                }
            });
        },
    );
}

/// # Safety
/// As of [`scatter`].
unsafe fn scatter_lines<const W: usize>(
    patch: &[f32],
    dx: &Shared,
    tile: &Tile,
    group: usize,
    sizes: &Sizes,
) {
    dispatch(
        #[inline(always)]
        || {
            each_lines(tile, group, sizes, |lines| {
                // SAFETY: the plane lies inside the buffer, and no other task has this image and group.
                let plane = unsafe { dx.slice(lines.plane * sizes.input_len(), sizes.input_len()) };
                let source = lines.patch + lines.blank_before * W;
                let source = patch[source..source + lines.inside * W].as_chunks::<W>().0;
                let mask = mask::<W>(lines.columns);
                let mut at = lines.first;
                for source in source {
                    let whole =
                        usize::try_from(at).ok().and_then(|at| plane.get_mut(at..)?.first_chunk_mut::<W>());
                    match whole {
                        Some(line) => {
                            let source = masked(source, &mask);
                            line.iter_mut().zip(source).for_each(|(to, from)| *to += from);
                        }
                        None => {
                            for (column, source) in source.iter().enumerate().filter(|(c, _)| mask[*c] != 0) {
                                plane[at.wrapping_add_unsigned(column) as usize] += source;
                            }
                        }
                    }
                    at += lines.step as isize;
                }
            });
        },
    );
}
