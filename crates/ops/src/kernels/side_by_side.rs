//! Convolutions of many images at once: 16 images lie side by side, one in each lane of a vector, so that lines of any
//! length fill the vectors, nothing is laid out as patches, and no product is made with padding. Of small images, as in
//! the deep layers of a network, most of a patch matrix is padding.

use super::conv::Sizes;
use super::patches::source;
use super::simd::dispatch;
#[cfg(target_arch = "x86_64")]
use super::simd::transpose;
use super::slices::{Shared, unwritten};
use rayon::prelude::*;

/// Images side by side.
const LANES: usize = 16;
/// Elements of an image that one task moves.
const MOVED: usize = 4096;
/// Positions of some planes of gradient and input that lie in the first-level cache together.
const CACHED: usize = 48;

type Lane = [f32; LANES];

/// Whether a convolution is done in this way: enough images to fill the lanes, and no groups.
pub(super) fn suits(sizes: &Sizes) -> bool {
    let empty = sizes.batch.next_multiple_of(LANES) - sizes.batch;
    sizes.groups == 1 && sizes.batch > 0 && 4 * empty <= sizes.batch
}

/// See [`super::conv::forward`]; without the bias.
pub(super) fn forward(x: &[f32], weight: &[f32], sizes: &Sizes) -> Vec<f32> {
    let taps = sizes.kernel_len();
    let reads = Reads::new(sizes.output, sizes.input, sizes, |out, tap, axis| source(out, tap, axis, sizes));
    let product = Product {
        channels: [sizes.in_channels, sizes.out_channels],
        strides: [taps, sizes.in_channels * taps],
        positions: [sizes.input_len(), sizes.output_len()],
        reads: &reads,
    };
    let x = pack(x, sizes.batch, sizes.in_channels * sizes.input_len());
    unpack(&product.run(&x, weight), sizes.batch, sizes.out_channels * sizes.output_len())
}

/// See [`super::conv::input_gradient`].
pub(super) fn input_gradient(gradient: &[f32], weight: &[f32], sizes: &Sizes) -> Vec<f32> {
    let taps = sizes.kernel_len();
    // The output position that reads an input position through a tap.
    let reader = |position: usize, tap: usize, axis: usize| {
        let at = (position + sizes.pads[axis]).checked_sub(tap * sizes.dilations[axis])?;
        let out = at / sizes.strides[axis];
        (at.is_multiple_of(sizes.strides[axis]) && out < sizes.output[axis]).then_some(out)
    };
    let reads = Reads::new(sizes.input, sizes.output, sizes, reader);
    let product = Product {
        channels: [sizes.out_channels, sizes.in_channels],
        strides: [sizes.in_channels * taps, taps],
        positions: [sizes.output_len(), sizes.input_len()],
        reads: &reads,
    };
    let gradient = pack(gradient, sizes.batch, sizes.out_channels * sizes.output_len());
    unpack(&product.run(&gradient, weight), sizes.batch, sizes.in_channels * sizes.input_len())
}

/// See [`super::conv::weight_gradient`]. The same bits for any number of threads.
pub(super) fn weight_gradient(x: &[f32], gradient: &[f32], sizes: &Sizes) -> Vec<f32> {
    let [channels, rows, taps] = [sizes.in_channels, sizes.out_channels, sizes.kernel_len()];
    let (inputs, outputs) = (sizes.input_len(), sizes.output_len());
    let sums = Correlation {
        x: &pack(x, sizes.batch, channels * inputs),
        gradient: &pack(gradient, sizes.batch, rows * outputs),
        planes: [rows, channels],
        positions: [outputs, inputs],
        strips: &strips(sizes),
        blocks: sizes.batch.div_ceil(LANES),
    };
    sums.check();
    let wide = Instructions::get();
    let mut dw = vec![0f32; rows * channels * taps];
    dw.par_chunks_mut(4 * channels * taps).enumerate().for_each(|(task, dw)| {
        let (first, height) = (4 * task, dw.len() / (channels * taps));
        let tall = if height == 4 { 4 } else { 1 };
        for row in (0..height).step_by(tall) {
            let mut channel = 0;
            while channel < channels {
                let broad = wide.columns().min(channels - channel);
                let at = [first + row, channel];
                let target = &mut dw[row * channels * taps..][..tall * channels * taps];
                macro_rules! add {
                    ($tall:literal, $broad:literal) => {
                        wide.run(
                            #[inline(always)]
                            |fused| sums.write::<$tall, $broad>(target, at, fused),
                        )
                    };
                }
                match (tall, broad) {
                    (4, 4) => add!(4, 4),
                    (4, 3) => add!(4, 3),
                    (4, 2) => add!(4, 2),
                    (4, _) => add!(4, 1),
                    (_, 4) => add!(1, 4),
                    (_, 3) => add!(1, 3),
                    (_, 2) => add!(1, 2),
                    _ => add!(1, 1),
                }
                channel += broad;
            }
        }
    });
    dw
}

