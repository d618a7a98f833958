//! Child processes: `refit train` and `refit gate`.

use std::{ffi::OsString, fs::File, path::Path, process::Stdio};

use refit_spec::Start;
use tokio::process::{Child, Command};

use crate::{SchedulerConfig, SchedulerError, observe::Files};

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
        for (mut child, files) in self.0.drain(..) {
            if child.kill().await.is_ok() {
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
