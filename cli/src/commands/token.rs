//! `refit token`: lets a caller in.

use crate::cli::TokenArguments;
use anyhow::{Context, Result, bail, ensure};
use refit_inference::{NewToken, Scope};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

pub fn run(arguments: &TokenArguments) -> Result<()> {
    let scopes: Vec<Scope> = arguments.scopes.iter().filter_map(|name| Scope::parse(name)).collect();
    let rate = arguments.rate.map(|per_second| {
        ensure!(per_second.is_finite() && per_second > 0.0, "--rate is requests a second: more than 0");
        let burst = arguments.burst.unwrap_or_else(|| per_second.ceil().clamp(1.0, 1e9) as u32);
        ensure!(burst > 0, "--burst is a number of requests: at least 1");
        Ok((per_second, burst))
    });
    let new = match NewToken::make(&arguments.name, &scopes, rate.transpose()?) {
        Ok(new) => new,
        Err(why) => bail!("{why}"),
    };
    if let Some(file) = &arguments.file {
        append(file, &new.line).with_context(|| format!("{} cannot be written", file.display()))?;
        eprintln!("added to {}:", file.display());
    } else {
        eprintln!("add this line to the file that serve.tokens names:");
    }
    eprintln!("  {}", new.line);
    eprintln!("this is the token; it is shown once:");
    println!("{}", new.token);
    Ok(())
}

/// Adds a line, readable for its owner alone where the file is new.
fn append(file: &Path, line: &str) -> std::io::Result<()> {
    let before = std::fs::read(file).unwrap_or_default();
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(file)?;
    let start = if before.last().is_some_and(|&byte| byte != b'\n') { "\n" } else { "" };
    file.write_all(format!("{start}{line}\n").as_bytes())
}
