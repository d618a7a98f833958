//! Convolution over up to three spatial dimensions: many images side by side in the lanes of vectors, a matrix product
//! over patches that are laid out tile by tile where they are few, and direct loops where each group has one channel
//! (depthwise).
//!
//! The transposed convolution needs no kernel: its forward is [`input_gradient`], its reverse rules are
//! [`forward`] and [`weight_gradient`] with the sides exchanged.

use super::depthwise;
use super::matrix::{Matrix, MatrixMut, Product, multiply};
use super::patches::{self, Tile};
use super::side_by_side;
use super::slices::{Shared, unwritten};
use rayon::prelude::*;

/// Sizes of a convolution; fewer than three spatial dimensions have leading ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the standard's")]
pub struct Sizes {
    pub batch: usize,
    pub in_channels: usize,
    pub out_channels: usize,
    pub groups: usize,
    pub input: [usize; 3],
    pub output: [usize; 3],
    pub kernel: [usize; 3],
    pub strides: [usize; 3],
    pub dilations: [usize; 3],
    /// Padding in front; what lies behind follows from the output's size.
    pub pads: [usize; 3],
}

impl Sizes {
    /// Positions of one input channel.
    pub fn input_len(&self) -> usize {
        self.input.iter().product()
    }

    /// Positions of one output channel.
    pub fn output_len(&self) -> usize {
        self.output.iter().product()
    }

