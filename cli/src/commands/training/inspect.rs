//! `refit inspect`: what a model is, and what would train.

use crate::cli::training::InspectArguments;
use crate::table;
use anyhow::{Context, Result};
use refit_families::{Amount, Inspection, MethodSummary, Pooling, Port, Support, inspect};
use refit_spec::Source;
use refit_spec::default_cache;
use refit_trainer::data::{Fetch, resolve};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

pub fn run(arguments: &InspectArguments, cache: Option<PathBuf>) -> Result<()> {
    let path = path(&arguments.model, cache)?;
    let inspection = inspect(&path, arguments.at.as_deref())
        .with_context(|| format!("{} cannot be inspected", arguments.model))?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&as_json(&inspection))?);
    } else {
        print(&inspection);
    }
    Ok(())
}

/// A file that is there, else a source that is fetched.
fn path(model: &str, cache: Option<PathBuf>) -> Result<PathBuf> {
    let path = Path::new(model);
    if path.exists() {
        return Ok(path.to_owned());
    }
    let source: Source = model.parse().map_err(|why| {
        anyhow::anyhow!(
            "{model} is no file here, and no source either: {why}; name a folder, a file or a source"
        )
    })?;
    let fetch = Fetch::new(cache.unwrap_or_else(default_cache), std::env::current_dir()?);
    Ok(resolve(&source, &fetch)?.path)
}

fn pooling(pooling: Pooling) -> &'static str {
    match pooling {
        Pooling::Cls => "cls",
        Pooling::Mean => "mean",
        Pooling::Max => "max",
        Pooling::None => "none",
    }
}

fn support(support: Support) -> &'static str {
    match support {
        Support::Full => "yes",
        Support::ForwardOnly => "no gradient",
        Support::Missing => "not supported",
    }
}

fn as_json(inspection: &Inspection) -> Value {
    let ports = |ports: &[Port]| -> Vec<Value> {
        ports.iter().map(|port| json!({"name": port.name, "is": port.fact})).collect()
    };
    let amounts = |amounts: &[Amount]| -> Vec<Value> {
        let each = |a: &Amount| json!({"name": a.name, "tensors": a.tensors, "parameters": a.parameters, "bytes": a.bytes});
        amounts.iter().map(each).collect()
    };
    let head = match &inspection.head {
        Ok(head) => json!({"at": head.at, "size": head.size, "pool": pooling(head.pooling)}),
        Err(why) => json!({"refused": why}),
    };
    let method = |method: &MethodSummary| match &method.trainable {
        Ok(count) => json!({"method": method.method, "trainable": count}),
        Err(why) => json!({"method": method.method, "refused": why}),
    };
    let operators = inspection.operators.iter().map(|operator| {
        json!({"name": operator.name, "nodes": operator.nodes, "supported": support(operator.support)})
    });
    json!({
        "format": inspection.format,
        "kind": inspection.kind,
        "inputs": ports(&inspection.inputs),
        "outputs": ports(&inspection.outputs),
        "parameters": amounts(&inspection.dtypes),
        "layers": amounts(&inspection.layers),
        "operators": operators.collect::<Vec<_>>(),
        "head": head,
        "methods": inspection.methods.iter().map(method).collect::<Vec<_>>(),
        "notes": inspection.notes,
    })
}

fn print(inspection: &Inspection) {
    println!("{} ({})", inspection.format, inspection.kind);
    let ports: Vec<[String; 3]> = [("input", &inspection.inputs), ("output", &inspection.outputs)]
        .into_iter()
        .flat_map(|(what, ports)| {
            ports.iter().map(move |port| [what.to_owned(), port.name.clone(), port.fact.clone()])
        })
        .collect();
    if !ports.is_empty() {
        println!();
        table::print(["", "name", "is"], &ports);
    }
    let total: usize = inspection.dtypes.iter().map(|amount| amount.parameters).sum();
    println!();
    let amount = |amount: &Amount| {
        let share = 100.0 * amount.parameters as f64 / total.max(1) as f64;
        [
            amount.name.clone(),
            amount.tensors.to_string(),
            amount.parameters.to_string(),
            size(amount.bytes),
            format!("{share:.1} %"),
        ]
    };
    let rows: Vec<[String; 5]> = inspection.layers.iter().chain(&inspection.dtypes).map(amount).collect();
    table::print(["parameters", "tensors", "elements", "bytes", "share"], &rows);
    if !inspection.operators.is_empty() {
        println!();
        operators(inspection);
    }
    println!();
    match &inspection.head {
        Ok(head) => println!(
            "head: at \"{}\", vectors of {}, pooled by {}",
            head.at,
            head.size,
            pooling(head.pooling)
        ),
        Err(why) => println!("no head: {why}"),
    }
    if !inspection.methods.is_empty() {
        println!();
        let row = |method: &MethodSummary| match &method.trainable {
            Ok(count) => [
                method.method.clone(),
                format!("{count} ({:.2} %)", 100.0 * *count as f64 / total.max(1) as f64),
            ],
            Err(why) => [method.method.clone(), why.clone()],
        };
        let rows: Vec<[String; 2]> = inspection.methods.iter().map(row).collect();
        table::print(["method", "would train"], &rows);
    }
    for note in &inspection.notes {
        println!("note: {note}");
    }
}

/// Those that are a problem in full, the others in one line.
fn operators(inspection: &Inspection) {
    let (good, bad): (Vec<_>, Vec<_>) =
        inspection.operators.iter().partition(|operator| operator.support == Support::Full);
    let list: Vec<String> =
        good.iter().map(|operator| format!("{} {}", operator.nodes, operator.name)).collect();
    println!("operators: {}", list.join(", "));
    for operator in bad {
        println!("  {} {}: {}", operator.nodes, operator.name, support(operator.support));
    }
}

fn size(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}
