//! Audit, split and balance of labelled rows.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;

use refit_spec::Spec;
use refit_trainer::data::{
    DataError, Fetch, FindingKind, LoadedData, Row, Rows, Side, load_dataset, read_labelled_jsonl,
};
use tempfile::TempDir;

struct Files(TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Self(folder)
    }

    fn spec(&self, data: &str) -> Spec {
        let text = format!("[model]\nname = \"m\"\nbase = \"base\"\n[data]\n{data}");
        Spec::parse(&text, self.0.path()).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn load(&self, data: &str) -> Result<LoadedData, DataError> {
        load_dataset(&self.spec(data).data, &Fetch::new(self.0.path().join("cache"), self.0.path()))
    }
}

/// Rows `text N,label` with labels in turn.
fn rows(range: std::ops::Range<usize>) -> String {
    range.fold(String::from("text,label,source\n"), |mut csv, i| {
        writeln!(csv, "row number {i},{},{}", ["no", "yes"][i % 2], ["a", "b", "c"][i % 3]).unwrap();
        csv
    })
}

fn side_by_text(data: &LoadedData) -> HashMap<String, Side> {
    let parts = [(&data.train, Side::Train), (&data.validation, Side::Validation), (&data.test, Side::Test)];
    parts
        .into_iter()
        .flat_map(|(part, side)| rows_of(part).into_iter().map(move |row| (row.text, side)))
        .collect()
}

fn rows_of(part: &Rows) -> Vec<Row> {
    part.to_vec().unwrap()
}

#[test]
fn shares_balance_slices_and_fingerprint() {
    let files = Files::new(&[("rows.csv", &rows(0..2000))]);
    let data = files.load("train = 'rows.csv'\nslices = ['source']").unwrap();
    assert_eq!(data.labels.names(), ["no", "yes"]);
    assert_eq!(data.train.len() + data.validation.len() + data.test.len(), 2000);
    // 200 expected on each; the standard deviation is 13.4.
    for part in [&data.validation, &data.test] {
        assert!((140..=260).contains(&part.len()), "{}", part.len());
    }
    assert_eq!(data.balance[0].train + data.balance[1].train, data.train.len());
    assert_eq!(
        data.balance.iter().map(|label| label.train + label.validation + label.test).collect::<Vec<_>>(),
        [1000, 1000]
    );
    assert!(rows_of(&data.train).iter().all(|row| row.slices.len() == 1 && row.slices[0].0 == "source"));
    assert_eq!(data.fingerprint, files.load("train = 'rows.csv'").unwrap().fingerprint);
    assert_ne!(data.fingerprint, files.load("train = 'rows.csv'\nsplit = { seed = 8 }").unwrap().fingerprint);
    assert!(data.audit.findings.is_empty());
}

#[test]
fn a_row_keeps_its_side_when_rows_are_added() {
    let files = Files::new(&[("few.csv", &rows(0..600)), ("many.csv", &rows(0..1500))]);
    let few = side_by_text(&files.load("train = 'few.csv'").unwrap());
    let many = side_by_text(&files.load("train = 'many.csv'").unwrap());
    assert_eq!(few.len(), 600);
    assert!(few.iter().all(|(text, side)| many[text] == *side));
}

#[test]
fn groups_stay_together() {
    let files = Files::new(&[("rows.csv", &rows(0..600))]);
    let mut csv = String::from("text,label,source\n");
    for i in 0..600 {
        writeln!(csv, "row number {i},{},group {}", i % 2, i / 5).unwrap();
    }
    std::fs::write(files.0.path().join("grouped.csv"), csv).unwrap();
    let data = files.load("train = 'grouped.csv'\nsplit = { group = 'source' }").unwrap();
    let mut sides: HashMap<String, Side> = HashMap::new();
    for (rows, side) in
        [(&data.train, Side::Train), (&data.validation, Side::Validation), (&data.test, Side::Test)]
    {
        for row in rows_of(rows) {
            assert_eq!(*sides.entry(row.group.clone().unwrap()).or_insert(side), side);
        }
    }
    assert_eq!(sides.len(), 120);
}

#[test]
fn rare_labels_are_on_every_side() {
    let mut csv = String::from("text,label\n");
    (0..500).for_each(|i| writeln!(csv, "common {i},common").unwrap());
    (0..3).for_each(|i| writeln!(csv, "rare {i},rare").unwrap());
    let files = Files::new(&[("rows.csv", &csv)]);
    for seed in 0..20 {
        let data = files.load(&format!("train = 'rows.csv'\nsplit = {{ seed = {seed} }}")).unwrap();
        let rare = &data.balance[1];
        assert_eq!((rare.train, rare.validation, rare.test), (1, 1, 1), "seed {seed}");
    }
}

