//! Finds rows that spoil training or its figures: reports them, and leaves them out.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::error::DataError;
use super::index::Index;
use super::row::Row;
use super::table::EXAMPLES;
use crate::spool::Spool;

/// What the audit found in all files together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// Rows in the files, those that cannot be read included.
    pub rows_read: usize,
    /// Rows that are left.
    pub rows_kept: usize,
    /// What was left out, or changed, and why; kinds without rows are not listed.
    pub findings: Vec<AuditFinding>,
}

/// Rows of one kind, and what became of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditFinding {
    /// What is wrong with them.
    pub kind: FindingKind,
    /// How many.
    pub rows: usize,
    /// The first of them: file and line, and the beginning of the text.
    pub examples: Vec<String>,
}

/// What can be wrong with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// It cannot be read.
    Broken,
    /// It has no text.
    MissingText,
    /// It has no label.
    MissingLabel,
    /// Its label is none for the task: no number, a tag too few, an answer that does not stand in the text.
    LabelDoesNotFit,
    /// It has no text and got that of `data.missing_text`.
    FilledText,
    /// It has no label and got that of `data.missing_label`.
    FilledLabel,
    /// It has no time, or none that can be read, and rows are divided by time.
    MissingTime,
    /// Its text is shorter than `data.min_chars`.
    NearEmpty,
    /// The same text has another label elsewhere in the file: which one is right is not known.
    ConflictingLabels,
    /// The same text, white space and case aside, came before.
    Duplicate,
    /// A training row whose text is also in a separate test or validation file.
    Leakage,
    /// A training row whose text is nearly that of a held-out row.
    NearLeakage,
    /// The same, where `data.near_duplicates = "report"`.
    NearLeakageKept,
}

impl FindingKind {
    /// A few words for a report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Broken => "rows that cannot be read",
            Self::MissingText | Self::FilledText => "rows without a text",
            Self::MissingLabel | Self::FilledLabel => "rows without a label",
            Self::MissingTime => "rows without a time",
            Self::LabelDoesNotFit => "labels that do not fit their text",
            Self::NearEmpty => "near-empty texts",
            Self::ConflictingLabels => "equal texts with different labels",
            Self::Duplicate => "duplicate texts",
            Self::Leakage => "training texts that are also held out",
            Self::NearLeakage | Self::NearLeakageKept => "training texts that are nearly held-out ones",
        }
    }

    /// What was done about them.
    pub fn action(self) -> &'static str {
        match self {
            Self::Broken
            | Self::MissingText
            | Self::MissingLabel
            | Self::MissingTime
            | Self::LabelDoesNotFit
            | Self::NearEmpty => "left out",
            Self::FilledText | Self::FilledLabel => "filled",
            Self::ConflictingLabels => "all left out",
            Self::Duplicate => "the first was kept",
            Self::Leakage | Self::NearLeakage => "left out of training",
            Self::NearLeakageKept => "kept",
        }
    }
}

impl Audit {
    /// Notes one row.
    pub(super) fn note(&mut self, kind: FindingKind, example: impl FnOnce() -> String) {
        let at = self.findings.iter().position(|finding| finding.kind == kind).unwrap_or_else(|| {
            self.findings.push(AuditFinding { kind, rows: 0, examples: Vec::new() });
            self.findings.len() - 1
        });
        let finding = &mut self.findings[at];
        finding.rows += 1;
        if finding.examples.len() < EXAMPLES {
            finding.examples.push(example());
        }
    }

    /// Whether the next row of a kind is one of those that are shown.
    pub(super) fn wants_example(&self, kind: FindingKind) -> bool {
        let finding = self.findings.iter().find(|finding| finding.kind == kind);
        finding.is_none_or(|finding| finding.examples.len() < EXAMPLES)
    }

    /// Rows of one kind.
    pub fn count(&self, kind: FindingKind) -> usize {
        self.findings.iter().find(|finding| finding.kind == kind).map_or(0, |finding| finding.rows)
    }
}

/// What makes two texts the same: letters without case, white space as one blank.
pub(super) fn normalized(text: &str) -> String {
    let mut normalized = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !normalized.is_empty() {
            normalized.push(' ');
        }
        if word.is_ascii() {
            let begin = normalized.len();
            normalized.push_str(word);
            normalized[begin..].make_ascii_lowercase();
        } else {
            normalized.extend(word.chars().flat_map(char::to_lowercase));
        }
    }
    normalized
}

/// Leaves out conflicting labels and duplicates within one file.
pub(super) fn without_repetitions(
    rows: &mut Index,
    spool: &Spool<Row>,
    audit: &mut Audit,
) -> Result<(), DataError> {
    let order = rows.by_key();
    let mut findings = vec![None; rows.len()];
    for same in order.chunk_by(|&a, &b| rows.keys[a as usize] == rows.keys[b as usize]) {
        let label = |row: &u32| rows.labels[*row as usize];
        let conflict = same.iter().any(|row| label(row) != label(&same[0]));
        let (from, kind) =
            if conflict { (0, FindingKind::ConflictingLabels) } else { (1, FindingKind::Duplicate) };
        same[from.min(same.len())..].iter().for_each(|&row| findings[row as usize] = Some(kind));
    }
    rows.without(&findings, spool, audit)
}

/// Leaves out of `rows` what is also among the held-out rows.
pub(super) fn without_leakage(
    rows: &mut Index,
    held_out: &[&Index],
    spool: &Spool<Row>,
    audit: &mut Audit,
) -> Result<(), DataError> {
    let held_out: HashSet<u64> = held_out.iter().flat_map(|rows| rows.keys.iter().copied()).collect();
    let leaked = |key: &u64| held_out.contains(key).then_some(FindingKind::Leakage);
    let findings: Vec<_> = rows.keys.iter().map(leaked).collect();
    rows.without(&findings, spool, audit)
}
