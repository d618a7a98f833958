//! Convolutions with one input channel a group, by direct loops over lines: a patch matrix would be larger
//! than the work.

use super::conv::Sizes;
use super::layer_norm::dot;
use super::patches::{inside, source};
use super::simd::dispatch;
use rayon::prelude::*;

/// Output planes from zeros, each from one input plane.
pub(super) fn forward(x: &[f32], weight: &[f32], y: &mut [f32], sizes: &Sizes) {
    let (taps, outputs) = (sizes.kernel_len(), sizes.group_outputs());
    y.par_chunks_mut(sizes.output_len()).enumerate().for_each(|(plane, y)| {
        let (image, channel) = (plane / sizes.out_channels, plane % sizes.out_channels);
        let from = (image * sizes.in_channels + channel / outputs) * sizes.input_len();
        let (x, w) = (&x[from..][..sizes.input_len()], &weight[channel * taps..][..taps]);
        y.fill(0.0);
        dispatch(
            #[inline(always)]
            || {
                lines(
                    sizes,
                    #[inline(always)]
                    |tap, output, input, count| {
                        let w = w[tap];
                        let (y, stride) = (&mut y[output..output + count], sizes.strides[2]);
                        if stride == 1 {
                            y.iter_mut().zip(&x[input..input + count]).for_each(|(y, x)| *y += w * x);
                        } else {
                            let x = x[input..].iter().step_by(stride);
                            y.iter_mut().zip(x).for_each(|(y, x)| *y += w * x);
                        }
                    },
                );
            },
        );
    });
}

/// Adds to a zero gradient of the input.
pub(super) fn input_gradient(gradient: &[f32], weight: &[f32], dx: &mut [f32], sizes: &Sizes) {
    let (taps, outputs) = (sizes.kernel_len(), sizes.group_outputs());
    dx.par_chunks_mut(sizes.input_len()).enumerate().for_each(|(plane, dx)| {
        let (image, group) = (plane / sizes.in_channels, plane % sizes.in_channels);
        for channel in group * outputs..(group + 1) * outputs {
            let from = (image * sizes.out_channels + channel) * sizes.output_len();
            let (g, w) = (&gradient[from..][..sizes.output_len()], &weight[channel * taps..][..taps]);
            dispatch(
                #[inline(always)]
                || {
                    lines(
                        sizes,
                        #[inline(always)]
                        |tap, output, input, count| {
                            let w = w[tap];
                            let (g, stride) = (&g[output..output + count], sizes.strides[2]);
                            if stride == 1 {
                                let dx = &mut dx[input..input + count];
                                dx.iter_mut().zip(g).for_each(|(dx, g)| *dx += w * g);
                            } else {
                                let dx = dx[input..].iter_mut().step_by(stride);
                                dx.zip(g).for_each(|(dx, g)| *dx += w * g);
                            }
                        },
                    );
                },
            );
        }
    });
}

/// The gradient of the weight, a channel a task.
pub(super) fn weight_gradient(x: &[f32], gradient: &[f32], sizes: &Sizes) -> Vec<f32> {
    let (taps, outputs) = (sizes.kernel_len(), sizes.group_outputs());
    let mut dw = vec![0f32; sizes.out_channels * taps];
    dw.par_chunks_mut(taps).enumerate().for_each(|(channel, dw)| {
        for image in 0..sizes.batch {
            let from = (image * sizes.out_channels + channel) * sizes.output_len();
            let g = &gradient[from..][..sizes.output_len()];
            let from = (image * sizes.in_channels + channel / outputs) * sizes.input_len();
            let x = &x[from..][..sizes.input_len()];
            dispatch(
                #[inline(always)]
                || {
                    lines(
                        sizes,
                        #[inline(always)]
                        |tap, output, input, count| {
                            let (g, stride) = (&g[output..output + count], sizes.strides[2]);
                            dw[tap] += if stride == 1 {
                                dot(g, &x[input..input + count])
                            } else {
                                g.iter().zip(x[input..].iter().step_by(stride)).map(|(g, x)| g * x).sum()
                            };
                        },
                    );
                },
            );
        }
    });
    dw
}

/// Calls `f(tap, first output, first input, count)` for each line of outputs that a tap of the kernel
/// reaches from inside the input.
#[inline(always)]
fn lines(sizes: &Sizes, mut f: impl FnMut(usize, usize, usize, usize)) {
    let [_, taps_1, taps_2] = sizes.kernel;
    let [depth, height, width] = sizes.output;
    for tap in 0..sizes.kernel_len() {
        let (a, b, c) = (tap / (taps_1 * taps_2), tap / taps_2 % taps_1, tap % taps_2);
        let offset = (c * sizes.dilations[2]) as isize - sizes.pads[2] as isize;
        let (low, high) = inside(offset, sizes.strides[2], sizes.input[2], width);
        if low >= high {
            continue;
        }
        let first = ((low * sizes.strides[2]) as isize + offset) as usize;
        for outer in 0..depth {
            let Some(input_outer) = source(outer, a, 0, sizes) else { continue };
            for inner in 0..height {
                let Some(input_inner) = source(inner, b, 1, sizes) else { continue };
                let input = (input_outer * sizes.input[1] + input_inner) * sizes.input[2] + first;
                f(tap, (outer * height + inner) * width + low, input, high - low);
            }
        }
    }
}
