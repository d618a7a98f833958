//! One run after the other on one device, each a child process.

use crate::TrainerError;
use crate::follow::{Lines, resident_bytes};
use crate::queue::Queue;
use crate::run::{Files, Run, Status};
use jiff::Timestamp;
use std::fs::{File, OpenOptions, TryLockError};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How `refit train` ends when it was asked to, and can be taken up.
const STOPPED: i32 = 75;
/// How often events are read.
const LOOK: Duration = Duration::from_millis(200);
/// A run that is asked to end keeps its state first; for a large one that takes a while.
const PATIENCE: Duration = Duration::from_secs(60);

/// Trains what is next on `device`, until `stop` is told.
pub async fn work(queue: Arc<Queue>, device: String, mut stop: watch::Receiver<bool>) {
    let mut changes = queue.watch();
    loop {
        if *stop.borrow() {
            return;
        }
        changes.borrow_and_update();
        match queue.take(&device) {
            Ok(Some(run)) => {
                if let Err(error) = train(&queue, &run, &device, &mut stop).await {
                    tracing::error!(run = run.id, "{error}: {:?}", std::error::Error::source(&error));
                    let why = error.to_string();
                    let _ = queue.change(&run.id, |run| end(run, Status::Failed, Some(why)));
                }
            }
            Ok(None) => {
                tokio::select! {
                    _ = changes.changed() => {}
                    _ = stop.changed() => {}
                }
            }
            Err(error) => {
                tracing::error!("the queue cannot be kept: {error}");
                sleep(Duration::from_secs(5)).await;
            }
        }
    }
}

async fn train(
    queue: &Queue,
    run: &Run,
    device: &str,
    stop: &mut watch::Receiver<bool>,
) -> Result<(), TrainerError> {
    let files = queue.files(&run.id);
    let outcome = locked(&files).await?;
    outcome.set_len(0).map_err(TrainerError::file(files.outcome()))?;
    let said_before = std::fs::metadata(files.log()).map_or(0, |log| log.len());
    let mut events = Lines::from_now(&files.events());
    let mut child = start(queue, run, device, &files, outcome)?;
    // The pipe tells the child when this process is gone, however it ended.
    let pipe = child.stdin.take();
    tracing::info!(run = run.id, model = run.model, device, attempt = run.attempts, "training");
    let numbers = queue.metrics.of(&run.model);
    let mut changes = queue.watch();
    let mut asked = false;
    let status = loop {
        let cancelled = queue.get(&run.id).is_some_and(|run| run.cancel);
        if (cancelled || *stop.borrow()) && !asked {
            asked = true;
            if let Some(status) = ask_to_end(&mut child).await {
                break status;
            }
        }
        tokio::select! {
            status = child.wait() => break status.map_err(TrainerError::file(&queue.config.binary))?,
            _ = changes.changed() => {}
            _ = stop.changed() => {}
            () = sleep(LOOK) => {}
        }
        observe(&mut events, &numbers, child.id());
    };
    drop(pipe);
    observe(&mut events, &numbers, None);
    let stopping = *stop.borrow();
    let text = std::fs::read_to_string(files.outcome()).unwrap_or_default();
    let complaint = complaint(&files, said_before);
    let most = queue.config.max_attempts;
    let ended = queue.change(&run.id, |run| judge(run, status, &text, complaint, stopping, most))?;
    match ended {
        Some(run) if run.status.is_final() => {
            tracing::info!(run = run.id, model = run.model, status = run.status.name(), "ended");
            queue.metrics.ended(&run.model, run.status);
        }
        _ => queue.metrics.forget(&run.model),
    }
    Ok(())
}

