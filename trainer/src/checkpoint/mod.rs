//! Checkpoints: the whole state of a run on disk, so that it can go on after whatever ended it, with the
//! same result, bit for bit.
//!
//! The order of the rows and every random draw are functions of the seed, the epoch and the step, so they
//! need no state of their own. At most the stated interval is lost, and the step under way.

mod error;
mod file;
mod fingerprint;
mod folder;

pub use error::CheckpointError;
pub use file::{Saved, Unreadable, Writer};
pub use fingerprint::Fingerprint;

use crate::TrainError;
use crate::event::{Event, Listener};
use crate::state::TrainState;
use folder::Folder;
use refit_autodiff::Program;
use refit_graph::Model;
use refit_spec::CheckpointSpec;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What is done with the checkpoints that an earlier process left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resume {
    /// Goes on from them if they are of the same spec, rows and weights; else says why not and starts anew.
    #[default]
    IfSame,
    /// Goes on from them or fails.
    Must,
    /// Starts from the beginning.
    Never,
}

/// Asks a run to end: it keeps its state first.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error if it was asked; `during` says what is given up.
    ///
    /// # Errors
    /// When it was asked.
    pub fn check(&self, during: &str) -> Result<(), TrainError> {
        if self.is_asked() { Err(TrainError::Stopped { during: during.to_owned() }) } else { Ok(()) }
    }
}

/// How a run begins and ends.
#[derive(Debug, Clone, Default)]
pub struct Running {
    /// What is done with checkpoints that are there.
    pub resume: Resume,
    /// Ends the run in order.
    pub stop: Stop,
}

/// The checkpoints of one run.
pub struct Checkpoints {
    folder: Option<Folder>,
    policy: Option<CheckpointSpec>,
    running: Running,
    fingerprint: Fingerprint,
    /// When the last one was made, and of which step.
    last: (Instant, usize),
    /// What lies in the folder is of another run, and goes when this one keeps its first.
    foreign: bool,
}

impl Checkpoints {
    /// The folder of the run that writes to `output`: hidden, beside it.
    pub fn folder_of(output: &Path) -> PathBuf {
        let name = output.file_name().unwrap_or_default().to_string_lossy();
        output.with_file_name(format!(".{name}.checkpoints"))
    }

    /// Whether a run that ended early can be taken up in `folder`.
    pub fn can_be_taken_up(folder: &Path) -> bool {
        !folder::steps_in(folder).is_empty() && !Folder::is_locked(folder)
    }

    /// Takes the folder of the run that writes to `output`: nobody else can write there until this is dropped.
    ///
    /// # Errors
    /// When another run writes there, or the folder cannot be written.
    pub fn open(output: &Path, policy: CheckpointSpec, running: &Running) -> Result<Self, CheckpointError> {
        let folder = Folder::lock(Self::folder_of(output))?;
        folder.sweep();
        Ok(Self { folder: Some(folder), policy: Some(policy), ..Self::none(running) })
    }

    /// Keeps nothing; hears the request to stop.
    pub fn none(running: &Running) -> Self {
        Self {
            folder: None,
            policy: None,
            running: running.clone(),
            fingerprint: Fingerprint::default(),
            last: (Instant::now(), 0),
            foreign: false,
        }
    }

    /// Says what the run is made of.
    pub fn identify(&mut self, fingerprint: Fingerprint) {
        self.fingerprint = fingerprint;
    }

    /// Brings `state`, the program's parameters and the best weights in `model` to where the newest usable
    /// checkpoint was, if there is one of this very run.
    ///
    /// # Errors
    /// When the run must go on from a checkpoint and cannot.
    pub fn resume(
        &mut self,
        state: &mut TrainState,
        program: &mut Program,
        model: &mut Model,
        tell: &mut Listener<'_>,
    ) -> Result<(), TrainError> {
        let resumed = self.find(state, program, model, tell)?;
        if !resumed && self.running.resume == Resume::Must {
            let folder = self.path().to_owned();
            return Err(CheckpointError::Nothing { folder }.into());
        }
        self.foreign = !resumed;
        self.last = (Instant::now(), state.step);
        Ok(())
    }

