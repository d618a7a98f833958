//! Multi-head attention (Vaswani et al. 2017), some queries of one head at a time: their probabilities live
//! in a buffer of the thread and are computed again in the reverse pass, so memory grows linearly with the
//! sequence.

use super::layer_norm::dot;
use super::math;
use super::matrix::{Matrix, MatrixMut, Product, multiply};
use super::simd::dispatch;
use super::slices::{Shared, unwritten};
use rayon::prelude::*;

/// Queries whose probabilities are computed together.
const QUERIES: usize = 128;

/// Sizes of one attention. Queries are [batch, queries, heads * width], keys and values
/// [batch, keys, heads * width].
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Sizes {
    pub batch: usize,
    pub heads: usize,
    pub queries: usize,
    pub keys: usize,
    pub width: usize,
    /// Factor of the scores, usually `1 / sqrt(width)`.
    pub scale: f32,
}

/// An additive mask and its strides over [batch, heads, queries]; the keys are contiguous.
#[derive(Debug, Clone, Copy)]
pub struct Mask<'a> {
    /// Elements.
    pub data: &'a [f32],
    /// Distance between neighbours in batch, heads and queries; 0 where the mask repeats.
    pub strides: [usize; 3],
}

/// Queries, keys and values, row-major.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Inputs<'a> {
    pub query: &'a [f32],
    pub key: &'a [f32],
    pub value: &'a [f32],
    pub mask: Option<Mask<'a>>,
    /// [heads, queries, keys], the same for the whole batch.
    pub bias: Option<&'a [f32]>,
}

/// `softmax(scale * Q K^T + bias + mask) V`, [batch, queries, heads * width].
pub fn forward(inputs: Inputs, sizes: Sizes) -> Vec<f32> {
    let mut output = unwritten(sizes.batch * sizes.queries * sizes.heads * sizes.width);
    let target = Shared(output.as_mut_ptr());
    let scores = || unwritten(sizes.scores());
    (0..sizes.batch * sizes.heads).into_par_iter().for_each_init(scores, |p, index| {
        let head = Head::new(&inputs, sizes, index);
        for first in (0..sizes.queries).step_by(QUERIES) {
            let rows = QUERIES.min(sizes.queries - first);
            let p = &mut p[..rows * sizes.keys];
            head.probabilities(first, p);
            let p = Matrix::new(p, rows, sizes.keys);
            let at = head.query_offset + first * sizes.hidden();
            // SAFETY: each (batch, head) writes blocks of its own.
            let block = unsafe { MatrixMut::shared(target.at(at), sizes.hidden()) };
            multiply(block, p, head.value, Product::SERIAL);
        }
    });
    output
}

/// Gradients of queries, keys and values.
#[allow(missing_docs, reason = "the names say it")]
pub struct Gradients {
    pub query: Vec<f32>,
    pub key: Vec<f32>,
    pub value: Vec<f32>,
}

/// The reverse rule of [`forward`].
pub fn backward(inputs: Inputs, gradient: &[f32], sizes: Sizes) -> Gradients {
    let mut gradients = Gradients::unwritten(&inputs);
    if inputs.query.is_empty() {
        return gradients;
    }
    let reverse = Reverse::new(inputs, gradient, sizes, &mut gradients);
    let buffers = || reverse.buffers();
    (0..sizes.batch * sizes.heads)
        .into_par_iter()
        .for_each_init(buffers, |(p, dscores), index| reverse.head(index, p, dscores, |_, _| ()));
    gradients
}

