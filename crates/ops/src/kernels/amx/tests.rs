use super::*;
use crate::kernels::random;

fn values(count: usize, seed: u64) -> Vec<f32> {
    (0..count).map(|i| (random::mix(seed + i as u64) >> 40) as f32 / (1u32 << 23) as f32 - 1.0).collect()
}

/// Every layout of both factors, whole and ragged blocks, several passes, with and without adding up: each
/// element within 2^-16 of the sum of the magnitudes of its products.
#[test]
fn equals_the_product_in_double_precision() {
    if !is_available() {
        eprintln!("this CPU has no matrix unit: nothing to compare");
        return;
    }
    for (m, k, n) in
        [(64, 64, 64), (32, 32, 256), (33, 70, 95), (300, 1100, 40), (17, 1000, 16), (128, 33, 257)]
    {
        let (a, b) = (values(m * k, 1), values(k * n, 2));
        for flags in 0..8 {
            let left = if flags & 1 == 0 { Matrix::new(&a, m, k) } else { Matrix::new(&a, k, m).t() };
            let right = if flags & 2 == 0 { Matrix::new(&b, k, n) } else { Matrix::new(&b, n, k).t() };
            let accumulate = flags & 4 != 0;
            let alpha = if flags & 3 == 3 { 0.3 } else { 1.0 };
            let stride = n + 3;
            let before = values(m * stride, 3);
            let mut c = before.clone();
            let how = Product { alpha, accumulate, parallel: flags & 1 == 0 };
            // SAFETY: `c` has `m` rows of `stride >= n` elements.
            unsafe { multiply(c.as_mut_ptr(), stride, &left, &right, how) };
            for row in 0..m {
                for column in 0..stride {
                    let at = row * stride + column;
                    if column >= n {
                        assert_eq!(c[at], before[at], "written outside");
                        continue;
                    }
                    let products =
                        (0..k).map(|i| f64::from(left.at(row, i)) * f64::from(right.at(i, column)));
                    let (sum, size) = products.fold((0.0, 0.0), |(s, z), p| (s + p, z + p.abs()));
                    let expected =
                        f64::from(alpha) * sum + if accumulate { f64::from(before[at]) } else { 0.0 };
                    let error = (f64::from(c[at]) - expected).abs();
                    assert!(
                        error <= (size + 1.0) * 2f64.powi(-16),
                        "{m} {k} {n} {flags}: {row},{column}: {error}"
                    );
                }
            }
        }
    }
}
