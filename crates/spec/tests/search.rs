//! `[search]`: what may be tried, and the same file with other values.

use refit_spec::{Batch, Domain, Method, SearchMethod, Setting, Spec};
use std::path::Path;

const HEAD: &str =
    "[model]\nname = \"m\"\nbase = \"file:base\"\n[data]\ntrain = \"rows.csv\"\n[train]\nbatch_size = 16\n";

fn parse(more: &str) -> Result<Spec, String> {
    Spec::parse(&format!("{HEAD}{more}"), Path::new(".")).map_err(|problems| problems.to_string())
}

#[test]
fn a_space_is_read_and_written_back() {
    let text = r#"
[search]
method = "random"
trials = 5
[search.space]
"train.learning_rate" = { log = [1e-5, 1e-3] }
"train.dropout" = { uniform = [0, 0.3] }
"train.method" = ["full", "lora(rank = 4)"]
train.epochs = { integer = [2, 6] }
train.averaging.decay = [0.9, 0.99]
"#;
    let spec = parse(text).unwrap();
    assert_eq!((spec.search.method, spec.search.trials), (SearchMethod::Random, 5));
    let text = |value: &str| Setting::Text(value.to_owned());
    let expected = [
        ("train.averaging.decay", Domain::Choice(vec![Setting::Number(0.9), Setting::Number(0.99)])),
        ("train.dropout", Domain::Uniform(0.0, 0.3)),
        ("train.epochs", Domain::Integer(2, 6)),
        ("train.learning_rate", Domain::Log(1e-5, 1e-3)),
        ("train.method", Domain::Choice(vec![text("full"), text("lora(rank = 4)")])),
    ];
    assert_eq!(spec.search.space, expected.map(|(key, domain)| (key.to_owned(), domain)));
    let again = Spec::parse(&spec.to_toml(), Path::new(".")).unwrap();
    assert_eq!(again.search, spec.search);
}

#[track_caller]
fn refused(space: &str, says: &[&str]) {
    let problems = parse(&format!("[search.space]\n{space}\n")).unwrap_err();
    for part in says {
        assert!(problems.contains(part), "{part:?} is not in {problems}");
    }
}

#[test]
fn what_cannot_be_searched_is_said() {
    refused(
        "\"train.learing_rate\" = { log = [1e-5, 1e-3] }",
        &["search.space.train.learing_rate", "\"learning_rate\""],
    );
    refused("\"data.train\" = [\"a.csv\"]", &["not a key that can be searched"]);
    refused("\"train.early_stopping.metric\" = [\"loss\"]", &["not a key that can be searched"]);
    refused("\"train.dropout\" = { log = [0.0, 0.3] }", &["not a range"]);
    refused("\"train.dropout\" = { uniform = [0.3, 0.1] }", &["not a range"]);
    refused("\"train.dropout\" = { gauss = [0.3, 0.1] }", &["search.space.train.dropout"]);
    refused("\"train.dropout\" = 0.1", &["not understood", "a list of values"]);
    // The key itself refuses an end of the range.
    refused("\"train.dropout\" = { uniform = [0.0, 1.5] }", &["1.5", "out of range"]);
    refused("\"train.epochs\" = { uniform = [1.0, 4.5] }", &["1.0", "not a whole number"]);
    refused("\"train.method\" = [\"full\", \"loar\"]", &["loar", "did you mean \"lora\"?"]);
}

#[test]
fn a_file_with_other_values_keeps_the_rest() {
    let text = format!("{HEAD}dropout = 0.2\n[search]\ntrials = 3\n");
    let settings = [
        ("train.method".to_owned(), Setting::Text("lora(rank = 4)".to_owned())),
        ("train.batch_tokens".to_owned(), Setting::Integer(2048)),
        ("train.averaging.decay".to_owned(), Setting::Number(0.9)),
    ];
    let spec = Spec::parse_with(&text, Path::new("."), &settings).unwrap();
    assert!(matches!(spec.train.method, Method::Lora { rank: 4, .. }));
    assert_eq!(spec.train.learning_rate, 5e-4, "the default of the method that is tried");
    assert_eq!(spec.train.batch, Batch::Tokens(2048), "instead of batch_size");
    assert_eq!((spec.train.dropout, spec.train.averaging.map(|a| a.decay)), (Some(0.2), Some(0.9)));
    assert!(spec.search.space.is_empty() && spec.search.trials == 20, "a trial searches nothing");
    let wrong = [("train.epochs".to_owned(), Setting::Text("many".to_owned()))];
    assert!(
        Spec::parse_with(&text, Path::new("."), &wrong).unwrap_err().to_string().contains("train.epochs")
    );
}
