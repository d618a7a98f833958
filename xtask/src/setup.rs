//! What the tests need beside Rust.

use crate::shell::{self, cargo, has, program, root};
use anyhow::{Result, bail};
use std::path::PathBuf;

/// Programs of the system and the Debian packages that carry them.
const PROGRAMS: &[(&str, &str)] = &[
    ("cc", "build-essential"),
    ("prometheus", "prometheus"),
    ("promtool", "prometheus"),
    ("kubectl", "kubernetes-client"),
    ("curl", "curl"),
    ("openssl", "openssl"),
];

/// Installs everything.
pub fn run() -> Result<()> {
    system_packages()?;
    python_environment()?;
    onnx_runtime()
}

/// The interpreter of the tests' own environment.
pub fn python() -> PathBuf {
    root().join(".venv/bin/python")
}

fn system_packages() -> Result<()> {
    let mut packages: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| !has(program)).map(|(_, package)| *package).collect();
    packages.dedup();
    let can_make_environments = program("python3").args(["-c", "import ensurepip, venv"]).output();
    if !can_make_environments.is_ok_and(|output| output.status.success()) {
        packages.extend(["python3", "python3-venv", "python3-pip"]);
    }
    if packages.is_empty() {
        return Ok(());
    }
    let is_root = program("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0"));
    if !has("apt-get") || !is_root {
        bail!("the tests need programs that are missing here; install the packages {}", packages.join(" "));
    }
    shell::run(program("apt-get").args(["update", "-qq"]))?;
    shell::run(
        program("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(packages),
    )
}

fn python_environment() -> Result<()> {
    let requirements = root().join("xtask/requirements.txt");
    let wanted = std::fs::read(&requirements)?;
    let installed = root().join(".venv/installed.txt");
    if std::fs::read(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    shell::run(program("python3").args(["-m", "venv", ".venv"]))?;
    let mut pip = program(python());
    shell::run(
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&requirements),
    )?;
    Ok(std::fs::write(installed, wanted)?)
}

/// All crates are built at once, as the tests build them: built alone, `refit` would take its dependencies with
/// other features and compile the engines a second time.
fn onnx_runtime() -> Result<()> {
    shell::run(cargo().args(["build", "--workspace"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    shell::run(program(target.join("debug/refit")).args(["engine", "install", "onnxruntime"]))
}
