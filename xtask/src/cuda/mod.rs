//! `refit` with CUDA, from the package registries alone: the compiler and the libraries are Python wheels.

mod stub;

use crate::shell::{self, cargo, program, root};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::Command;

/// 13.0 is what drivers of the 580 series take.
const TOOLKIT: &str = "cuda-toolkit[nvcc,nvvm,crt,cudart,cccl,cublas,curand,nvrtc]==13.0.2";

/// Libraries that the binary is linked with.
const LIBRARIES: [&str; 5] = ["cublas", "cublasLt", "cudart", "curand", "nvrtc"];

#[derive(Args)]
pub struct Options {
    /// Oldest generation of GPUs to build for: 80 is A100, 90 is H100 and H200.
    #[arg(long, default_value = "80")]
    compute_capability: String,
    /// Only checks that everything compiles; the kernels are built for that too.
    #[arg(long)]
    check: bool,
    /// Where the compiler and what is built are put; some 20 GB.
    #[arg(long, default_value = "target/cuda")]
    folder: PathBuf,
}

/// Installs the compiler if it is not there, and builds with it in a folder of its own, so that nothing of the
/// ordinary build is compiled anew.
pub fn run(options: &Options) -> Result<()> {
    let folder = root().join(&options.folder);
    let home = toolkit(&folder)?;
    let links = link_names(&folder, &home)?;
    let mut paths = vec![home.join("bin")];
    paths.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let mut build = cargo();
    build.arg(if options.check { "check" } else { "build" });
    if !options.check {
        build.arg("--release");
    }
    build
        .args(["--locked", "--features", "cuda", "--target-dir"])
        .arg(folder.join("build"))
        .env("CUDA_HOME", &home)
        .env("CUDA_PATH", &home)
        .env("CUDA_COMPUTE_CAP", &options.compute_capability)
        .env("PATH", std::env::join_paths(paths)?)
        .env("LIBRARY_PATH", &links)
        // The binary finds the libraries of the wheels where they lie.
        .env("RUSTFLAGS", format!("-C link-arg=-Wl,-rpath,{}", home.join("lib").display()));
    shell::run(&mut build)?;
    if !options.check {
        println!("{}", folder.join("build/release/refit").display());
    }
    Ok(())
}

/// The folder that serves as `CUDA_HOME`.
fn toolkit(folder: &Path) -> Result<PathBuf> {
    let environment = folder.join("toolkit");
    let python = environment.join("bin/python");
    if !python.exists() {
        shell::run(program("python3").args(["-m", "venv"]).arg(&environment))?;
    }
    let installed = environment.join("installed.txt");
    if !std::fs::read_to_string(&installed).is_ok_and(|wanted| wanted == TOOLKIT) {
        let mut pip = program(&python);
        shell::run(pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", TOOLKIT]))?;
        std::fs::write(&installed, TOOLKIT)?;
    }
    let packages = shell::output(
        Command::new(&python).args(["-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]),
    )?;
    let home = Path::new(packages.trim()).join("nvidia/cu13");
    if !home.join("bin/nvcc").is_file() {
        bail!("{} has no bin/nvcc: delete {} and try again", home.display(), environment.display());
    }
    Ok(home)
}

/// Wheels carry the libraries under the names that programs load; linkers look for those without a version.
/// The driver's own library comes with the driver, so a stub is linked against in its place.
fn link_names(folder: &Path, home: &Path) -> Result<PathBuf> {
    let links = folder.join("lib");
    std::fs::create_dir_all(&links)?;
    let entries: Vec<PathBuf> =
        std::fs::read_dir(home.join("lib"))?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    for library in LIBRARIES {
        let start = format!("lib{library}.so.");
        let named =
            |path: &&PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&start));
        let file = entries.iter().find(named);
        let file = file.with_context(|| format!("{} has no {start}*", home.join("lib").display()))?;
        let link = links.join(format!("lib{library}.so"));
        if link.symlink_metadata().is_err() {
            std::os::unix::fs::symlink(file, link)?;
        }
    }
    stub::make(&links)?;
    Ok(links)
}
