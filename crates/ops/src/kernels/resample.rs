//! Weighted sums along one axis: what resizing an image does to each of its axes.

use rayon::prelude::*;

/// For each output position along an axis the input positions that it reads, with their weights.
#[derive(Debug, Clone, Default)]
pub struct Taps {
    /// Length of the axis in the input.
    pub input: usize,
    /// One list an output position.
    pub outputs: Vec<Vec<(usize, f32)>>,
}

impl Taps {
    /// The reverse: from a gradient of the outputs to one of the inputs.
    pub fn transposed(&self) -> Self {
        let mut outputs = vec![Vec::new(); self.input];
        for (to, taps) in self.outputs.iter().enumerate() {
            for (from, weight) in taps {
                outputs[*from].push((to, *weight));
            }
        }
        Self { input: self.outputs.len(), outputs }
    }
}

/// `x` of [outer, input, inner] to [outer, output, inner].
///
/// # Panics
/// When `x` has not that many elements, or a tap lies outside the input.
pub fn along(x: &[f32], taps: &Taps, inner: usize) -> Vec<f32> {
    let (from, to) = (taps.input * inner, taps.outputs.len() * inner);
    if from == 0 || to == 0 {
        // Without inputs there is nothing to read, and every sum is empty.
        let outer = x.len().checked_div(from).unwrap_or(0);
        return vec![0.0; outer * to];
    }
    assert_eq!(x.len() % from, 0, "elements of whole axes");
    let mut y = vec![0f32; x.len() / from * to];
    y.par_chunks_mut(to).zip(x.par_chunks(from)).for_each(|(y, x)| {
        for (row, taps) in y.chunks_exact_mut(inner).zip(&taps.outputs) {
            for (at, weight) in taps {
                let source = &x[at * inner..(at + 1) * inner];
                row.iter_mut().zip(source).for_each(|(sum, x)| *sum += weight * x);
            }
        }
    });
    y
}
