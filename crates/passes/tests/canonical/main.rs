//! Simplifying and lowering keep the outputs of a model: each case is run before and after.

mod attention;
mod folding;
mod patterns;
mod portable;

use candle_core::{Device, Tensor};
use refit_autodiff::{Mode, Program};
use refit_graph::{Attribute, Fact, Graph, HostTensor, Model, OpName, Patch, ValueId, verify};
use refit_passes::canonicalize;
use std::collections::HashMap;

/// Largest difference of an output that counts as rounding.
const TOLERANCE: f32 = 2e-5;

/// A graph under construction in the way of an exporter.
struct Exporter {
    graph: Graph,
    patch: Patch,
    opset: i64,
    feeds: HashMap<String, Tensor>,
    seed: u32,
}

impl Exporter {
    /// A graph whose float inputs `name` have a declared and an actual shape.
    fn new(opset: i64, inputs: &[(&str, Fact, &[usize])]) -> (Self, Vec<ValueId>) {
        let mut graph = Graph::new("case");
        let ids = inputs.iter().map(|(name, fact, _)| graph.add_input(name, fact.clone())).collect();
        let patch = Patch::new(&graph);
        let mut exporter = Self { graph, patch, opset, feeds: HashMap::new(), seed: 1 };
        for (name, _, shape) in inputs {
            let values = exporter.random(shape.iter().product());
            let tensor = Tensor::from_vec(values, *shape, &Device::Cpu).unwrap();
            exporter.feeds.insert((*name).to_owned(), tensor);
        }
        (exporter, ids)
    }

    /// Numbers between -1 and 1.
    fn random(&mut self, count: usize) -> Vec<f32> {
        (0..count)
            .map(|_| {
                self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (self.seed >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    fn weight(&mut self, name: &str, shape: &[usize]) -> ValueId {
        let values = self.random(shape.iter().product());
        self.patch.initializer(name, HostTensor::from_f32(shape, &values), false)
    }

    fn float(&mut self, value: f32) -> ValueId {
        self.patch.initializer("scalar", HostTensor::from_f32(&[], &[value]), false)
    }

    fn ints(&mut self, values: &[i64]) -> ValueId {
        self.patch.initializer("ints", HostTensor::from_i64(&[values.len()], values), false)
    }

    fn op(&mut self, op: &str, inputs: &[ValueId]) -> ValueId {
        self.op_with(op, inputs, [])
    }

    fn op_with<const N: usize>(
        &mut self,
        op: &str,
        inputs: &[ValueId],
        attributes: [(&'static str, Attribute); N],
    ) -> ValueId {
        self.patch.node(OpName::standard(op), &format!("/{op}"), inputs, attributes)
    }

    fn refit<const N: usize>(
        &mut self,
        op: &str,
        inputs: &[ValueId],
        attributes: [(&'static str, Attribute); N],
    ) -> ValueId {
        self.patch.node(OpName::refit(op), &format!("/{op}"), inputs, attributes)
    }

    /// The model with `y` as its output `y`.
    fn finish(mut self, y: ValueId) -> Case {
        self.patch.rename(y, "y");
        self.patch.set_outputs(vec![y]);
        self.patch.apply(&mut self.graph).unwrap();
        Case { model: Model::new(self.graph, self.opset), feeds: self.feeds }
    }
}

/// A model and what it is run on.
struct Case {
    model: Model,
    feeds: HashMap<String, Tensor>,
}

impl Case {
    fn canonical(&self) -> Model {
        let mut model = self.model.clone();
        canonicalize(&mut model).unwrap();
        verify(&model, "the test").unwrap();
        model
    }

    /// Canonicalises, checks that outputs stay, and that these canonical operators are all there are.
    #[track_caller]
    fn becomes(&self, expected: &[&str]) -> Model {
        let model = self.canonical();
        let mut found = operators(&model, "refit");
        let mut expected = expected.to_vec();
        found.sort();
        expected.sort_unstable();
        assert_eq!(found, expected, "{:?}", operators(&model, ""));
        close(&run(&self.model, &self.feeds), &run(&model, &self.feeds));
        model
    }
}

fn operators(model: &Model, domain: &str) -> Vec<String> {
    let nodes = model.graph.nodes().filter(|(_, node)| node.op.domain == domain);
    nodes.map(|(_, node)| node.op.name.clone()).collect()
}

fn run(model: &Model, feeds: &HashMap<String, Tensor>) -> Vec<f32> {
    let program = Program::compile(model, &["y"], &Device::Cpu).unwrap();
    let activations = program.forward(feeds, Mode::Eval).unwrap();
    activations.output("y").unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[track_caller]
fn close(expected: &[f32], found: &[f32]) {
    assert_eq!(expected.len(), found.len());
    assert!(expected.iter().any(|value| *value != 0.0), "an output of zeros shows nothing");
    let difference = expected.iter().zip(found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(difference <= TOLERANCE, "outputs differ by {difference}");
}

/// A float input `[batch, sequence, hidden]` with the first two symbolic.
fn hidden(hidden: usize) -> Fact {
    let dims = ["batch".into(), "sequence".into(), hidden.into()];
    Fact::new(refit_graph::DType::F32, dims.into_iter().collect::<Vec<refit_graph::Dim>>())
}
