use crate::problem::Problem;
use crate::reader::{Reader, words};
use crate::section::section;
use crate::source::Source;
use crate::spec::{Section, TableBuilder};

section! {
    /// Where the labelled rows are and what their columns mean. `.csv`, `.tsv`, `.jsonl` and `.parquet` are told apart by their name.
    RawData at "data" {
        /// The rows to train on; also those of validation and test where these have no source of their own.
        train: "source" = "",
        /// Rows to choose the best epoch on.
        validation: "source" = "(split off from train)",
        /// Rows that only the final figures are made on.
        test: "source" = "(split off from train)",
        /// The column with the text.
        text: "column" = "\"text\"",
        /// The column with the label.
        label: "column" = "\"label\"",
        /// Columns by whose values the figures are also reported, and guarded, separately.
        slices: "columns" = "[]",
        /// The labels and their order; a row with another label is then an error.
        labels: "list of strings" = "(those found in train, sorted)",
        /// Column names of a csv or tsv file that has no header line.
        columns: "list of strings" = "(the header line)",
        /// Read no more than this many rows of each file, chosen evenly by their hash.
        limit: "count" = "(all)",
        /// A text shorter than this many characters, white space aside, is dropped as near-empty and reported.
        min_chars: "count" = "2",
        /// A row that cannot be read (invalid UTF-8, wrong number of columns): `"skip"` counts, reports and leaves it out; `"refuse"` stops.
        broken_rows: "`\"skip\"` or `\"refuse\"`" = "\"skip\"",
        /// How rows are divided.
        split: "table" = "(see below)",
    }
}

section! {
    /// How rows are divided into train, validation and test. The side of a row follows from a hash of its text (or group) and the seed: it keeps its side when rows are added.
    RawSplit at "data.split" {
        /// Share for validation; ignored when `validation` has a source.
        validation: "share" = "0.1",
        /// Share for test; ignored when `test` has a source.
        test: "share" = "0.1",
        /// Give every label the same shares.
        stratify: "boolean" = "true",
        /// A column; rows with the same value stay on one side.
        group: "column" = "(none)",
        /// Another seed, another division.
        seed: "count" = "7",
    }
}

/// What becomes of rows that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokenRows {
    /// Count, report and leave them out.
    Skip,
    /// Stop at the first.
    Refuse,
}
words!(BrokenRows { Skip = "skip", Refuse = "refuse" });

/// `[data]`, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct DataSpec {
    /// Rows to train on.
    pub train: Source,
    /// Rows for validation, if they are not split off from train.
    pub validation: Option<Source>,
    /// Rows for test, if they are not split off from train.
    pub test: Option<Source>,
    /// The column with the text.
    pub text: String,
    /// The column with the label.
    pub label: String,
    /// Columns that make slices.
    pub slices: Vec<String>,
    /// The labels in their order, if given.
    pub labels: Option<Vec<String>>,
    /// Column names of a file without a header line.
    pub columns: Option<Vec<String>>,
    /// At most this many rows of each file.
    pub limit: Option<usize>,
    /// Shorter texts are dropped as near-empty.
    pub min_chars: usize,
    /// What becomes of rows that cannot be read.
    pub broken_rows: BrokenRows,
    /// How rows are divided.
    pub split: SplitSpec,
}

/// `data.split`, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct SplitSpec {
    /// Share for validation.
    pub validation: f64,
    /// Share for test.
    pub test: f64,
    /// Every label gets the same shares.
    pub stratify: bool,
    /// Rows with the same value in this column stay together.
    pub group: Option<String>,
    /// Another seed, another division.
    pub seed: u64,
}

impl Section for DataSpec {
    type Raw = RawData;

    fn check(raw: &RawData, problems: &mut Vec<Problem>) -> Option<Self> {
        let split = SplitSpec::check(&RawSplit::read(raw.split.as_ref(), problems), problems);
        let mut r = Reader::new("data", problems);
        r.required("train", &raw.train, "name the rows to train on: train = \"file:reviews.csv\"");
        let train = r.parsed("train", &raw.train);
        let labels = r.texts("labels", &raw.labels).filter(|labels| {
            let mut distinct = labels.clone();
            distinct.sort();
            distinct.dedup();
            let good = labels.len() >= 2 && distinct.len() == labels.len();
            if !good {
                let fix = "write at least two labels, each once, or leave the key out";
                r.problem("labels", raw.labels.as_ref(), "not a set of labels", fix);
            }
            good
        });
        let spec = Self {
            validation: r.parsed("validation", &raw.validation),
            test: r.parsed("test", &raw.test),
            text: r.text("text", &raw.text).unwrap_or_else(|| "text".into()),
            label: r.text("label", &raw.label).unwrap_or_else(|| "label".into()),
            slices: r.texts("slices", &raw.slices).unwrap_or_default(),
            labels,
            columns: r.texts("columns", &raw.columns),
            limit: r.count("limit", &raw.limit, 1..=u64::MAX).map(|limit| limit as usize),
            min_chars: r.count("min_chars", &raw.min_chars, 0..=10_000).unwrap_or(2) as usize,
            broken_rows: r.parsed("broken_rows", &raw.broken_rows).unwrap_or(BrokenRows::Skip),
            train: train?,
            split: split?,
        };
        if spec.text == spec.label {
            let fix = "name two different columns";
            r.problem("label", raw.label.as_ref(), "text and label are the same column", fix);
        }
        Some(spec)
    }

    fn table(&self) -> TableBuilder {
        TableBuilder::default()
            .text("train", &self.train)
            .optional("validation", self.validation.as_ref())
            .optional("test", self.test.as_ref())
            .text("text", &self.text)
            .text("label", &self.label)
            .texts("slices", &self.slices)
            .optional_value("labels", self.labels.clone())
            .optional_value("columns", self.columns.clone())
            .optional_value("limit", self.limit.map(|limit| limit as i64))
            .value("min_chars", self.min_chars as i64)
            .text("broken_rows", self.broken_rows)
            .section("split", &self.split)
    }
}

impl Section for SplitSpec {
    type Raw = RawSplit;

    fn check(raw: &RawSplit, problems: &mut Vec<Problem>) -> Option<Self> {
        let mut r = Reader::new("data.split", problems);
        let spec = Self {
            validation: r.number("validation", &raw.validation, 0.0..=0.9).unwrap_or(0.1),
            test: r.number("test", &raw.test, 0.0..=0.9).unwrap_or(0.1),
            stratify: r.boolean("stratify", &raw.stratify, true),
            group: r.text("group", &raw.group),
            seed: r.count("seed", &raw.seed, 0..=i64::MAX as u64).unwrap_or(7),
        };
        if spec.validation + spec.test > 0.9 {
            let fix = "leave at least 0.1 of the rows to train on";
            r.problem("validation", raw.validation.as_ref(), "nothing is left to train on", fix);
        }
        Some(spec)
    }

    fn table(&self) -> TableBuilder {
        TableBuilder::default()
            .value("validation", self.validation)
            .value("test", self.test)
            .value("stratify", self.stratify)
            .optional("group", self.group.as_ref())
            .value("seed", self.seed as i64)
    }
}