#[test]
fn the_audit_leaves_out_and_reports() {
    let csv = format!(
        "{}Row  NUMBER 3,yes,a\nsame text,yes,a\nSame Text,no,b\n , yes,a\n!,no,a\nno label here,,b\n",
        rows(0..200)
    );
    let test = "text,label,source\nrow number 5,yes,a\nheld out,yes,a\nheld out too,no,b\n";
    let files = Files::new(&[("rows.csv", &csv), ("test.csv", test)]);
    let data = files.load("train = 'rows.csv'\ntest = 'test.csv'").unwrap();
    for (kind, expected) in [
        (FindingKind::Duplicate, 1),
        (FindingKind::ConflictingLabels, 2),
        (FindingKind::MissingText, 1),
        (FindingKind::NearEmpty, 1),
        (FindingKind::MissingLabel, 1),
        (FindingKind::Leakage, 1),
        (FindingKind::Broken, 0),
    ] {
        assert_eq!(data.audit.count(kind), expected, "{kind:?}");
    }
    assert_eq!((data.audit.rows_read, data.audit.rows_kept), (209, 202));
    let duplicate =
        data.audit.findings.iter().find(|finding| finding.kind == FindingKind::Duplicate).unwrap();
    assert_eq!(duplicate.examples, ["rows.csv:202: \"Row  NUMBER 3\""]);
    assert!(
        rows_of(&data.train).iter().chain(&rows_of(&data.validation)).all(|row| row.text != "row number 5")
    );
    assert_eq!(data.test.len(), 3);
}

#[test]
fn a_limit_takes_a_stable_part() {
    let files = Files::new(&[("rows.csv", &rows(0..1000))]);
    let part = files.load("train = 'rows.csv'\nlimit = 300").unwrap();
    let whole = side_by_text(&files.load("train = 'rows.csv'").unwrap());
    let part = side_by_text(&part);
    assert_eq!(part.len(), 300);
    assert!(part.iter().all(|(text, side)| whole[text] == *side));
    assert!((10..60).contains(&part.values().filter(|side| **side == Side::Test).count()));
}

#[test]
fn later_rows_leave_the_test_rows_and_the_labels_as_they_are() {
    let files = Files::new(&[("rows.csv", &rows(0..400))]);
    let spec = files.spec("train = 'rows.csv'").data;
    let mut data = files.load("train = 'rows.csv'").unwrap();
    let (test, before) = (rows_of(&data.test), data.train.len() + data.validation.len());
    let leaked = test[0].text.clone();
    let corrected = data.train.get(0).unwrap();
    let mut jsonl = format!("{}\n", serde_json::json!({"text": leaked, "label": "yes"}));
    for i in 0..100 {
        writeln!(jsonl, "{}", serde_json::json!({"text": format!("a new topic {i}"), "label": "a topic"}))
            .unwrap();
    }
    writeln!(jsonl, "{}", serde_json::json!({"text": corrected.text, "label": "a topic"})).unwrap();
    let path = files.0.path().join("later.jsonl");
    std::fs::write(&path, jsonl).unwrap();
    data.add_rows(read_labelled_jsonl(&path).unwrap(), &spec).unwrap();
    let parts = [rows_of(&data.train), rows_of(&data.validation)];
    assert_eq!(data.labels.names(), ["no", "yes", "a topic"]);
    assert_eq!(rows_of(&data.test), test);
    assert_eq!(data.train.len() + data.validation.len(), before + 100);
    assert_eq!(data.audit.count(FindingKind::Leakage), 1);
    let again: Vec<_> = parts.iter().flatten().filter(|row| row.text == corrected.text).collect();
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].label, "a topic");
}

/// (rows.csv, more keys, what the sentence has to contain)
#[test]
fn one_clear_sentence_each() {
    let good = rows(0..100);
    for (csv, keys, expected) in [
        ("", "", "has no rows"),
        ("text,label\n", "", "has no rows"),
        ("text,label\na film,yes\nb film,yes\nc film,yes\n", "", "all rows of"),
        ("text,label\na film,\nb film,\n", "", "no row of"),
        ("text,lable\na film,yes\n", "", "did you mean \"lable\"?"),
        (&good, "slices = ['sources']", "did you mean \"source\"?"),
        (
            &good,
            "labels = ['no', 'yess']",
            "has the label \"yes\", which is not one of no, yess; did you mean \"yess\"?",
        ),
        (&good, "test = 'other.csv'", "has the label \"maybe\""),
        (&good, "test = 'missing.csv'", "does not exist"),
        ("text,label\na film,yes\nb film,no\n", "split = { test = 0.0 }", "no rows are left for"),
    ] {
        let files = Files::new(&[("rows.csv", csv), ("other.csv", "text,label,source\nwho knows,maybe,a\n")]);
        let error = files.load(&format!("train = 'rows.csv'\n{keys}")).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains('\n'));
    }
}

#[test]
fn labelled_rows_have_to_be_whole() {
    let files = Files::new(&[("rows.jsonl", "{\"text\":\"a\",\"label\":\"x\"}\n{\"text\":\"b\"}\n")]);
    let error = read_labelled_jsonl(&files.0.path().join("rows.jsonl")).unwrap_err().to_string();
    assert!(error.starts_with("line 2 of") && error.contains("it has no label"), "{error}");
    assert!(read_labelled_jsonl(Path::new("/nowhere.jsonl")).is_err());
}
