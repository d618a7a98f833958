use super::*;
use crate::evaluation::{Assessment, Evaluation, Scored, evaluate};
use refit_artifact::{Candidate, Precision, Sensitivity, Serving};

fn classes(report: &mut Report) -> &mut Evaluation {
    match &mut report.evaluation {
        Assessment::Classes(evaluation) => evaluation,
        Assessment::Figures(_) => panic!("the report is one of classes"),
    }
}

/// An engine in which int8 was tried whole and with a layer in float32.
fn search() -> EngineSearch {
    let interval = |estimate: f64| refit_stats::Interval {
        estimate,
        lower: estimate - 0.004,
        upper: estimate + 0.004,
        confidence: 0.95,
    };
    let form = |precision, layers: &[&str], speedup, drop: Option<f64>| Candidate {
        precision,
        detail: "ranges by entropy".to_owned(),
        float_layers: layers.iter().map(|layer| (*layer).to_owned()).collect(),
        bytes: 23_000_000,
        latency_ms: 8.0 / speedup,
        speedup,
        accuracy: drop.map(|drop| interval(0.8 - drop)),
        accuracy_drop: drop.map(interval),
        verdict: "judged".to_owned(),
    };
    let layer = "encoder.layer.0.weight".to_owned();
    EngineSearch {
        serving: Serving {
            file: "model.int8.onnx".to_owned(),
            precision: Precision::Int8,
            float_layers: vec![layer.clone()],
            engine: "onnxruntime".to_owned(),
            reason: "2.2 times as fast, accuracy down by 0.001".to_owned(),
        },
        machine: "x86_64".to_owned(),
        candidates: vec![
            form(Precision::Float32, &[], 1.0, None),
            form(Precision::Int8, &[], 2.4, Some(0.02)),
            form(Precision::Int8, &[&layer], 2.2, Some(0.001)),
        ],
        sensitivity: vec![Sensitivity {
            precision: Precision::Int8,
            weight: layer,
            elements: 1000,
            error: 0.3,
        }],
    }
}

/// A plausible run over `labels`, every third or so answer of a class wrong.
fn report(labels: &[&str]) -> Report {
    let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
    let rows: Vec<Scored> = (0..400)
        .map(|index| {
            let truth = index % labels.len();
            let guess = if index % 7 < 5 { truth } else { (truth + 1) % labels.len() };
            let sure = 0.55 + 0.4 * ((index * 37) % 100) as f32 / 100.0;
            let mut probabilities = vec![(1.0 - sure) / (labels.len() as f32 - 1.0); labels.len()];
            probabilities[guess] = sure;
            let source = if index % 4 == 0 { "tweets" } else { "reviews" };
            Scored { truth, probabilities, slices: vec![("source".to_owned(), source.to_owned())] }
        })
        .collect();
    Report {
        model: "review-sentiment".to_owned(),
        version: "1".to_owned(),
        created_at: "2026-11-21T04:00:00Z".to_owned(),
        facts: vec![("method".to_owned(), "full".to_owned())],
        learning_curve: LearningCurve {
            metric: "f1_macro".to_owned(),
            train_loss: (0..60).map(|step| (step * 5, 0.7 * (-(step as f64) / 30.0).exp() + 0.1)).collect(),
            validation: vec![(100, 0.74), (200, 0.81), (300, 0.8)],
            best_step: Some(200),
        },
        evaluation: Assessment::Classes(Box::new(evaluate(&labels, &rows).expect("the rows are sound"))),
        class_balance: labels
            .iter()
            .map(|label| ClassBalance { label: label.clone(), train: 8000, validation: 1000, test: 1000 })
            .collect(),
        audit: vec![Finding { name: "duplicate texts".to_owned(), rows: 12, action: "kept once".to_owned() }],
        parity: vec![ParityCheck {
            name: "trained = exported float32 (tract)".to_owned(),
            rows: 64,
            max_abs: 3.1e-6,
            tolerance: Some(1e-4),
        }],
        quantization: Quantization { searches: vec![search()], max_drop: 0.005, min_speedup: 1.2 },
        forgetting: None,
        config: "[model]\nname = \"review-sentiment\"\n".to_owned(),
    }
}

