use crate::problem::Problem;
use crate::reader::{Reader, words};
use crate::section::section;
use crate::source::Source;
use crate::spec::{Section, TableBuilder};
use crate::task::Task;

section! {
    /// Where the labelled rows are and what their columns mean. `.csv`, `.tsv`, `.jsonl` and `.parquet` are told apart by their name.
    RawData at "data" {
        /// The rows to train on; also those of validation and test where these have no source of their own.
        train: "source" = "",
        /// Rows to choose the best epoch on.
        validation: "source" = "(split off from train)",
        /// Rows that only the final figures are made on.
        test: "source" = "(split off from train)",
        /// Rows, with the same columns, of what the model should not forget: answered before and after training and at the gate, never trained on.
        reference: "source" = "(none)",
        /// The column with the text.
        text: "column" = "\"text\"",
        /// The column with the second text: of a pair, the question about the text, or the text that belongs to it (`embedding`).
        pair: "column" = "(none)",
        /// The column with a text that does not belong to the text (`embedding`): a hard negative.
        negative: "column" = "(none)",
        /// The column with the label. Several labels, or right answers, are `a;b` or a JSON list; tags of words are separated by blanks or a JSON list; `embedding` has none.
        label: "column" = "\"label\"",
        /// The column with the place, in characters, where the answer begins in the text (`question-answering`).
        answer_start: "column" = "(the first place where the answer stands)",
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
        /// A row without a text: `"skip"` counts, reports and leaves it out; `"refuse"` stops; `"fill(no text)"` takes the words in parentheses for its text; rows with the same text are then duplicates.
        missing_text: "`\"skip\"`, `\"refuse\"` or `\"fill(...)\"`" = "\"skip\"",
        /// A row without a label, likewise.
        missing_label: "`\"skip\"`, `\"refuse\"` or `\"fill(...)\"`" = "\"skip\"",
        /// A training row whose text is nearly that of a held-out row: `"drop"` leaves it out of training and reports it, `"report"` keeps it, `"ignore"` does not look.
        near_duplicates: "`\"drop\"`, `\"report\"` or `\"ignore\"`" = "\"drop\"",
        /// Two texts are nearly the same when they share at least this part of their runs of five letters (Jaccard similarity).
        near_threshold: "share" = "0.9",
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
        /// A column with numbers, dates or timestamps: the newest rows are test, those before them validation; rows of the same time stay together. Not with `group` or `stratify`.
        time: "column" = "(none)",
        /// Give every label the same shares; false where `time` is given.
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

/// What becomes of rows that lack a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// Count, report and leave them out.
    Skip,
    /// Stop at the first.
    Refuse,
    /// Take this value.
    Fill(String),
}

impl std::str::FromStr for Missing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let filled = text.trim().strip_prefix("fill(").and_then(|rest| rest.strip_suffix(')'));
        match (text.trim(), filled.map(str::trim)) {
            (_, Some(value)) if !value.is_empty() => Ok(Self::Fill(value.to_owned())),
            ("skip", _) => Ok(Self::Skip),
            ("refuse", _) => Ok(Self::Refuse),
            _ => Err("write \"skip\", \"refuse\" or \"fill(THE VALUE)\"".into()),
        }
    }
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Skip => f.write_str("skip"),
            Self::Refuse => f.write_str("refuse"),
            Self::Fill(value) => write!(f, "fill({value})"),
        }
    }
}

/// What becomes of training rows that are nearly held-out ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NearDuplicates {
    /// Count, report and leave them out of training.
    Drop,
    /// Count and report them.
    Report,
    /// Do not look for them.
    Ignore,
}
words!(NearDuplicates { Drop = "drop", Report = "report", Ignore = "ignore" });

