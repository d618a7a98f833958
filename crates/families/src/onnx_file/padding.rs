//! What an exporter made of the attention mask, in one form.
//!
//! ```text
//! attention_mask -> Flatten, Gather, And, Expand, Where, ... -> 0 or lowest [B, h, S, S]  -> Add(scores)
//! =>  attention_mask -> Unsqueeze -> Cast -> 1 - x -> * lowest [B, 1, 1, S]               -> Add(scores)
//! ```
//!
//! There are as many ways to write this as there are versions of exporters, and some of them no engine can do
//! with symbolic axes. So the nodes are not looked at, but run: a value that follows from the mask and from
//! shapes alone, and that on texts of several lengths and paddings is 0 (or true) where a token is and hides
//! what is padding, is that mask. A long text shows windows that hide far tokens: those stay as they are.

use refit_graph::{Attribute, DType, Dim, Fact, Graph, HostTensor, Model, Node, OpName, Patch, ValueId};
use std::collections::HashMap;

/// Below this a score does not matter beside another.
const HIDDEN: f32 = -1e4;

/// Lengths of the long text, the longest that the model can take counts.
const LONG: [usize; 5] = [1100, 520, 260, 130, 20];

/// Replaces every value that is a padding mask by the plain form of it. Facts must be known.
pub(super) fn simplify(model: &Model, mask: ValueId) -> Option<Patch> {
    let graph = &model.graph;
    let follows = followers(graph, mask);
    let candidates: Vec<ValueId> = frontier(graph, &follows);
    if candidates.is_empty() {
        return None;
    }
    let mut probes = vec![Probe::new(2, &[5, 3]), Probe::new(3, &[7, 1, 4])];
    let long = |length: usize| Probe::of(1, length, &[length - 3], true);
    let runs_long = |probe: &Probe| {
        let values = probe.run(model, mask, &follows);
        candidates.iter().all(|candidate| values.contains_key(candidate))
    };
    probes.push(LONG.into_iter().map(long).find(runs_long)?);
    replace(model, mask, &follows, candidates, &probes)
}

/// The same in a file whose axes are fixed: only texts of these sizes can be tried. The facts are those of the
/// fixed axes meanwhile.
pub(super) fn simplify_fixed(
    model: &mut Model,
    mask: ValueId,
    inputs: &[(ValueId, &str)],
    [batch, sequence]: [usize; 2],
) -> Option<Patch> {
    if sequence == 0 {
        return None;
    }
    let ids = |dims: [Dim; 2]| Fact::new(DType::I64, dims);
    for (id, _) in inputs {
        model.graph.set_fact(*id, ids([batch.into(), sequence.into()]));
    }
    let inferred = refit_ops::infer_facts(model);
    let follows = followers(&model.graph, mask);
    let candidates = frontier(&model.graph, &follows);
    let lengths = |shorter: usize| -> Vec<usize> {
        (0..batch).map(|text| sequence.saturating_sub(text * shorter).max(1)).collect()
    };
    let probes = [0, 1, 2, 5].map(|shorter| Probe::of(batch, sequence, &lengths(shorter), shorter % 2 == 0));
    let patch = inferred.ok().and_then(|()| replace(model, mask, &follows, candidates, &probes));
    for (id, _) in inputs {
        model.graph.set_fact(*id, ids(["batch".into(), "sequence".into()]));
    }
    patch
}

fn replace(
    model: &Model,
    mask: ValueId,
    follows: &[Follows],
    candidates: Vec<ValueId>,
    probes: &[Probe],
) -> Option<Patch> {
    let graph = &model.graph;
    let runs: Vec<HashMap<ValueId, HostTensor>> =
        probes.iter().map(|probe| probe.run(model, mask, follows)).collect();

    let mut patch = Patch::new(graph);
    for candidate in candidates {
        let forms: Option<Vec<Form>> =
            probes.iter().zip(&runs).map(|(probe, values)| probe.form(values.get(&candidate)?)).collect();
        let Some(forms) = forms else { continue };
        if let [first, rest @ ..] = forms.as_slice()
            && rest.iter().all(|form| form == first)
        {
            let plain = first.build(&mut patch, mask);
            patch.replace(candidate, plain);
        }
    }
    (!patch.is_empty()).then_some(patch)
}