/// Sums over images and positions of products of a gradient and what it is the gradient of.
struct Correlation<'a> {
    x: &'a [Lane],
    gradient: &'a [Lane],
    /// Channels of the gradient and of `x`.
    planes: [usize; 2],
    /// Their positions.
    positions: [usize; 2],
    /// Of each strip of output rows the runs of each tap.
    strips: &'a [Vec<Vec<Run>>],
    blocks: usize,
}

impl Correlation<'_> {
    /// # Panics
    /// When a run does not lie inside a plane.
    fn check(&self) {
        let [of_gradient, of_x] = [0, 1].map(|side| self.blocks * self.planes[side] * self.positions[side]);
        assert!(self.gradient.len() == of_gradient && self.x.len() == of_x, "planes");
        let inside = |run: &Run| {
            let last = run.input + (run.length - 1) * run.step;
            run.output + run.length <= self.positions[0] && last < self.positions[1]
        };
        assert!(self.strips.iter().flatten().flatten().all(inside), "runs inside a plane");
    }

    /// Writes the gradients of all taps between some rows and channels; `target` holds the rows.
    #[inline(always)]
    fn write<const ROWS: usize, const COLUMNS: usize>(
        &self,
        target: &mut [f32],
        [row, channel]: [usize; 2],
        fused: bool,
    ) {
        let [[rows, channels], [outputs, inputs]] = [self.planes, self.positions];
        assert!(row + ROWS <= rows && channel + COLUMNS <= channels, "planes");
        let taps = self.strips.first().map_or(0, Vec::len);
        let planes = |block: usize| [(block * rows + row) * outputs, (block * channels + channel) * inputs];
        let nothing = [[[0f32; LANES]; COLUMNS]; ROWS];
        if let ([strip], true) = (self.strips, self.blocks * inputs.max(outputs) <= CACHED) {
            for (tap, runs) in strip.iter().enumerate() {
                let mut sums = nothing;
                for block in 0..self.blocks {
                    sums = self.along(sums, runs, planes(block), fused);
                }
                put(target, &sums, [channels, channel], [taps, tap]);
            }
            return;
        }
        // All taps of one strip, which are in the cache then, before those of the next.
        let mut sums = vec![nothing; taps];
        for block in 0..self.blocks {
            for strip in self.strips {
                for (sums, runs) in sums.iter_mut().zip(strip) {
                    *sums = self.along(*sums, runs, planes(block), fused);
                }
            }
        }
        for (tap, sums) in sums.iter().enumerate() {
            put(target, sums, [channels, channel], [taps, tap]);
        }
    }

    /// `sums` and the products along some runs, in the planes that begin at `gradient` and `x`.
    #[inline(always)]
    fn along<const ROWS: usize, const COLUMNS: usize>(
        &self,
        mut sums: [[Lane; COLUMNS]; ROWS],
        runs: &[Run],
        [gradient, x]: [usize; 2],
        fused: bool,
    ) -> [[Lane; COLUMNS]; ROWS] {
        let [outputs, inputs] = self.positions;
        for run in runs {
            // A copy, so that the sums stay in registers along the run.
            let mut along = sums;
            for place in 0..run.length {
                for (index, sums) in along.iter_mut().enumerate() {
                    let at = gradient + index * outputs + run.output + place;
                    // SAFETY: `check` and the assertion of `write`: the place lies inside a plane of the gradient.
                    let g = unsafe { self.gradient.get_unchecked(at) };
                    for (index, sum) in sums.iter_mut().enumerate() {
                        let at = x + index * inputs + run.input + place * run.step;
                        // SAFETY: the same for a plane of `x`.
                        add_product(sum, g, unsafe { self.x.get_unchecked(at) }, fused);
                    }
                }
            }
            sums = along;
        }
        sums
    }
}