/// `[data]`, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct DataSpec {
    /// Rows to train on.
    pub train: Source,
    /// Rows for validation, if they are not split off from train.
    pub validation: Option<Source>,
    /// Rows for test, if they are not split off from train.
    pub test: Option<Source>,
    /// Rows of what the model should not forget.
    pub reference: Option<Source>,
    /// The column with the text.
    pub text: String,
    /// The column with the second text, if texts come in pairs.
    pub pair: Option<String>,
    /// The column with a text that does not belong to the text.
    pub negative: Option<String>,
    /// The column with the label.
    pub label: String,
    /// The column with the place where the answer begins.
    pub answer_start: Option<String>,
    /// What the labels are labels of: `model.task`.
    pub task: Task,
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
    /// What becomes of rows without a text.
    pub missing_text: Missing,
    /// What becomes of rows without a label.
    pub missing_label: Missing,
    /// What becomes of training rows that are nearly held-out ones.
    pub near_duplicates: NearDuplicates,
    /// Jaccard similarity of what is nearly the same.
    pub near_threshold: f64,
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
    /// The column by which the newest rows are test.
    pub time: Option<String>,
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
            reference: r.parsed("reference", &raw.reference),
            text: r.text("text", &raw.text).unwrap_or_else(|| "text".into()),
            pair: r.text("pair", &raw.pair),
            negative: r.text("negative", &raw.negative),
            label: r.text("label", &raw.label).unwrap_or_else(|| "label".into()),
            answer_start: r.text("answer_start", &raw.answer_start),
            task: Task::TextClassification,
            slices: r.texts("slices", &raw.slices).unwrap_or_default(),
            labels,
            columns: r.texts("columns", &raw.columns),
            limit: r.count("limit", &raw.limit, 1..=u64::MAX).map(|limit| limit as usize),
            min_chars: r.count("min_chars", &raw.min_chars, 0..=10_000).unwrap_or(2) as usize,
            broken_rows: r.parsed("broken_rows", &raw.broken_rows).unwrap_or(BrokenRows::Skip),
            missing_text: r.parsed("missing_text", &raw.missing_text).unwrap_or(Missing::Skip),
            missing_label: r.parsed("missing_label", &raw.missing_label).unwrap_or(Missing::Skip),
            near_duplicates: r
                .parsed("near_duplicates", &raw.near_duplicates)
                .unwrap_or(NearDuplicates::Drop),
            near_threshold: r.number("near_threshold", &raw.near_threshold, 0.5..=1.0).unwrap_or(0.9),
            train: train?,
            split: split?,
        };
        if spec.text == spec.label {
            let fix = "name two different columns";
            r.problem("label", raw.label.as_ref(), "text and label are the same column", fix);
        }
        if spec.split.time.is_some() && spec.validation.is_some() && spec.test.is_some() {
            let fix = "remove data.split.time, or the source of validation or of test";
            r.problem("split", raw.split.as_ref(), "there is nothing to divide by time", fix);
        }
        if let (Missing::Fill(label), Some(labels)) = (&spec.missing_label, &spec.labels)
            && !labels.contains(label)
        {
            let fix = "fill with one of data.labels";
            r.problem("missing_label", raw.missing_label.as_ref(), "not one of the labels", fix);
        }
        Some(spec)
    }

    fn table(&self) -> TableBuilder {
        TableBuilder::default()
            .text("train", &self.train)
            .optional("validation", self.validation.as_ref())
            .optional("test", self.test.as_ref())
            .optional("reference", self.reference.as_ref())
            .text("text", &self.text)
            .optional("pair", self.pair.as_ref())
            .optional("negative", self.negative.as_ref())
            .text("label", &self.label)
            .optional("answer_start", self.answer_start.as_ref())
            .texts("slices", &self.slices)
            .optional_value("labels", self.labels.clone())
            .optional_value("columns", self.columns.clone())
            .optional_value("limit", self.limit.map(|limit| limit as i64))
            .value("min_chars", self.min_chars as i64)
            .text("broken_rows", self.broken_rows)
            .text("missing_text", &self.missing_text)
            .text("missing_label", &self.missing_label)
            .text("near_duplicates", self.near_duplicates)
            .value("near_threshold", self.near_threshold)
            .section("split", &self.split)
    }
}

impl Section for SplitSpec {
    type Raw = RawSplit;

    fn check(raw: &RawSplit, problems: &mut Vec<Problem>) -> Option<Self> {
        let mut r = Reader::new("data.split", problems);
        let time = r.text("time", &raw.time);
        let spec = Self {
            validation: r.number("validation", &raw.validation, 0.0..=0.9).unwrap_or(0.1),
            test: r.number("test", &raw.test, 0.0..=0.9).unwrap_or(0.1),
            stratify: r.boolean("stratify", &raw.stratify, time.is_none()),
            group: r.text("group", &raw.group),
            time,
            seed: r.count("seed", &raw.seed, 0..=i64::MAX as u64).unwrap_or(7),
        };
        if spec.time.is_some() && spec.group.is_some() {
            let fix = "keep one of them: a group whose rows are of several times would be on several sides";
            r.problem("time", raw.time.as_ref(), "group is given too", fix);
        }
        if spec.time.is_some() && spec.stratify {
            let fix = "remove stratify: the newest rows have the labels that they have";
            r.problem("stratify", raw.stratify.as_ref(), "time is given too", fix);
        }
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
            .optional("time", self.time.as_ref())
            .optional("group", self.group.as_ref())
            .value("seed", self.seed as i64)
    }
}