/// Whether each value follows from the mask's elements, from shapes and from constants alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Follows {
    /// From shapes and constants.
    Shapes,
    /// From the mask too.
    Mask,
    /// From something else.
    Other,
}

fn followers(graph: &Graph, mask: ValueId) -> Vec<Follows> {
    let mut follows = vec![Follows::Other; graph.value_count()];
    for (id, _) in graph.initializers() {
        follows[id.index()] = Follows::Shapes;
    }
    follows[mask.index()] = Follows::Mask;
    for (_, node) in graph.nodes() {
        let of = |input: &ValueId| follows[input.index()];
        let inputs: Vec<Follows> = node.inputs.iter().flatten().map(of).collect();
        let made = match () {
            () if node.op.is("Shape") => Follows::Shapes,
            () if inputs.contains(&Follows::Other) || node.inner_graphs().next().is_some() => Follows::Other,
            () if inputs.contains(&Follows::Mask) => Follows::Mask,
            () => Follows::Shapes,
        };
        for output in node.outputs.iter().flatten() {
            follows[output.index()] = made;
        }
    }
    follows
}

/// Values of the mask that are read together with something that is none of it.
fn frontier(graph: &Graph, follows: &[Follows]) -> Vec<ValueId> {
    let mut found = Vec::new();
    for (_, node) in graph.nodes() {
        let leaves = node.output(0).is_some_and(|output| follows[output.index()] == Follows::Other);
        let broadcasts = node.op.is("Add") || node.op.is("Where") || node.op.is_refit("Attention");
        if !(leaves && broadcasts) {
            continue;
        }
        for input in node.inputs.iter().flatten() {
            let is_mask = follows[input.index()] == Follows::Mask && graph.fact(*input).rank() == Some(4);
            if is_mask && !found.contains(input) {
                found.push(*input);
            }
        }
    }
    found
}

/// The plain form of a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// float32, 0 where a token is.
    Additive,
    /// True where a token is.
    Kept,
    /// True where padding is.
    Padding,
}

impl Form {
    fn build(self, patch: &mut Patch, mask: ValueId) -> ValueId {
        let axes = patch.initializer("mask.axes", HostTensor::from_i64(&[2], &[1, 2]), false);
        let wide = patch.node(OpName::standard("Unsqueeze"), "mask.unsqueezed", &[mask, axes], []);
        let cast = |patch: &mut Patch, name: &str, dtype: DType| {
            let to = [("to", Attribute::Int(dtype.to_onnx().into()))];
            patch.node(OpName::standard("Cast"), name, &[wide], to)
        };
        match self {
            Self::Kept => cast(patch, "mask.kept", DType::Bool),
            Self::Padding => {
                let kept = cast(patch, "mask.kept", DType::Bool);
                patch.node(OpName::standard("Not"), "mask.is_padding", &[kept], [])
            }
            Self::Additive => {
                let float = cast(patch, "mask.float", DType::F32);
                let one = patch.initializer("mask.one", HostTensor::from_f32(&[], &[1.0]), false);
                let lowest = patch.initializer("mask.lowest", HostTensor::from_f32(&[], &[f32::MIN]), false);
                let padding = patch.node(OpName::standard("Sub"), "mask.padding", &[one, float], []);
                patch.node(OpName::standard("Mul"), "mask.additive", &[padding, lowest], [])
            }
        }
    }
}

/// A batch of padded texts.
struct Probe {
    batch: usize,
    sequence: usize,
    mask: Vec<i64>,
}

impl Probe {
    /// Texts of these lengths, the first of them without padding; the others are padded in front.
    fn new(batch: usize, lengths: &[usize]) -> Self {
        Self::of(batch, lengths[0], lengths, true)
    }

