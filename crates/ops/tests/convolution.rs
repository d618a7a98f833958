//! Convolutions large enough for every way that the kernels take: rows of one image, several images in one
//! product, groups, depthwise, pointwise. The forward agrees with the definition, and both gradients with
//! the forward: a convolution is linear in input and weight, so `<g, y> = <dx, x> = <dw, w>`.

use refit_ops::kernels::conv::{self, Sizes};

/// Relative to the size of the sums: float32 in another order.
const TOLERANCE: f64 = 1e-4;

fn sizes(batch: usize, channels: [usize; 2], groups: usize, input: [usize; 2], kernel: usize) -> Sizes {
    let side = |input: usize, stride: usize| (input + 2 * (kernel / 2) - kernel) / stride + 1;
    Sizes {
        batch,
        in_channels: channels[0],
        out_channels: channels[1],
        groups,
        input: [1, input[0], input[1]],
        output: [1, side(input[0], 1), side(input[1], 1)],
        kernel: [1, kernel, kernel],
        strides: [1; 3],
        dilations: [1; 3],
        pads: [0, kernel / 2, kernel / 2],
    }
}

fn strided(sizes: Sizes) -> Sizes {
    let side = |axis: usize| (sizes.input[axis] + 2 * sizes.pads[axis] - sizes.kernel[axis]) / 2 + 1;
    Sizes { strides: [1, 2, 2], output: [1, side(1), side(2)], ..sizes }
}

fn cases() -> Vec<(&'static str, Sizes)> {
    vec![
        ("rows of an image", sizes(3, [64, 32], 1, [40, 41], 3)),
        ("one image", sizes(1, [64, 16], 1, [40, 41], 3)),
        ("several images", sizes(9, [32, 48], 1, [5, 4], 3)),
        ("several images, strided", strided(sizes(7, [16, 24], 1, [9, 8], 3))),
        ("strided rows", strided(sizes(2, [48, 20], 1, [63, 62], 3))),
        ("groups", sizes(4, [24, 36], 3, [13, 12], 3)),
        ("pointwise", sizes(3, [40, 24], 1, [33, 31], 1)),
        ("pointwise, small", sizes(6, [40, 24], 1, [3, 3], 1)),
        ("pointwise, strided", strided(sizes(3, [40, 24], 1, [15, 14], 1))),
        ("lines of 2", sizes(9, [32, 48], 1, [2, 2], 3)),
        ("lines of 4, kernel of 5", sizes(5, [32, 48], 1, [3, 4], 5)),
        ("lines of 8, groups", sizes(3, [24, 36], 3, [7, 8], 3)),
        ("lines of 16", sizes(4, [32, 40], 1, [18, 16], 3)),
        ("lines of 32, strided down", {
            let s = sizes(2, [32, 24], 1, [31, 32], 3);
            Sizes { strides: [1, 2, 1], output: [1, 16, 32], ..s }
        }),
        ("lines of 8 from lines of 16", {
            let s = sizes(3, [32, 24], 1, [16, 16], 3);
            Sizes { pads: [0; 3], input: [1, 16, 10], output: [1, 14, 8], ..s }
        }),
        ("side by side", sizes(32, [12, 19], 1, [4, 5], 3)),
        ("side by side, strided, empty lanes", strided(sizes(13, [3, 9], 1, [9, 8], 5))),
        ("side by side, two blocks and one", sizes(45, [6, 5], 1, [2, 2], 3)),
        ("side by side, pointwise, strided", strided(sizes(16, [7, 8], 1, [5, 4], 1))),
        ("side by side, dilated, without padding", {
            let s = sizes(16, [5, 6], 1, [9, 7], 3);
            Sizes { dilations: [1, 2, 3], pads: [0; 3], output: [1, 5, 1], ..s }
        }),
        ("side by side, padded beyond the kernel", {
            let s = sizes(16, [5, 6], 1, [3, 4], 3);
            Sizes { pads: [0, 3, 2], output: [1, 7, 6], ..s }
        }),
        ("depthwise, small", sizes(5, [24, 24], 24, [8, 8], 3)),
        ("depthwise", sizes(4, [24, 24], 24, [17, 19], 3)),
        ("depthwise, strided", strided(sizes(4, [24, 48], 24, [17, 18], 5))),
    ]
}

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 31 + seed * 17 + 1) as f32 * 0.7).sin()).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn norm(a: &[f32]) -> f64 {
    dot(a, a).sqrt()
}

