//! Brings an ONNX file made elsewhere into canonical form and writes it as a portable file:
//! `cargo run -p refit-passes --example portable -- IN.onnx OUT.onnx`

use refit_graph::onnx::{self, NoExternalData};
use refit_passes::{canonicalize, lower::portable};
use std::{collections::BTreeMap, error::Error};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, input, output] = arguments.as_slice() else {
        return Err("usage: portable IN.onnx OUT.onnx".into());
    };
    let mut model = onnx::read(std::fs::read(input)?.into(), &NoExternalData)?;
    let report = canonicalize(&mut model)?;
    for timing in &report.passes {
        println!(
            "{:<22} {:>3} changes  {:>6.1} ms",
            timing.pass,
            timing.changes,
            timing.elapsed.as_secs_f64() * 1e3
        );
    }
    let mut operators = BTreeMap::new();
    for (_, node) in model.graph.nodes() {
        *operators.entry(node.op.to_string()).or_insert(0) += 1;
    }
    println!("{operators:?}");
    std::fs::write(output, onnx::write(&portable(&model)?)?)?;
    Ok(())
}