/// [`backward`] and the gradient of the bias. Examples follow one another, since they share it: only heads
/// run in parallel.
pub fn backward_with_bias(inputs: Inputs, gradient: &[f32], sizes: Sizes) -> (Gradients, Vec<f32>) {
    let mut gradients = Gradients::unwritten(&inputs);
    let scores = sizes.queries * sizes.keys;
    let mut bias = vec![0.0; sizes.heads * scores];
    if inputs.query.is_empty() {
        return (gradients, bias);
    }
    let reverse = Reverse::new(inputs, gradient, sizes, &mut gradients);
    let buffers = || reverse.buffers();
    bias.par_chunks_mut(scores.max(1)).enumerate().for_each_init(buffers, |(p, dscores), (head, sum)| {
        for example in 0..sizes.batch {
            reverse.head(example * sizes.heads + head, p, dscores, |first, dscores| {
                for (sum, dscore) in sum[first * sizes.keys..].iter_mut().zip(dscores) {
                    *sum += dscore;
                }
            });
        }
    });
    (gradients, bias)
}

impl Gradients {
    /// Room for all; without queries nothing is written, and keys and values have gradient 0.
    fn unwritten(inputs: &Inputs) -> Self {
        let room = |like: &[f32]| {
            if inputs.query.is_empty() { vec![0.0; like.len()] } else { unwritten(like.len()) }
        };
        Self { query: room(inputs.query), key: room(inputs.key), value: room(inputs.value) }
    }
}

/// A reverse pass: what it reads and where its results go.
struct Reverse<'a> {
    inputs: Inputs<'a>,
    gradient: &'a [f32],
    sizes: Sizes,
    query: Shared,
    key: Shared,
    value: Shared,
}

impl<'a> Reverse<'a> {
    fn new(inputs: Inputs<'a>, gradient: &'a [f32], sizes: Sizes, results: &mut Gradients) -> Self {
        Self {
            inputs,
            gradient,
            sizes,
            query: Shared(results.query.as_mut_ptr()),
            key: Shared(results.key.as_mut_ptr()),
            value: Shared(results.value.as_mut_ptr()),
        }
    }

    /// Room for the probabilities of some queries, and for the gradients of their scores.
    fn buffers(&self) -> (Vec<f32>, Vec<f32>) {
        (unwritten(self.sizes.scores()), unwritten(self.sizes.scores()))
    }

    /// One head of one example; `see` gets the gradients of the scores, some queries at a time, with the first
    /// query.
    fn head(&self, index: usize, p: &mut [f32], dscores: &mut [f32], mut see: impl FnMut(usize, &[f32])) {
        let (sizes, stride) = (self.sizes, self.sizes.hidden());
        let head = Head::new(&self.inputs, sizes, index);
        // SAFETY: each (batch, head) writes blocks of its own.
        let block = |target: &Shared, at| unsafe { MatrixMut::shared(target.at(at), stride) };
        for first in (0..sizes.queries).step_by(QUERIES) {
            let rows = QUERIES.min(sizes.queries - first);
            let (p, dscores) = (&mut p[..rows * sizes.keys], &mut dscores[..rows * sizes.keys]);
            let at = head.query_offset + first * stride;
            let dout = Matrix::strided(&self.gradient[at..], [rows, sizes.width], [stride, 1]);
            let query = head.query.below(first, rows);
            head.probabilities(first, p);
            let weights = Matrix::new(p, rows, sizes.keys);
            let summed = Product { accumulate: first > 0, ..Product::SERIAL };
            multiply(block(&self.value, head.key_offset), weights.t(), dout, summed);
            multiply(MatrixMut::new(dscores, sizes.keys), dout, head.value.t(), Product::SERIAL);
            softmax_backward(p, dscores, sizes.keys);
            see(first, dscores);
            let scaled = Product { alpha: sizes.scale, ..Product::SERIAL };
            let dscores = Matrix::new(dscores, rows, sizes.keys);
            multiply(block(&self.query, at), dscores, head.key, scaled);
            let summed = Product { alpha: sizes.scale, ..summed };
            multiply(block(&self.key, head.key_offset), dscores.t(), query, summed);
        }
    }
}

impl Sizes {
    fn hidden(&self) -> usize {
        self.heads * self.width
    }

    /// Elements of a buffer for the scores of some queries.
    fn scores(&self) -> usize {
        self.queries.min(QUERIES) * self.keys
    }
}

