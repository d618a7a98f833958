//! `docs/benchmarks.md`: a section a suite, each with the machine it was measured on.

use super::{Row, Suite};
use crate::shell;
use anyhow::{Context, Result};
use clap::ValueEnum;
use std::fmt::Write;

const TITLE: &str = "# Benchmarks

Every row is a ratio against a named peer, measured in the same run, in turns; the median of the rounds counts.
Made by `cargo xtask bench SUITE --write` on a machine that did nothing else.
";

/// Replaces the section of a suite; with `keep_others` the rows that were not measured this time stay.
pub fn write(suite: Suite, rows: &[Row], keep_others: bool) -> Result<()> {
    let path = shell::root().join("docs/benchmarks.md");
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    let mut text = TITLE.to_owned();
    for other in Suite::value_variants() {
        let value = other.to_possible_value().context("every suite has a name")?;
        let heading = format!("## {}\n", value.get_name());
        let present = page.split_once(&heading).map(|(_, rest)| rest.split("\n## ").next().unwrap_or(rest));
        let section = if *other == suite {
            let kept = present.filter(|_| keep_others).unwrap_or_default();
            Some(section(&value, rows, &others(kept, rows))?)
        } else {
            present.map(|kept| kept.trim_end().to_owned() + "\n")
        };
        if let Some(section) = section {
            write!(text, "\n{heading}{section}")?;
        }
    }
    std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
}

/// Lines of a table that stand for none of `rows`.
fn others<'a>(section: &'a str, rows: &[Row]) -> Vec<&'a str> {
    let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with("| what ");
    let measured = |line: &str| rows.iter().any(|row| line.starts_with(&format!("| {} |", row.name)));
    section.lines().filter(is_row).filter(|line| !measured(line)).collect()
}

fn section(suite: &clap::builder::PossibleValue, rows: &[Row], others: &[&str]) -> Result<String> {
    let what = suite.get_help().map(ToString::to_string).unwrap_or_default();
    let mut text = format!("\n{what}\n\nMeasured on {}.\n\n", machine());
    text += "| what | ours | peer | ratio | goal | met |\n|---|---|---|---|---|---|\n";
    for row in rows {
        let met = if row.met { "yes" } else { "**no**" };
        writeln!(
            text,
            "| {} | {:.2} | {:.2} | {:.3} | {} | {met} |",
            row.name, row.ours, row.peer, row.ratio, row.goal
        )?;
    }
    others.iter().for_each(|line| text += &format!("{line}\n"));
    Ok(text)
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = about.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map_or("unknown", |(_, value)| value.trim()).to_owned()
    };
    format!("{cores} cores of {}, {}", field("model name"), std::env::consts::OS)
}