/// Positions that follow each other in output and input, as one tap sees them.
struct Run {
    output: usize,
    input: usize,
    length: usize,
    /// From one input position to the next.
    step: usize,
}

impl Run {
    /// Takes up the next position if it follows.
    fn extend(&mut self, output: usize, input: usize) -> bool {
        let step = match input.checked_sub(self.input) {
            Some(step) if self.length == 1 => step,
            _ => self.step,
        };
        let follows = self.output + self.length == output && self.input + self.length * step == input;
        if follows {
            (self.length, self.step) = (self.length + 1, step);
        }
        follows
    }
}

/// The runs of each tap, for strips of as many output rows as the cache holds.
fn strips(sizes: &Sizes) -> Vec<Vec<Vec<Run>>> {
    let rows = sizes.output[0] * sizes.output[1];
    let height = rows.div_ceil(sizes.output_len().max(sizes.input_len()).div_ceil(CACHED).min(rows));
    let no_runs = || (0..sizes.kernel_len()).map(|_| Vec::<Run>::new()).collect();
    let mut strips: Vec<Vec<Vec<Run>>> = (0..rows.div_ceil(height)).map(|_| no_runs()).collect();
    let reads = Reads::new(sizes.output, sizes.input, sizes, |out, tap, axis| source(out, tap, axis, sizes));
    for (output, terms) in reads.terms.iter().enumerate() {
        for &(tap, input) in terms {
            let runs = &mut strips[output / sizes.output[2] / height][tap];
            if !runs.last_mut().is_some_and(|run| run.extend(output, input)) {
                runs.push(Run { output, input, length: 1, step: 1 });
            }
        }
    }
    strips
}

#[inline(always)]
fn add_product(sum: &mut Lane, a: &Lane, b: &Lane, fused: bool) {
    for lane in 0..LANES {
        // Without the instruction a fused product is a call of the mathematical library.
        sum[lane] = if fused { a[lane].mul_add(b[lane], sum[lane]) } else { sum[lane] + a[lane] * b[lane] };
    }
}

/// Writes what the lanes add up to: the gradients of one tap between rows and the channels from `channel` on.
#[inline(always)]
fn put<const ROWS: usize, const COLUMNS: usize>(
    target: &mut [f32],
    sums: &[[Lane; COLUMNS]; ROWS],
    [channels, channel]: [usize; 2],
    [taps, tap]: [usize; 2],
) {
    for (row, sums) in sums.iter().enumerate() {
        for (column, sum) in sums.iter().enumerate() {
            target[(row * channels + channel + column) * taps + tap] = total(sum);
        }
    }
}

/// In pairs, in an order that does not depend on the instructions.
#[inline(always)]
fn total(lanes: &Lane) -> f32 {
    let (mut eight, mut four) = ([0f32; 8], [0f32; 4]);
    for lane in 0..8 {
        eight[lane] = lanes[lane] + lanes[lane + 8];
    }
    for lane in 0..4 {
        four[lane] = eight[lane] + eight[lane + 4];
    }
    (four[0] + four[2]) + (four[1] + four[3])
}

/// For each position of the result the taps that reach it, and the position that they read.
struct Reads {
    terms: Vec<Vec<(usize, usize)>>,
}

impl Reads {
    /// `read(position, tap, axis)` is the position that is read along an axis, if any.
    fn new(
        result: [usize; 3],
        operand: [usize; 3],
        sizes: &Sizes,
        read: impl Fn(usize, usize, usize) -> Option<usize>,
    ) -> Self {
        let along = |axis: usize| -> Vec<Vec<(usize, usize)>> {
            let of = |position| {
                (0..sizes.kernel[axis]).filter_map(|tap| Some((tap, read(position, tap, axis)?))).collect()
            };
            (0..result[axis]).map(of).collect()
        };
        let (outer, middle, inner) = (along(0), along(1), along(2));
        let mut terms = Vec::with_capacity(result.iter().product());
        for outer in &outer {
            for middle in &middle {
                for inner in &inner {
                    let mut own = Vec::with_capacity(outer.len() * middle.len() * inner.len());
                    for (a, at_a) in outer {
                        for (b, at_b) in middle {
                            own.extend(inner.iter().map(|(c, at_c)| {
                                let tap = (a * sizes.kernel[1] + b) * sizes.kernel[2] + c;
                                (tap, (at_a * operand[1] + at_b) * operand[2] + at_c)
                            }));
                        }
                    }
                    terms.push(own);
                }
            }
        }
        Self { terms }
    }
}

