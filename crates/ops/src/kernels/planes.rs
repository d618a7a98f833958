//! Normalization over groups of planes: a plane is one image and channel, a group the planes that share a
//! mean and a variance (a channel, an image's channel, an image's group of channels).

use super::layer_norm::sum_of;
use super::simd::{CHUNK, dispatch};
use super::slices::unwritten;
use rayon::prelude::*;

/// How planes belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// Group of each plane.
    pub of_plane: Vec<usize>,
    /// Number of groups.
    pub count: usize,
    /// Elements of a plane.
    pub length: usize,
    /// Channels: plane `p` belongs to channel `p % channels`.
    pub channels: usize,
}

impl Groups {
    /// Elements of each group.
    fn sizes(&self) -> Vec<f32> {
        let mut sizes = vec![0f32; self.count];
        self.of_plane.iter().for_each(|group| sizes[*group] += self.length as f32);
        sizes
    }

    /// Sums up numbers of planes by group.
    fn sum(&self, of_planes: impl IntoIterator<Item = f32>) -> Vec<f32> {
        let mut sums = vec![0f64; self.count];
        of_planes.into_iter().zip(&self.of_plane).for_each(|(x, group)| sums[*group] += f64::from(x));
        sums.into_iter().map(|sum| sum as f32).collect()
    }

    fn channel_sums(&self, of_planes: impl IntoIterator<Item = f32>) -> Vec<f32> {
        let mut sums = vec![0f64; self.channels];
        let planes = of_planes.into_iter().enumerate();
        planes.for_each(|(plane, x)| sums[plane % self.channels] += f64::from(x));
        sums.into_iter().map(|sum| sum as f32).collect()
    }

    /// What `f` makes of the elements of each plane.
    fn of_planes<T: Send>(&self, f: impl Fn(usize, std::ops::Range<usize>) -> T + Sync) -> Vec<T> {
        (0..self.of_plane.len())
            .into_par_iter()
            .with_min_len((CHUNK / self.length.max(1)).max(1))
            .map(|plane| f(plane, plane * self.length..(plane + 1) * self.length))
            .collect()
    }

    /// New elements for each plane.
    fn fill(&self, f: impl Fn(usize, std::ops::Range<usize>, &mut [f32]) + Sync) -> Vec<f32> {
        let mut y = unwritten(self.of_plane.len() * self.length);
        if self.length > 0 {
            y.par_chunks_mut(self.length)
                .with_min_len((CHUNK / self.length).max(1))
                .enumerate()
                .for_each(|(plane, y)| f(plane, plane * self.length..(plane + 1) * self.length, y));
        }
        y
    }
}

/// Mean and variance (the mean of squared distances) of each group.
pub fn statistics(x: &[f32], groups: &Groups) -> (Vec<f32>, Vec<f32>) {
    let sizes = groups.sizes();
    let over =
        |sums: Vec<f32>| -> Vec<f32> { sums.iter().zip(&sizes).map(|(s, n)| s / n.max(1.0)).collect() };
    // Moments about a number near the mean, so that one pass over `x` is enough: about 0 the difference of the two would
    // lose digits where the mean is large.
    let mut near = vec![None; groups.count];
    for (plane, group) in groups.of_plane.iter().enumerate() {
        let own = plane * groups.length..(plane + 1) * groups.length;
        near[*group].get_or_insert_with(|| sum_of(&x[own]) / groups.length.max(1) as f32);
    }
    let moments = groups.of_planes(|plane, range| {
        let near = near[groups.of_plane[plane]].unwrap_or(0.0);
        dispatch(
            #[inline(always)]
            || {
                let (mut first, mut second) = ([0f32; 16], [0f32; 16]);
                let chunks = x[range].chunks_exact(16);
                let tail = chunks.remainder().iter().map(|x| x - near);
                let tail = tail.fold([0f32; 2], |[a, b], x| [a + x, b + x * x]);
                for chunk in chunks {
                    for i in 0..16 {
                        let x = chunk[i] - near;
                        first[i] += x;
                        second[i] += x * x;
                    }
                }
                [first.iter().sum::<f32>() + tail[0], second.iter().sum::<f32>() + tail[1]]
            },
        )
    });
    let [first, second] = [0, 1].map(|moment| over(groups.sum(moments.iter().map(|plane| plane[moment]))));
    let mean = first.iter().zip(&near).map(|(first, near)| first + near.unwrap_or(0.0)).collect();
    let variance =
        second.iter().zip(&first).map(|(second, first)| (second - first * first).max(0.0)).collect();
    (mean, variance)
}

