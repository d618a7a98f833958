//! Every function against scipy, scikit-learn or plain enumeration: `reference.json` is made by
//! `tests/reference/stats.py` at the repository's root.

use refit_stats::*;
use serde_json::Value;

/// Relative, with an absolute floor for numbers near zero.
const TOLERANCE: f64 = 1e-7;

fn reference(section: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("reference.json")).expect("reference.json is JSON");
    let cases = all[section].as_array().cloned().unwrap_or_else(|| vec![all[section].clone()]);
    assert!(!cases.is_empty() && !cases[0].is_null(), "no reference numbers for {section}");
    cases
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number")).collect()
}

fn counts(value: &Value) -> Vec<u64> {
    value.as_array().expect("a list").iter().map(|x| x.as_u64().expect("a count")).collect()
}

#[track_caller]
fn check(name: &str, actual: f64, expected: &Value) {
    check_within(name, actual, expected, TOLERANCE);
}

#[track_caller]
fn check_within(name: &str, actual: f64, expected: &Value, tolerance: f64) {
    let expected = expected.as_f64().expect("a number");
    let difference = (actual - expected).abs();
    assert!(difference <= tolerance * expected.abs().max(1e-4), "{name}: {actual} instead of {expected}");
}

#[test]
fn drift_measures() {
    for case in reference("drift") {
        let (reference, observed) = (counts(&case["reference"]), counts(&case["observed"]));
        let test = psi_test(&reference, &observed).unwrap();
        check("psi", psi(&reference, &observed).unwrap(), &case["psi"]);
        check("psi p-value", test.p_value, &case["psi_p_value"]);
        check("js", js_divergence(&reference, &observed).unwrap(), &case["js"]);
        let chi = chi_square_test(&reference, &observed).unwrap();
        check("chi-square", chi.statistic, &case["chi_square"]);
        check("chi-square p-value", chi.p_value, &case["chi_square_p_value"]);
    }
}

#[test]
fn intervals_of_proportions() {
    for case in reference("proportions") {
        let successes = case["successes"].as_u64().unwrap();
        let trials = case["trials"].as_u64().unwrap();
        let confidence = case["confidence"].as_f64().unwrap();
        let name = format!("{successes} of {trials} at {confidence}");
        let (score, exact) = (
            wilson(successes, trials, confidence).unwrap(),
            clopper_pearson(successes, trials, confidence).unwrap(),
        );
        check(&format!("{name}: Wilson, lower"), score.lower, &case["wilson"][0]);
        check(&format!("{name}: Wilson, upper"), score.upper, &case["wilson"][1]);
        check(&format!("{name}: exact, lower"), exact.lower, &case["exact"][0]);
        check(&format!("{name}: exact, upper"), exact.upper, &case["exact"][1]);
        let upper = clopper_pearson_upper(successes, trials, 1.0 - confidence).unwrap();
        check(&format!("{name}: one-sided"), upper, &case["upper"]);
    }
}

#[test]
fn adjusted_p_values() {
    for case in reference("adjusted") {
        let adjusted = benjamini_hochberg(&numbers(&case["p_values"]));
        assert_eq!(adjusted.len(), case["adjusted"].as_array().unwrap().len());
        for (actual, expected) in adjusted.iter().zip(case["adjusted"].as_array().unwrap()) {
            check("adjusted", *actual, expected);
        }
    }
}

#[test]
fn exact_tests_of_counts() {
    for case in reference("mcnemar") {
        let p = mcnemar_exact(case["b"].as_u64().unwrap(), case["c"].as_u64().unwrap());
        check("McNemar", p, &case["p_value"]);
    }
    for case in reference("fisher") {
        let c = counts(&case["counts"]);
        check("Fisher", fisher_exact_greater(c[0], c[1], c[2], c[3]).unwrap(), &case["p_value"]);
    }
}

