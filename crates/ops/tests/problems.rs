//! Every operator's own test problems: the shape rule agrees with what is computed, the reverse rule with
//! finite differences, what the rule says it reads is enough for it, and the way that an operator goes on a
//! device without kernels gives the same.

use candle_core::{DType, Device, Tensor};
use refit_graph::{Fact, Graph, HostTensor, Model, Node, OpName, Patch, ValueId};
use refit_ops::kernels::slices;
use refit_ops::{
    Backward, NEWEST_OPSET, OpError, Operator, Problem, Site, evaluate, find, infer_facts, operators,
};

/// Half the distance between the inner points of the five-point formula.
const STEP: f32 = 4e-3;
/// Error of a derivative that float32 arithmetic and the formula leave, for results around 1.
const TOLERANCE: f64 = 2e-3;

#[test]
fn shape_rules_agree_with_results() {
    for (operator, problem) in problems() {
        let (place, mut model) = (place(operator, &problem), model(operator, &problem));
        infer_facts(&mut model).unwrap_or_else(|e| panic!("{place}: {e:?}"));
        let node = node(&model);
        let outputs =
            evaluate(&node, opset(&problem), &problem.inputs).unwrap_or_else(|e| panic!("{place}: {e:?}"));
        for (output, id) in outputs.iter().zip(node.outputs.iter().flatten()) {
            let fact = Fact::new(output.dtype(), output.shape().iter().copied());
            let inferred = model.graph.fact(*id);
            assert_eq!((inferred.dtype, &inferred.shape), (fact.dtype, &fact.shape), "{place}");
        }
    }
}