/// What the elements of a group are shifted and scaled by, and the scale and bias of each channel.
#[derive(Debug, Clone, Copy)]
pub struct Normal<'a> {
    /// Mean of each group.
    pub mean: &'a [f32],
    /// `1 / sqrt(variance + epsilon)` of each group.
    pub inverse: &'a [f32],
    /// Scale of each channel.
    pub gamma: &'a [f32],
}

/// `(x - mean) * inverse * gamma + beta`.
pub fn forward(x: &[f32], normal: Normal, beta: &[f32], groups: &Groups) -> Vec<f32> {
    groups.fill(|plane, range, y| {
        let (group, channel) = (groups.of_plane[plane], plane % groups.channels);
        let (mean, beta) = (normal.mean[group], beta[channel]);
        let scale = normal.inverse[group] * normal.gamma[channel];
        dispatch(
            #[inline(always)]
            || y.iter_mut().zip(&x[range]).for_each(|(y, x)| *y = (x - mean) * scale + beta),
        );
    })
}

/// Gradients of [`forward`].
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Gradients {
    pub x: Vec<f32>,
    pub gamma: Vec<f32>,
    pub beta: Vec<f32>,
}

/// The reverse rule of [`forward`]. Where mean and variance are `constant` they do not depend on `x`;
/// otherwise they are the [`statistics`] of `x`.
pub fn backward(x: &[f32], g: &[f32], normal: Normal, constant: bool, groups: &Groups) -> Gradients {
    let (of_plane, channels) = (&groups.of_plane, groups.channels);
    // sum(g) and sum(g * (x - mean)); the difference of two products would lose digits where the mean is large.
    let both = groups.of_planes(|plane, range| {
        let mean = normal.mean[of_plane[plane]];
        dispatch(
            #[inline(always)]
            || {
                let (x, g) = (&x[range.clone()], &g[range]);
                let (mut sums, mut products) = ([0f32; 16], [0f32; 16]);
                let (xs, gs) = (x.chunks_exact(16), g.chunks_exact(16));
                let tail = xs.remainder().iter().zip(gs.remainder());
                let tail = tail.fold([0f32; 2], |[a, b], (x, g)| [a + g, b + g * (x - mean)]);
                for (x, g) in xs.zip(gs) {
                    for i in 0..16 {
                        sums[i] += g[i];
                        products[i] += g[i] * (x[i] - mean);
                    }
                }
                [sums.iter().sum::<f32>() + tail[0], products.iter().sum::<f32>() + tail[1]]
            },
        )
    });
    let [sums, products]: [Vec<f32>; 2] = [0, 1].map(|which| both.iter().map(|plane| plane[which]).collect());
    let scaled = |values: &[f32]| -> Vec<f32> {
        groups.sum(values.iter().enumerate().map(|(plane, value)| value * normal.gamma[plane % channels]))
    };
    let (first, second) = (scaled(&sums), scaled(&products));
    let sizes = groups.sizes();
    let dx = groups.fill(|plane, range, dx| {
        let group = of_plane[plane];
        let inverse = normal.inverse[group];
        let slope = inverse * normal.gamma[plane % channels];
        let (x, g) = (&x[range.clone()], &g[range]);
        let (mean, count) = (normal.mean[group], sizes[group].max(1.0));
        let (along, offset) = match constant {
            true => (0.0, 0.0),
            false => (-inverse.powi(3) * second[group] / count, -inverse * first[group] / count),
        };
        dispatch(
            #[inline(always)]
            || {
                for ((dx, x), g) in dx.iter_mut().zip(x).zip(g) {
                    *dx = slope * g + along * (x - mean) + offset;
                }
            },
        );
    });
    let normalized = products.iter().enumerate().map(|(plane, p)| p * normal.inverse[of_plane[plane]]);
    Gradients { x: dx, gamma: groups.channel_sums(normalized), beta: groups.channel_sums(sums) }
}
