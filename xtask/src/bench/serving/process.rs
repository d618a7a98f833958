//! A server in the background, ended with all that it started.

use crate::shell;
use anyhow::{Context, Result, bail};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(15);

/// The leader of a group of processes.
pub struct Process {
    child: Child,
    address: String,
    log: PathBuf,
}

impl Process {
    /// Starts what is to listen at `address`; what it says goes to `log`.
    ///
    /// # Errors
    /// Also when somebody listens there: a server that was left over would be measured in place of this one.
    pub fn start(command: &mut Command, address: &str, log: &Path) -> Result<Self> {
        if is_taken(address) {
            bail!("somebody listens at {address} already: end that process first");
        }
        let file = std::fs::File::create(log)?;
        let started =
            command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0).spawn();
        let name = command.get_program().to_string_lossy().into_owned();
        let child = started.with_context(|| format!("{name} cannot be started"))?;
        Ok(Self { child, address: address.to_owned(), log: log.to_owned() })
    }

    /// Seconds until `ready` says so.
    pub fn until(&mut self, patience: Duration, ready: impl Fn() -> bool) -> Result<f64> {
        let started = Instant::now();
        while !ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended ({status}) before it was ready: see {}", self.log.display());
            }
            if started.elapsed() > patience {
                bail!("it was not ready within {} s: see {}", patience.as_secs(), self.log.display());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(started.elapsed().as_secs_f64())
    }

    /// Resident memory of the leader.
    pub fn memory_mb(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0 / 1e6)
    }

    fn signal(&self, name: &str) {
        let group = format!("-{}", self.child.id());
        let _ = shell::program("kill").args(["-s", name, "--", &group]).stderr(Stdio::null()).status();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal("TERM");
        wait_while(|| matches!(self.child.try_wait(), Ok(None)));
        // What the leader started and left behind.
        self.signal("KILL");
        let _ = self.child.wait();
        wait_while(|| is_taken(&self.address));
    }
}

fn is_taken(address: &str) -> bool {
    TcpStream::connect(address).is_ok()
}

fn wait_while(mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while condition() && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
}
