//! Dashboards and rules ask only for what the services tell, and Prometheus' own tool accepts them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use refit_tests::{panel_expressions, read, root};

/// Crates and columns of the store that begin like a metric.
const NOT_METRICS: [&str; 4] = ["refit_inference", "refit_requested_by", "refit_scheduler", "refit_store"];

/// Words of the alphabet of metric names, colons of recorded ones included.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
}

/// The names that the documentation lists.
fn inventory() -> Result<BTreeSet<String>> {
    let text = read("docs/metrics.md")?;
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let names: BTreeSet<String> = rows.map(str::to_owned).collect();
    ensure!(names.len() > 20, "docs/metrics.md lists only {names:?}");
    Ok(names)
}

/// The names that `dashboards/rules.yml` records.
fn recorded(rules: &str) -> BTreeSet<String> {
    let names = rules.lines().filter_map(|line| line.trim().strip_prefix("- record: "));
    names.map(str::to_owned).collect()
}

/// Names written out in the services, as string literals of their own.
fn registered(folder: &Path, names: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            registered(&path, names)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)?;
            let literals = text.split('"').skip(1).step_by(2);
            let is_name = |literal: &&str| {
                literal.strip_prefix("refit_").is_some_and(|rest| !rest.is_empty())
                    && words(literal).eq([*literal])
            };
            names.extend(literals.filter(is_name).map(str::to_owned));
        }
    }
    Ok(())
}

#[test]
fn inventory_is_what_the_services_register() -> Result<()> {
    let mut found = BTreeSet::new();
    for service in ["inference", "scheduler", "trainer"] {
        registered(&root().join("services").join(service).join("src"), &mut found)?;
    }
    found.retain(|name| !NOT_METRICS.contains(&name.as_str()));
    // What tells of the process alone has the names that it has everywhere.
    let mut listed = inventory()?;
    listed.retain(|name| name.starts_with("refit_"));
    assert_eq!(listed, found, "left: docs/metrics.md, right: services/*/src");
    Ok(())
}

#[test]
fn rules_and_dashboard_use_only_names_that_exist() -> Result<()> {
    let (inventory, rules) = (inventory()?, read("dashboards/rules.yml")?);
    let recorded = recorded(&rules);
    let of_a_histogram = |name: &str| {
        ["_bucket", "_sum", "_count"]
            .iter()
            .any(|part| name.strip_suffix(part).is_some_and(|base| inventory.contains(base)))
    };
    let expressions: String =
        panel_expressions()?.into_iter().map(|(_, expression)| expression + "\n").collect();
    for (file, text) in [("rules.yml", rules.as_str()), ("refit.json", expressions.as_str())] {
        let names: BTreeSet<&str> = words(text)
            .filter(|word| word.contains("refit_") && word.rsplit(':').next_back() != Some("refit"))
            .collect();
        ensure!(names.len() > 10, "{file} names only {names:?}");
        for name in names {
            let known = inventory.contains(name) || recorded.contains(name) || of_a_histogram(name);
            let group = matches!(name, "refit_drift" | "refit_serving" | "refit_alerts");
            ensure!(known || group, "{file} uses {name}, which is neither in docs/metrics.md nor recorded");
        }
    }
    Ok(())
}

#[test]
fn silence_raises_an_alarm_of_its_own() -> Result<()> {
    let rules = read("dashboards/rules.yml")?;
    ensure!(rules.matches("absent(").count() >= 2, "no alert asks whether there is anything to see");
    for alert in ["RefitInferenceSilent", "RefitSchedulerSilent", "RefitNoTraffic", "RefitNoLabels"] {
        ensure!(rules.contains(&format!("alert: {alert}")), "{alert} is gone");
    }
    Ok(())
}

fn promtool(arguments: &[&str], folder: &Path) -> Result<()> {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(folder)
        .output()
        .context("promtool cannot be started: `cargo xtask setup` installs it")?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "promtool {arguments:?}:\n{said}");
    Ok(())
}

#[test]
fn promtool_accepts_the_rules_and_their_tests_pass() -> Result<()> {
    let folder = root().join("dashboards");
    promtool(&["check", "rules", "rules.yml"], &folder)?;
    promtool(&["check", "config", "prometheus.yml"], &folder)?;
    promtool(&["test", "rules", "rules.test.yml"], &folder)
}

#[test]
fn every_panel_asks_a_question_that_prometheus_understands() -> Result<()> {
    let mut rules = "groups:\n- name: panels\n  rules:\n".to_owned();
    for (number, (_, expression)) in panel_expressions()?.iter().enumerate() {
        rules +=
            &format!("  - record: panel:number_{number}\n    expr: {}\n", serde_json::to_string(expression)?);
    }
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("panels.yml"), rules)?;
    promtool(&["check", "rules", "panels.yml"], folder.path())
}
