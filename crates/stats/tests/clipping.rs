//! Ranges for integers against ONNX Runtime's calibrators: `clipping.json` is made by `tests/reference/calibration.py`
//! at the repository's root, from the same formulas.

use refit_stats::{Histogram, RangeRule};
use serde_json::Value;

const BINS: usize = 2048;

fn sample(name: &str) -> Vec<f32> {
    let value = |i: usize| {
        let i = i as f64;
        let (u, v) = ((i * 0.618_033_988_749_894_9) % 1.0, (i * 0.754_877_666_246_692_7) % 1.0);
        let normal = (-2.0 * (1.0 - u * 0.999_999).ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos();
        match name {
            "normal" => normal,
            "relu" => normal.max(0.0),
            "heavy" => normal.signum() * normal.abs().powi(3),
            "shifted" => normal * 0.5 + 3.0,
            "outlier" if i == 777.0 => 60.0,
            "outlier" => normal,
            other => panic!("no sample {other}"),
        }
    };
    (0..20_011).map(|i| value(i) as f32).collect()
}

#[test]
fn ranges_are_those_of_onnx_runtime() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("clipping.json")).unwrap();
    assert_eq!(cases.len(), 5);
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let values = sample(name);
        let limit = values.iter().fold(0f32, |most, value| most.max(value.abs()));
        let mut histogram = Histogram::new(BINS, f64::from(limit)).unwrap();
        histogram.add(&values);
        let bin = 2.0 * f64::from(limit) / BINS as f64;
        // A value on the edge of two bins may fall into either, which moves a range by a bin.
        for (rule, key, tolerance) in [
            (RangeRule::MinMax, "min_max", 1e-5),
            (RangeRule::Percentile(0.9999), "percentile", bin * 1.01),
            (RangeRule::Entropy, "entropy", bin * 1.01),
            (RangeRule::Mse, "mse", 0.03 * f64::from(limit)),
        ] {
            let (low, high) = histogram.range(rule).unwrap();
            let expected = |end: usize| case[key][end].as_f64().unwrap();
            assert!(
                (low - expected(0)).abs() <= tolerance && (high - expected(1)).abs() <= tolerance,
                "{name}, {key}: {low} to {high} instead of {} to {}",
                expected(0),
                expected(1)
            );
        }
    }
}
