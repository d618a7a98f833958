//! Tails and quantiles of the distributions that the tests use.

use statrs::function::{
    beta::checked_beta_reg, erf::erfc_inv, factorial::ln_binomial, gamma::checked_gamma_ur,
};

/// P(X >= x) for chi-square with `degrees` degrees of freedom.
pub(crate) fn chi_square_upper_tail(x: f64, degrees: usize) -> f64 {
    if degrees == 0 || x <= 0.0 {
        return 1.0;
    }
    if x.is_infinite() {
        return 0.0;
    }
    checked_gamma_ur(degrees as f64 / 2.0, x / 2.0).unwrap_or(f64::NAN).clamp(0.0, 1.0)
}

/// The z with P(Z <= z) = `probability` for a standard normal.
pub(crate) fn normal_quantile(probability: f64) -> f64 {
    -std::f64::consts::SQRT_2 * erfc_inv(2.0 * probability)
}

/// The t with P(T <= t) = `probability` for Student's distribution with `degrees` degrees of freedom.
pub(crate) fn student_t_quantile(probability: f64, degrees: f64) -> f64 {
    let tail = probability.min(1.0 - probability);
    // P(|T| >= t) = I_x(degrees / 2, 1 / 2) at x = degrees / (degrees + t^2).
    let both_tails =
        |x: f64| checked_beta_reg(degrees / 2.0, 0.5, x.clamp(f64::MIN_POSITIVE, 1.0)).unwrap_or(f64::NAN);
    let x = bisect(0.0, 1.0, |x| both_tails(x) - 2.0 * tail);
    let t = (degrees * (1.0 - x) / x).sqrt();
    if probability < 0.5 { -t } else { t }
}

/// ln P(X = k) for X ~ Binomial(n, p), with the limits at p = 0 and p = 1.
pub(crate) fn ln_binomial_mass(k: u64, n: u64, p: f64) -> f64 {
    let power = |count: u64, base: f64| if count == 0 { 0.0 } else { count as f64 * base.ln() };
    ln_binomial(n, k) + power(k, p) + power(n - k, 1.0 - p)
}

/// P(X <= k) for X ~ Binomial(n, p).
pub(crate) fn binomial_lower_tail(k: u64, n: u64, p: f64) -> f64 {
    if k >= n || p <= 0.0 {
        return 1.0;
    }
    if p >= 1.0 {
        return 0.0;
    }
    checked_beta_reg((n - k) as f64, k as f64 + 1.0, 1.0 - p).unwrap_or(f64::NAN).clamp(0.0, 1.0)
}

/// P(X >= k) for X ~ Binomial(n, p).
pub(crate) fn binomial_upper_tail(k: u64, n: u64, p: f64) -> f64 {
    if k == 0 {
        return 1.0;
    }
    if k > n || p <= 0.0 {
        return 0.0;
    }
    if p >= 1.0 {
        return 1.0;
    }
    checked_beta_reg(k as f64, (n - k) as f64 + 1.0, p).unwrap_or(f64::NAN).clamp(0.0, 1.0)
}

/// The root in [0, 1] of a function that rises from negative to positive, to full precision.
pub(crate) fn bisect(mut low: f64, mut high: f64, rising: impl Fn(f64) -> f64) -> f64 {
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if rising(middle) < 0.0 { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}