#[test]
fn non_inferiority_equals_enumeration() {
    for case in reference("non_inferiority") {
        let c = counts(&case["counts"]);
        let counts =
            PairedCounts { both_right: c[0], champion_only: c[1], challenger_only: c[2], both_wrong: c[3] };
        let test = non_inferiority(counts, case["margin"].as_f64().unwrap(), 0.95).unwrap();
        check_within(&format!("{c:?}"), test.p_value, &case["p_value"], 1e-4);
        assert!(test.difference.contains(counts.difference()));
    }
}

#[test]
fn classification_metrics() {
    for case in reference("classification") {
        let classes = case["classes"].as_u64().unwrap() as usize;
        let pairs = counts(&case["truth"]).into_iter().zip(counts(&case["predicted"]));
        let matrix =
            ConfusionMatrix::from_pairs(classes, pairs.map(|(t, p)| (t as usize, p as usize))).unwrap();
        let metrics = matrix.metrics(&Bootstrap::default()).unwrap();
        check("accuracy", metrics.accuracy.estimate, &case["accuracy"]);
        for (interval, expected) in [metrics.precision_macro, metrics.recall_macro, metrics.f1_macro]
            .iter()
            .zip(case["macro"].as_array().unwrap())
        {
            check("macro", interval.estimate, expected);
            assert!(interval.contains(interval.estimate) && interval.lower < interval.upper);
        }
        for (class, found) in metrics.classes.iter().enumerate() {
            let zero_if_undefined = |interval: Option<Interval>| interval.map_or(0.0, |i| i.estimate);
            check("precision", zero_if_undefined(found.precision), &case["precision"][class]);
            check("recall", zero_if_undefined(found.recall), &case["recall"][class]);
            check("f1", zero_if_undefined(found.f1), &case["f1"][class]);
            assert_eq!(found.support, case["support"][class].as_u64().unwrap());
        }
    }
}

#[test]
fn calibration_error() {
    for case in reference("calibration") {
        let correct: Vec<bool> =
            case["correct"].as_array().unwrap().iter().map(|x| x.as_bool().unwrap()).collect();
        let found = calibration(&numbers(&case["confidences"]), &correct, 10, &Bootstrap::default()).unwrap();
        check("expected calibration error", found.plug_in_error, &case["error"]);
        assert_eq!(found.bins.iter().map(|bin| bin.rows).sum::<u64>(), correct.len() as u64);
    }
}

#[test]
fn wealth_of_the_e_process_equals_its_definition() {
    for case in reference("e_process") {
        let mut process = EProcess::new(case["null_error"].as_f64().unwrap(), 0.01).unwrap();
        for label in case["labels"].as_array().unwrap() {
            process.update(label.as_bool().unwrap());
        }
        check("log wealth", process.log_wealth(), &case["log_wealth"]);
    }
}

#[test]
fn temperature_is_that_of_a_general_minimiser() {
    for case in reference("temperature") {
        let logits: Vec<Vec<f32>> = case["logits"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| numbers(row).into_iter().map(|logit| logit as f32).collect())
            .collect();
        let truth: Vec<usize> = counts(&case["truth"]).into_iter().map(|class| class as usize).collect();
        let found = fit_temperature(&logits, &truth).unwrap().expect("some rows are wrong");
        // The minimiser sees a flat valley: its place is known to about the root of its precision.
        check_within("temperature", found.temperature, &case["temperature"], 1e-5);
        check("log loss before", found.log_loss_before, &case["before"]);
        check("log loss after", found.log_loss_after, &case["after"]);
        assert!(found.log_loss_after <= found.log_loss_before);
    }
}

#[test]
fn mean_over_folds() {
    for case in reference("corrected") {
        let scores = numbers(&case["scores"]);
        let (ratio, confidence) = (case["ratio"].as_f64().unwrap(), case["confidence"].as_f64().unwrap());
        let found = corrected_mean(&scores, ratio, confidence).unwrap();
        for (found, expected) in
            [found.lower, found.estimate, found.upper].into_iter().zip(case["interval"].as_array().unwrap())
        {
            check("corrected interval", found, expected);
        }
    }
}
