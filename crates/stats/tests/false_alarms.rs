//! Simulations with fixed seeds: when nothing has changed, alarms stay within their budget; when
//! something has, it is found in time.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use refit_stats::*;

struct Draws(ChaCha8Rng);

impl Draws {
    fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn bernoulli(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    fn binomial(&mut self, trials: u64, p: f64) -> u64 {
        (0..trials).filter(|_| self.bernoulli(p)).count() as u64
    }

    fn multinomial(&mut self, trials: u64, shares: &[f64]) -> Vec<u64> {
        let mut counts = vec![0; shares.len()];
        for _ in 0..trials {
            let mut left = self.uniform();
            let bin = shares.iter().position(|share| {
                left -= share;
                left < 0.0
            });
            counts[bin.unwrap_or(shares.len() - 1)] += 1;
        }
        counts
    }
}

/// The rate that a simulation may show when the true rate is `budget`: four standard errors more.
fn allowed(budget: f64, runs: usize) -> f64 {
    budget + 4.0 * (budget * (1.0 - budget) / runs as f64).sqrt()
}

#[test]
fn psi_alarms_keep_their_level_whatever_the_sizes_and_bins() {
    const RUNS: usize = 2000;
    let uniform = |bins: usize| vec![1.0 / bins as f64; bins];
    let mut draws = Draws::new(1);
    for shares in
        [uniform(5), uniform(10), uniform(20), vec![0.9, 0.09, 0.009, 0.001], vec![0.98, 0.01, 0.01]]
    {
        for (reference, window) in [(1000, 50), (1000, 100), (1000, 400), (300, 3000)] {
            let alarms = (0..RUNS)
                .filter(|_| {
                    let reference = draws.multinomial(reference, &shares);
                    let window = draws.multinomial(window, &shares);
                    psi_test(&reference, &window).unwrap().p_value < 0.01
                })
                .count();
            let rate = alarms as f64 / RUNS as f64;
            // A few bins with a handful of observations stray up to 1.4 times: asymptotic, not exact.
            assert!(rate <= 1.4 * allowed(0.01, RUNS), "{shares:?} {reference} {window}: {rate}");
        }
    }
}

#[test]
fn the_customary_threshold_would_not_keep_any_level() {
    let shares = [0.1; 10];
    let mut draws = Draws::new(2);
    let alarms = (0..1000)
        .filter(|_| {
            let (reference, window) = (draws.multinomial(1000, &shares), draws.multinomial(100, &shares));
            psi(&reference, &window).unwrap() > 0.1
        })
        .count();
    assert!(alarms > 250, "the correction has lost its reason: {alarms} of 1000");
}

#[test]
fn a_window_of_many_features_keeps_its_budget_and_finds_the_changed_one() {
    const RUNS: usize = 2000;
    let policy = DriftPolicy { alpha: 0.01, floor: 0.0, ..DriftPolicy::default() };
    let shares = [0.1; 10];
    let shifted = [0.04, 0.05, 0.06, 0.08, 0.09, 0.1, 0.11, 0.13, 0.16, 0.18];
    let mut draws = Draws::new(3);
    let (mut null_alarms, mut found, mut wrong) = (0, 0, 0);
    for _ in 0..RUNS {
        let references: Vec<_> = (0..12).map(|_| draws.multinomial(1000, &shares)).collect();
        let mut windows: Vec<_> = (0..12).map(|_| draws.multinomial(500, &shares)).collect();
        let judge = |windows: &[Vec<u64>]| {
            let features: Vec<_> = references
                .iter()
                .zip(windows)
                .map(|(reference, observed)| FeatureCounts { feature: "f", reference, observed })
                .collect();
            judge_drift(&features, &policy).unwrap()
        };
        let drifted = |drift: &FeatureDrift| drift.verdict == DriftVerdict::Drifted;
        null_alarms += usize::from(judge(&windows).iter().any(drifted));
        windows[4] = draws.multinomial(500, &shifted);
        let judged = judge(&windows);
        found += usize::from(drifted(&judged[4]));
        wrong += judged.iter().enumerate().filter(|(index, drift)| *index != 4 && drifted(drift)).count();
    }
    let rate = |count: usize| count as f64 / RUNS as f64;
    assert!(rate(null_alarms) <= allowed(0.01, RUNS), "null windows: {}", rate(null_alarms));
    assert!(rate(found) > 0.99, "found {}", rate(found));
    assert!(rate(wrong) <= allowed(0.02, RUNS), "wrong features {}", rate(wrong));
}

/// Errors at `rate` until the alarm: the label at which it came, if it did.
fn alarm_after(draws: &mut Draws, process: &mut EProcess, rate: f64, labels: usize) -> Option<u64> {
    for _ in 0..labels {
        process.update(draws.bernoulli(rate));
        if process.alarmed() {
            break;
        }
    }
    process.alarmed_at()
}

#[test]
fn degradation_test_keeps_its_budget_at_the_margin_itself_though_looked_at_always() {
    const RUNS: usize = 1000;
    let mut draws = Draws::new(4);
    let alarms = (0..RUNS)
        .filter(|_| {
            let mut process = EProcess::new(0.2, 0.05).unwrap();
            alarm_after(&mut draws, &mut process, 0.2, 3000).is_some()
        })
        .count();
    let rate = alarms as f64 / RUNS as f64;
    assert!(rate <= allowed(0.05, RUNS), "{rate}");
    assert!(rate > 0.005, "a test that never alarms has no power either: {rate}");
}

#[test]
fn degradation_test_keeps_its_budget_with_an_uncertain_baseline() {
    const RUNS: usize = 1000;
    let budget = DegradationBudget { margin: 0.0, false_alarms: 0.05 };
    let mut draws = Draws::new(5);
    let (mut alarms, mut naive) = (0, 0);
    for _ in 0..RUNS {
        let errors = draws.binomial(400, 0.18);
        let mut process = EProcess::against_baseline(Baseline { errors, rows: 400 }, budget).unwrap();
        alarms += usize::from(alarm_after(&mut draws, &mut process, 0.18, 3000).is_some());
        let mut measured_as_exact = EProcess::new(errors as f64 / 400.0, 0.05).unwrap();
        naive += usize::from(alarm_after(&mut draws, &mut measured_as_exact, 0.18, 3000).is_some());
    }
    let rate = alarms as f64 / RUNS as f64;
    assert!(rate <= allowed(0.05, RUNS), "{rate}");
    let naive = naive as f64 / RUNS as f64;
    assert!(naive > 0.15, "ignoring the baseline's uncertainty was expected to break the budget: {naive}");
}

fn median_delay(seed: u64, good_labels: usize, degraded: f64) -> u64 {
    let mut draws = Draws::new(seed);
    let budget = DegradationBudget { margin: 0.02, false_alarms: 0.01 };
    let mut delays: Vec<u64> = (0..200)
        .map(|_| {
            let mut process =
                EProcess::against_baseline(Baseline { errors: 180, rows: 1000 }, budget).unwrap();
            for _ in 0..good_labels {
                process.update(draws.bernoulli(0.18));
            }
            assert!(!process.alarmed());
            alarm_after(&mut draws, &mut process, degraded, 20_000)
                .map_or(u64::MAX, |at| at - good_labels as u64)
        })
        .collect();
    delays.sort_unstable();
    delays[delays.len() / 2]
}

#[test]
fn real_degradation_is_found_in_time() {
    // Medians: measured, with a third more allowed.
    for (good_labels, degraded, within) in
        [(0, 0.38, 140), (0, 0.30, 700), (500, 0.38, 220), (20_000, 0.38, 320), (20_000, 0.30, 1600)]
    {
        let delay = median_delay(6, good_labels, degraded);
        println!("{good_labels} good labels, then {degraded}: found after a median of {delay}");
        assert!(delay <= within, "{good_labels} good labels, then {degraded}: {delay}");
    }
}

#[test]
fn non_inferiority_is_exact_at_the_margin_and_has_power() {
    const RUNS: usize = 1500;
    let mut draws = Draws::new(7);
    // (lost, won, margin): exactly at the margin, with few and with many disagreements.
    for (rows, lost, won, margin) in
        [(200, 0.05, 0.03, 0.02), (400, 0.12, 0.10, 0.02), (120, 0.01, 0.0, 0.01)]
    {
        let wrong = (0..RUNS)
            .filter(|_| {
                let c = draws.multinomial(rows, &[lost, won, 0.7, 0.3 - lost - won]);
                let counts = PairedCounts {
                    champion_only: c[0],
                    challenger_only: c[1],
                    both_right: c[2],
                    both_wrong: c[3],
                };
                non_inferiority(counts, margin, 0.95).unwrap().p_value <= 0.05
            })
            .count();
        let rate = wrong as f64 / RUNS as f64;
        assert!(rate <= allowed(0.05, RUNS), "{rows} rows at {lost}/{won}: {rate}");
    }
    let passed = (0..RUNS)
        .filter(|_| {
            let c = draws.multinomial(1000, &[0.04, 0.06, 0.75, 0.15]);
            let counts = PairedCounts {
                champion_only: c[0],
                challenger_only: c[1],
                both_right: c[2],
                both_wrong: c[3],
            };
            non_inferiority(counts, 0.005, 0.95).unwrap().p_value <= 0.05
        })
        .count();
    // The normal approximation gives a power of 0.80 here: exactness costs next to nothing.
    assert!(passed as f64 / RUNS as f64 > 0.77, "power for a gain of 2 points: {passed} of {RUNS}");
}

#[test]
fn calibration_interval_covers_the_truth() {
    let mut draws = Draws::new(8);
    for (overconfident_by, truth) in [(0.0, 0.0), (0.1, 0.1)] {
        let covered = (0..300)
            .filter(|_| {
                let confidences: Vec<f64> = (0..500).map(|_| 0.6 + 0.4 * draws.uniform()).collect();
                let correct: Vec<bool> = confidences
                    .iter()
                    .map(|confidence| draws.bernoulli(confidence - overconfident_by))
                    .collect();
                let settings = Bootstrap { resamples: 200, ..Bootstrap::default() };
                calibration(&confidences, &correct, 10, &settings).unwrap().error.contains(truth)
            })
            .count();
        assert!(covered >= 270, "true error {truth}: {covered} of 300 intervals cover it");
    }
}
