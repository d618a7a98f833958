//! Degenerate and hostile input: one clear error or a sensible value, never a panic.

use proptest::prelude::*;
use refit_stats::*;

#[test]
fn no_data_is_an_error_and_never_fine() {
    let empty = StatsError::NoObservations { sample: "the observed window" };
    assert_eq!(psi(&[3, 4], &[0, 0]), Err(empty.clone()));
    assert_eq!(psi_test(&[3, 4], &[0, 0]), Err(empty.clone()));
    assert_eq!(js_divergence(&[3, 4], &[0, 0]), Err(empty));
    assert!(matches!(psi(&[], &[]), Err(StatsError::NoObservations { .. })));
    assert!(matches!(psi(&[1, 2], &[1]), Err(StatsError::BinsDiffer { .. })));
    assert!(matches!(wilson(0, 0, 0.95), Err(StatsError::NoObservations { .. })));
    assert!(matches!(wilson(3, 2, 0.95), Err(StatsError::OutOfRange { .. })));
    assert!(matches!(wilson(1, 2, f64::NAN), Err(StatsError::OutOfRange { .. })));
    assert!(non_inferiority(PairedCounts::default(), 0.01, 0.95).is_err());
    assert!(calibration(&[], &[], 10, &Bootstrap::default()).is_err());
    assert!(calibration(&[f64::NAN], &[true], 10, &Bootstrap::default()).is_err());
    let budget = DegradationBudget { margin: 0.02, false_alarms: 0.01 };
    assert!(EProcess::against_baseline(Baseline { errors: 0, rows: 0 }, budget).is_err());
}

#[test]
fn an_empty_window_is_too_few_and_not_stable() {
    let features = [
        FeatureCounts { feature: "silent", reference: &[50, 50], observed: &[0, 0] },
        FeatureCounts { feature: "eight rows", reference: &[500, 500], observed: &[8, 0] },
        FeatureCounts { feature: "moved", reference: &[500, 500], observed: &[190, 10] },
    ];
    let judged = judge_drift(&features, &DriftPolicy::default()).unwrap();
    let verdicts: Vec<_> = judged.iter().map(|drift| drift.verdict).collect();
    assert_eq!(verdicts, [DriftVerdict::TooFew, DriftVerdict::TooFew, DriftVerdict::Drifted]);
    assert!(judged[0].test.is_none() && judged[1].adjusted_p_value.is_none());
}

#[test]
fn a_tiny_but_certain_shift_stays_below_the_floor() {
    let test = psi_test(&[5_000_000, 5_000_000], &[5_100_000, 4_900_000]).unwrap();
    assert!(test.p_value < 1e-9);
    assert!(test.drifted(0.01, 0.0) && !test.drifted(0.01, 0.1));
}

#[test]
fn constant_feature_still_shows_a_change_in_either_direction() {
    let reference = ReferenceDistribution::numeric("unknown_rate", &[0.1 + 0.2; 400], 10).unwrap();
    let text = serde_json::to_string(&reference).unwrap();
    let reference: ReferenceDistribution = serde_json::from_str(&text).unwrap();
    assert_eq!(reference.counts, [0, 400, 0]);
    assert_eq!(reference.bin(0.1 + 0.2), Some(1));
    for moved in [0.1, 0.4] {
        let mut observed = vec![0; reference.bins()];
        observed[reference.bin(moved).unwrap()] += 60;
        assert!(psi_test(&reference.counts, &observed).unwrap().drifted(1e-6, 0.1));
    }
}

#[test]
fn categories_have_a_place_for_the_unknown() {
    let labels = ["neg".to_owned(), "pos".to_owned()];
    let reference = ReferenceDistribution::categorical("label", &labels, ["pos", "neg", "pos"]).unwrap();
    assert_eq!(reference.counts, [1, 2, 0]);
    assert_eq!(reference.bin_category("neutral"), Some(2));
    assert_eq!(reference.bin(0.0), None);
    assert_eq!(reference.bin_labels(), ["00 neg", "01 pos", "02 (other)"]);
}

#[test]
fn reference_distribution_survives_json_and_tampering_is_seen() {
    let values: Vec<f64> = (0..1000).map(|i| f64::from(i % 97)).collect();
    let mut reference = ReferenceDistribution::numeric("tokens", &values, 10).unwrap();
    let text = serde_json::to_string(&reference).unwrap();
    assert_eq!(serde_json::from_str::<ReferenceDistribution>(&text).unwrap(), reference);
    assert_eq!(reference.validate(), Ok(()));
    reference.counts.pop();
    assert!(reference.validate().is_err());
}