#[test]
fn needs_nothing_but_itself() {
    let html = render(&report(&["neg", "pos"]));
    for forbidden in ["<script", "http://", "https://", " src=", " href=", "@import", "url("] {
        assert!(!html.contains(forbidden), "{forbidden}");
    }
    assert_eq!(html.matches("<svg").count(), 5);
    for part in
        ["Learning curve", "Reliability", "Slices", "Data audit", "Parity", "Quantization", "Effective"]
    {
        assert!(html.contains(part), "{part}");
    }
}

#[test]
fn text_from_outside_cannot_become_markup() {
    let evil = "<script>alert('x')</script>\"><img onerror=\"y\" src=z>&amp;</pre>";
    let mut report = report(&[evil, "pos"]);
    let search = &mut report.quantization.searches[0];
    for text in [
        &mut search.serving.reason,
        &mut search.serving.engine,
        &mut search.machine,
        &mut search.candidates[2].verdict,
    ] {
        *text = evil.to_owned();
    }
    search.candidates[2].float_layers = vec![evil.to_owned()];
    search.candidates[2].detail = evil.to_owned();
    search.sensitivity[0].weight = evil.to_owned();
    for text in [
        &mut report.model,
        &mut report.version,
        &mut report.created_at,
        &mut report.config,
        &mut report.learning_curve.metric,
        &mut report.parity[0].name,
        &mut report.class_balance[0].label,
    ] {
        *text = evil.to_owned();
    }
    let evaluation = classes(&mut report);
    evaluation.slices[0].value = evil.to_owned();
    evaluation.baseline.label = evil.to_owned();
    report.facts = vec![(evil.to_owned(), evil.to_owned())];
    report.audit = vec![Finding { name: evil.to_owned(), rows: 1, action: evil.to_owned() }];
    let html = render(&report);
    assert!(!html.contains("<script") && !html.contains("<img") && !html.contains("onerror=\"y"));
    assert_eq!(html.matches("</pre>").count(), 1, "the configuration closes its own element");
    assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&gt;"));
}

#[test]
fn tags_are_balanced_for_any_number_of_classes_and_for_runs_cut_short() {
    let names: Vec<String> = (0..25).map(|class| format!("class number {class} with a long name")).collect();
    let many: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut cut_short = report(&["neg", "pos"]);
    cut_short.learning_curve = LearningCurve::default();
    cut_short.audit.clear();
    cut_short.parity.clear();
    cut_short.class_balance.clear();
    cut_short.quantization.searches.clear();
    classes(&mut cut_short).slices.clear();
    let mut diverged = report(&["neg", "pos"]);
    diverged.learning_curve.train_loss.push((301, f64::NAN));
    diverged.learning_curve.validation = vec![(300, f64::NAN)];
    for report in [report(&many), cut_short, diverged] {
        let html = render(&report);
        for tag in
            ["svg", "g", "text", "title", "table", "tr", "td", "th", "div", "main", "pre", "h2", "p", "span"]
        {
            let opened =
                html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, html.matches(&format!("</{tag}>")).count(), "{tag}");
        }
        assert!(!html.contains("NaN") && !html.contains("inf\""), "a number that is none reached the page");
    }
}

#[test]
fn the_whole_search_is_on_the_page() {
    let html = render(&report(&["neg", "pos"]));
    for part in ["int8", "1 in float32", "2.40\u{d7}", "2.20\u{d7}", "encoder.layer.0.weight", "3.00e-1"] {
        assert!(html.contains(part), "{part}");
    }
    assert_eq!(html.matches("<b>served</b>").count(), 1);
}

#[test]
fn failures_are_said() {
    let mut failed = report(&["neg", "pos"]);
    failed.parity[0].max_abs = 0.3;
    assert!(render(&failed).contains("failed"));
    failed.parity[0].tolerance = None;
    assert!(!render(&failed).contains("failed"));
    classes(&mut failed).metrics.accuracy.lower = 0.1;
    assert!(render(&failed).contains("not shown to beat the baseline"));
}
