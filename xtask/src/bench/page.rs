//! `docs/benchmarks.md`: a section a suite, in it a table a machine.

use super::{Row, Suite};
use crate::shell;
use anyhow::{Context, Result};
use clap::ValueEnum;
use std::fmt::Write;

const TITLE: &str = "# Benchmarks

Every row is a ratio against a named peer, measured in the same run, in turns; the median of the rounds counts.
Made by `cargo xtask bench SUITE --write` on machines that did nothing else.
";
const HEAD: &str = "| what | ours | peer | ratio | goal | met | rounds |\n|---|---|---|---|---|---|---|\n";

/// Puts rows into the table of their suite and this machine; those that were not measured this time stay.
pub fn write(suite: Suite, rows: &[Row]) -> Result<()> {
    let path = shell::root().join("docs/benchmarks.md");
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    let mut text = TITLE.to_owned();
    for other in Suite::value_variants() {
        let value = other.to_possible_value().context("every suite has a name")?;
        let heading = format!("## {}\n", value.get_name());
        let present = page.split_once(&heading).map(|(_, rest)| rest.split("\n## ").next().unwrap_or(rest));
        let section = if *other == suite {
            let what = value.get_help().map(ToString::to_string).unwrap_or_default();
            let tables = tables(present.unwrap_or_default(), &machine(), rows);
            Some(format!("\n{what}\n{tables}"))
        } else {
            present.map(|kept| kept.trim_end().to_owned() + "\n")
        };
        if let Some(section) = section {
            write!(text, "\n{heading}{section}")?;
        }
    }
    std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
}

/// The tables of a section, `rows` in that of `machine`.
fn tables(section: &str, machine: &str, rows: &[Row]) -> String {
    let mut tables: Vec<(&str, Vec<String>)> = Vec::new();
    for part in section.split("\n### ").skip(1) {
        let (of, lines) = part.split_once('\n').unwrap_or((part, ""));
        let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with("| what ");
        tables.push((of, lines.lines().filter(is_row).map(str::to_owned).collect()));
    }
    if !tables.iter().any(|(of, _)| *of == machine) {
        tables.push((machine, Vec::new()));
    }
    let mut text = String::new();
    for (of, mut lines) in tables {
        if of == machine {
            for row in rows {
                let same = |line: &String| key(line.trim_start_matches("| ")) == key(&row.name);
                match lines.iter().position(same) {
                    Some(place) => lines[place] = line(row),
                    None => lines.push(line(row)),
                }
            }
        }
        text += &format!("\n### {of}\n\n{HEAD}");
        lines.iter().for_each(|line| text += &format!("{line}\n"));
    }
    text
}

fn line(row: &Row) -> String {
    let Row { name, ours, peer, ratio, goal, met, rounds } = row;
    let met = if *met { "yes" } else { "**no**" };
    format!("| {name} | {ours:.2} | {peer:.2} | {ratio:.3} | {goal} | {met} | {rounds} |")
}

/// A row's name up to what may differ from run to run, such as ` [which peer was best]`.
fn key(name: &str) -> &str {
    name.split(['|', '[']).next().unwrap_or_default().trim()
}

/// What the figures depend on: cores, their kind, and whether they have a matrix unit.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = about.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map_or("unknown", |(_, value)| value.trim())
    };
    let has = |flag: &str| field("flags").split(' ').any(|own| own == flag);
    let units =
        [("amx_bf16", "AMX"), ("avx512_vnni", "AVX-512 VNNI"), ("avx512f", "AVX-512"), ("avx2", "AVX2")];
    let unit = units.into_iter().find(|(flag, _)| has(flag)).map_or("", |(_, name)| name);
    format!("{cores} cores of {}, {unit}, {}", field("model name"), std::env::consts::OS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_replaces_its_like_from_a_machine_like_this() {
        let row = |name: &str, ours| Row::at_most(name, ours, 2.0, 1.0);
        let first = tables("", "A", &[row("step: ms, best peer [X]", 1.0), row("epoch: s", 3.0)]);
        let second = tables(&first, "B", &[row("step: ms, best peer [X]", 4.0)]);
        let third = tables(&second, "A", &[row("step: ms, best peer [Y]", 1.5), row("start: s", 1.0)]);
        let lines: Vec<&str> =
            third.lines().filter(|line| line.contains("ms") || line.contains(": s")).collect();
        let expected = [
            "| step: ms, best peer [Y] | 1.50 | 2.00 | 0.750 | <= 1 | yes | 0 |",
            "| epoch: s | 3.00 | 2.00 | 1.500 | <= 1 | **no** | 0 |",
            "| start: s | 1.00 | 2.00 | 0.500 | <= 1 | yes | 0 |",
            "| step: ms, best peer [X] | 4.00 | 2.00 | 2.000 | <= 1 | **no** | 0 |",
        ];
        assert_eq!(lines, expected);
        assert_eq!(third.matches("### ").count(), 2);
    }
}
