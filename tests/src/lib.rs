//! What several tests of the workspace ask of the repository itself.

pub mod fuzz;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// The root of the repository.
///
/// # Panics
/// When this crate does not lie in it.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_owned()
}

/// A file of the repository.
///
/// # Errors
/// When it is not there.
pub fn read(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| path.to_owned())
}

/// Title and expression of every panel, with the dashboard's variables filled in.
///
/// # Errors
/// When a panel lacks a title, a description or an expression.
pub fn panel_expressions() -> Result<Vec<(String, String)>> {
    let dashboard: Value = serde_json::from_str(&read("dashboards/refit.json")?)?;
    let panels = dashboard["panels"].as_array().context("panels")?;
    let mut expressions = Vec::new();
    for panel in panels {
        let title = panel["title"].as_str().context("a panel has no title")?;
        ensure!(
            panel["description"].as_str().is_some_and(|text| !text.is_empty()),
            "{title} says nothing of itself"
        );
        for target in panel["targets"].as_array().context("targets")? {
            let expression = target["expr"].as_str().context("expr")?.replace("$model", "review-sentiment");
            ensure!(!expression.contains('$'), "{title}: a variable is left in {expression}");
            expressions.push((title.to_owned(), expression));
        }
    }
    for annotation in dashboard["annotations"]["list"].as_array().context("annotations")? {
        let expression = annotation["expr"].as_str().context("expr")?.replace("$model", "review-sentiment");
        expressions.push(("annotation".to_owned(), expression));
    }
    ensure!(expressions.len() > 12, "only {} expressions", expressions.len());
    Ok(expressions)
}
