use super::*;
use refit_passes::{Driver, PassError, Simplify};
use std::error::Error;

fn relu(weight: impl FnOnce(&mut Exporter) -> ValueId) -> Case {
    let (mut e, inputs) = Exporter::new(17, &[("x", hidden(4), &[2, 3, 4])]);
    let weight = weight(&mut e);
    let sum = e.op("Add", &[inputs[0], weight]);
    e.finish(sum)
}

#[test]
fn constants_are_folded() {
    let case = relu(|e| {
        let w = e.weight("w", &[4, 1]);
        let turned = e.op_with("Transpose", &[w], [("perm", Attribute::Ints(vec![1, 0]))]);
        let value = HostTensor::from_f32(&[1], &[2.0]);
        let two = e.op_with("Constant", &[], [("value", Attribute::Tensor(value))]);
        let scaled = e.op("Mul", &[turned, two]);
        e.op("Identity", &[scaled])
    });
    let model = case.becomes(&[]);
    assert_eq!(operators(&model, ""), ["Add"]);
}

#[test]
fn what_trains_is_not_folded() {
    let case = relu(|e| {
        let values = HostTensor::from_f32(&[4], &[1.0, 2.0, 3.0, 4.0]);
        let w = e.patch.initializer("w", values, true);
        e.op("Neg", &[w])
    });
    let model = case.becomes(&[]);
    assert_eq!(operators(&model, ""), ["Neg", "Add"]);
}

#[test]
fn a_huge_result_is_left_to_be_computed() {
    let case = relu(|e| {
        let shape = e.ints(&[100_000, 100_000, 1]);
        let ones = e.op("ConstantOfShape", &[shape]);
        e.op_with(
            "ReduceMax",
            &[ones],
            [("axes", Attribute::Ints(vec![0, 1])), ("keepdims", Attribute::Int(0))],
        )
    });
    assert!(operators(&case.canonical(), "").contains(&"ConstantOfShape".to_owned()));
}

#[test]
fn inputs_and_outputs_keep_their_names() {
    let (mut e, inputs) = Exporter::new(17, &[("x", hidden(4), &[2, 3, 4])]);
    let y = e.op("Identity", &inputs);
    let model = e.finish(y).becomes(&[]);
    let name = |ids: &[ValueId]| model.graph.value(ids[0]).name.clone();
    assert_eq!((name(model.graph.inputs()), name(model.graph.outputs())), ("x".to_owned(), "y".to_owned()));
}

/// Adds another `Neg` each time.
struct NeverDone;

impl Simplify for NeverDone {
    fn name(&self) -> &'static str {
        "never-done"
    }

    fn rewrite(&self, model: &Model) -> Result<Option<Patch>, PassError> {
        let mut patch = Patch::new(&model.graph);
        let old = model.graph.outputs()[0];
        let new = patch.node(OpName::standard("Neg"), "again", &[old], []);
        patch.replace(old, new);
        Ok(Some(patch))
    }
}

/// Makes its patch for another graph.
struct Misses;

impl Simplify for Misses {
    fn name(&self) -> &'static str {
        "misses"
    }

    fn rewrite(&self, _model: &Model) -> Result<Option<Patch>, PassError> {
        let mut patch = Patch::new(&Graph::new("other"));
        patch.set_outputs(Vec::new());
        Ok(Some(patch))
    }
}

#[test]
fn a_failing_pass_is_named_and_changes_nothing() {
    let case = relu(|e| e.weight("w", &[4]));
    let mut model = case.model.clone();
    let error = Driver::new().simplify(&mut model, &[&Misses]).unwrap_err();
    assert_eq!(error.to_string(), "the pass misses failed");
    assert!(error.source().and_then(Error::source).unwrap().to_string().contains("another graph"));
    assert_eq!(model.graph.node_count(), case.model.graph.node_count());
    let error = Driver::new().simplify(&mut model, &[&NeverDone]).unwrap_err().to_string();
    assert!(error.contains("never-done"), "{error}");
}

#[test]
fn the_driver_reports_and_dumps() {
    let case = relu(|e| {
        let w = e.weight("w", &[4]);
        e.op("Identity", &[w])
    });
    let mut dumped = Vec::new();
    let mut model = case.model.clone();
    let mut driver =
        Driver::new().with_dump(|pass, model| dumped.push((pass.to_owned(), model.graph.node_count())));
    driver.simplify(&mut model, refit_passes::simplify::all()).unwrap();
    assert_eq!(driver.report().changes("fold-constants"), 1);
    assert_eq!(driver.report().changes("recognise-linear"), 0);
    drop(driver);
    assert_eq!(dumped, [("fold-constants".to_owned(), 1)]);
}
