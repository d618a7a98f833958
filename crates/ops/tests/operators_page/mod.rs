//! `docs/operators.md`: what is supported, made from the operators themselves, their test problems and the
//! standard's node tests. `REFIT_REGENERATE=1` writes it anew.

use candle_core::{DType, Device, Tensor};
use refit_graph::{Attribute, Node, REFIT_DOMAIN, ValueId};
use refit_ops::kernels::slices;
use refit_ops::{Backward, NEWEST_OPSET, Operator, Problem, Site, evaluate, host_reads, operators};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

const INTRODUCTION: &str = "# Operators

Made by `REFIT_REGENERATE=1 cargo test --workspace --test onnx_nodes` from the operators, their test problems and
the standard's node tests; a test fails when it is stale.

- **sets**: the standard's operator sets in which the operator was defined anew, from 7 on. Files of operator set
  11 and newer are read; a number in brackets is newer than the newest set whose rules are known (NEWEST), and is
  read by those.
- **gradient**: `yes` is checked by finite differences over generated shapes; `error` means that a program that asks
  for one is refused, with the operator and its place, before anything runs; `none` is for results that do not
  depend on real numbers (shapes, comparisons, positions).
- **CPU**: every operator runs there.
- **CUDA**: `device` runs where its inputs lie, by candle's operations, kernels and cuBLAS, and is tested against
  the CPU's kernels; `host` copies the elements to the CPU, computes there and copies the result back: right, but
  slow. Indices, sizes and axes are read on the host everywhere.
- **node cases**: the standard's own test cases that use the operator and pass.
";

