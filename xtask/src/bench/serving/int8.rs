//! int8 beside float32 in ONNX Runtime, both in a bare loop.

use super::Bench;
use super::bare::Loop;
use super::home::Home;
use crate::bench::{Row, median};
use anyhow::{Context, Result};
use serde_json::Value;

/// Factor on the speed of float32.
const FASTER: f64 = 2.3;
/// Points of accuracy that may be lost.
pub const DROP_POINTS: f64 = 0.5;

pub fn run(bench: &Bench) -> Result<Vec<Row>> {
    let home = bench.int8()?;
    let files = [home.model("1")?, home.artifact("1").join("model.float32.onnx")];
    let loops =
        files.each_ref().map(|model| Loop { engine: "onnxruntime", model, sessions: 1, session_threads: 1 });
    let mut reached = [const { Vec::new() }; 2];
    for round in 0..bench.rounds {
        eprintln!("text, int8 and float32: round {} of {}", round + 1, bench.rounds);
        for (bare, reached) in loops.iter().zip(&mut reached) {
            reached.push(bare.run(home)?.per_second);
        }
    }
    let [int8, float32] = reached.map(median);
    let drop = drop_points(home)?;
    let name = |what: &str| format!("MiniLM in ONNX Runtime, int8: {what}");
    Ok(vec![
        Row::at_least(name("texts/s on a thread, float32"), int8, float32, FASTER),
        Row::at_most(name("accuracy lost on validation rows, points, against 0.5"), drop, DROP_POINTS, 1.0),
    ])
}

/// What the served form loses against float32, as it was measured before it was chosen.
fn drop_points(home: &Home) -> Result<f64> {
    let manifest = home.manifest("1")?;
    let serving = &manifest["serving"];
    let search = list(&manifest["searches"]).find(|search| search["serving"] == *serving);
    let candidates = list(&search.context("the manifest has no search for what is served")?["candidates"]);
    let is_served = |candidate: &&Value| {
        candidate["precision"] == serving["precision"]
            && list(&candidate["float_layers"]).eq(list(&serving["float_layers"]))
    };
    let drop = candidates.filter(is_served).find_map(|served| served["accuracy_drop"]["estimate"].as_f64());
    Ok(100.0 * drop.context("the manifest does not say what the served form loses")?)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
