//! Low-rank adapters (Hu et al. 2021, arXiv:2106.09685) beside linear layers.
//!
//! ```text
//! x -> Linear(W, b) -> y    =>    x -+-> Linear(W, b) --------------------------------------------> Add -> y
//!                                    +-> Dropout -> Linear(A [r,K]) -> Linear(B [N,r]) -> * alpha/r --^
//! ```
//!
//! Where several layers read one weight (DeBERTa's projections, of tokens and of distances), they share one
//! adapter, as the module that they are has it in PyTorch. B starts at zero, so that the outputs are the same before the first step. A and B train, and the
//! head; everything else is frozen.

use super::{HEAD_PREFIX, parameters, random};
use crate::{Edit, PassError, Tolerance};
use refit_graph::{Attribute, Graph, HostTensor, Model, Node, OpName, Patch, ValueId};

/// End of the name of an adapter's first matrix, after its module.
pub(super) const A: &str = ".lora_A.weight";
/// End of the name of its second matrix.
pub(super) const B: &str = ".lora_B.weight";
/// End of the name of its factor.
pub(super) const SCALE: &str = ".lora_scale";

/// Modules that get an adapter when none are named, as in the paper: what BERT, DistilBERT, MPNet, DeBERTa and
/// ModernBERT (one for queries, keys and values) call the projections of queries and values.
const DEFAULT_TARGETS: [&str; 9] =
    ["query", "value", "q_lin", "v_lin", "q", "v", "query_proj", "value_proj", "Wqkv"];

/// Adds adapters to linear layers.
#[derive(Debug, Clone, PartialEq)]
pub struct Lora {
    /// Rank of the adapters.
    pub rank: usize,
    /// Their products are scaled by `alpha / rank`.
    pub alpha: f32,
    /// Which linear layers: a part of the module's name between dots (`query`) or its end
    /// (`output.dense`). Empty: the projections of queries and values.
    pub targets: Vec<String>,
    /// Rate of the dropout before A.
    pub dropout: f32,
    /// Seed of A's first values.
    pub seed: u64,
}

/// A weight and the linear layers that read it.
struct Target<'a> {
    readers: Vec<&'a Node>,
    module: &'a str,
    weight: ValueId,
    /// Number of inputs and of outputs.
    sizes: [usize; 2],
}

impl Edit for Lora {
    fn name(&self) -> &'static str {
        "lora"
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance::Exact
    }

    fn apply(&self, model: &Model) -> Result<Patch, PassError> {
        let graph = &model.graph;
        let targets = self.targets(graph)?;
        let mut patch = Patch::new(graph);
        for target in &targets {
            self.adapt(&mut patch, target)?;
        }
        for id in parameters(graph) {
            patch.set_trainable(id, graph.value(id).name.starts_with(HEAD_PREFIX));
        }
        Ok(patch)
    }
}