    /// Positions of the kernel.
    pub fn kernel_len(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Input channels of a group.
    pub fn group_inputs(&self) -> usize {
        self.in_channels / self.groups.max(1)
    }

    /// Output channels of a group.
    pub fn group_outputs(&self) -> usize {
        self.out_channels / self.groups.max(1)
    }

    /// Rows of the patch matrix: elements that one output element of a group depends on.
    pub fn patch_len(&self) -> usize {
        self.group_inputs() * self.kernel_len()
    }

    /// Whether patches are the input itself.
    fn is_pointwise(&self) -> bool {
        self.kernel == [1; 3] && self.strides == [1; 3] && self.pads == [0; 3] && self.input == self.output
    }

    fn has_nothing(&self) -> bool {
        self.batch * self.out_channels * self.output_len() == 0 || self.patch_len() == 0
    }
}

/// `y[n, m] = bias[m] + sum over c, k of w[m, c, k] * x[n, c, o * stride - pad + k * dilation]`, with `x`
/// [batch, in, ..], `weight` [out, in / groups, ..]. An empty bias stands for zeros.
///
/// # Panics
/// When a slice does not have the size that `sizes` asks for.
pub fn forward(x: &[f32], weight: &[f32], bias: &[f32], sizes: &Sizes) -> Vec<f32> {
    check(x.len(), weight.len(), sizes.batch * sizes.out_channels * sizes.output_len(), sizes);
    let positions = sizes.output_len();
    let mut y = if sizes.has_nothing() {
        vec![0f32; sizes.batch * sizes.out_channels * positions]
    } else if sizes.group_inputs() > 1 && side_by_side::suits(sizes) {
        side_by_side::forward(x, weight, sizes)
    } else {
        let mut y = unwritten(sizes.batch * sizes.out_channels * positions);
        match sizes.group_inputs() {
            1 => depthwise::forward(x, weight, &mut y, sizes),
            _ => by_product(x, weight, &mut y, sizes),
        }
        y
    };
    if !bias.is_empty() && positions > 0 {
        y.par_chunks_mut(positions)
            .enumerate()
            .for_each(|(plane, y)| y.iter_mut().for_each(|y| *y += bias[plane % sizes.out_channels]));
    }
    y
}

fn by_product(x: &[f32], weight: &[f32], y: &mut [f32], sizes: &Sizes) {
    let (rows, inner, positions) = (sizes.group_outputs(), sizes.patch_len(), sizes.output_len());
    let tiles = patches::tiles(sizes);
    let target = Shared(y.as_mut_ptr());
    let run = |(patch, made): &mut (Vec<f32>, Vec<f32>), tile: &Tile, group: usize, how: Product| {
        let w = Matrix::new(&weight[group * rows * inner..][..rows * inner], rows, inner);
        let columns = tile.columns(sizes);
        let first = (tile.image * sizes.out_channels + group * rows) * positions + tile.start(sizes);
        if sizes.is_pointwise() && tile.images == 1 {
            let at = (tile.image * sizes.in_channels + group * inner) * positions + tile.start(sizes);
            let view = Matrix::strided(&x[at..], [inner, columns], [positions, 1]);
            // SAFETY: each tile and group writes elements of its own.
            multiply(unsafe { MatrixMut::shared(target.at(first), positions) }, w, view, how);
            return;
        }
        let patch = room(patch, inner * columns);
        patches::gather(x, patch, tile, group, sizes);
        let view = Matrix::new(patch, inner, columns);
        if tile.images == 1 {
            // SAFETY: as above.
            multiply(unsafe { MatrixMut::shared(target.at(first), positions) }, w, view, how);
            return;
        }
        let made = room(made, rows * columns);
        multiply(MatrixMut::new(made, columns), w, view, how);
        for (row, made) in made.chunks_exact(columns).enumerate() {
            for (image, made) in made.chunks_exact(positions).enumerate() {
                let at = ((tile.image + image) * sizes.out_channels + group * rows + row) * positions;
                // SAFETY: as above; the block is the whole plane of an image and channel.
                unsafe { target.slice(at, positions) }.copy_from_slice(made);
            }
        }
    };
    let jobs = tiles.len() * sizes.groups;
    let job = |buffers: &mut (Vec<f32>, Vec<f32>), index: usize, how| {
        run(buffers, &tiles[index / sizes.groups], index % sizes.groups, how);
    };
    if jobs < rayon::current_num_threads() {
        let mut buffers = Default::default();
        (0..jobs).for_each(|index| job(&mut buffers, index, Product::PARALLEL));
    } else {
        let buffers = <(Vec<f32>, Vec<f32>)>::default;
        (0..jobs)
            .into_par_iter()
            .for_each_init(buffers, |buffers, index| job(buffers, index, Product::SERIAL));
    }
}

/// The gradient of the input of [`forward`], from that of its output.
///
/// # Panics
/// When a slice does not have the size that `sizes` asks for.
pub fn input_gradient(gradient: &[f32], weight: &[f32], sizes: &Sizes) -> Vec<f32> {
    let count = sizes.batch * sizes.in_channels * sizes.input_len();
    check(count, weight.len(), gradient.len(), sizes);
    if !sizes.has_nothing() && count > 0 && sizes.group_inputs() > 1 && side_by_side::suits(sizes) {
        return side_by_side::input_gradient(gradient, weight, sizes);
    }
    let mut dx = vec![0f32; count];
    if sizes.has_nothing() || count == 0 {
        return dx;
    }
    if sizes.group_inputs() == 1 {
        depthwise::input_gradient(gradient, weight, &mut dx, sizes);
        return dx;
    }
    let (rows, inner) = (sizes.group_outputs(), sizes.patch_len());
    let target = Shared(dx.as_mut_ptr());
    // Tiles of one image overlap in the input: a task takes all of an image.
    let tiles = patches::tiles(sizes);
    let blocks: Vec<&[Tile]> = tiles.chunk_by(|a, b| a.image == b.image).collect();
    let run = |buffers: &mut (Vec<f32>, Vec<f32>), index: usize, how: Product| {
        let (patch, picked) = buffers;
        let (block, group) = (blocks[index / sizes.groups], index % sizes.groups);
        let w = Matrix::new(&weight[group * rows * inner..][..rows * inner], rows, inner);
        for tile in block {
            let columns = tile.columns(sizes);
            let g = patches::outputs(gradient, picked, tile, group, sizes);
            let patch = room(patch, inner * columns);
            multiply(MatrixMut::new(patch, columns), w.t(), g, how);
            // SAFETY: no other task has these images and this group.
            unsafe { patches::scatter(patch, &target, tile, group, sizes) };
        }
    };
    let jobs = blocks.len() * sizes.groups;
    if jobs < rayon::current_num_threads() {
        let mut buffers = Default::default();
        (0..jobs).for_each(|index| run(&mut buffers, index, Product::PARALLEL));
    } else {
        let buffers = <(Vec<f32>, Vec<f32>)>::default;
        (0..jobs)
            .into_par_iter()
            .for_each_init(buffers, |buffers, index| run(buffers, index, Product::SERIAL));
    }
    dx
}

/// The gradient of the weight of [`forward`]. The same bits for the same number of threads.
///
/// # Panics
/// When a slice does not have the size that `sizes` asks for.
pub fn weight_gradient(x: &[f32], gradient: &[f32], sizes: &Sizes) -> Vec<f32> {
    let count = sizes.out_channels * sizes.patch_len();
    check(x.len(), count, gradient.len(), sizes);
    if sizes.has_nothing() {
        return vec![0f32; count];
    }
    if sizes.group_inputs() == 1 {
        return depthwise::weight_gradient(x, gradient, sizes);
    }
    if side_by_side::suits(sizes) {
        return side_by_side::weight_gradient(x, gradient, sizes);
    }
    let (rows, inner) = (sizes.group_outputs(), sizes.patch_len());
    let tiles = patches::tiles(sizes);
    let threads = rayon::current_num_threads();
    let add = |dw: &mut [f32], tiles: &[Tile], how: Product| {
        let (mut patch, mut picked) = (Vec::new(), Vec::new());
        for tile in tiles {
            let columns = tile.columns(sizes);
            for group in 0..sizes.groups {
                let g = patches::outputs(gradient, &mut picked, tile, group, sizes);
                let patch = room(&mut patch, inner * columns);
                patches::gather(x, patch, tile, group, sizes);
                let view = Matrix::new(patch, inner, columns).t();
                let dw = &mut dw[group * rows * inner..][..rows * inner];
                multiply(MatrixMut::new(dw, inner), g, view, Product { accumulate: true, ..how });
            }
        }
    };
    if tiles.len() < threads {
        let mut dw = vec![0f32; count];
        add(&mut dw, &tiles, Product::PARALLEL);
        return dw;
    }
    let parts: Vec<Vec<f32>> = tiles
        .par_chunks(tiles.len().div_ceil(threads))
        .map(|tiles| {
            let mut dw = vec![0f32; count];
            add(&mut dw, tiles, Product::SERIAL);
            dw
        })
        .collect();
    let mut parts = parts.into_iter();
    let mut dw = parts.next().unwrap_or_default();
    parts.for_each(|part| dw.iter_mut().zip(part).for_each(|(sum, part)| *sum += part));
    dw
}

/// The gradient of a bias: sums over batch and positions.
pub fn bias_gradient(gradient: &[f32], sizes: &Sizes) -> Vec<f32> {
    let (positions, channels) = (sizes.output_len(), sizes.out_channels);
    let of_channel = |channel: usize| -> f32 {
        let plane = |image: usize| &gradient[(image * channels + channel) * positions..][..positions];
        (0..sizes.batch).map(|image| super::layer_norm::sum_of(plane(image))).sum()
    };
    (0..channels).into_par_iter().map(of_channel).collect()
}

/// The beginning of a buffer that grows to what is asked of it and keeps its old elements.
fn room(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
    &mut buffer[..length]
}

fn check(x: usize, weight: usize, y: usize, sizes: &Sizes) {
    assert_eq!(x, sizes.batch * sizes.in_channels * sizes.input_len(), "input size");
    assert_eq!(weight, sizes.out_channels * sizes.patch_len(), "weight size");
    assert_eq!(y, sizes.batch * sizes.out_channels * sizes.output_len(), "output size");
}
