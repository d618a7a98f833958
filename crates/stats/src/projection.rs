//! Random directions on which embeddings are projected, so that drift of a vector shows as drift of
//! a few numbers.

use crate::sampler::Sampler;

/// `count` unit vectors of length `dimensions`, uniform on the sphere and fixed by the seed. They
/// are drawn without a look at the data, so a test on the projections keeps its false-alarm rate.
pub fn projection_directions(seed: u64, dimensions: usize, count: usize) -> Vec<Vec<f32>> {
    let mut sampler = Sampler::new(seed);
    (0..count)
        .map(|_| {
            let raw: Vec<f64> = (0..dimensions).map(|_| sampler.normal()).collect();
            let norm = raw.iter().map(|x| x * x).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
            raw.iter().map(|x| (x / norm) as f32).collect()
        })
        .collect()
}

/// The coordinate of `embedding` along `direction`, summed in double precision so that the engine's
/// last bits do not move a value across a bin edge more than they must. Both have the same length;
/// surplus entries of the longer are ignored.
pub fn project(direction: &[f32], embedding: &[f32]) -> f64 {
    direction.iter().zip(embedding).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}
