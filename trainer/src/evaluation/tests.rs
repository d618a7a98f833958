use super::*;

fn labels() -> Vec<String> {
    ["neg", "pos"].map(str::to_owned).to_vec()
}

fn row(truth: usize, positive: f32, source: &str) -> Scored {
    Scored {
        truth,
        probabilities: vec![1.0 - positive, positive],
        slices: vec![("source".to_owned(), source.to_owned())],
    }
}

#[test]
fn counts_metrics_baseline_and_slices() {
    let mut rows = vec![row(1, 0.9, "imdb"); 60];
    rows.extend(vec![row(0, 0.2, "imdb"); 20]);
    rows.extend(vec![row(0, 0.8, "tweets"); 15]);
    rows.extend(vec![row(1, 0.7, "tweets"); 5]);
    // One unlucky row is not the worst slice.
    rows.push(row(0, 0.6, "letters"));
    let found = evaluate(&labels(), &rows).unwrap();
    assert_eq!(found.confusion.counts, [[20, 16], [0, 65]]);
    assert_eq!(found.metrics.accuracy.estimate, 85.0 / 101.0);
    assert_eq!((found.baseline.label.as_str(), found.baseline.accuracy.estimate), ("pos", 65.0 / 101.0));
    assert_eq!(found.worst_slice.as_deref(), Some("source=tweets"));
    let names: Vec<String> = found.slices.iter().map(SliceMetrics::name).collect();
    assert_eq!(names, ["source=tweets", "source=letters", "source=imdb"]);
    let expected_loss =
        -(60.0 * 0.9f64.ln() + 20.0 * 0.8f64.ln() + 15.0 * 0.2f64.ln() + 5.0 * 0.7f64.ln() + 0.4f64.ln())
            / 101.0;
    assert!((found.log_loss - expected_loss).abs() < 1e-6, "{} {expected_loss}", found.log_loss);
}

#[test]
fn metrics_json_is_read_back() {
    let rows: Vec<Scored> = (0..50).map(|i| row(i % 2, (i % 10) as f32 / 10.0, "imdb")).collect();
    let found = evaluate(&labels(), &rows).unwrap();
    let read: Evaluation = serde_json::from_str(&serde_json::to_string(&found).unwrap()).unwrap();
    assert_eq!((&read.confusion, &read.worst_slice), (&found.confusion, &found.worst_slice));
    // A JSON parser may be off by a last digit.
    for (a, b) in [
        (read.log_loss, found.log_loss),
        (read.metrics.f1_macro.upper, found.metrics.f1_macro.upper),
        (read.calibration.error.estimate, found.calibration.error.estimate),
    ] {
        assert!((a - b).abs() < 1e-12);
    }
}

#[test]
fn unsound_rows_are_named() {
    let refused = |rows: &[Scored]| evaluate(&labels(), rows).unwrap_err().to_string();
    assert!(refused(&[]).contains("no rows"));
    assert!(refused(&[row(0, 0.1, "a"), row(2, 0.1, "a")]).contains("row 1 has the label index 2"));
    assert!(refused(&[row(0, f32::NAN, "a")]).contains("diverged"));
    let narrow = Scored { truth: 0, probabilities: vec![1.0], slices: Vec::new() };
    assert!(refused(&[narrow]).contains("1 probabilities for 2 labels"));
}

#[test]
fn certain_but_wrong_answers_keep_the_loss_finite() {
    let found = evaluate(&labels(), &[row(0, 1.0, "a"), row(1, 1.0, "a")]).unwrap();
    assert!(found.log_loss.is_finite() && found.log_loss > 40.0);
}