/// Compares the page with the committed one, or writes it.
pub fn check(
    cases: &BTreeMap<String, usize>,
    reads_host: &BTreeSet<String>,
    versions: &BTreeMap<String, Vec<i64>>,
) {
    let page = page(cases, reads_host, versions);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operators.md");
    if std::env::var_os("REFIT_REGENERATE").is_some() {
        std::fs::write(&path, &page).expect("docs/operators.md can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let advice = "run REFIT_REGENERATE=1 cargo test --workspace --test onnx_nodes";
    assert!(committed == page, "docs/operators.md is stale: {advice}");
}

fn page(
    cases: &BTreeMap<String, usize>,
    reads_host: &BTreeSet<String>,
    versions: &BTreeMap<String, Vec<i64>>,
) -> String {
    let mut listed: Vec<&dyn Operator> = operators::all().collect();
    listed.sort_by_key(|operator| operator.name().to_string());
    let (own, standard): (Vec<&dyn Operator>, Vec<&dyn Operator>) =
        listed.into_iter().partition(|operator| operator.name().domain == REFIT_DOMAIN);
    let mut page = INTRODUCTION.replace("NEWEST", &NEWEST_OPSET.to_string());
    let _ = write!(page, "\n## The standard's: {}\n\n", standard.len());
    page.push_str("| operator | sets | gradient | CPU | CUDA | node cases |\n|---|---|---|---|---|---:|\n");
    for operator in standard {
        let name = operator.name().to_string();
        let seen = Seen::of(operator);
        let sets = sets(versions.get(&name).map_or(&[], Vec::as_slice));
        let cuda = cuda(seen.forward_on_host || reads_host.contains(&name), seen.reverse_on_host);
        let passing = cases.get(&name).copied().unwrap_or(0);
        let gradient = seen.gradient;
        let _ = writeln!(page, "| {name} | {sets} | {gradient} | yes | {cuda} | {passing} |");
    }
    page.push_str(
        "| If, Loop, Scan | 1, 8, 11, 13, 16, 19, 21 | of what they become | yes | of what they become | see \
         `crates/passes/tests/control_flow.rs` |\n\nA branch is taken and a loop unrolled before anything runs, \
         where its condition or its length is known.\n",
    );
    let _ = write!(page, "\n## refit's own: {}\n\n", own.len());
    page.push_str(
        "Patterns of exported files become these, and the file that is served has the standard's again.\n\n\
         | operator | gradient | CPU | CUDA |\n|---|---|---|---|\n",
    );
    for operator in own {
        let seen = Seen::of(operator);
        let cuda = cuda(seen.forward_on_host, seen.reverse_on_host);
        let _ = writeln!(page, "| {} | {} | yes | {cuda} |", operator.name(), seen.gradient);
    }
    page
}

fn sets(versions: &[i64]) -> String {
    let first = versions.iter().rposition(|version| *version <= 7).unwrap_or(0);
    let set = |version: &i64| match *version {
        newer if newer > NEWEST_OPSET => format!("({newer})"),
        version => version.to_string(),
    };
    versions[first.min(versions.len())..].iter().map(set).collect::<Vec<_>>().join(", ")
}

fn cuda(forward: bool, reverse: bool) -> &'static str {
    match (forward, reverse) {
        (true, _) => "host",
        (false, true) => "device; gradient: host",
        (false, false) => "device",
    }
}

/// What its test problems show of an operator.
struct Seen {
    gradient: &'static str,
    forward_on_host: bool,
    reverse_on_host: bool,
}

impl Seen {
    fn of(operator: &dyn Operator) -> Self {
        let mut seen = Self { gradient: "none", forward_on_host: false, reverse_on_host: false };
        if operator.differentiable(0) && operator.name().name != "Constant" {
            seen.gradient = "error";
        }
        // candle cannot start a GPU's kernel for no elements.
        let full = |problem: &Problem| problem.inputs.iter().flatten().all(|input| !input.is_empty());
        for problem in operator.problems().into_iter().filter(full) {
            seen.run(operator, &problem);
        }
        seen
    }

    fn run(&mut self, operator: &dyn Operator, problem: &Problem) {
        let opset = if problem.opset == 0 { NEWEST_OPSET } else { problem.opset };
        let node = node(operator, problem);
        let facts = evaluate(&node, opset, &problem.inputs).expect("its problems run");
        let types: Vec<_> = facts.iter().map(|output| Some(output.dtype())).collect();
        let site = Site { seed: problem.seed, types: &types, ..Site::new(&node, opset) };
        let inputs: Vec<Option<Tensor>> = problem
            .inputs
            .iter()
            .map(|input| input.as_ref().map(|t| refit_ops::to_device(t, &Device::Cpu).expect("a tensor")))
            .collect();
        let before = host_reads();
        let forward = || operator.forward(&site, &inputs).expect("its problems run");
        let mut outputs = slices::without_kernels(forward);
        // Outputs that nobody asked for are sometimes made too.
        outputs.truncate(node.outputs.len());
        self.forward_on_host |= host_reads() > before;
        let is_float = |input: &Option<Tensor>| input.as_ref().is_some_and(|t| t.dtype().is_float());
        let wanted: Vec<bool> =
            inputs.iter().enumerate().map(|(i, t)| is_float(t) && operator.differentiable(i)).collect();
        let alone = |index| (0..wanted.len()).map(|i| i == index).collect::<Vec<bool>>();
        let first = wanted.iter().position(|wanted| *wanted);
        let possible = first.map(|first| [wanted.clone(), alone(first)]).into_iter().flatten();
        let Some(wanted) = possible.into_iter().find(|wanted| operator.reads(&site, wanted).is_some()) else {
            return;
        };
        self.gradient = "yes";
        let shapes: Vec<Vec<usize>> =
            inputs.iter().map(|t| t.as_ref().map_or_else(Vec::new, |t| t.dims().to_vec())).collect();
        let types: Vec<DType> = inputs.iter().map(|t| t.as_ref().map_or(DType::F32, Tensor::dtype)).collect();
        let gradients: Vec<Option<Tensor>> = outputs
            .iter()
            .map(|output| output.dtype().is_float().then(|| output.ones_like().expect("a tensor")))
            .collect();
        let kept: Vec<Option<Tensor>> = outputs.into_iter().map(Some).collect();
        let back = Backward {
            inputs: &inputs,
            input_shapes: &shapes,
            input_types: &types,
            outputs: &kept,
            gradients: &gradients,
            wanted: &wanted,
        };
        let before = host_reads();
        slices::without_kernels(|| operator.vjp(&site, &back)).expect("its reverse rule runs");
        self.reverse_on_host |= host_reads() > before;
    }
}

fn node(operator: &dyn Operator, problem: &Problem) -> Node {
    // Only whether an input or output is there matters, not which value it is.
    let mut graph = refit_graph::Graph::new("page");
    let mut value = || graph.add_input("value", refit_graph::Fact::default());
    let inputs: Vec<Option<ValueId>> =
        problem.inputs.iter().map(|input| input.as_ref().map(|_| value())).collect();
    let outputs = (0..problem.outputs.max(1)).map(|_| Some(value())).collect();
    let attribute = |(name, value): &(&'static str, Attribute)| ((*name).to_owned(), value.clone());
    let attributes = problem.attributes.iter().map(attribute).collect();
    Node { name: String::new(), op: operator.name(), inputs, outputs, attributes }
}
