//! Missing values, time, near duplicates, compression and what is wrong with files: policies and sentences.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Command;

use refit_spec::Spec;
use refit_trainer::data::{DataError, Fetch, FindingKind, LoadedData, load_dataset};
use tempfile::TempDir;

struct Files(TempDir);

impl Files {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let folder = TempDir::new().unwrap();
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        Self(folder)
    }

    fn load(&self, data: &str) -> Result<LoadedData, DataError> {
        let text = format!("[model]\nname = \"m\"\nbase = \"base\"\n[data]\n{data}");
        let spec = Spec::parse(&text, self.0.path()).unwrap_or_else(|problems| panic!("{problems}"));
        load_dataset(&spec.data, &Fetch::new(self.0.path().join("cache"), self.0.path()))
    }

    fn fails(&self, data: &str, expected: &str) {
        let mut error: &dyn std::error::Error = &self.load(data).expect_err(expected);
        let mut said = error.to_string();
        while let Some(source) = error.source() {
            write!(said, ": {source}").unwrap();
            error = source;
        }
        assert!(said.contains(expected), "{said:?} does not say {expected:?}");
    }
}

/// Rows whose texts have little in common, `text,label,time`.
fn rows(many: usize) -> String {
    let mut csv = String::from("text,label,time\n");
    for row in 0..many {
        let word = |i: usize| (row * 31 + i).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44;
        let text: Vec<String> = (0..12).map(|i| format!("w{:x}", word(i))).collect();
        writeln!(csv, "{},{},{}", text.join(" "), ["no", "yes"][row % 2], row / 4).unwrap();
    }
    csv
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn missing_values_are_left_out_refused_or_filled() {
    let csv = format!("{}  ,yes,1\n,no,1\nno label at all here,,1\nnor is one here,  ,1\n", rows(200));
    let files = Files::new(&[("rows.csv", csv.as_bytes())]);
    let skipped = files.load("train = 'rows.csv'").unwrap().audit;
    assert_eq!((skipped.count(FindingKind::MissingText), skipped.count(FindingKind::MissingLabel)), (2, 2));
    assert_eq!((skipped.rows_read, skipped.rows_kept), (204, 200));
    let filled = files.load("train = 'rows.csv'\nmissing_label = 'fill(no)'").unwrap().audit;
    assert_eq!((filled.count(FindingKind::FilledLabel), filled.rows_kept), (2, 202));
    files.fails("train = 'rows.csv'\nmissing_text = 'refuse'", "line 202 of");
    files.fails("train = 'rows.csv'\nmissing_label = 'refuse'", "has no label in column \"label\"");
}

#[test]
fn the_newest_rows_are_test_and_one_time_stays_together() {
    let files = Files::new(&[("rows.csv", rows(1000).as_bytes())]);
    let data = files.load("train = 'rows.csv'\nslices = ['time']\nsplit = { time = 'time' }").unwrap();
    let times = |rows: &refit_trainer::data::Rows| -> Vec<u32> {
        rows.to_vec().unwrap().iter().map(|row| row.slices[0].1.parse().unwrap()).collect()
    };
    let (train, validation, test) = (times(&data.train), times(&data.validation), times(&data.test));
    assert_eq!((train.len(), validation.len(), test.len()), (800, 100, 100));
    assert!(train.iter().max() < validation.iter().min());
    assert!(validation.iter().max() < test.iter().min());
    // 90 rows are asked for, and each time has four: 92 are the least that keep times whole.
    let data =
        files.load("train = 'rows.csv'\nslices = ['time']\nsplit = { time = 'time', test = 0.09 }").unwrap();
    assert_eq!(data.test.len(), 92);

    let one = rows(100).replace(",yes,", ",yes,at ").replace(",no,", ",no,at ");
    Files::new(&[("rows.csv", one.as_bytes())])
        .fails("train = 'rows.csv'\nsplit = { time = 'time' }", "no row of");
    let mixed = rows(100) + "a row of another kind of time,yes,2024-02-29\n";
    Files::new(&[("rows.csv", mixed.as_bytes())])
        .fails("train = 'rows.csv'\nsplit = { time = 'time' }", "both plain numbers and dates");
    let same = rows(100)
        .lines()
        .map(|line| line.rsplit_once(',').unwrap().0.to_owned() + ",7\n")
        .collect::<String>();
    let same = same.replacen(",7", ",time", 1);
    Files::new(&[("rows.csv", same.as_bytes())])
        .fails("train = 'rows.csv'\nsplit = { time = 'time' }", "no rows are left for training");
}

#[test]
fn nearly_held_out_rows_leave_training() {
    let csv = rows(400);
    let mut test = String::from("text,label,time\n");
    for (number, line) in csv.lines().skip(1).take(40).enumerate() {
        // One letter more in some seventy.
        writeln!(test, "{}", line.replacen(' ', &format!("{} ", ["", "x"][number % 2]), 1)).unwrap();
    }
    for row in 1000..1010 {
        writeln!(test, "entirely different {row} words {} here,{},1", row * 7, ["no", "yes"][row % 2])
            .unwrap();
    }
    let files = Files::new(&[("rows.csv", csv.as_bytes()), ("test.csv", test.as_bytes())]);
    let keys = "train = 'rows.csv'\ntest = 'test.csv'\nnear_threshold = 0.8\nsplit = { validation = 0.1 }\n";
    let data = files.load(keys).unwrap();
    // Some of the twenty exact and twenty near ones fell into validation.
    let exact = data.audit.count(FindingKind::Leakage);
    let near = data.audit.count(FindingKind::NearLeakage);
    assert_eq!(exact, 20);
    assert!((15..=20).contains(&near), "{near}");
    let finding =
        data.audit.findings.iter().find(|finding| finding.kind == FindingKind::NearLeakage).unwrap();
    assert!(finding.examples[0].contains("rows.csv:") && finding.examples[0].contains(" of test.csv:"));

    let reported = files.load(&format!("{keys}near_duplicates = 'report'")).unwrap();
    assert_eq!(reported.audit.count(FindingKind::NearLeakageKept), near);
    assert_eq!(reported.train.len(), data.train.len() + near);
    let ignored = files.load(&format!("{keys}near_duplicates = 'ignore'")).unwrap();
    assert_eq!(ignored.train.len(), reported.train.len());
    assert_eq!(ignored.audit.count(FindingKind::NearLeakageKept), 0);
}

#[test]
fn compressed_files_are_the_same_rows() {
    let csv = rows(300);
    let files = Files::new(&[("rows.csv", csv.as_bytes()), ("more.csv.gz", &gzip(csv.as_bytes()))]);
    let (plain, packed) =
        (files.load("train = 'rows.csv'").unwrap(), files.load("train = 'more.csv.gz'").unwrap());
    assert_eq!(plain.fingerprint, packed.fingerprint);
}

#[test]
fn one_clear_sentence_for_each_bad_file() {
    let good = rows(200);
    let open = format!("{good}\"a quote that is never closed,yes,1\n{}", &rows(50)[16..]);
    let huge = format!("{good}\"{}\",yes,1\n", "x".repeat(17 << 20));
    let packed = gzip(good.as_bytes());
    let short = "text,label,time\n?,yes,1\n!,no,2\n";
    let mut latin = good.clone().into_bytes();
    latin.extend(b"caf\xe9 au lait,yes,1\n");
    let bare_cr = good.lines().next().unwrap().to_owned() + "\n\n\n";
    for (name, bytes, keys, expected) in [
        ("rows.csv", good.as_bytes(), "text = 'texts'", "did you mean \"text\"?"),
        ("rows.csv", b"".as_slice(), "", "has no rows"),
        ("rows.csv", bare_cr.as_bytes(), "", "has no rows"),
        ("rows.csv", short.as_bytes(), "min_chars = 3", "none of the 2 rows of"),
        ("rows.csv", good.as_bytes(), "labels = ['no', 'yess']", "did you mean \"yess\"?"),
        ("rows.csv", &latin, "broken_rows = 'refuse'", "line 202 of"),
        ("rows.csv", open.as_bytes(), "", "the row at line 202 never ends"),
        ("rows.csv", huge.as_bytes(), "", "the row at line 202 never ends"),
        ("rows.jsonl", huge.as_bytes(), "", "is longer than"),
        ("rows.csv.gz", &packed[..packed.len() / 2], "", "it is cut off"),
        ("rows.csv.gz", good.as_bytes(), "", "cannot be read as gzip"),
        ("rows.parquet", &packed, "", "cannot be read as parquet"),
        ("rows.parquet.gz", &packed, "", "is of no known kind"),
    ] {
        let files = Files::new(&[(name, bytes)]);
        files.fails(&format!("train = '{name}'\n{keys}"), expected);
    }
}

/// The other process of [`a_full_disk_is_one_sentence`].
#[test]
fn spools_in_a_process_of_its_own() {
    let Some(folder) = std::env::var_os("REFIT_TEST_FULL") else { return };
    let folder = std::path::Path::new(&folder);
    let text = "[model]\nname = \"m\"\nbase = \"base\"\n[data]\ntrain = 'rows.csv'\n";
    let spec = Spec::parse(text, folder).unwrap_or_else(|problems| panic!("{problems}"));
    let fetch = Fetch { in_memory: 0, ..Fetch::new(folder.join("cache"), folder) };
    println!("said: {}", load_dataset(&spec.data, &fetch).expect_err("the disk is full"));
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_one_sentence() {
    let files = Files::new(&[("rows.csv", rows(20_000).as_bytes())]);
    // A limit on the size of files fails a write in the middle, as a full disk does.
    let output = Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 256; exec \"$0\" --exact spools_in_a_process_of_its_own --nocapture",
        ])
        .arg(std::env::current_exe().unwrap())
        .env("REFIT_TEST_FULL", files.0.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("said: rows cannot be kept in") && said.contains("make free space there"),
        "{said}"
    );
}