/// What the end of its process means for a run.
fn judge(
    run: &mut Run,
    status: ExitStatus,
    outcome: &str,
    complaint: Option<String>,
    stopping: bool,
    max_attempts: u32,
) {
    if status.success()
        && let Ok(outcome) = serde_json::from_str(outcome)
    {
        run.outcome = Some(outcome);
        return end(run, Status::Succeeded, None);
    }
    if run.cancel {
        return end(run, Status::Cancelled, None);
    }
    if stopping {
        // It was asked to keep its state, and goes on when the service is back.
        (run.status, run.attempts) = (Status::Queued, run.attempts.saturating_sub(1));
        return;
    }
    match (status.code(), complaint) {
        (Some(code), Some(why)) if code != STOPPED => end(run, Status::Failed, Some(why)),
        _ if run.attempts < max_attempts => run.status = Status::Queued,
        _ => {
            let why = format!("its process ended {} times without a word ({status})", run.attempts);
            end(run, Status::Failed, Some(why));
        }
    }
}

fn end(run: &mut Run, status: Status, error: Option<String>) {
    (run.status, run.error, run.ended_at) = (status, error, Some(Timestamp::now()));
}

/// The outcome's file, locked: the process of an earlier life of the service may still be keeping its state.
async fn locked(files: &Files) -> Result<File, TrainerError> {
    let path = files.outcome();
    let mut options = OpenOptions::new();
    let file = options.create(true).append(true).open(&path).map_err(TrainerError::file(&path))?;
    let started = tokio::time::Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if started.elapsed() < PATIENCE => sleep(LOOK).await,
            Err(TryLockError::WouldBlock) => {
                let error = std::io::Error::other("the run's earlier process does not end");
                return Err(TrainerError::file(&path)(error));
            }
            Err(TryLockError::Error(error)) => return Err(TrainerError::file(&path)(error)),
        }
    }
}

fn start(
    queue: &Queue,
    run: &Run,
    device: &str,
    files: &Files,
    outcome: File,
) -> Result<Child, TrainerError> {
    let config = &queue.config;
    let log = OpenOptions::new().create(true).append(true).open(files.log());
    let log = log.map_err(TrainerError::file(files.log()))?;
    let mut command = Command::new(&config.binary);
    command.arg("train").arg(files.spec()).arg("--folder").arg(&run.folder);
    command.arg("--home").arg(&config.home).arg("--cache").arg(&config.cache);
    command.args(["--run", &run.id, "--start", &run.start, "--json", "--with-parent", "--events"]);
    command.arg(files.events());
    if files.additional().exists() {
        command.arg("--additional").arg(files.additional());
    }
    if let Some(index) = device.strip_prefix("cuda:") {
        command.env("CUDA_VISIBLE_DEVICES", index);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::from(outcome)).stderr(Stdio::from(log));
    // Ctrl-C in a terminal reaches the service, which ends its runs itself.
    command.process_group(0).kill_on_drop(true).env_remove("REFIT_TRAINER_TOKEN");
    command.spawn().map_err(TrainerError::file(&config.binary))
}

fn observe(events: &mut Lines, numbers: &crate::metrics::OfRun, pid: Option<u32>) {
    for line in events.next() {
        if let Ok(event) = serde_json::from_str::<serde_json::Value>(&line)
            && event["event"] == "step"
        {
            numbers.step(&event);
        }
    }
    if let Some(bytes) = pid.and_then(resident_bytes) {
        numbers.memory(bytes);
    }
}

/// Asks a process to keep its state and end, and kills it only if it does not.
async fn ask_to_end(child: &mut Child) -> Option<ExitStatus> {
    let id = child.id()?.to_string();
    let asked = Command::new("kill").args(["-TERM", &id]).status().await;
    if asked.is_ok_and(|status| status.success())
        && let Ok(ended) = timeout(PATIENCE, child.wait()).await
    {
        return ended.ok();
    }
    let _ = child.kill().await;
    child.wait().await.ok()
}

/// The sentence with which `refit` ends when something went wrong; what earlier processes said is passed over.
fn complaint(files: &Files, said_before: u64) -> Option<String> {
    let text = std::fs::read(files.log()).ok()?;
    let text = String::from_utf8_lossy(text.get(usize::try_from(said_before).ok()?..)?);
    let sentence = text.lines().rev().find_map(|line| line.strip_prefix("refit: "))?;
    Some(sentence.chars().take(2000).collect())
}
