//! Initial values of new parameters, the same for a seed on every machine.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The generator for one parameter: its name keeps parameters of one seed apart.
fn generator(seed: u64, name: &str) -> ChaCha8Rng {
    // FNV-1a, 64 bit: stable across versions of the compiler, unlike the standard library's hasher.
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    ChaCha8Rng::seed_from_u64(seed ^ hash)
}

/// Normal values of mean zero (Box and Muller 1958).
pub(super) fn normal(seed: u64, name: &str, count: usize, deviation: f32) -> Vec<f32> {
    let mut generator = generator(seed, name);
    (0..count)
        .map(|_| {
            let radius = (-2.0 * (1.0 - generator.random::<f64>()).ln()).sqrt();
            let angle = std::f64::consts::TAU * generator.random::<f64>();
            deviation * (radius * angle.cos()) as f32
        })
        .collect()
}

/// Uniform values from -`bound` to `bound`.
pub(super) fn uniform(seed: u64, name: &str, count: usize, bound: f32) -> Vec<f32> {
    let mut generator = generator(seed, name);
    (0..count).map(|_| bound * (2.0 * generator.random::<f32>() - 1.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_values_have_their_moments_and_a_seed_of_their_own() {
        let values = normal(7, "w", 20_000, 0.5);
        let mean = values.iter().sum::<f32>() / 20_000.0;
        let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 20_000.0).sqrt();
        assert!(mean.abs() < 0.02 && (deviation - 0.5).abs() < 0.02, "{mean} {deviation}");
        assert_eq!(values[..4], normal(7, "w", 4, 0.5));
        assert_ne!(values[..4], normal(8, "w", 4, 0.5));
        assert_ne!(values[..4], normal(7, "v", 4, 0.5));
    }

    #[test]
    fn uniform_values_fill_their_range() {
        let values = uniform(7, "w", 10_000, 2.0);
        let most = values.iter().fold(0f32, |most, value| most.max(value.abs()));
        assert!((1.9..=2.0).contains(&most), "{most}");
    }
}