#[test]
fn e_process_survives_json_in_the_middle() {
    let mut process = EProcess::new(0.2, 0.01).unwrap();
    (0..40).for_each(|i| process.update(i % 3 == 0));
    let mut restored: EProcess = serde_json::from_str(&serde_json::to_string(&process).unwrap()).unwrap();
    for i in 0..200 {
        process.update(i % 3 == 0);
        restored.update(i % 3 == 0);
    }
    assert_eq!(process, restored);
    assert!(process.alarmed() && process.crossed(0.01) && process.p_value() <= 0.01);
    assert_eq!((process.observations(), process.errors()), (240, 81));
}

#[test]
fn seeds_fix_projections_and_bootstraps() {
    let directions = projection_directions(5, 384, 8);
    assert_eq!(directions, projection_directions(5, 384, 8));
    assert_ne!(directions, projection_directions(6, 384, 8));
    for direction in &directions {
        assert!((project(direction, direction) - 1.0).abs() < 1e-5);
    }
    assert!(project(&directions[0], &directions[1]).abs() < 0.3);
    let matrix = ConfusionMatrix { counts: vec![vec![40, 10], vec![5, 45]] };
    assert_eq!(matrix.metrics(&Bootstrap::default()), matrix.metrics(&Bootstrap::default()));
}

proptest! {
    #[test]
    fn every_value_has_exactly_one_labelled_bin(
        values in proptest::collection::vec(-1e6f64..1e6, 1..200),
        bins in 2usize..20,
        probe in -2e6f64..2e6,
    ) {
        let reference = ReferenceDistribution::numeric("x", &values, bins).unwrap();
        prop_assert_eq!(reference.total(), values.len() as u64);
        prop_assert!(reference.bin(probe).unwrap() < reference.bins());
        prop_assert!(reference.bins() <= bins.max(3));
        let mut labels = reference.bin_labels();
        let given = labels.clone();
        labels.sort();
        labels.dedup();
        prop_assert_eq!(given, labels);
    }

    #[test]
    fn drift_measures_stay_in_range(
        pairs in proptest::collection::vec((0u64..5000, 0u64..5000), 1..25),
    ) {
        let (reference, observed): (Vec<u64>, Vec<u64>) = pairs.into_iter().unzip();
        if let Ok(test) = psi_test(&reference, &observed) {
            prop_assert!(test.psi >= 0.0 && (0.0..=1.0).contains(&test.p_value));
            prop_assert!((0.0..=1.0).contains(&js_divergence(&reference, &observed).unwrap()));
        }
    }

    #[test]
    fn non_inferiority_is_a_probability_and_monotone_in_the_margin(
        champion_only in 0u64..40, challenger_only in 0u64..40, both_right in 1u64..400,
    ) {
        let counts = PairedCounts { both_right, champion_only, challenger_only, both_wrong: 3 };
        let strict = non_inferiority(counts, 0.01, 0.95).unwrap();
        let lenient = non_inferiority(counts, 0.1, 0.95).unwrap();
        prop_assert!((0.0..=1.0).contains(&strict.p_value));
        prop_assert!(lenient.p_value <= strict.p_value + 1e-3, "{} {}", strict.p_value, lenient.p_value);
        let interval = strict.difference;
        prop_assert!(interval.lower <= interval.estimate && interval.estimate <= interval.upper);
    }
}

#[test]
fn a_temperature_needs_rows_that_say_something() {
    let all_right = vec![vec![1.0, 0.0], vec![0.0, 2.0]];
    assert_eq!(fit_temperature(&all_right, &[0, 1]).unwrap(), None, "sharpening has no end");
    assert_eq!(fit_temperature(&all_right, &[1, 0]).unwrap(), None, "nor has flattening");
    assert_eq!(fit_temperature(&vec![vec![0.0, 0.0]; 4], &[0, 1, 0, 1]).unwrap(), None);
    assert!(fit_temperature(&[], &[]).is_err());
    assert!(fit_temperature(&all_right, &[0, 2]).is_err());
    assert!(fit_temperature(&all_right, &[0]).is_err());
    assert!(fit_temperature(&[vec![f32::NAN, 0.0]], &[0]).is_err());
}

#[test]
fn a_mean_over_folds_needs_two_of_them() {
    assert!(corrected_mean(&[0.8], 0.25, 0.95).is_err());
    assert!(corrected_mean(&[0.8, 0.9], f64::NAN, 0.95).is_err());
    let same = corrected_mean(&[0.75, 0.75, 0.75], 0.5, 0.95).unwrap();
    assert_eq!((same.lower, same.upper), (same.estimate, same.estimate));
}
