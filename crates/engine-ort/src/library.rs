use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// The version that [`crate::install`] fetches and that refit is tested with.
pub const DEFAULT_VERSION: &str = "1.31.1";

/// The library of an ONNX Runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// Its file.
    pub path: PathBuf,
    /// Who pointed to it.
    pub origin: Origin,
}

/// Who pointed to a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The configuration.
    Config,
    /// The environment variable `ORT_DYLIB_PATH`.
    Environment,
    /// refit's cache, filled by `refit engine install onnxruntime`.
    Cache,
}

/// A build of the library.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Build {
    /// For processors.
    #[default]
    Cpu,
    /// For GPUs of NVIDIA, and for processors as well.
    Cuda,
}

impl Build {
    /// Its package in PyPI, which its folders in the cache begin with.
    pub fn package(self) -> &'static str {
        match self {
            Self::Cpu => "onnxruntime",
            Self::Cuda => "onnxruntime-gpu",
        }
    }

    /// Where this build of `version` lies in refit's cache.
    pub fn folder(self, cache: &Path, version: &str) -> PathBuf {
        cache.join("engines").join(format!("{}-{version}", self.package()))
    }

    fn other(self) -> Self {
        match self {
            Self::Cpu => Self::Cuda,
            Self::Cuda => Self::Cpu,
        }
    }
}

/// Where the library of `version` for processors lies in refit's cache.
pub fn library_folder(cache: &Path, version: &str) -> PathBuf {
    Build::Cpu.folder(cache, version)
}

/// Looks for the library: at `configured`, else at `ORT_DYLIB_PATH`, else in refit's cache (`~/.cache/refit`).
///
/// What was pointed to by name must be there: falling through to another library would hide the mistake. The error is
/// a sentence that says what to do.
pub fn find_library(configured: Option<&Path>, cache: &Path) -> Result<Library, String> {
    find_library_of(Build::Cpu, configured, cache)
}

/// The same, which in the cache looks for this build first.
pub fn find_library_of(build: Build, configured: Option<&Path>, cache: &Path) -> Result<Library, String> {
    let from_environment = env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from);
    find(build, configured, from_environment.as_deref(), cache)
}

fn find(
    build: Build,
    configured: Option<&Path>,
    from_environment: Option<&Path>,
    cache: &Path,
) -> Result<Library, String> {
    let named = [
        (configured, Origin::Config, "the configuration"),
        (from_environment, Origin::Environment, "ORT_DYLIB_PATH"),
    ];
    for (path, origin, who) in named {
        let Some(path) = path else { continue };
        if path.is_file() {
            return Ok(Library { path: path.to_path_buf(), origin });
        }
        return Err(format!("{who} names {}, which is not a file: correct or remove it", path.display()));
    }
    let found = in_cache(build, cache).or_else(|| in_cache(build.other(), cache));
    found.map(|path| Library { path, origin: Origin::Cache }).ok_or_else(|| {
        format!(
            "there is no library in {}: run `refit engine install onnxruntime`",
            cache.join("engines").display()
        )
    })
}

/// The tested version of a build if it is there, else the newest other one.
fn in_cache(build: Build, cache: &Path) -> Option<PathBuf> {
    if let Some(library) = library_in(&build.folder(cache, DEFAULT_VERSION)) {
        return Some(library);
    }
    let entries = fs::read_dir(cache.join("engines")).ok()?.flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let version = name.to_str()?.strip_prefix(build.package())?.strip_prefix('-')?;
            Some((version_numbers(version)?, library_in(&entry.path())?))
        })
        .max_by(|left, right| left.0.cmp(&right.0))
        .map(|(_, library)| library)
}

/// The library in one folder of the cache.
pub(crate) fn library_in(folder: &Path) -> Option<PathBuf> {
    let mut libraries: Vec<PathBuf> = fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.is_file() && path.file_name().and_then(|name| name.to_str()).is_some_and(is_library_name)
        })
        .collect();
    libraries.sort();
    libraries.pop()
}

/// Whether a file of this name is ONNX Runtime's library itself, not one of its providers.
pub(crate) fn is_library_name(name: &str) -> bool {
    let linux = name == "libonnxruntime.so" || name.starts_with("libonnxruntime.so.");
    let mac = name.starts_with("libonnxruntime.") && name.ends_with(".dylib");
    linux || mac || name == "onnxruntime.dll"
}

/// Whether a file of this name is one of what the library loads to compute with CUDA.
pub(crate) fn is_cuda_provider_name(name: &str) -> bool {
    let stem = name.strip_prefix("lib").unwrap_or(name);
    let stem = stem.strip_suffix(".so").or_else(|| stem.strip_suffix(".dll"));
    matches!(stem, Some("onnxruntime_providers_shared" | "onnxruntime_providers_cuda"))
}

