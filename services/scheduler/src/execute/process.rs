//! Child processes: `refit train` and `refit gate`.

use std::{ffi::OsString, fs::File, path::Path, process::Stdio};

use refit_spec::Start;
use tokio::process::{Child, Command};
use tokio::time::{Duration, Instant, timeout_at};

use crate::{SchedulerConfig, SchedulerError, observe::Files};

/// How long children may take to keep their state.
const PATIENCE: Duration = Duration::from_secs(20);

/// The children that this process started.
#[derive(Debug, Default)]
pub(super) struct Processes(Vec<(Child, Files)>);

impl Processes {
    /// Starts a child whose outcome file is locked until it ends. See [`crate::observe::Files`].
    pub(super) fn start(
        &mut self,
        config: &SchedulerConfig,
        arguments: &[OsString],
        files: &Files,
    ) -> Result<(), SchedulerError> {
        let create = |path: &Path| File::create(path).map_err(SchedulerError::file("create", path));
        let outcome = create(&files.outcome)?;
        outcome.lock().map_err(SchedulerError::file("lock", &files.outcome))?;
        let log = create(&files.log)?;
        let child = Command::new(&config.binary)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::from(outcome))
            .stderr(Stdio::from(log))
            // Faults are for the scheduler alone.
            .env_remove("REFIT_FAULT")
            // Ctrl-C in a terminal reaches the scheduler, which ends its children itself.
            .process_group(0)
            .spawn();
        let child = match child {
            Ok(child) => child,
            Err(source) => {
                // Nothing was started: the attempt may be made again once the binary is there.
                let _ = std::fs::remove_file(&files.outcome);
                return Err(SchedulerError::Spawn { binary: config.binary.clone(), source });
            }
        };
        if let Some(pid) = child.id() {
            std::fs::write(&files.pid, pid.to_string()).map_err(SchedulerError::file("write", &files.pid))?;
        }
        self.0.push((child, files.clone()));
        Ok(())
    }

    /// Forgets children that ended.
    pub(super) fn reap(&mut self) {
        self.0.retain_mut(|(child, _)| matches!(child.try_wait(), Ok(None)));
    }

    /// Ends all children and makes their attempts look as if they had not been started.
    pub(super) async fn stop(&mut self) {
        self.reap();
        let mut ending: Vec<(Child, Files)> = self.0.drain(..).collect();
        for (child, _) in &ending {
            // A training keeps its state first, and the next attempt goes on from there.
            if let Some(id) = child.id() {
                let _ = Command::new("kill").args(["-TERM", &id.to_string()]).status().await;
            }
        }
        let deadline = Instant::now() + PATIENCE;
        for (child, files) in &mut ending {
            let ended = timeout_at(deadline, child.wait()).await.is_ok();
            if ended || child.kill().await.is_ok() {
                let _ = std::fs::remove_file(&files.outcome);
                let _ = std::fs::remove_file(&files.pid);
            }
        }
    }
}

/// `refit train SPEC --home H --run RUN --additional FILE --start … --json`
pub(super) fn train_arguments(config: &SchedulerConfig, run: &str, additional: &Path) -> Vec<OsString> {
    let start = match config.spec.refit.start {
        Start::Champion => "champion",
        Start::Pretrained => "pretrained",
    };
    let mut arguments = common(config, "train");
    arguments.extend(["--run".into(), run.into(), "--start".into(), start.into()]);
    arguments.extend(rows("--additional", additional));
    if let Some(trainer) = &config.spec.refit.trainer {
        // The child submits, follows and answers; the trainer trains. What the child's end means stays the same.
        arguments.extend(["--trainer".into(), trainer.into()]);
    }
    arguments
}

/// `refit gate SPEC --home H --champion V --challenger V --recent FILE --json`
pub(super) fn gate_arguments(
    config: &SchedulerConfig,
    champion: &str,
    challenger: &str,
    recent: &Path,
) -> Vec<OsString> {
    let mut arguments = common(config, "gate");
    arguments.extend(["--champion".into(), champion.into(), "--challenger".into(), challenger.into()]);
    arguments.extend(rows("--recent", recent));
    arguments
}

fn common(config: &SchedulerConfig, command: &str) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec![
        command.into(),
        config.spec_path.clone().into(),
        "--home".into(),
        config.home.clone().into(),
        "--json".into(),
    ];
    if let Some(cache) = &config.cache {
        arguments.extend(["--cache".into(), cache.clone().into()]);
    }
    arguments
}

/// A file without rows is not handed over: training on the source alone needs none.
fn rows(option: &str, file: &Path) -> Vec<OsString> {
    let filled = std::fs::metadata(file).is_ok_and(|file| file.len() > 0);
    if filled { vec![option.into(), file.into()] } else { Vec::new() }
}