/// `result[m, p] = sum over c and (t, q) in reads[p] of weight[m * strides[1] + c * strides[0] + t] * operand[c, q]`, for
/// each image.
struct Product<'a> {
    /// Of operand and result.
    channels: [usize; 2],
    /// Of the weight: from one channel of the operand to the next, and of the result.
    strides: [usize; 2],
    /// Of operand and result.
    positions: [usize; 2],
    reads: &'a Reads,
}

impl Product<'_> {
    fn run(&self, operand: &[Lane], weight: &[f32]) -> Vec<Lane> {
        let [[from, to], [read, made]] = [self.channels, self.positions];
        let blocks = operand.len() / (from * read).max(1);
        let farthest = (to - 1) * self.strides[1] + (from - 1) * self.strides[0];
        let taps = self.reads.terms.iter().flatten().map(|(tap, _)| *tap).max().unwrap_or(0);
        assert!(farthest + taps < weight.len(), "the weight's size");
        assert!(self.reads.terms.iter().flatten().all(|(_, at)| *at < read), "positions that are read");
        let mut result = unwritten_lanes(blocks * to * made);
        let target = Shared(result.as_mut_ptr().cast());
        let wide = Instructions::get();
        let together = wide.blocks();
        let tasks =
            (0..blocks).step_by(together).flat_map(|b| (0..to).step_by(wide.rows()).map(move |m| (b, m)));
        tasks.collect::<Vec<_>>().into_par_iter().for_each(|(block, first)| {
            let last = to.min(first + wide.rows());
            let pair = together == 2 && block + 1 < blocks;
            let mut row = first;
            while row < last {
                let height = [8, 4, 1].into_iter().find(|height| row + height <= last).unwrap_or(1);
                macro_rules! rows {
                    ($height:literal, $blocks:literal) => {
                        wide.run(
                            #[inline(always)]
                            |fused| {
                                self.rows::<$height, $blocks>(operand, weight, &target, [block, row], fused)
                            },
                        )
                    };
                }
                match (height, pair) {
                    (8, true) => rows!(8, 2),
                    (4, true) => rows!(4, 2),
                    (_, true) => rows!(1, 2),
                    (8, false) => rows!(8, 1),
                    (4, false) => rows!(4, 1),
                    (_, false) => rows!(1, 1),
                }
                row += height;
            }
        });
        result
    }

    /// Some channels of the result, for the images of some blocks.
    #[inline(always)]
    fn rows<const ROWS: usize, const BLOCKS: usize>(
        &self,
        operand: &[Lane],
        weight: &[f32],
        target: &Shared,
        [block, row]: [usize; 2],
        fused: bool,
    ) {
        let [[from, to], [read, made]] = [self.channels, self.positions];
        let images: [&[Lane]; BLOCKS] =
            std::array::from_fn(|index| &operand[(block + index) * from * read..][..from * read]);
        let [of_operand, of_result] = self.strides;
        for (position, terms) in self.reads.terms.iter().enumerate() {
            let mut sums = [[[0f32; LANES]; BLOCKS]; ROWS];
            for channel in 0..from {
                let at = row * of_result + channel * of_operand;
                for &(tap, place) in terms {
                    // SAFETY: `run` checked that the places lie inside a channel and the weights inside the weight.
                    let x: [&Lane; BLOCKS] = std::array::from_fn(|index| unsafe {
                        images[index].get_unchecked(channel * read + place)
                    });
                    for (index, sums) in sums.iter_mut().enumerate() {
                        // SAFETY: as above.
                        let w = unsafe { *weight.get_unchecked(at + index * of_result + tap) };
                        for (sum, x) in sums.iter_mut().zip(x) {
                            add_product(sum, &[w; LANES], x, fused);
                        }
                    }
                }
            }
            for (index, sums) in sums.iter().enumerate() {
                for (image, sum) in sums.iter().enumerate() {
                    let place = ((block + image) * to + row + index) * made + position;
                    // SAFETY: this task alone has these blocks and channels.
                    unsafe { target.slice(place * LANES, LANES) }.copy_from_slice(sum);
                }
            }
        }
    }
}

/// What the CPU has, as far as the shape of the inner loops depends on it: sums must fit into the registers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Instructions {
    Avx512,
    Avx2,
    Others,
}

