//! What a child process is doing, as its run folder tells.
//!
//! The child's standard output is a file that was locked before the child was started. The lock belongs to the open
//! file, which the child holds until it ends, however it ends; it does not belong to the scheduler that started it. So
//! any scheduler can tell a running child from a dead one without trusting process ids, and there is no moment between
//! starting and recording at which a crash could lose it.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{SchedulerError, plan::Child};

/// What kind of child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `refit train`.
    Train,
    /// `refit gate`.
    Gate,
}

impl Kind {
    /// The name used in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Gate => "gate",
        }
    }
}

/// The files of one attempt.
#[derive(Clone, Debug)]
pub struct Files {
    /// Standard output: one JSON value when it ends well. Locked while the child lives.
    pub outcome: PathBuf,
    /// Standard error.
    pub log: PathBuf,
    /// The process id, for people; written once the child was started.
    pub pid: PathBuf,
}

impl Files {
    /// Those of an attempt in a run's folder.
    pub fn of(run_folder: &Path, kind: Kind, attempt: u32) -> Self {
        let file = |extension: &str| run_folder.join(format!("{}-{attempt}.{extension}", kind.name()));
        Self { outcome: file("json"), log: file("log"), pid: file("pid") }
    }
}

/// The part of the outcomes of `refit train --json` and `refit gate --json` that decides.
#[derive(Deserialize)]
struct Outcome {
    version: Option<String>,
    passed: Option<bool>,
    #[serde(default)]
    reasons: Vec<String>,
}

/// Looks.
pub fn look(files: &Files, kind: Kind) -> Result<Child, SchedulerError> {
    let file = match File::open(&files.outcome) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Child::NotStarted),
        Err(error) => return Err(SchedulerError::file("open", &files.outcome)(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Child::Running),
        Err(TryLockError::Error(error)) => return Err(SchedulerError::file("lock", &files.outcome)(error)),
    }
    let text =
        std::fs::read_to_string(&files.outcome).map_err(SchedulerError::file("read", &files.outcome))?;
    if text.is_empty() && !files.pid.exists() {
        // The scheduler died between making the file and starting the child.
        return Ok(Child::NotStarted);
    }
    Ok(match (kind, serde_json::from_str(&text)) {
        (Kind::Train, Ok(Outcome { version: Some(version), .. })) => Child::Trained { version },
        (Kind::Gate, Ok(Outcome { passed: Some(passed), reasons, .. })) => Child::Gated { passed, reasons },
        _ => match complaint(&files.log) {
            Some(error) => Child::Failed { error },
            None => Child::Crashed,
        },
    })
}

/// The sentence with which `refit` ends when something went wrong.
fn complaint(log: &Path) -> Option<String> {
    let text = std::fs::read(log).ok()?;
    let text = String::from_utf8_lossy(&text);
    let at = text.rfind("\nrefit: ").map(|at| at + 1).or_else(|| text.starts_with("refit: ").then_some(0))?;
    let sentence = text[at + "refit: ".len()..].trim();
    (!sentence.is_empty()).then(|| sentence.chars().take(2000).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Kind, outcome: Option<&str>, log: &str, expect: Child) {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::of(folder.path(), kind, 1);
        if let Some(outcome) = outcome {
            std::fs::write(&files.outcome, outcome).unwrap();
            std::fs::write(&files.log, log).unwrap();
            std::fs::write(&files.pid, "1").unwrap();
        }
        assert_eq!(look(&files, kind).unwrap(), expect, "{outcome:?} {log:?}");
    }

    #[test]
    fn outcomes() {
        check(Kind::Train, None, "", Child::NotStarted);
        check(
            Kind::Train,
            Some("{\"version\":\"2\",\"artifact\":\"x\"}"),
            "",
            Child::Trained { version: "2".into() },
        );
        check(Kind::Train, Some(""), "a panic\n", Child::Crashed);
        check(Kind::Train, Some("{\"version\":"), "", Child::Crashed);
        check(Kind::Train, Some("{\"passed\":true}"), "", Child::Crashed);
        let failed = Child::Failed { error: "there is one class only".into() };
        check(Kind::Train, Some(""), "epoch 1\nrefit: there is one class only\n", failed);
        let reasons = vec!["no worse".to_owned()];
        check(
            Kind::Gate,
            Some("{\"passed\":true,\"reasons\":[\"no worse\"]}"),
            "",
            Child::Gated { passed: true, reasons },
        );
    }

    #[test]
    fn a_locked_outcome_is_a_running_child() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::of(folder.path(), Kind::Train, 1);
        let file = File::create(&files.outcome).unwrap();
        file.lock().unwrap();
        assert_eq!(look(&files, Kind::Train).unwrap(), Child::Running);
        drop(file);
        assert_eq!(look(&files, Kind::Train).unwrap(), Child::NotStarted);
        std::fs::write(&files.pid, "1").unwrap();
        assert_eq!(look(&files, Kind::Train).unwrap(), Child::Crashed);
    }
}
