//! Services as child processes of this binary: started, watched, started again, stopped in order.

use crate::signals::stop_signal;
use anyhow::{Context, Result, bail};
use refit_trainer::Stop;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep, timeout};

/// The longest wait before a service that died is started again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A service that ran for so long died of something new: it is started again at once.
const STEADY: Duration = Duration::from_secs(60);

/// One service.
pub struct Service {
    name: &'static str,
    arguments: Vec<String>,
    log: Option<PathBuf>,
}

impl Service {
    /// `refit NAME ARGUMENTS...`; its log goes to `log`, or to this process's standard error.
    pub fn new(name: &'static str, arguments: Vec<String>, log: Option<PathBuf>) -> Self {
        Self { name, arguments, log }
    }

    /// The process, and the pipe that tells it when this one is gone.
    fn start(&self) -> Result<(Child, Option<ChildStdin>)> {
        let binary = std::env::current_exe().context("this program cannot find itself")?;
        let mut command = Command::new(binary);
        command.arg(self.name).args(&self.arguments).arg("--with-parent");
        command.kill_on_drop(true).stdin(Stdio::piped());
        if let Some(log) = &self.log {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(log);
            let file = file.with_context(|| format!("{} cannot be written", log.display()))?;
            command.stdout(file.try_clone()?).stderr(file);
        }
        let child = command.spawn();
        let mut child = child.with_context(|| format!("the {} service cannot be started", self.name))?;
        // Waiting for a child closes its standard input, unless it was taken.
        let pipe = child.stdin.take();
        Ok((child, pipe))
    }

    /// Keeps the service running until `stop` is told, then lets it drain.
    ///
    /// # Errors
    /// When it cannot be started at all.
    pub async fn keep_running(self, mut stop: tokio::sync::watch::Receiver<bool>) -> Result<()> {
        let mut pause = Duration::from_millis(250);
        loop {
            let started = Instant::now();
            let (mut child, _pipe) = self.start()?;
            tokio::select! {
                status = child.wait() => {
                    pause = if started.elapsed() > STEADY { Duration::from_millis(250) } else { (pause * 2).min(LONGEST_PAUSE) };
                    tracing::warn!(service = self.name, status = %status?, "ended; it is started again in {} ms", pause.as_millis());
                }
                () = told(&mut stop) => return end(child, self.name).await,
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = told(&mut stop) => return Ok(()),
            }
        }
    }
}

/// Ends the listening for signals when it is dropped.
pub struct Listening(
    #[allow(dead_code, reason = "dropping it is what tells")] tokio::sync::oneshot::Sender<()>,
);

/// Asks a training to end at the first signal, so that it keeps its state; the second ends the process.
///
/// With a parent, the end of that counts as a signal.
pub fn stop_when_asked(stop: &Stop, with_parent: bool) -> Listening {
    let (listening, mut done) = tokio::sync::oneshot::channel();
    let stop = stop.clone();
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            let mut asked = Box::pin(stop_signal(with_parent)) as Pin<Box<dyn Future<Output = ()> + Send>>;
            for time in 0..2 {
                tokio::select! {
                    _ = &mut done => return,
                    () = &mut asked => {}
                }
                asked = Box::pin(refit_inference::stop_signal());
                if time == 1 {
                    std::process::exit(130);
                }
                stop.ask();
                eprintln!("stopping after this step; once more ends at once");
            }
        });
    });
    Listening(listening)
}

/// Done when `stop` says so, or nobody can say so any more.
async fn told(stop: &mut tokio::sync::watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Asks a service to stop as an operator would, and kills it only if it does not.
async fn end(mut child: Child, name: &str) -> Result<()> {
    if let Some(id) = child.id() {
        let signalled = Command::new("kill").args(["-TERM", &id.to_string()]).status().await;
        if signalled.is_ok_and(|status| status.success())
            && timeout(Duration::from_secs(25), child.wait()).await.is_ok()
        {
            return Ok(());
        }
    }
    tracing::warn!(service = name, "did not stop in time and is killed");
    Ok(child.kill().await?)
}

/// Says so before long work begins if a service could not listen at `address` in the end.
///
/// # Errors
/// When another program listens there.
pub fn ensure_free(address: SocketAddr, fix: &str) -> Result<()> {
    match TcpListener::bind(address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            bail!("{address} is in use by another program: stop it, or {fix}")
        }
        _ => Ok(()),
    }
}

/// Waits until `url` answers with success.
///
/// # Errors
/// When it does not within `limit`; the message says where the log is.
pub async fn wait_until_ready(http: &reqwest::Client, url: &str, limit: Duration, log: &Path) -> Result<()> {
    let ready = async {
        while !http.get(url).send().await.is_ok_and(|response| response.status().is_success()) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(limit, ready)
        .await
        .with_context(|| format!("{url} is not ready after {} s; see {}", limit.as_secs(), log.display()))
}