impl Lora {
    fn targets<'a>(&self, graph: &'a Graph) -> Result<Vec<Target<'a>>, PassError> {
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return Err(PassError::refused(format!("lora's alpha must be above zero, not {}", self.alpha)));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(PassError::refused(format!("lora's dropout of {} is not in [0, 1)", self.dropout)));
        }
        let consumers = graph.consumers();
        let mut chosen: Vec<Target<'a>> = Vec::new();
        for target in graph.nodes().filter_map(|(_, node)| target(graph, node)) {
            match chosen.iter_mut().find(|known| known.weight == target.weight) {
                Some(known) => known.readers.extend(target.readers),
                None if self.wants(target.module) => chosen.push(target),
                None => {}
            }
        }
        if chosen.is_empty() {
            return Err(PassError::refused(format!(
                "no linear layer is called {}; there are {}",
                self.wanted().join(" or "),
                kinds(graph).join(", ")
            )));
        }
        for target in &chosen {
            let smallest = target.sizes[0].min(target.sizes[1]);
            if self.rank == 0 || self.rank > smallest {
                return Err(PassError::refused(format!(
                    "a rank of {} does not fit \"{}\": choose from 1 to {smallest}",
                    self.rank, target.module
                )));
            }
            if consumers[target.weight.index()].len() > target.readers.len() {
                return Err(PassError::refused(format!(
                    "\"{}\" shares its weight with what is no linear layer, so that an adapter could not be merged into it",
                    target.module
                )));
            }
            if graph.find(&format!("{}{A}", target.module)).is_some_and(|id| graph.initializer(id).is_some())
            {
                return Err(PassError::refused(format!(
                    "\"{}\" has an adapter already: merge it first",
                    target.module
                )));
            }
        }
        Ok(chosen)
    }

    fn wanted(&self) -> Vec<&str> {
        match self.targets.is_empty() {
            true => DEFAULT_TARGETS.to_vec(),
            false => self.targets.iter().map(String::as_str).collect(),
        }
    }

    fn wants(&self, module: &str) -> bool {
        let is_wanted = |wanted: &str| {
            module == wanted
                || module.ends_with(&format!(".{wanted}"))
                || module.split('.').any(|segment| segment == wanted)
        };
        !format!("{module}.").starts_with(HEAD_PREFIX) && self.wanted().into_iter().any(is_wanted)
    }

    fn adapt(&self, patch: &mut Patch, target: &Target<'_>) -> Result<(), PassError> {
        let Target { readers, module, sizes: [inputs, outputs], .. } = target;
        let name = |end: &str| format!("{module}{end}");
        // Kaiming's uniform with a = sqrt(5), as torch initialises linear layers: bound 1 / sqrt(inputs).
        let bound = (*inputs as f32).sqrt().recip();
        let down = random::uniform(self.seed, &name(A), self.rank * inputs, bound);
        let down = patch.initializer(&name(A), HostTensor::from_f32(&[self.rank, *inputs], &down), true);
        let up = HostTensor::from_f32(&[*outputs, self.rank], &vec![0.0; outputs * self.rank]);
        let up = patch.initializer(&name(B), up, true);
        let scale = HostTensor::from_f32(&[], &[self.alpha / self.rank as f32]);
        let scale = patch.initializer(&name(SCALE), scale, false);

        let transposed = || [("transB", Attribute::Int(1))];
        let linear = OpName::refit("Linear");
        for node in readers {
            let (Some(x), Some(y)) = (node.input(0), node.output(0)) else {
                return Err(PassError::refused(format!("\"{module}\" lacks an input or output")));
            };
            let dropped = match self.dropout {
                0.0 => x,
                ratio => {
                    let ratio = [("ratio", Attribute::Float(ratio))];
                    patch.node(OpName::refit("Dropout"), &name(".lora_dropout"), &[x], ratio)
                }
            };
            let low = patch.node(linear.clone(), &name(".lora_A"), &[dropped, down], transposed());
            let high = patch.node(linear.clone(), &name(".lora_B"), &[low, up], transposed());
            let scaled = patch.node(OpName::standard("Mul"), &name(".lora_scaled"), &[high, scale], []);
            let sum = patch.node(OpName::standard("Add"), &name(".lora_sum"), &[y, scaled], []);
            patch.replace(y, sum);
        }
        Ok(())
    }
}

/// A linear layer with a constant, named weight.
fn target<'a>(graph: &'a Graph, node: &'a Node) -> Option<Target<'a>> {
    let weight = node.input(1).filter(|_| node.op.is_refit("Linear"))?;
    let &[rows, columns] = graph.initializer(weight)?.tensor.shape() else { return None };
    let name = graph.value(weight).name.as_str();
    let module = name.strip_suffix(".weight").unwrap_or(name);
    let sizes = if node.int("transB") == Some(1) { [columns, rows] } else { [rows, columns] };
    Some(Target { readers: vec![node], module, weight, sizes })
}

/// The last two parts of the names of all linear layers, each once.
fn kinds(graph: &Graph) -> Vec<String> {
    let mut kinds = Vec::new();
    for (_, node) in graph.nodes() {
        let Some(target) = target(graph, node) else { continue };
        let parts: Vec<&str> = target.module.rsplit('.').take(2).collect();
        let kind = parts.into_iter().rev().collect::<Vec<_>>().join(".");
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}
