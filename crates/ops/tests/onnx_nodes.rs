//! The standard's own node tests, for every operator that is implemented.

mod onnx_cases;
mod operators_page;

use onnx_cases::{compare, tensor};
use refit_graph::{HostTensor, Model, ValueId, onnx};
use refit_ops::kernels::slices;
use refit_ops::{evaluate, find, host_reads, opset_of};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

/// Cases of implemented operators that may fail: a part of the name, and why.
const SKIPPED: &[(&str, &str)] = &[
    ("FLOAT8", "8-bit floats are carried through files, not computed with"),
    ("FLOAT4E2M1", "4-bit floats are carried through files, not computed with"),
    ("INT4", "4-bit integers are carried through files, not computed with"),
    ("INT2", "2-bit integers are carried through files, not computed with"),
    ("quantizelinear_e4m3fn", "8-bit floats are carried through files, not computed with"),
    ("quantizelinear_e5m2", "8-bit floats are carried through files, not computed with"),
    ("quantizelinear_float4e2m1", "4-bit floats are carried through files, not computed with"),
    ("quantizelinear_int4", "4-bit integers are carried through files, not computed with"),
    ("quantizelinear_uint4", "4-bit integers are carried through files, not computed with"),
    ("quantizelinear_int2", "2-bit integers are carried through files, not computed with"),
    ("quantizelinear_uint2", "2-bit integers are carried through files, not computed with"),
    ("test_equal_string", "strings never reach a tensor: text is tokenized before the model"),
    ("test_identity_opt", "optional values are no tensors"),
    ("test_identity_sequence", "sequences are no tensors"),
    ("test_training_dropout", "the mask comes from the seed of the run, not from NumPy's generator"),
];

#[test]
fn the_standards_node_tests() {
    let Some(cases) = onnx_cases::cases() else { return };
    let (mut passed, mut failures) = (0, Vec::new());
    let mut used = vec![false; SKIPPED.len()];
    let mut by_operator: BTreeMap<String, usize> = BTreeMap::new();
    let mut reads_host = BTreeSet::new();
    for case in &cases {
        let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(model) = supported(case) else { continue };
        let with_kernels = run(case, &model, &mut BTreeSet::new());
        // The way that operators go on a device has to give the same, and may leave it or not.
        let result = with_kernels.and_then(|()| {
            let run = || run(case, &model, &mut reads_host);
            slices::without_kernels(run).map_err(|why| format!("without kernels: {why}"))
        });
        match result {
            Ok(()) => {
                passed += 1;
                let names: BTreeSet<String> =
                    model.graph.nodes().map(|(_, node)| node.op.to_string()).collect();
                names.into_iter().for_each(|name| *by_operator.entry(name).or_default() += 1);
            }
            Err(why) => match SKIPPED.iter().position(|(part, _)| name.contains(part)) {
                Some(index) => used[index] = true,
                None => failures.push(format!("{name}: {why}")),
            },
        }
    }
    assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n"));
    let unused: Vec<&str> = SKIPPED.iter().zip(&used).filter(|(_, used)| !**used).map(|(s, _)| s.0).collect();
    assert!(unused.is_empty(), "no case that fails needs these entries any more: {unused:?}");
    assert!(passed >= 1000, "only {passed} of {} cases ran", cases.len());
    operators_page::check(&by_operator, &reads_host, &onnx_cases::versions());
}

/// The model of a case, if every operator in it is implemented.
fn supported(case: &Path) -> Option<Model> {
    let bytes = std::fs::read(case.join("model.onnx")).ok()?;
    let model = onnx::read(bytes.into(), &onnx::NoExternalData).ok()?;
    let known = |name: &refit_graph::OpName| find(name, opset_of(&model, &name.domain)).is_some();
    let all_known = model.graph.nodes().all(|(_, node)| known(&node.op));
    all_known.then_some(model)
}

/// Runs a case and adds the operators that read elements on the host to `reads_host`.
fn run(case: &Path, model: &Model, reads_host: &mut BTreeSet<String>) -> Result<(), String> {
    for number in 0.. {
        let data = case.join(format!("test_data_set_{number}"));
        if !data.is_dir() {
            break;
        }
        let mut values: HashMap<ValueId, HostTensor> = HashMap::new();
        for (id, initializer) in model.graph.initializers() {
            values.insert(id, initializer.tensor.clone());
        }
        for (index, id) in model.graph.inputs().iter().enumerate() {
            values.insert(*id, tensor(&data.join(format!("input_{index}.pb")))?);
        }
        for (_, node) in model.graph.nodes() {
            let inputs: Vec<Option<HostTensor>> =
                node.inputs.iter().map(|id| id.and_then(|id| values.get(&id).cloned())).collect();
            let before = host_reads();
            let outputs = evaluate(node, opset_of(model, &node.op.domain), &inputs)
                .map_err(|error| format!("{error}: {error:?}"))?;
            if host_reads() > before {
                reads_host.insert(node.op.to_string());
            }
            for (id, output) in node.outputs.iter().zip(outputs) {
                if let Some(id) = id {
                    values.insert(*id, output);
                }
            }
        }
        for (index, id) in model.graph.outputs().iter().enumerate() {
            let expected = tensor(&data.join(format!("output_{index}.pb")))?;
            let got = values.get(id).ok_or_else(|| format!("output {index} is missing"))?;
            compare(got, &expected).map_err(|why| format!("output {index}: {why}"))?;
        }
    }
    Ok(())
}