/// One output element by the definition.
fn element(x: &[f32], w: &[f32], s: &Sizes, [n, m, row, column]: [usize; 4]) -> f64 {
    let group = m / s.group_outputs();
    let mut sum = 0.0;
    for c in 0..s.group_inputs() {
        for (i, j) in (0..s.kernel[1]).flat_map(|i| (0..s.kernel[2]).map(move |j| (i, j))) {
            let at =
                |axis: usize, place: usize, tap: usize| place * s.strides[axis] + tap * s.dilations[axis];
            let (y, z) = (at(1, row, i), at(2, column, j));
            let (Some(y), Some(z)) = (y.checked_sub(s.pads[1]), z.checked_sub(s.pads[2])) else { continue };
            if y < s.input[1] && z < s.input[2] {
                let channel = group * s.group_inputs() + c;
                let at = ((n * s.in_channels + channel) * s.input[1] + y) * s.input[2] + z;
                let tap = ((m * s.group_inputs() + c) * s.kernel[1] + i) * s.kernel[2] + j;
                sum += f64::from(x[at]) * f64::from(w[tap]);
            }
        }
    }
    sum
}

#[test]
fn forward_agrees_with_the_definition() {
    for (what, s) in cases() {
        let x = numbers(s.batch * s.in_channels * s.input_len(), 1);
        let w = numbers(s.out_channels * s.patch_len(), 2);
        let bias = numbers(s.out_channels, 3);
        let y = conv::forward(&x, &w, &bias, &s);
        for (at, y) in y.iter().enumerate().step_by(7) {
            let place = at % s.output_len();
            let (plane, row, column) = (at / s.output_len(), place / s.output[2], place % s.output[2]);
            let (n, m) = (plane / s.out_channels, plane % s.out_channels);
            let expected = element(&x, &w, &s, [n, m, row, column]) + f64::from(bias[m]);
            assert!((f64::from(*y) - expected).abs() < 1e-3, "{what}: element {at} is {y}, not {expected}");
        }
    }
}

#[test]
fn gradients_are_adjoint_to_the_forward() {
    for (what, s) in cases() {
        let x = numbers(s.batch * s.in_channels * s.input_len(), 1);
        let w = numbers(s.out_channels * s.patch_len(), 2);
        let g = numbers(s.batch * s.out_channels * s.output_len(), 4);
        let y = conv::forward(&x, &w, &[], &s);
        let dx = conv::input_gradient(&g, &w, &s);
        let dw = conv::weight_gradient(&x, &g, &s);
        let scale = norm(&g) * norm(&y);
        for (name, got) in [("input", dot(&dx, &x)), ("weight", dot(&dw, &w))] {
            let off = (got - dot(&g, &y)).abs() / scale;
            assert!(off < TOLERANCE, "{what}: the gradient of the {name} is off by {off}");
        }
        // Each element, not only the sum: the gradient of a single output element.
        let mut one = vec![0f32; g.len()];
        let at = g.len() / 2 + 3;
        one[at] = 1.0;
        for (name, got) in [
            ("input", dot(&conv::input_gradient(&one, &w, &s), &x)),
            ("weight", dot(&conv::weight_gradient(&x, &one, &s), &w)),
        ] {
            assert!((got - f64::from(y[at])).abs() < 1e-3, "{what}: {name}: {got}, not {}", y[at]);
        }
        let db = conv::bias_gradient(&g, &s);
        let sum: f64 = g.iter().map(|g| f64::from(*g)).sum();
        assert!((db.iter().map(|b| f64::from(*b)).sum::<f64>() - sum).abs() < 1e-2, "{what}: bias");
    }
}

#[test]
fn the_same_bits_in_every_run() {
    let s = sizes(9, [32, 48], 1, [12, 11], 3);
    let (x, g) = (numbers(s.batch * 32 * s.input_len(), 1), numbers(s.batch * 48 * s.output_len(), 2));
    let w = numbers(s.out_channels * s.patch_len(), 3);
    let run = || {
        [conv::forward(&x, &w, &[], &s), conv::input_gradient(&g, &w, &s), conv::weight_gradient(&x, &g, &s)]
    };
    let bits =
        |made: [Vec<f32>; 3]| made.map(|values| values.into_iter().map(f32::to_bits).collect::<Vec<_>>());
    assert_eq!(bits(run()), bits(run()));
}