#[test]
fn reverse_rules_agree_with_finite_differences() {
    let mut checked = 0;
    let mut failures = Vec::new();
    for (operator, problem) in problems() {
        let place = place(operator, &problem);
        let mut model = model(operator, &problem);
        infer_facts(&mut model).unwrap_or_else(|e| panic!("{place}: {e:?}"));
        let node = node(&model);
        let types: Vec<_> = node.outputs.iter().map(|id| model.graph.fact((*id)?).dtype).collect();
        let site = Site { seed: problem.seed, types: &types, ..Site::new(&node, opset(&problem)) };
        let inputs = tensors(&problem);
        let outputs = operator.forward(&site, &inputs).unwrap_or_else(|e| panic!("{place}: {e:?}"));
        let weights = weights(&outputs);
        let wanted: Vec<bool> = (0..inputs.len())
            .map(|i| {
                let is_float = problem.inputs[i].as_ref().is_some_and(|t| t.dtype().is_float());
                is_float && operator.differentiable(i)
            })
            .collect();
        for wanted in subsets(&wanted) {
            let Some(gradients) = vjp(operator, &site, &inputs, &outputs, &weights, &wanted) else {
                continue;
            };
            let gradients = gradients.unwrap_or_else(|e| panic!("{place}: {e:?}"));
            for index in (0..inputs.len()).filter(|i| wanted[*i]) {
                checked += 1;
                let Some(gradient) = &gradients[index] else {
                    assert_eq!(node.op.name, "Cast", "{place}: input {index} got no gradient");
                    continue;
                };
                failures.extend(compare(&place, index, gradient, &problem, |input| {
                    let mut changed = inputs.clone();
                    changed[index] = Some(input);
                    let outputs = operator.forward(&site, &changed).expect("it ran before");
                    loss(&outputs, &weights)
                }));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(checked > 400, "only {checked} gradients were checked");
}

/// What candle's operations may differ by from the kernels, as a share of a result that is around 1 or larger.
const DEVICE_TOLERANCE: f64 = 1e-4;
/// The same in float16, whose rounding the steps of an operator may enlarge.
const HALF_TOLERANCE: f64 = 3e-2;

#[test]
fn the_operations_of_a_device_give_what_the_kernels_give() {
    let (mut compared, mut failures) = (0, Vec::new());
    for (operator, problem) in with_elements() {
        let inputs = tensors(&problem);
        compared += compare_ways(operator, &problem, [&inputs, &inputs], DEVICE_TOLERANCE, &mut failures);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(compared > 1000, "only {compared} results were compared");
}

/// In training with mixed precision products and what lies between them see half as many bits: no two types
/// meet, and a gradient has the type of its value. float16 stands for bfloat16, in which candle has no products
/// on the CPU.
#[test]
fn the_operations_of_a_device_take_half_precision() {
    let (mut compared, mut failures) = (0, Vec::new());
    for (operator, problem) in with_elements() {
        let inputs = tensors(&problem);
        let halve = |tensor: &Tensor| match tensor.dtype() {
            DType::F32 => tensor.to_dtype(DType::F16).expect("floats"),
            _ => tensor.clone(),
        };
        let halves: Vec<Option<Tensor>> = inputs.iter().map(|input| input.as_ref().map(halve)).collect();
        compared += compare_ways(operator, &problem, [&inputs, &halves], HALF_TOLERANCE, &mut failures);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(compared > 1000, "only {compared} results were compared");
}

/// Problems whose inputs all have elements: candle cannot start a GPU's kernel for none.
fn with_elements() -> impl Iterator<Item = (&'static dyn Operator, Problem)> {
    problems().filter(|(_, problem)| problem.inputs.iter().flatten().all(|input| !input.is_empty()))
}

/// Adds to `failures` where the way of a device on the second inputs differs from the kernels on the first,
/// forwards and backwards. Returns how many results were compared.
fn compare_ways(
    operator: &dyn Operator,
    problem: &Problem,
    [inputs, there]: [&[Option<Tensor>]; 2],
    tolerance: f64,
    failures: &mut Vec<String>,
) -> usize {
    let place = place(operator, problem);
    let mut model = model(operator, problem);
    infer_facts(&mut model).unwrap_or_else(|e| panic!("{place}: {e:?}"));
    let node = node(&model);
    let types: Vec<_> = node.outputs.iter().map(|id| model.graph.fact((*id)?).dtype).collect();
    let site = Site { seed: problem.seed, types: &types, ..Site::new(&node, opset(problem)) };
    let outputs = operator.forward(&site, inputs).unwrap_or_else(|e| panic!("{place}: {e:?}"));
    let made = match slices::without_kernels(|| operator.forward(&site, there)) {
        Ok(made) => made,
        Err(error) => {
            failures.push(format!("{place}: {error:?}"));
            return 0;
        }
    };
    let mut compared = outputs.len();
    for (index, (expected, found)) in outputs.iter().zip(&made).enumerate() {
        failures.extend(difference(&format!("{place}: output {index}"), expected, found, tolerance));
    }
    // Where there is no kernel, outputs that nobody asked for are sometimes made too.
    let made = &made[..outputs.len().min(made.len())];
    let (weights_here, weights_there) = (weights(&outputs), weights(made));
    let is_float = |input: &Option<HostTensor>| input.as_ref().is_some_and(|t| t.dtype().is_float());
    let wanted: Vec<bool> = (0..inputs.len())
        .map(|index| is_float(&problem.inputs[index]) && operator.differentiable(index))
        .collect();
    for wanted in subsets(&wanted) {
        let here = vjp(operator, &site, inputs, &outputs, &weights_here, &wanted);
        let made = slices::without_kernels(|| vjp(operator, &site, there, made, &weights_there, &wanted));
        let (here, made) = match (here.transpose(), made.transpose()) {
            (Ok(Some(here)), Ok(Some(made))) => (here, made),
            (Ok(None), Ok(None)) => continue,
            other => {
                failures.push(format!("{place}: {other:?}"));
                continue;
            }
        };
        for index in (0..inputs.len()).filter(|index| wanted[*index]) {
            let what = format!("{place}: gradient {index}");
            let (Some(expected), Some(found)) = (&here[index], &made[index]) else {
                if here[index].is_some() != made[index].is_some() {
                    failures.push(format!("{what} is there in one of two"));
                }
                continue;
            };
            compared += 1;
            failures.extend(difference(&what, expected, found, tolerance));
            let of_value = there[index].as_ref().map(Tensor::dtype);
            if of_value != Some(found.dtype()) {
                failures.push(format!("{what} is {:?}, its value {of_value:?}", found.dtype()));
            }
        }
    }
    compared
}

/// The first element in which two results differ.
fn difference(what: &str, expected: &Tensor, found: &Tensor, tolerance: f64) -> Option<String> {
    if expected.dims() != found.dims() || expected.dtype().is_float() != found.dtype().is_float() {
        let of = |tensor: &Tensor| format!("{:?} of {:?}", tensor.dtype(), tensor.dims());
        return Some(format!("{what} is {} and not {}", of(found), of(expected)));
    }
    let numbers = |tensor: &Tensor| -> Vec<f64> {
        let flat = tensor.to_dtype(DType::F64).and_then(|tensor| tensor.flatten_all());
        flat.and_then(|flat| flat.to_vec1()).expect("numbers")
    };
    let far = |(expected, found): &(f64, f64)| {
        let same = expected == found || (expected.is_nan() && found.is_nan());
        let near = (expected - found).abs() <= tolerance * expected.abs().max(1.0);
        // Not a number on one side alone is far too.
        !same && !near
    };
    let (place, (expected, found)) =
        numbers(expected).into_iter().zip(numbers(found)).enumerate().find(|(_, pair)| far(pair))?;
    Some(format!("{what}[{place}] is {found}, that of the kernels {expected}"))
}

/// Operators through which no gradient goes although their inputs are real numbers: asking for one is an
/// error when the program is compiled.
const FORWARD_ONLY: [&str; 9] = [
    "ConvInteger",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "NonMaxSuppression",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
    "Unique",
];

#[test]
fn what_has_no_reverse_rule_says_so() {
    for name in FORWARD_ONLY {
        let operator = find(&OpName::standard(name), NEWEST_OPSET).expect("a known operator");
        let node = Node {
            name: String::new(),
            op: operator.name(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            attributes: Default::default(),
        };
        let site = Site::new(&node, NEWEST_OPSET);
        assert!(operator.differentiable(0) && operator.reads(&site, &[true]).is_none(), "{name}");
    }
}

#[test]
fn every_operator_with_a_reverse_rule_has_problems() {
    let missing: Vec<String> = operators::all()
        .filter(|op| op.differentiable(0) && op.problems().is_empty())
        .map(|op| op.name().to_string())
        .filter(|name| name != "Constant" && !FORWARD_ONLY.contains(&name.as_str()))
        .collect();
    assert!(missing.is_empty(), "{missing:?} have no test problems");
}

fn problems() -> impl Iterator<Item = (&'static dyn Operator, Problem)> {
    operators::all().flat_map(|op| op.problems().into_iter().map(move |problem| (op, problem)))
}

fn place(operator: &dyn Operator, problem: &Problem) -> String {
    format!("{} ({})", operator.name(), problem.what)
}

fn opset(problem: &Problem) -> i64 {
    if problem.opset == 0 { NEWEST_OPSET } else { problem.opset }
}

/// A model of one node whose inputs are constants.
fn model(operator: &dyn Operator, problem: &Problem) -> Model {
    let mut graph = Graph::new("problem");
    let mut patch = Patch::new(&graph);
    let inputs: Vec<Option<ValueId>> = problem
        .inputs
        .iter()
        .map(|input| input.as_ref().map(|tensor| patch.initializer("input", tensor.clone(), false)))
        .collect();
    let count = problem.outputs.max(1);
    let outputs = patch.node_with(operator.name(), "node", inputs, count, problem.attributes.iter().cloned());
    patch.set_outputs(outputs);
    patch.apply(&mut graph).expect("a fresh graph takes its patch");
    Model::new(graph, opset(problem))
}

fn node(model: &Model) -> Node {
    model.graph.nodes().next().expect("one node").1.clone()
}

fn tensors(problem: &Problem) -> Vec<Option<Tensor>> {
    let tensor = |input: &HostTensor| refit_ops::to_device(input, &Device::Cpu).expect("a readable type");
    problem.inputs.iter().map(|input| input.as_ref().map(tensor)).collect()
}

/// Weights of a sum over all outputs: the loss whose gradient is checked. Booleans do not count.
fn weights(outputs: &[Tensor]) -> Vec<Option<Tensor>> {
    let weight = |(index, output): (usize, &Tensor)| {
        if !output.dtype().is_float() {
            return None;
        }
        let values: Vec<f32> =
            (0..output.elem_count()).map(|i| ((i * 7 + index * 3 + 1) as f32 * 0.61).sin()).collect();
        let weights = Tensor::from_vec(values, output.dims(), &Device::Cpu).expect("the sizes fit");
        Some(weights.to_dtype(output.dtype()).expect("floats"))
    };
    outputs.iter().enumerate().map(weight).collect()
}

fn loss(outputs: &[Tensor], weights: &[Option<Tensor>]) -> f64 {
    let numbers = |t: &Tensor| -> Vec<f64> {
        let t = t.to_dtype(candle_core::DType::F64).and_then(|t| t.flatten_all());
        t.and_then(|t| t.to_vec1()).expect("floats")
    };
    outputs
        .iter()
        .zip(weights)
        .filter_map(|(output, weight)| Some((numbers(output), numbers(weight.as_ref()?))))
        .flat_map(|(output, weight)| output.into_iter().zip(weight).map(|(o, w)| o * w).collect::<Vec<_>>())
        .sum()
}

/// All wanted inputs together, and each alone.
fn subsets(wanted: &[bool]) -> Vec<Vec<bool>> {
    let mut sets = vec![wanted.to_vec()];
    for index in (0..wanted.len()).filter(|i| wanted[*i]) {
        let mut alone = vec![false; wanted.len()];
        alone[index] = true;
        sets.push(alone);
    }
    sets.dedup();
    sets
}

/// Runs the reverse rule with nothing but what it says it reads.
fn vjp(
    operator: &dyn Operator,
    site: &Site,
    inputs: &[Option<Tensor>],
    outputs: &[Tensor],
    gradients: &[Option<Tensor>],
    wanted: &[bool],
) -> Option<Result<Vec<Option<Tensor>>, OpError>> {
    if !wanted.contains(&true) {
        return None;
    }
    let reads = operator.reads(site, wanted)?;
    let shapes: Vec<Vec<usize>> =
        inputs.iter().map(|t| t.as_ref().map_or_else(Vec::new, |t| t.dims().to_vec())).collect();
    let types: Vec<DType> = inputs.iter().map(|t| t.as_ref().map_or(DType::F32, Tensor::dtype)).collect();
    let read = |positions: &[usize], index: usize, tensor: Option<&Tensor>| {
        if positions.contains(&index) { tensor.cloned() } else { None }
    };
    let back = Backward {
        inputs: &inputs
            .iter()
            .enumerate()
            .map(|(i, t)| read(&reads.inputs, i, t.as_ref()))
            .collect::<Vec<_>>(),
        input_shapes: &shapes,
        input_types: &types,
        outputs: &outputs
            .iter()
            .enumerate()
            .map(|(i, t)| read(&reads.outputs, i, Some(t)))
            .collect::<Vec<_>>(),
        gradients,
        wanted,
    };
    Some(operator.vjp(site, &back))
}

fn compare(
    place: &str,
    index: usize,
    gradient: &Tensor,
    problem: &Problem,
    loss_at: impl Fn(Tensor) -> f64,
) -> Vec<String> {
    let mut failures = Vec::new();
    let host = problem.inputs[index].as_ref().expect("a wanted input");
    let values = host.to_f32().expect("floats");
    assert_eq!(gradient.dims(), host.shape(), "{place}: shape of gradient {index}");
    let analytic = gradient.flatten_all().and_then(|g| g.to_vec1::<f32>()).expect("a float32 gradient");
    for (element, analytic) in analytic.iter().enumerate() {
        let at = |steps: f32| {
            let mut moved = values.clone();
            moved[element] += steps * STEP;
            loss_at(Tensor::from_vec(moved, host.shape(), &Device::Cpu).expect("the sizes fit"))
        };
        let numeric = (8.0 * (at(1.0) - at(-1.0)) - (at(2.0) - at(-2.0))) / (12.0 * f64::from(STEP));
        let analytic = f64::from(*analytic);
        let close = (numeric - analytic).abs() <= TOLERANCE * analytic.abs().max(1.0);
        if !close {
            failures.push(format!(
                "{place}: d loss / d input {index}[{element}] is {analytic}, finite differences give {numeric}"
            ));
        }
    }
    failures
}
