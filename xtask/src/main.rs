//! `cargo xtask`: sets a machine up, runs the tests, measures.

mod bench;
mod cuda;
mod setup;
mod shell;
mod test;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Sets this machine up, runs the tests, measures")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Installs what the tests need: packages of the system (as root), a Python environment in .venv,
    /// ONNX Runtime in refit's cache.
    Setup,
    /// Sets up and runs every test, the whole loop included.
    Test(test::Options),
    /// Formatting, lints and, where cargo-deny is installed, licences and advisories.
    Check,
    /// Measures against named peers on this machine.
    Bench(bench::Options),
    /// Builds `refit` for NVIDIA GPUs, with a CUDA compiler from the Python package registry.
    Cuda(cuda::Options),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Setup => setup::run(),
        Task::Test(options) => test::run(&options),
        Task::Check => test::check(),
        Task::Bench(options) => bench::run(&options),
        Task::Cuda(options) => cuda::run(&options),
    }
}
