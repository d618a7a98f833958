//! The standard's own node tests of `If`, `Loop` and `Scan`: unrolled, they give what the cases expect. What
//! decides about the way (integers and booleans) is constant, everything else an input.

#[path = "../../ops/tests/onnx_cases/mod.rs"]
mod onnx_cases;

use refit_graph::{HostTensor, Model, Patch, ValueId, onnx};
use refit_ops::{evaluate, find, opset_of};
use refit_passes::{
    Driver,
    simplify::{FoldConstants, UnrollControlFlow},
};
use std::collections::HashMap;
use std::path::Path;

/// Cases that are left alone: a part of the name, and why.
const LEFT: &[(&str, &str)] = &[
    ("test_flexattention", "a preview of the standard's, not supported"),
    ("test_if_opt", "optional values are no tensors"),
    ("test_if_seq", "sequences are no tensors"),
    ("test_loop13_seq", "sequences are no tensors"),
    ("test_loop16_seq_none", "sequences are no tensors"),
    ("test_scan_sum", "the first version of Scan had a batch dimension and another meaning"),
    ("test_sequence_map", "sequences are no tensors"),
];

#[test]
fn the_standards_cases_of_control_flow() {
    let Some(cases) = onnx_cases::cases() else { return };
    let (mut passed, mut failures) = (Vec::new(), Vec::new());
    for case in cases {
        let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = std::fs::read(case.join("model.onnx")).expect("a case has a model");
        let Ok(model) = onnx::read(bytes.into(), &onnx::NoExternalData) else { continue };
        let flows = model.graph.nodes().any(|(_, node)| node.inner_graphs().next().is_some());
        if !flows || LEFT.iter().any(|(part, _)| name.contains(part)) {
            continue;
        }
        match run(&case, model) {
            Ok(()) => passed.push(name),
            Err(why) => failures.push(format!("{name}: {why}")),
        }
    }
    assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n"));
    assert!(passed.len() >= 10, "only {passed:?} ran");
    for operator in ["test_if", "test_loop", "test_scan"] {
        assert!(passed.iter().any(|name| name.contains(operator)), "no case of {operator} ran");
    }
}

fn run(case: &Path, mut model: Model) -> Result<(), String> {
    let data = case.join("test_data_set_0");
    let mut values: HashMap<ValueId, HostTensor> = HashMap::new();
    let mut patch = Patch::new(&model.graph);
    for (index, id) in model.graph.inputs().iter().enumerate() {
        let tensor = onnx_cases::tensor(&data.join(format!("input_{index}.pb")))?;
        // The length of a range of real numbers follows from its bounds.
        if tensor.dtype().is_float() && !case.to_string_lossy().contains("test_range") {
            values.insert(*id, tensor);
        } else {
            let constant = patch.initializer(&model.graph.value(*id).name, tensor, false);
            patch.replace(*id, constant);
        }
    }
    if !patch.is_empty() {
        patch.apply(&mut model.graph).map_err(|error| error.to_string())?;
    }
    let passes = [&FoldConstants as &dyn refit_passes::Simplify, &UnrollControlFlow];
    Driver::new().simplify(&mut model, &passes).map_err(|error| format!("{error}: {error:?}"))?;
    values.extend(model.graph.initializers().map(|(id, initializer)| (id, initializer.tensor.clone())));
    for (id, node) in model.graph.nodes() {
        let opset = opset_of(&model, &node.op.domain);
        if find(&node.op, opset).is_none() {
            return Err(format!("{} is left", model.graph.describe(id)));
        }
        let inputs: Vec<Option<HostTensor>> =
            node.inputs.iter().map(|id| id.and_then(|id| values.get(&id).cloned())).collect();
        let outputs = evaluate(node, opset, &inputs).map_err(|error| format!("{error}: {error:?}"))?;
        for (id, output) in node.outputs.iter().zip(outputs) {
            if let Some(id) = id {
                values.insert(*id, output);
            }
        }
    }
    for (index, id) in model.graph.outputs().iter().enumerate() {
        let expected = onnx_cases::tensor(&data.join(format!("output_{index}.pb")))?;
        let got = values.get(id).ok_or_else(|| format!("output {index} is missing"))?;
        onnx_cases::compare(got, &expected).map_err(|why| format!("output {index}: {why}"))?;
    }
    Ok(())
}