    fn find(
        &self,
        state: &mut TrainState,
        program: &mut Program,
        model: &mut Model,
        tell: &mut Listener<'_>,
    ) -> Result<bool, TrainError> {
        let files = self.folder.as_ref().map(Folder::files).unwrap_or_default();
        if self.running.resume == Resume::Never {
            return Ok(false);
        }
        for (step, path) in files {
            let unusable = |why: &Unreadable| {
                Event::Notice(format!("the checkpoint {} is passed over: {why}", path.display()))
            };
            let (mut saved, kept) = match read(&path) {
                Ok(found) => found,
                Err(why) => {
                    tell(unusable(&why));
                    continue;
                }
            };
            if let Some(why) = self.fingerprint.differs_from(&kept) {
                if self.running.resume == Resume::Must {
                    let folder = self.path().to_owned();
                    return Err(CheckpointError::Changed { folder, why }.into());
                }
                let message = format!(
                    "a checkpoint of step {step} is not taken up, because {why}: training starts from the beginning"
                );
                tell(Event::Notice(message));
                return Ok(false);
            }
            if let Err(why) = state.restore(&mut saved, program, model)? {
                tell(unusable(&why));
                continue;
            }
            if !self.fingerprint.has_threads_of(&kept) {
                let message = "the run began with another number of threads: its last bits may differ";
                tell(Event::Notice(message.to_owned()));
            }
            tell(Event::Notice(format!("goes on from the checkpoint of step {step}")));
            return Ok(true);
        }
        Ok(false)
    }

    /// Called after every step: keeps the state when it is time to, or when the run is asked to stop.
    ///
    /// # Errors
    /// When the run was asked to stop.
    pub fn after_step(
        &mut self,
        state: &TrainState,
        program: &Program,
        model: &Model,
        tell: &mut Listener<'_>,
    ) -> Result<(), TrainError> {
        let stop = self.running.stop.is_asked();
        let due = self.policy.is_some_and(|policy| {
            self.last.0.elapsed() >= policy.every.0
                || policy.steps.is_some_and(|steps| state.step - self.last.1 >= steps)
        });
        if due || stop {
            self.keep(state, program, model, tell);
        }
        if stop {
            return Err(TrainError::Stopped { during: format!("after step {}", state.step) });
        }
        Ok(())
    }

    /// Keeps the state now. A full disk is no reason to end the run: it is told, and the one before stays.
    pub fn keep(&mut self, state: &TrainState, program: &Program, model: &Model, tell: &mut Listener<'_>) {
        let keep = self.policy.map_or(0, |policy| policy.keep);
        let Some(folder) = self.folder.as_ref().filter(|_| keep > 0) else { return };
        if std::mem::take(&mut self.foreign) {
            folder.clear();
        }
        let started = Instant::now();
        let fingerprint = serde_json::to_vec(&self.fingerprint).unwrap_or_default();
        let written = folder.write(state.step, keep, &|out| {
            let mut writer = Writer::begin(out)?;
            writer.raw("fingerprint", &fingerprint)?;
            state.save(&mut writer, program, model)?;
            writer.finish().map(|_| ())
        });
        // After a failure it is tried again when the next one is due, not at every step.
        self.last = (Instant::now(), state.step);
        tell(match written {
            Ok(()) => Event::Checkpoint { step: state.step, seconds: started.elapsed().as_secs_f64() },
            Err(error) => {
                let last = folder.files().first().map(|(step, _)| format!("the last one is of step {step}"));
                Event::Notice(format!(
                    "the checkpoint of step {} cannot be written ({error}); training goes on, {}",
                    state.step,
                    last.as_deref().unwrap_or("and there is none before it")
                ))
            }
        });
    }

    /// The run is done: its checkpoints are of no use any more.
    pub fn remove(self) {
        if let Some(folder) = &self.folder {
            folder.clear();
        }
    }

    fn path(&self) -> &Path {
        self.folder.as_ref().map_or(Path::new(""), Folder::path)
    }
}

fn read(path: &Path) -> Result<(Saved, Fingerprint), Unreadable> {
    let saved = Saved::read(path)?;
    let fingerprint = serde_json::from_slice(saved.raw("fingerprint")?).map_err(|_| Unreadable::Format)?;
    Ok((saved, fingerprint))
}
