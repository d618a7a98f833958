//! Functions that the compiler can vectorize.

/// `exp(x)`, relative error below 2e-7; 0 below -87, that of 88 above. Cody-Waite reduction and the
/// polynomial of Cephes `expf`.
///
/// What is masked must become a true 0: a smallest normal number would turn subnormal as soon as it is
/// scaled, and matrix products are several times slower on subnormal numbers.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let vanishes = x < -87.0;
    let x = x.clamp(-87.0, 88.0);
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer.
    let n = (x * std::f32::consts::LOG2_E + 12_582_912.0) - 12_582_912.0;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4_f32;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 5.000_000_3e-1;
    let y = p * r * r + r + 1.0;
    let y = f32::from_bits(((n as i32 + 127) << 23) as u32) * y;
    if vanishes { 0.0 } else { y }
}

/// `(erf(x), exp(-x * x))`; erf by Abramowitz and Stegun 7.1.26, absolute error below 2e-7.
#[inline(always)]
pub fn erf_and_exp(x: f32) -> (f32, f32) {
    let a = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * a);
    let e = exp(-a * a);
    let p = ((((1.061_405_4 * t - 1.453_152) * t) + 1.421_413_7) * t - 0.284_496_74) * t + 0.254_829_6;
    ((1.0 - p * t * e).copysign(x), e)
}

/// `tanh(x)` through [`exp`], absolute error below 5e-7.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let e = exp(-2.0 * x.abs());
    ((1.0 - e) / (1.0 + e)).copysign(x)
}

#[cfg(test)]
mod tests {
    #[test]
    fn agrees_with_the_standard_library() {
        for i in -870..=870 {
            let x = i as f32 * 0.1;
            let relative = (super::exp(x) / x.exp() - 1.0).abs();
            assert!(relative < 2e-6, "exp({x}): {relative}");
            assert!((super::tanh(x) - x.tanh()).abs() < 5e-7, "tanh({x})");
        }
        assert_eq!((super::exp(-87.1), super::exp(f32::MIN)), (0.0, 0.0));
        assert!(super::exp(f32::NAN).is_nan());
        for (x, erf) in [(0.0, 0.0), (0.5, 0.520_499_9), (1.0, 0.842_700_8), (-2.0, -0.995_322_3)] {
            assert!((super::erf_and_exp(x).0 - erf).abs() < 3e-7, "erf({x})");
        }
    }
}
