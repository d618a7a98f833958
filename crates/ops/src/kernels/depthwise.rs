//! Convolutions with one input channel a group. A patch matrix would be larger than the work; lines of a
//! few elements are too short for wide vectors. So a plane is laid out padded, split into `stride` phases
//! along each axis: then every tap of the kernel reads one contiguous stretch for the whole plane at once,
//! and what falls between two lines is dropped.

use super::conv::Sizes;
use super::simd::dispatch;
use rayon::prelude::*;

/// Elements that are summed in registers at a time.
const BLOCK: usize = 64;

/// Output planes, each from one input plane.
pub(super) fn forward(x: &[f32], weight: &[f32], y: &mut [f32], sizes: &Sizes) {
    let layout = Layout::new(sizes);
    let (taps, outputs) = (sizes.kernel_len(), sizes.group_outputs());
    let buffers = || (layout.phases(), vec![0f32; layout.span], Vec::new());
    y.par_chunks_mut(sizes.output_len()).enumerate().for_each_init(buffers, |buffers, (plane, y)| {
        let (phases, wide, terms) = buffers;
        let (image, channel) = (plane / sizes.out_channels, plane % sizes.out_channels);
        let from = (image * sizes.in_channels + channel / outputs) * sizes.input_len();
        layout.each_line(|at, line, step, count| {
            pick(&mut phases[at..at + count], &x[from + line..], step);
        });
        let weights = &weight[channel * taps..][..taps];
        terms.clear();
        terms.extend(layout.taps.iter().copied().zip(weights.iter().copied()));
        wide.fill(0.0);
        correlate(wide, phases, terms);
        layout.each_output(|at, from| {
            pick(&mut y[at..at + layout.width], &wide[from..], 1);
        });
    });
}

/// Writes the gradient of the input.
pub(super) fn input_gradient(gradient: &[f32], weight: &[f32], dx: &mut [f32], sizes: &Sizes) {
    let layout = Layout::new(sizes);
    let (taps, outputs) = (sizes.kernel_len(), sizes.group_outputs());
    let margin = layout.taps.iter().map(|tap| tap % layout.stride).max().unwrap_or(0);
    let buffers = || (layout.phases(), vec![0f32; margin + layout.stride.max(layout.span)], Vec::new());
    dx.par_chunks_mut(sizes.input_len()).enumerate().for_each_init(buffers, |buffers, (plane, dx)| {
        let (phases, wide, terms) = buffers;
        let (image, group) = (plane / sizes.in_channels, plane % sizes.in_channels);
        phases.fill(0.0);
        for channel in group * outputs..(group + 1) * outputs {
            let from = (image * sizes.out_channels + channel) * sizes.output_len();
            layout.each_output(|at, to| {
                pick(&mut wide[margin + to..][..layout.width], &gradient[from + at..], 1);
            });
            let weights = &weight[channel * taps..][..taps];
            for (phase, phases) in phases.chunks_exact_mut(layout.stride).enumerate() {
                // The same sum seen from the other side: an element adds up the outputs that it reached.
                let reached = |(tap, w): (&usize, &f32)| {
                    (tap / layout.stride == phase).then_some((margin - tap % layout.stride, *w))
                };
                terms.clear();
                terms.extend(layout.taps.iter().zip(weights).filter_map(reached));
                correlate(phases, wide, terms);
            }
        }
        layout.each_line(|at, line, step, count| {
            let phases = &phases[at..at + count];
            if step == 1 {
                return pick(&mut dx[line..line + count], phases, 1);
            }
            dx[line..].iter_mut().step_by(step).zip(phases).for_each(|(dx, phase)| *dx = *phase);
        });
    });
}

/// The gradient of the weight, a channel a task.
pub(super) fn weight_gradient(x: &[f32], gradient: &[f32], sizes: &Sizes) -> Vec<f32> {
    let layout = Layout::new(sizes);
    let (taps, outputs) = (sizes.kernel_len(), sizes.group_outputs());
    let mut dw = vec![0f32; sizes.out_channels * taps];
    let buffers = || (layout.phases(), vec![0f32; layout.span], vec![[0f32; BLOCK]; taps]);
    dw.par_chunks_mut(taps).enumerate().for_each_init(buffers, |(phases, wide, sums), (channel, dw)| {
        sums.fill([0.0; BLOCK]);
        for image in 0..sizes.batch {
            let from = (image * sizes.in_channels + channel / outputs) * sizes.input_len();
            layout.each_line(|at, line, step, count| {
                pick(&mut phases[at..at + count], &x[from + line..], step);
            });
            let from = (image * sizes.out_channels + channel) * sizes.output_len();
            layout.each_output(|at, to| {
                pick(&mut wide[to..to + layout.width], &gradient[from + at..], 1);
            });
            add_products(sums, wide, phases, &layout.taps);
        }
        dw.iter_mut().zip(sums).for_each(|(dw, sums)| *dw = sums.iter().sum());
    });
    dw
}

/// How a plane is laid out.
struct Layout {
    sizes: Sizes,
    /// Elements of a phase along each axis.
    phase: [usize; 3],
    /// Distance between phases, a multiple of [`BLOCK`].
    stride: usize,
    /// For each tap of the kernel where its stretch begins.
    taps: Vec<usize>,
    /// Length of a stretch, a multiple of [`BLOCK`].
    span: usize,
    /// Elements of an output line.
    width: usize,
}

