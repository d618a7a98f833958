//! Mixed precision (Micikevicius et al. 2018, arXiv:1710.03740): matrix products and what lies between two of them
//! compute in bfloat16, everything else in float32. Weights stay float32 constants that are cast where they are read,
//! so the optimizer keeps its full-precision copy, and a gradient is cast back before it reaches them.
//!
//! ```text
//!                                  x ─ Cast ─┐
//! x ─ Linear(W, b) ─ Gelu ─ y  =>  W ─ Cast ─ Linear ─ Gelu ─ Cast ─ y
//!                                  b ─ Cast ─┘
//! ```
//!
//! bfloat16 has the exponents of float32, so that the loss needs no scaling.

use crate::{Edit, PassError, Tolerance};
use refit_graph::{Attribute, DType, Fact, Graph, Model, Node, OpName, Patch, ValueId};
use std::collections::HashMap;

/// Puts the casts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MixedPrecision;

/// Operators that compute in bfloat16, and how many of their inputs do; what follows (masks, ratios) stays.
const PRODUCTS: [(&str, &str, usize); 4] =
    [("refit", "Linear", 3), ("refit", "Attention", 3), ("", "MatMul", 2), ("", "Gemm", 3)];

/// Operators that compute in bfloat16 where their first input is in it already.
const BETWEEN: [(&str, &str); 8] = [
    ("refit", "Gelu"),
    ("refit", "Silu"),
    ("refit", "Dropout"),
    ("", "Gelu"),
    ("", "Relu"),
    ("", "Tanh"),
    ("", "Transpose"),
    ("", "Reshape"),
];

impl Edit for MixedPrecision {
    fn name(&self) -> &'static str {
        "mixed-precision"
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance::Measured
    }

    fn apply(&self, model: &Model) -> Result<Patch, PassError> {
        let graph = &model.graph;
        let (half, back) = (HashMap::new(), HashMap::new());
        let mut casts = Casts { graph, patch: Patch::new(graph), half, back };
        for (id, node) in graph.nodes() {
            if let Some(inputs) = casts.inputs_in_half(node) {
                casts.replace(node, inputs);
                casts.patch.remove(id);
            }
        }
        Ok(casts.patch)
    }
}

/// The patch as it grows.
struct Casts<'a> {
    graph: &'a Graph,
    patch: Patch,
    /// Values of the graph in bfloat16.
    half: HashMap<ValueId, ValueId>,
    /// Those that are made in bfloat16, cast back to float32.
    back: HashMap<ValueId, ValueId>,
}

impl Casts<'_> {
    /// How many leading inputs of a node are to be bfloat16; none if it computes in float32.
    fn inputs_in_half(&self, node: &Node) -> Option<usize> {
        let is = |domain: &str, name: &str| node.op.domain == domain && node.op.name == name;
        let output = node.output(0)?;
        if node.outputs.len() != 1 || self.graph.fact(output).dtype != Some(DType::F32) {
            return None;
        }
        let product = PRODUCTS.iter().find(|(domain, name, _)| is(domain, name)).map(|product| product.2);
        let first = node.input(0)?;
        let follows = BETWEEN.iter().any(|(domain, name)| is(domain, name)) && self.half.contains_key(&first);
        product.or(follows.then_some(1))
    }

    /// Another node that computes in bfloat16; readers in float32 get its output cast back.
    fn replace(&mut self, node: &Node, inputs_in_half: usize) {
        let inputs = node.inputs.iter().enumerate().map(|(index, input)| match input {
            Some(id) if index < inputs_in_half => Some(self.in_half(*id)),
            other => other.map(|id| self.back.get(&id).copied().unwrap_or(id)),
        });
        let inputs: Vec<Option<ValueId>> = inputs.collect();
        let Some(output) = node.output(0) else { return };
        let made = self.patch.node_with(node.op.clone(), &format!("{}.bf16", node.name), inputs, 1, []);
        self.patch.set_attributes(node.attributes.clone());
        let fact = Fact { dtype: Some(DType::BF16), elements: None, ..self.graph.fact(output).clone() };
        self.patch.set_fact(made[0], fact);
        self.half.insert(output, made[0]);
        let back = self.cast(made[0], output, DType::F32);
        self.back.insert(output, back);
        self.patch.replace(output, back);
    }

    fn in_half(&mut self, id: ValueId) -> ValueId {
        if let Some(done) = self.half.get(&id) {
            return *done;
        }
        let cast = self.cast(id, id, DType::BF16);
        self.half.insert(id, cast);
        cast
    }

    /// `value`, which stands for `original`, as `dtype`.
    fn cast(&mut self, value: ValueId, original: ValueId, dtype: DType) -> ValueId {
        let to = [("to", Attribute::Int(dtype.to_onnx().into()))];
        let suffix = if dtype == DType::F32 { "float32" } else { "bf16" };
        let name = format!("{}.{suffix}", self.graph.value(original).name);
        let cast = self.patch.node(OpName::standard("Cast"), &name, &[value], to);
        self.patch
            .set_fact(cast, Fact { dtype: Some(dtype), elements: None, ..self.graph.fact(original).clone() });
        cast
    }
}
