//! The scheduler as a process.

use std::{
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
};

use crate::world::{World, config};

/// Runs as the scheduler until it is killed or gets SIGTERM.
pub fn scheduler(arguments: &[String]) -> ExitCode {
    let [spec, home, binary, service] = arguments else { return ExitCode::from(2) };
    let config = config(Path::new(spec), Path::new(home), Path::new(binary), service);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listening = runtime.enter();
    let mut signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
    drop(listening);
    let terminated = async move {
        signal.recv().await;
    };
    match runtime.block_on(refit_scheduler::run(config, terminated)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// A running scheduler; killed when dropped.
pub struct Scheduler(Child);

impl Scheduler {
    /// Starts one; `fault` names the point at which it ends itself.
    pub fn start(world: &World, fault: Option<&str>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .arg("scheduler")
            .args([world.spec_path(), world.home(), world.binary()])
            .arg(&world.service.address);
        if let Some(fault) = fault {
            command.env("REFIT_FAULT", fault);
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(mut self) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