impl Layout {
    fn new(sizes: &Sizes) -> Self {
        let reach = |axis: usize| (sizes.kernel[axis] - 1) * sizes.dilations[axis];
        let phase: [usize; 3] =
            std::array::from_fn(|axis| sizes.output[axis] + reach(axis) / sizes.strides[axis]);
        let [_, height, width] = phase;
        let stride = phase.iter().product::<usize>().next_multiple_of(BLOCK);
        let [_, taps_1, taps_2] = sizes.kernel;
        let tap = |tap: usize| {
            let at = [tap / (taps_1 * taps_2), tap / taps_2 % taps_1, tap % taps_2];
            let far: [usize; 3] = std::array::from_fn(|axis| at[axis] * sizes.dilations[axis]);
            let of: [usize; 3] = std::array::from_fn(|axis| far[axis] % sizes.strides[axis]);
            let place: [usize; 3] = std::array::from_fn(|axis| far[axis] / sizes.strides[axis]);
            let phase = (of[0] * sizes.strides[1] + of[1]) * sizes.strides[2] + of[2];
            phase * stride + (place[0] * height + place[1]) * width + place[2]
        };
        let last = sizes.output.map(|size| size - 1);
        let span = ((last[0] * height + last[1]) * width + sizes.output[2]).next_multiple_of(BLOCK);
        let taps = (0..sizes.kernel_len()).map(tap).collect();
        Self { sizes: *sizes, phase, stride, taps, span, width: sizes.output[2] }
    }

    /// Zeros for all phases; stretches of the last may run over its end.
    fn phases(&self) -> Vec<f32> {
        vec![0f32; self.sizes.strides.iter().product::<usize>() * self.stride + self.span]
    }

    /// Calls `f(output, wide)` with the beginning of each output line.
    fn each_output(&self, mut f: impl FnMut(usize, usize)) {
        let [depth, height, _] = self.sizes.output;
        for (outer, inner) in (0..depth).flat_map(|outer| (0..height).map(move |inner| (outer, inner))) {
            f((outer * height + inner) * self.width, (outer * self.phase[1] + inner) * self.phase[2]);
        }
    }

    /// Calls `f(place in the phases, input, step, count)` for each stretch of an input line that lies in
    /// one phase. Input that no window reaches is left out.
    fn each_line(&self, mut f: impl FnMut(usize, usize, usize, usize)) {
        let Sizes { input, strides, pads, .. } = self.sizes;
        let split = |axis: usize, at: usize| {
            let padded = at + pads[axis];
            let place = padded / strides[axis];
            (place < self.phase[axis]).then_some((padded % strides[axis], place))
        };
        for outer in 0..input[0] {
            let Some((phase_0, place_0)) = split(0, outer) else { continue };
            for inner in 0..input[1] {
                let Some((phase_1, place_1)) = split(1, inner) else { continue };
                for first in 0..strides[2].min(input[2]) {
                    let Some((phase_2, place_2)) = split(2, first) else { continue };
                    let phase = (phase_0 * strides[1] + phase_1) * strides[2] + phase_2;
                    let line = (place_0 * self.phase[1] + place_1) * self.phase[2];
                    let count = (input[2] - first).div_ceil(strides[2]).min(self.phase[2] - place_2);
                    let from = (outer * input[1] + inner) * input[2] + first;
                    f(phase * self.stride + line + place_2, from, strides[2], count);
                }
            }
        }
    }
}

/// Every `step`th element. Lines are often shorter than what a call of `memcpy` costs.
#[inline(always)]
fn pick(target: &mut [f32], source: &[f32], step: usize) {
    if step > 1 {
        return target.iter_mut().zip(source.iter().step_by(step)).for_each(|(to, x)| *to = *x);
    }
    let source = &source[..target.len()];
    let (wide, rest) = target.as_chunks_mut::<8>();
    let (source_wide, source_rest) = source.as_chunks::<8>();
    wide.iter_mut().zip(source_wide).for_each(|(to, x)| *to = *x);
    rest.iter_mut().zip(source_rest).for_each(|(to, x)| *to = *x);
}

/// `target[j] += sum of w * source[j + offset]` over all terms. The target is whole blocks.
fn correlate(target: &mut [f32], source: &[f32], terms: &[(usize, f32)]) {
    dispatch(
        #[inline(always)]
        || {
            for (block, target) in target.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
                let mut sums = *target;
                for (offset, w) in terms {
                    let source = &source[block * BLOCK + offset..][..BLOCK];
                    for i in 0..BLOCK {
                        sums[i] += w * source[i];
                    }
                }
                *target = sums;
            }
        },
    );
}

/// `sums[t][i] += sum over blocks of a[i] * b[i + taps[t]]`: lanes are added up once, behind the last image.
fn add_products(sums: &mut [[f32; BLOCK]], a: &[f32], b: &[f32], taps: &[usize]) {
    dispatch(
        #[inline(always)]
        || {
            for (sums, tap) in sums.iter_mut().zip(taps) {
                let mut lanes = *sums;
                for (a, b) in a.as_chunks::<BLOCK>().0.iter().zip(b[*tap..].as_chunks::<BLOCK>().0) {
                    for i in 0..BLOCK {
                        lanes[i] += a[i] * b[i];
                    }
                }
                *sums = lanes;
            }
        },
    );
}
