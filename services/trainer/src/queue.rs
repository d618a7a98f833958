//! The runs, in memory and in their folders; who is next.

use crate::metrics::Metrics;
use crate::run::{Files, Run, Status, fingerprint, load_all};
use crate::{TrainerConfig, TrainerError};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// All runs of a home.
pub struct Queue {
    /// What the service runs on.
    pub config: TrainerConfig,
    /// What it tells Prometheus.
    pub metrics: Metrics,
    runs: Mutex<BTreeMap<String, Run>>,
    /// Counts changes: whoever waits for one sees the number grow.
    changes: watch::Sender<u64>,
}

/// A spec on its way in.
pub struct Submission {
    /// The id, if the caller has one.
    pub id: Option<String>,
    /// The text of `refit.toml`.
    pub spec: String,
    /// The model's name, from the spec.
    pub model: String,
    /// Where relative paths start.
    pub folder: PathBuf,
    /// Where training starts.
    pub start: String,
    /// Further labelled rows, one JSON object a line.
    pub additional: Option<String>,
}

/// Why a spec is not taken.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum Refusal {
    #[error("the run {id} exists with another spec, other rows or another start: give it another id")]
    Other { id: String },
    #[error("{queued} runs wait already: try again when some are done")]
    Full { queued: usize },
    #[error("the run cannot be kept")]
    Disk(#[from] TrainerError),
}

impl Queue {
    /// Takes up what lies in the home: runs that were under way wait again, before all others.
    ///
    /// # Errors
    /// When the home cannot be read or written.
    pub fn open(config: TrainerConfig, metrics: Metrics) -> Result<Self, TrainerError> {
        let mut runs = BTreeMap::new();
        for mut run in load_all(&config.runs())? {
            if run.status == Status::Running {
                run.status = if run.cancel { Status::Cancelled } else { Status::Queued };
                Files::of(&config.runs(), &run.id).save(&run)?;
            }
            runs.insert(run.id.clone(), run);
        }
        let queue = Self { config, metrics, runs: Mutex::new(runs), changes: watch::channel(0).0 };
        queue.changed();
        Ok(queue)
    }

    /// The files of a run.
    pub fn files(&self, id: &str) -> Files {
        Files::of(&self.config.runs(), id)
    }

    /// A run.
    pub fn get(&self, id: &str) -> Option<Run> {
        self.lock().get(id).cloned()
    }

    /// All runs, the newest last.
    pub fn list(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = self.lock().values().cloned().collect();
        runs.sort_by_key(|run| run.sequence);
        runs
    }

    /// Tells of every change.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Takes a spec in. The same id with the same content is the same run; one that failed or was cancelled is tried
    /// again, and goes on from its checkpoint.
    ///
    /// # Errors
    /// When the id belongs to something else, or too many wait.
    pub fn submit(&self, submission: Submission) -> Result<Run, Refusal> {
        let Submission { id, spec, model, folder, start, additional } = submission;
        let id = id.unwrap_or_else(|| format!("run-{}", uuid::Uuid::now_v7()));
        let submitted = fingerprint(&spec, &start, &folder, additional.as_deref());
        let mut runs = self.lock();
        let queued = runs.values().filter(|run| run.status == Status::Queued).count();
        let full = queued >= self.config.max_queued;
        let files = self.files(&id);
        if let Some(known) = runs.get_mut(&id) {
            if known.submitted != submitted {
                return Err(Refusal::Other { id });
            }
            if matches!(known.status, Status::Failed | Status::Cancelled) {
                if full {
                    return Err(Refusal::Full { queued });
                }
                *known = Run {
                    status: Status::Queued,
                    cancel: false,
                    error: None,
                    attempts: 0,
                    ended_at: None,
                    ..known.clone()
                };
                files.save(known)?;
            }
            let run = known.clone();
            drop(runs);
            self.changed();
            return Ok(run);
        }
        if full {
            return Err(Refusal::Full { queued });
        }
        let run = Run {
            sequence: runs.values().map(|run| run.sequence + 1).max().unwrap_or(0),
            id: id.clone(),
            model,
            status: Status::Queued,
            start,
            folder,
            submitted,
            submitted_at: Timestamp::now(),
            started_at: None,
            ended_at: None,
            attempts: 0,
            device: None,
            cancel: false,
            error: None,
            outcome: None,
        };
        let write = |path: PathBuf, text: &str| std::fs::write(&path, text).map_err(TrainerError::file(path));
        std::fs::create_dir_all(&files.folder).map_err(TrainerError::file(&files.folder))?;
        write(files.spec(), &spec)?;
        if let Some(rows) = &additional {
            write(files.additional(), rows)?;
        }
        // Last: a run without a record was never submitted.
        files.save(&run)?;
        runs.insert(id, run.clone());
        drop(runs);
        self.changed();
        Ok(run)
    }

    /// Asks for the end of a run; one that waits is cancelled at once.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn cancel(&self, id: &str) -> Result<Option<Run>, TrainerError> {
        self.change(id, |run| match run.status {
            Status::Queued => {
                (run.status, run.cancel, run.ended_at) = (Status::Cancelled, true, Some(Timestamp::now()));
            }
            Status::Running => run.cancel = true,
            Status::Succeeded | Status::Failed | Status::Cancelled => {}
        })
    }

    /// The next run for `device`, which is its from now on.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn take(&self, device: &str) -> Result<Option<Run>, TrainerError> {
        let next = {
            let runs = self.lock();
            // What was started before goes on before something new begins.
            let waiting = runs.values().filter(|run| run.status == Status::Queued);
            waiting.min_by_key(|run| (run.started_at.is_none(), run.sequence)).map(|run| run.id.clone())
        };
        let Some(id) = next else { return Ok(None) };
        let mut taken = false;
        let run = self.change(&id, |run| {
            // Another device may have been quicker.
            if run.status == Status::Queued {
                run.status = Status::Running;
                run.device = Some(device.to_owned());
                run.started_at = Some(Timestamp::now());
                run.attempts += 1;
                taken = true;
            }
        })?;
        Ok(run.filter(|_| taken))
    }

    /// Changes a run, here and in its folder.
    ///
    /// # Errors
    /// When it cannot be kept; it is as before then.
    pub fn change(&self, id: &str, change: impl FnOnce(&mut Run)) -> Result<Option<Run>, TrainerError> {
        let changed = {
            let mut runs = self.lock();
            let Some(run) = runs.get_mut(id) else { return Ok(None) };
            let mut next = run.clone();
            change(&mut next);
            if next == *run {
                return Ok(Some(next));
            }
            self.files(id).save(&next)?;
            *run = next.clone();
            next
        };
        self.changed();
        Ok(Some(changed))
    }

    fn changed(&self) {
        let runs = self.list();
        self.metrics.queue(&runs);
        self.changes.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Run>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