/// The version in a library's path: `libonnxruntime.so.1.31.1`, or the name of its folder in the cache.
pub(crate) fn version_of(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let in_file = file.strip_prefix("libonnxruntime.so.");
    let folder = path.parent()?.file_name()?.to_str()?;
    let in_folder = folder.strip_prefix("onnxruntime-gpu-").or_else(|| folder.strip_prefix("onnxruntime-"));
    in_file.or(in_folder).filter(|version| version_numbers(version).is_some()).map(str::to_owned)
}

fn version_numbers(version: &str) -> Option<Vec<u32>> {
    version.split('.').map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache_with(versions: &[&str]) -> tempfile::TempDir {
        let cache = tempfile::tempdir().unwrap();
        for version in versions {
            let folder = library_folder(cache.path(), version);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(format!("libonnxruntime.so.{version}")), b"").unwrap();
            fs::write(folder.join("libonnxruntime_providers_shared.so"), b"").unwrap();
        }
        cache
    }

    #[test]
    fn the_configuration_goes_first_and_a_wrong_path_is_not_passed_over() {
        let cache = cache_with(&[DEFAULT_VERSION]);
        let own = cache.path().join("own.so");
        fs::write(&own, b"").unwrap();
        let found = find(Build::Cpu, Some(&own), Some(Path::new("/nowhere")), cache.path()).unwrap();
        assert_eq!(found, Library { path: own.clone(), origin: Origin::Config });
        assert_eq!(find(Build::Cpu, None, Some(&own), cache.path()).unwrap().origin, Origin::Environment);
        let wrong = find(Build::Cpu, None, Some(Path::new("/nowhere")), cache.path()).unwrap_err();
        assert_eq!(wrong, "ORT_DYLIB_PATH names /nowhere, which is not a file: correct or remove it");
    }

    #[test]
    fn the_cache_gives_the_tested_version_or_else_the_newest() {
        let found = |cache: &tempfile::TempDir| {
            let library = find(Build::Cpu, None, None, cache.path()).unwrap();
            assert_eq!(library.origin, Origin::Cache);
            version_of(&library.path).unwrap()
        };
        assert_eq!(found(&cache_with(&["1.40.0", DEFAULT_VERSION])), DEFAULT_VERSION);
        assert_eq!(found(&cache_with(&["1.9.0", "1.30.2", "1.30.10"])), "1.30.10");
        let nothing = find(Build::Cpu, None, None, cache_with(&[]).path()).unwrap_err();
        assert!(nothing.ends_with("run `refit engine install onnxruntime`"), "{nothing}");
    }

    #[test]
    fn each_build_is_looked_for_first_where_it_is_wanted() {
        let put = |cache: &Path, build: Build, version: &str| {
            let folder = build.folder(cache, version);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(format!("libonnxruntime.so.{version}")), b"").unwrap();
        };
        let check = |there: &[(Build, &str)], wanted: Build, expected: (Build, &str)| {
            let cache = tempfile::tempdir().unwrap();
            for (build, version) in there {
                put(cache.path(), *build, version);
            }
            let found = find(wanted, None, None, cache.path()).unwrap().path;
            assert_eq!(found.parent(), Some(&*expected.0.folder(cache.path(), expected.1)));
            assert_eq!(version_of(&found).as_deref(), Some(expected.1));
        };
        let [cpu, gpu] = [(Build::Cpu, DEFAULT_VERSION), (Build::Cuda, DEFAULT_VERSION)];
        check(&[cpu, gpu], Build::Cpu, cpu);
        check(&[cpu, gpu], Build::Cuda, gpu);
        check(&[cpu], Build::Cuda, cpu);
        check(&[gpu], Build::Cpu, gpu);
        // Another version of the build that is wanted goes before the tested one of the other.
        check(&[(Build::Cuda, "1.30.0"), (Build::Cuda, "1.29.3"), cpu], Build::Cuda, (Build::Cuda, "1.30.0"));
    }

    #[test]
    fn providers_are_told_from_the_library() {
        for (name, library, provider) in [
            ("libonnxruntime.so.1.31.1", true, false),
            ("libonnxruntime_providers_shared.so", false, true),
            ("libonnxruntime_providers_cuda.so", false, true),
            ("libonnxruntime_providers_tensorrt.so", false, false),
            ("onnxruntime_providers_cuda.dll", false, true),
            ("onnxruntime_pybind11_state.so", false, false),
        ] {
            assert_eq!((is_library_name(name), is_cuda_provider_name(name)), (library, provider), "{name}");
        }
    }
}