    /// Texts of these lengths, padded in front or behind.
    fn of(batch: usize, sequence: usize, lengths: &[usize], in_front: bool) -> Self {
        let row = |text: usize| {
            let length = lengths.get(text).copied().unwrap_or(sequence);
            (0..sequence).map(move |position| {
                i64::from(if in_front { position + length >= sequence } else { position < length })
            })
        };
        Self { batch, sequence, mask: (0..batch).flat_map(row).collect() }
    }

    /// The values that follow from the mask and from shapes, as far as they can be computed.
    fn run(&self, model: &Model, mask: ValueId, follows: &[Follows]) -> HashMap<ValueId, HostTensor> {
        let graph = &model.graph;
        let mut values = HashMap::new();
        values.insert(mask, HostTensor::from_i64(&[self.batch, self.sequence], &self.mask));
        for (_, node) in graph.nodes() {
            let is_wanted = node.output(0).is_some_and(|output| follows[output.index()] != Follows::Other);
            let Some(results) = is_wanted.then(|| self.node(model, node, &values)).flatten() else {
                continue;
            };
            for (output, result) in node.outputs.iter().zip(results) {
                if let Some(output) = output {
                    values.insert(*output, result);
                }
            }
        }
        values
    }

    fn node(
        &self,
        model: &Model,
        node: &Node,
        values: &HashMap<ValueId, HostTensor>,
    ) -> Option<Vec<HostTensor>> {
        let graph = &model.graph;
        if node.op.is("Shape") {
            let dims = graph.fact(node.input(0)?).shape.as_ref()?;
            let dims: Option<Vec<i64>> = dims.iter().map(|dim| self.size(dim)).collect();
            let dims = dims?;
            let rank = dims.len() as i64;
            let at = |name: &str, default: i64| {
                let given = node.int(name).unwrap_or(default);
                (if given < 0 { given + rank } else { given }).clamp(0, rank) as usize
            };
            let dims = dims.get(at("start", 0)..at("end", rank))?;
            return Some(vec![HostTensor::from_i64(&[dims.len()], dims)]);
        }
        let input = |id: &Option<ValueId>| match id {
            None => Some(None),
            Some(id) => {
                let value = values.get(id).or_else(|| graph.initializer(*id).map(|i| &i.tensor))?;
                Some(Some(value.clone()))
            }
        };
        let inputs: Option<Vec<Option<HostTensor>>> = node.inputs.iter().map(input).collect();
        refit_ops::evaluate(node, refit_ops::opset_of(model, &node.op.domain), &inputs?).ok()
    }

    fn size(&self, dim: &Dim) -> Option<i64> {
        match dim {
            Dim::Known(size) => Some(*size as i64),
            Dim::Symbol(name) if name == "batch" => Some(self.batch as i64),
            Dim::Symbol(name) if name == "sequence" => Some(self.sequence as i64),
            _ => None,
        }
    }

    /// The form of a mask in which a value says of these texts what is padding; `None` if it says something else.
    fn form(&self, value: &HostTensor) -> Option<Form> {
        let &[batch, heads, queries, keys] = value.shape() else { return None };
        if keys != self.sequence || (batch != self.batch && (batch != 1 || self.batch != 1)) {
            return None;
        }
        let rows = batch * heads * queries;
        let is_token = |row: usize, key: usize| self.mask[row / (heads * queries) * keys + key] == 1;
        let all = |agrees: &dyn Fn(usize, bool) -> bool| {
            (0..rows).all(|row| (0..keys).all(|key| agrees(row * keys + key, is_token(row, key))))
        };
        if value.dtype() == DType::Bool {
            let flags = value.to_i64()?;
            return match () {
                () if all(&|at, token| (flags[at] == 1) == token) => Some(Form::Kept),
                () if all(&|at, token| (flags[at] == 0) == token) => Some(Form::Padding),
                () => None,
            };
        }
        let scores = value.to_f32()?;
        let agrees = |at: usize, token: bool| if token { scores[at] == 0.0 } else { scores[at] <= HIDDEN };
        all(&agrees).then_some(Form::Additive)
    }
}