impl Instructions {
    fn get() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
            {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Others
    }

    /// Channels of a result that are summed at a time.
    fn rows(self) -> usize {
        if self == Self::Avx512 { 8 } else { 4 }
    }

    /// Channels of the operand whose weights' gradients are summed at a time.
    fn columns(self) -> usize {
        if self == Self::Avx512 { 4 } else { 1 }
    }

    /// Blocks of images that are summed at a time.
    fn blocks(self) -> usize {
        if self == Self::Avx512 { 2 } else { 1 }
    }

    /// Calls `f`, compiled for these instructions, with whether they multiply and add in one.
    #[inline(always)]
    fn run<R>(self, f: impl FnOnce(bool) -> R) -> R {
        match self {
            Self::Others => f(false),
            _ => dispatch(
                #[inline(always)]
                || f(true),
            ),
        }
    }
}

/// As many positions of as many images.
type Tile = [Lane; LANES];

fn transposed(tile: &Tile) -> Tile {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the feature was just detected, and 16 vectors of 32-bit elements are plain data.
        return unsafe {
            std::mem::transmute::<[std::arch::x86_64::__m512i; LANES], Tile>(transpose(
                std::mem::transmute_copy(tile),
            ))
        };
    }
    std::array::from_fn(|row| std::array::from_fn(|column| tile[column][row]))
}

/// Lanes all of which are written next.
#[allow(clippy::uninit_vec, reason = "the caller writes every element; zeroing costs a pass over memory")]
fn unwritten_lanes(len: usize) -> Vec<Lane> {
    let mut lanes = Vec::with_capacity(len);
    // SAFETY: `f32` has no invalid bit patterns and no destructor, and the capacity was just reserved.
    unsafe { lanes.set_len(len) };
    lanes
}

/// `[batch, elements]` as `[blocks, elements]` of lanes; lanes without an image are 0.
fn pack(images: &[f32], batch: usize, elements: usize) -> Vec<Lane> {
    assert_eq!(images.len(), batch * elements, "images");
    let blocks = batch.div_ceil(LANES);
    let mut packed = match batch.is_multiple_of(LANES) {
        true => unwritten_lanes(blocks * elements),
        false => vec![[0f32; LANES]; blocks * elements],
    };
    packed.chunks_mut(elements.max(1)).enumerate().for_each(|(block, packed)| {
        packed.par_chunks_mut(MOVED).enumerate().for_each(|(part, packed)| {
            let images = images[block * LANES * elements..].chunks(elements).take(LANES);
            let lines: Vec<&[f32]> = images.map(|image| &image[part * MOVED..][..packed.len()]).collect();
            for (places, packed) in packed.chunks_mut(LANES).enumerate() {
                if let (true, Ok(packed)) = (lines.len() == LANES, <&mut Tile>::try_from(&mut *packed)) {
                    let tile = std::array::from_fn(|lane| lines[lane][places * LANES..].as_chunks().0[0]);
                    *packed = transposed(&tile);
                    continue;
                }
                for (lane, line) in lines.iter().enumerate() {
                    let line = &line[places * LANES..][..packed.len()];
                    packed.iter_mut().zip(line).for_each(|(lanes, value)| lanes[lane] = *value);
                }
            }
        });
    });
    packed
}

/// The other way round.
fn unpack(packed: &[Lane], batch: usize, elements: usize) -> Vec<f32> {
    assert_eq!(packed.len(), batch.div_ceil(LANES) * elements, "lanes");
    let mut images = unwritten(batch * elements);
    let target = Shared(images.as_mut_ptr());
    packed.chunks(elements.max(1)).enumerate().for_each(|(block, packed)| {
        packed.par_chunks(MOVED).enumerate().for_each(|(part, packed)| {
            for (places, packed) in packed.chunks(LANES).enumerate() {
                let tile = <&Tile>::try_from(packed).ok().map(transposed);
                for lane in 0..LANES.min(batch - block * LANES) {
                    let at = (block * LANES + lane) * elements + part * MOVED + places * LANES;
                    // SAFETY: every part of an image is written by one task; it lies inside the image.
                    let line = unsafe { target.slice(at, packed.len()) };
                    match &tile {
                        Some(tile) => line.copy_from_slice(&tile[lane]),
                        None => line.iter_mut().zip(packed).for_each(|(to, lanes)| *to = lanes[lane]),
                    }
                }
            }
        });
    });
    images
}
