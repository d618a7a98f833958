//! A library with the names of the CUDA driver's functions and nothing in them: enough to link against on a
//! machine without a GPU. At run time the driver's own is loaded.

use crate::shell::{self, cargo, program};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Writes `libcuda.so` into `folder`, unless it is there.
pub fn make(folder: &Path) -> Result<()> {
    let library = folder.join("libcuda.so");
    if library.exists() {
        return Ok(());
    }
    let bindings = bindings()?;
    let source = std::fs::read_to_string(&bindings)
        .with_context(|| format!("{} cannot be read", bindings.display()))?;
    let functions = functions(&source);
    anyhow::ensure!(functions.len() > 100, "{} declares no functions of the driver", bindings.display());
    let stub: String = functions.iter().map(|name| format!("void {name}(void) {{}}\n")).collect();
    let file = folder.join("stub.c");
    std::fs::write(&file, stub)?;
    let mut compile = program("cc");
    compile.args(["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o"]).arg(&library).arg(&file);
    shell::run(&mut compile)
}

/// Where the bindings declare the driver's functions.
fn bindings() -> Result<PathBuf> {
    let metadata =
        shell::output(cargo().args(["metadata", "--format-version", "1", "--features", "refit/cuda"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let cudarc = packages.iter().find(|package| package["name"] == "cudarc");
    let manifest = cudarc.and_then(|package| package["manifest_path"].as_str());
    let manifest = Path::new(manifest.context("the feature \"cuda\" brings no cudarc")?);
    Ok(manifest.with_file_name("src/driver/sys/mod.rs"))
}

/// Every `fn cuSomething`.
fn functions(source: &str) -> BTreeSet<&str> {
    source
        .split("fn ")
        .filter(|rest| rest.starts_with("cu"))
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next())
        .filter(|name| name.chars().nth(2).is_some_and(|c| c.is_ascii_uppercase()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::functions;

    #[test]
    fn functions_of_the_driver_are_found() {
        let source =
            "pub unsafe fn cuInit(flags: u32) -> R { fn cuInit(); } fn custom() {} fn cuMemAlloc_v2(p: P);";
        assert_eq!(functions(source).into_iter().collect::<Vec<_>>(), ["cuInit", "cuMemAlloc_v2"]);
    }
}
