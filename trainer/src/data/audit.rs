//! Finds rows that spoil training or its figures: reports them, and leaves them out.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::row::Row;
use super::table::EXAMPLES;

/// What the audit found in all files together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// Rows in the files, those that cannot be read included.
    pub rows_read: usize,
    /// Rows that are left.
    pub rows_kept: usize,
    /// What was left out and why; kinds without rows are not listed.
    pub findings: Vec<AuditFinding>,
}

/// Rows of one kind that were left out.
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
    /// It has no label.
    MissingLabel,
    /// Its text is missing or shorter than `data.min_chars`.
    NearEmpty,
    /// The same text has another label elsewhere in the file: which one is right is not known.
    ConflictingLabels,
    /// The same text, white space and case aside, came before.
    Duplicate,
    /// A training row whose text is also in a separate test or validation file.
    Leakage,
}

impl FindingKind {
    /// A few words for a report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Broken => "rows that cannot be read",
            Self::MissingLabel => "rows without a label",
            Self::NearEmpty => "near-empty texts",
            Self::ConflictingLabels => "equal texts with different labels",
            Self::Duplicate => "duplicate texts",
            Self::Leakage => "training texts that are also held out",
        }
    }

    /// What was done about them.
    pub fn action(self) -> &'static str {
        match self {
            Self::Broken | Self::MissingLabel | Self::NearEmpty => "left out",
            Self::ConflictingLabels => "all left out",
            Self::Duplicate => "the first was kept",
            Self::Leakage => "left out of training",
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
        normalized.extend(word.chars().flat_map(char::to_lowercase));
    }
    normalized
}

/// Leaves out conflicting labels and duplicates within one file.
pub(super) fn without_repetitions(rows: Vec<Row>, audit: &mut Audit) -> Vec<Row> {
    let mut labels: HashMap<&str, Option<&str>> = HashMap::new();
    for row in &rows {
        let same = labels.entry(&row.key).or_insert(Some(&row.label));
        if *same != Some(&row.label) {
            *same = None;
        }
    }
    let mut seen = HashSet::new();
    let kinds: Vec<Option<FindingKind>> = rows
        .iter()
        .map(|row| match labels.get(row.key.as_str()) {
            Some(None) => Some(FindingKind::ConflictingLabels),
            _ if !seen.insert(row.key.as_str()) => Some(FindingKind::Duplicate),
            _ => None,
        })
        .collect();
    keep(rows, &kinds, audit)
}

/// Leaves out of `rows` what is also among the held-out rows.
pub(super) fn without_leakage(rows: Vec<Row>, held_out: &[&[Row]], audit: &mut Audit) -> Vec<Row> {
    let held_out: HashSet<&str> =
        held_out.iter().flat_map(|rows| rows.iter()).map(|row| row.key.as_str()).collect();
    let leaked = |row: &Row| held_out.contains(row.key.as_str()).then_some(FindingKind::Leakage);
    let kinds: Vec<_> = rows.iter().map(leaked).collect();
    keep(rows, &kinds, audit)
}

fn keep(rows: Vec<Row>, kinds: &[Option<FindingKind>], audit: &mut Audit) -> Vec<Row> {
    let mut kept = Vec::with_capacity(rows.len());
    for (row, kind) in rows.into_iter().zip(kinds) {
        match kind {
            None => kept.push(row),
            Some(kind) => audit.note(*kind, || row.place()),
        }
    }
    kept
}