/// One head of one example.
struct Head<'a> {
    query: Matrix<'a>,
    key: Matrix<'a>,
    value: Matrix<'a>,
    mask: Option<(&'a [f32], usize)>,
    bias: Option<&'a [f32]>,
    query_offset: usize,
    key_offset: usize,
    sizes: Sizes,
}

impl<'a> Head<'a> {
    fn new(inputs: &Inputs<'a>, sizes: Sizes, index: usize) -> Self {
        let (example, head) = (index / sizes.heads, index % sizes.heads);
        let stride = sizes.hidden();
        let query_offset = example * sizes.queries * stride + head * sizes.width;
        let key_offset = example * sizes.keys * stride + head * sizes.width;
        let view = |data: &'a [f32], at, rows| Matrix::strided(&data[at..], [rows, sizes.width], [stride, 1]);
        Self {
            query: view(inputs.query, query_offset, sizes.queries),
            key: view(inputs.key, key_offset, sizes.keys),
            value: view(inputs.value, key_offset, sizes.keys),
            mask: inputs.mask.map(|mask| {
                let [batch, heads, queries] = mask.strides;
                (&mask.data[example * batch + head * heads..], queries)
            }),
            bias: inputs.bias.map(|bias| &bias[head * sizes.queries * sizes.keys..]),
            query_offset,
            key_offset,
            sizes,
        }
    }

    /// Probabilities of as many queries, from `first` on, as `p` has rows.
    fn probabilities(&self, first: usize, p: &mut [f32]) {
        let columns = self.sizes.keys;
        let rows = p.len() / columns.max(1);
        let how = Product { alpha: self.sizes.scale, ..Product::SERIAL };
        multiply(MatrixMut::new(p, columns), self.query.below(first, rows), self.key.t(), how);
        for (row, p) in p.chunks_exact_mut(columns.max(1)).enumerate() {
            let row = first + row;
            let mask = self.mask.map(|(mask, stride)| &mask[row * stride..row * stride + columns]);
            let bias = self.bias.map(|bias| &bias[row * columns..(row + 1) * columns]);
            dispatch(
                #[inline(always)]
                || softmax_row(p, [bias, mask]),
            );
        }
    }
}

#[inline(always)]
fn softmax_row(row: &mut [f32], added: [Option<&[f32]>; 2]) {
    for added in added.into_iter().flatten() {
        for (x, &a) in row.iter_mut().zip(added) {
            *x += a;
        }
    }
    softmax(row);
}

/// Softmax of one row, in place. A row that is masked everywhere becomes uniform.
#[inline(always)]
pub(super) fn softmax(row: &mut [f32]) {
    let mut largest = [f32::MIN; 16];
    let chunks = row.chunks_exact(16);
    let tail = chunks.remainder().iter().fold(f32::MIN, |a, &b| a.max(b));
    for chunk in chunks {
        for i in 0..16 {
            largest[i] = if chunk[i] > largest[i] { chunk[i] } else { largest[i] };
        }
    }
    let largest = largest.iter().fold(tail, |a, &b| a.max(b));
    for x in row.iter_mut() {
        *x = math::exp(*x - largest);
    }
    let mut lanes = [0f32; 16];
    let chunks = row.chunks_exact(16);
    let tail: f32 = chunks.remainder().iter().sum();
    for chunk in chunks {
        for i in 0..16 {
            lanes[i] += chunk[i];
        }
    }
    let scale = 1.0 / (lanes.iter().sum::<f32>() + tail);
    for x in row.iter_mut() {
        *x *= scale;
    }
}

/// `dp = p * (dp - sum(p * dp))` for each row.
pub(super) fn softmax_backward(p: &[f32], dp: &mut [f32], columns: usize) {
    dispatch(
        #[inline(always)]
        || {
            for (p, dp) in p.chunks_exact(columns.max(1)).zip(dp.chunks_exact_mut(columns.max(1))) {
                let along = dot(p, dp);
                for (dp, &p) in dp.iter_mut().zip(p) {
                    *dp = p * (*dp - along);
                }
            }
        },
    );
}
