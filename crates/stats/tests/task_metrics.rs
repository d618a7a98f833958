//! Metrics of tasks against seqeval, scikit-learn, scipy and SQuAD's script (tests/reference/task_metrics.py).

use refit_stats::{
    EntityCounts, EntitySpan, answer_f1, average_precision, entities, entity_counts, exact_match, f1_macro,
    f1_micro, label_counts, mean_absolute_error, mean_reciprocal_rank, pearson, r2, rank, recall_at,
    root_mean_squared_error, spearman,
};
use serde::Deserialize;
use serde_json::Value;

const TOLERANCE: f64 = 1e-12;

fn cases<T: for<'a> Deserialize<'a>>(of: &str) -> Vec<T> {
    let all: Value = serde_json::from_str(include_str!("task_metrics.json")).unwrap();
    serde_json::from_value(all[of].clone()).unwrap()
}

fn check(what: &str, found: f64, expected: f64) {
    assert!((found - expected).abs() <= TOLERANCE, "{what}: {found}, expected {expected}");
}

#[derive(Deserialize)]
struct Entities {
    truth: Vec<String>,
    predicted: Vec<String>,
    spans: Vec<(String, usize, usize)>,
    precision: f64,
    recall: f64,
    f1: f64,
}

#[test]
fn entities_are_those_of_seqeval() {
    let cases: Vec<Entities> = cases("entities");
    assert_eq!(cases.len(), 20);
    for case in cases {
        let truth = entities(&case.truth);
        let spans: Vec<EntitySpan> =
            case.spans.into_iter().map(|(kind, start, end)| EntitySpan { kind, start, end }).collect();
        assert_eq!(truth, spans, "{:?}", case.truth);
        let mut all = EntityCounts::default();
        entity_counts(&truth, &entities(&case.predicted)).into_values().for_each(|counts| all.add(counts));
        check("precision", all.precision(), case.precision);
        check("recall", all.recall(), case.recall);
        check("f1", all.f1(), case.f1);
    }
}

#[derive(Deserialize)]
struct Numbers {
    truth: Vec<f64>,
    predicted: Vec<f64>,
    pearson: f64,
    spearman: f64,
    r2: f64,
    mae: f64,
    rmse: f64,
}

#[test]
fn correlations_and_errors_are_those_of_scipy_and_scikit_learn() {
    for case in cases::<Numbers>("regression") {
        let (truth, predicted) = (&case.truth, &case.predicted);
        check("pearson", pearson(truth, predicted), case.pearson);
        check("spearman", spearman(truth, predicted), case.spearman);
        check("r2", r2(truth, predicted), case.r2);
        check("mae", mean_absolute_error(truth, predicted), case.mae);
        check("rmse", root_mean_squared_error(truth, predicted), case.rmse);
    }
    assert!(spearman(&[1.0, 1.0], &[1.0, 2.0]).is_nan(), "a constant has no correlation");
}

#[derive(Deserialize)]
struct Labelled {
    truth: Vec<Vec<bool>>,
    scores: Vec<Vec<f64>>,
    predicted: Vec<Vec<bool>>,
    f1_micro: f64,
    f1_macro: f64,
    average_precision: Vec<Option<f64>>,
}

#[test]
fn multi_label_metrics_are_those_of_scikit_learn() {
    for case in cases::<Labelled>("multi_label") {
        let labels = case.average_precision.len();
        let rows = case.truth.iter().zip(&case.predicted).map(|(t, p)| (t.as_slice(), p.as_slice()));
        let counts = label_counts(labels, rows);
        check("f1_micro", f1_micro(&counts), case.f1_micro);
        check("f1_macro", f1_macro(&counts), case.f1_macro);
        for (label, expected) in case.average_precision.iter().enumerate() {
            let scores: Vec<f64> = case.scores.iter().map(|row| row[label]).collect();
            let truth: Vec<bool> = case.truth.iter().map(|row| row[label]).collect();
            let found = average_precision(&scores, &truth);
            match expected {
                Some(expected) => check("average precision", found, *expected),
                None => assert!(found.is_nan()),
            }
        }
    }
}

#[derive(Deserialize)]
struct Answered {
    answer: String,
    right: Vec<String>,
    exact: f64,
    f1: f64,
}

#[test]
fn answers_are_judged_as_by_squad() {
    for case in cases::<Answered>("answers") {
        check(&case.answer, exact_match(&case.answer, &case.right), case.exact);
        check(&case.answer, answer_f1(&case.answer, &case.right), case.f1);
    }
}

#[test]
fn equal_scores_do_not_count_as_found() {
    assert_eq!(rank(&[0.9, 0.5, 0.1], 0), 1);
    assert_eq!(rank(&[0.9, 0.5, 0.1], 2), 3);
    assert_eq!(rank(&[0.5, 0.5, 0.5], 0), 3);
    assert_eq!(rank(&[f64::NAN, 0.5], 0), 2);
    let ranks = [1, 2, 4, 11];
    assert_eq!((recall_at(&ranks, 1), recall_at(&ranks, 10)), (0.25, 0.75));
    check("mrr", mean_reciprocal_rank(&ranks), (1.0 + 0.5 + 0.25 + 1.0 / 11.0) / 4.0);
}
