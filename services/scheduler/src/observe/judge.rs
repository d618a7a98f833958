//! The sequential test of one version's labelled rows, in the order in which the labels arrived.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use refit_stats::{Baseline, DegradationBudget, EProcess, wilson};
use refit_store::{LabelledQuery, Store};

use crate::{SchedulerError, memory::BaselineRecord, plan};

const ROWS_A_QUERY: u32 = 1000;
/// Points kept for the plot; beyond, every second one is dropped.
const MOST_POINTS: usize = 400;
const CONFIDENCE: f64 = 0.95;

/// What is judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// The model.
    pub model: String,
    /// The version.
    pub version: String,
    /// Only predictions made since then count.
    pub since: Option<Timestamp>,
    /// Its errors when it was last measured; without it nothing can be judged.
    pub baseline: Option<BaselineRecord>,
    /// The labels that it can answer.
    pub labels: BTreeSet<String>,
}

/// The test, fed as labels arrive. After a restart it is fed again from the beginning: the store is its memory.
#[derive(Debug)]
pub struct Running {
    subject: Subject,
    process: Option<EProcess>,
    after: i64,
    rows: u64,
    wrong: u64,
    unseen: BTreeMap<String, u64>,
    points: Vec<(u64, f64)>,
    stride: u64,
}

impl Running {
    /// A test that has seen nothing.
    pub fn new(subject: Subject, budget: DegradationBudget) -> Result<Self, SchedulerError> {
        let process = match subject.baseline {
            Some(BaselineRecord { errors, rows }) if rows > 0 => {
                Some(EProcess::against_baseline(Baseline { errors: errors.min(rows), rows }, budget)?)
            }
            _ => None,
        };
        Ok(Self {
            subject,
            process,
            after: 0,
            rows: 0,
            wrong: 0,
            unseen: BTreeMap::new(),
            points: vec![(0, 0.0)],
            stride: 1,
        })
    }

    /// What is judged.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Takes the labels that arrived since the last call.
    pub async fn read(&mut self, store: &Store) -> Result<(), SchedulerError> {
        loop {
            let rows = store
                .labelled_rows(LabelledQuery {
                    model: &self.subject.model,
                    version: Some(&self.subject.version),
                    after: self.after,
                    predicted_since: self.subject.since,
                    limit: ROWS_A_QUERY,
                })
                .await?;
            for row in &rows {
                self.after = row.sequence;
                self.take(&row.label, row.label != row.predicted);
            }
            if rows.len() < ROWS_A_QUERY as usize {
                return Ok(());
            }
        }
    }

    fn take(&mut self, label: &str, wrong: bool) {
        self.rows += 1;
        self.wrong += u64::from(wrong);
        if !self.subject.labels.is_empty() && !self.subject.labels.contains(label) {
            *self.unseen.entry(label.to_owned()).or_default() += 1;
        }
        let Some(process) = &mut self.process else { return };
        process.update(wrong);
        if self.rows.is_multiple_of(self.stride) {
            self.points.push((self.rows, process.log_wealth()));
            if self.points.len() > MOST_POINTS {
                let mut keep = false;
                self.points.retain(|_| {
                    keep = !keep;
                    keep
                });
                self.stride *= 2;
            }
        }
    }

    /// As the planner knows it.
    pub fn judge(&self) -> plan::Judge {
        let accuracy = wilson(self.rows - self.wrong, self.rows, CONFIDENCE).ok();
        plan::Judge {
            labels: self.rows,
            wrong: self.wrong,
            log_wealth: self.process.as_ref().map_or(0.0, EProcess::log_wealth),
            threshold: self.process.as_ref().map_or(0.0, EProcess::log_threshold),
            alarmed: self.process.as_ref().is_some_and(EProcess::alarmed),
            baseline_accuracy: self
                .subject
                .baseline
                .filter(|baseline| baseline.rows > 0)
                .map(|baseline| 1.0 - baseline.errors as f64 / baseline.rows as f64),
            accuracy: accuracy.map(|interval| (interval.estimate, interval.lower, interval.upper)),
        }
    }

    /// Labels that the version cannot answer, with their rows.
    pub fn unseen(&self) -> Vec<(String, u64)> {
        self.unseen.iter().map(|(label, rows)| (label.clone(), *rows)).collect()
    }

    /// (labels, ln wealth) for the plot.
    pub fn points(&self) -> &[(u64, f64)] {
        &self.points
    }
}
