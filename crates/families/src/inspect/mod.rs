//! What a model is, as the trainer sees it: shown before anything is trained.

mod methods;
mod operators;

pub use methods::MethodSummary;
pub use operators::{OperatorSummary, Support};

use crate::{Base, FamilyError, Pooling, Tensors, load_folder, onnx_file, read_checkpoint};
use refit_graph::{Fact, Graph, HostTensor, Model, ValueId};
use refit_passes::{
    canonicalize,
    edit::{layer_of, parameters},
};
use std::{collections::BTreeMap, path::Path};

/// What was found out about a folder or a file.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// `hugging-face`, `onnx` or `weights`.
    pub format: &'static str,
    /// The family of a folder, the exporter and opset of an ONNX file.
    pub kind: String,
    /// Inputs and outputs as the file has them.
    pub inputs: Vec<Port>,
    /// What the file gives.
    pub outputs: Vec<Port>,
    /// The parameters, by element type.
    pub dtypes: Vec<Amount>,
    /// The parameters by the layers that methods of training speak of.
    pub layers: Vec<Amount>,
    /// The operators of the graph. Empty for weights without a graph.
    pub operators: Vec<OperatorSummary>,
    /// Where a head goes, or why it does not.
    pub head: Result<HeadPlace, String>,
    /// What each method would train.
    pub methods: Vec<MethodSummary>,
    /// What the trainer should know besides.
    pub notes: Vec<String>,
}

/// An input or an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Type and shape.
    pub fact: String,
}

/// So many parameters under one heading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amount {
    /// A layer or an element type.
    pub name: String,
    /// Tensors.
    pub tensors: usize,
    /// Their elements.
    pub parameters: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// Where a head goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadPlace {
    /// What the file calls the value.
    pub at: String,
    /// Length of its vectors.
    pub size: usize,
    /// How they become one.
    pub pooling: Pooling,
}

/// Looks at a Hugging Face folder, an `.onnx` file or a file of weights. `at` names the value that the head is
/// to read.
///
/// # Errors
/// When it cannot be read at all. That a model cannot be trained is no error: [`Inspection::head`] says why.
pub fn inspect(path: &Path, at: Option<&str>) -> Result<Inspection, FamilyError> {
    let read = |source| FamilyError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(read)?.is_dir() {
        let base = load_folder(path)?;
        let mut inspection = of_base(&base, &base.model);
        inspection.format = "hugging-face";
        inspection.kind.clone_from(&base.family);
        return Ok(inspection);
    }
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("onnx") => onnx(path, at),
        _ => Ok(weights(&read_checkpoint(path)?)),
    }
}

fn of_base(base: &Base, original: &Model) -> Inspection {
    let ports = |ids: &[ValueId]| ids.iter().map(|id| port(&original.graph, *id)).collect();
    let (dtypes, layers) = amounts(&base.model.graph);
    let mut notes = Vec::new();
    if !base.ignored_settings.is_empty() {
        notes.push(format!("settings that are not used: {}", base.ignored_settings.join(", ")));
    }
    if !base.ignored_weights.is_empty() {
        let shown: Vec<&str> = base.ignored_weights.iter().take(6).map(String::as_str).collect();
        let more = if base.ignored_weights.len() > shown.len() { ", ..." } else { "" };
        let count = base.ignored_weights.len();
        notes.push(format!("{count} tensors that the encoder does not need: {}{more}", shown.join(", ")));
    }
    Inspection {
        format: "onnx",
        kind: String::new(),
        inputs: ports(original.graph.inputs()),
        outputs: ports(original.graph.outputs()),
        dtypes,
        layers,
        operators: operators::summarize(original, &base.model),
        head: Ok(HeadPlace { at: base.cut.clone(), size: base.hidden_size, pooling: base.pooling }),
        methods: methods::summarize(base),
        notes,
    }
}

fn onnx(path: &Path, at: Option<&str>) -> Result<Inspection, FamilyError> {
    let mut original = onnx_file::read(path)?;
    // Shapes help, but a file whose shapes contradict each other can be looked at too.
    let inferred = refit_ops::infer_facts(&mut original);
    let kind = format!("onnx, opset {}", original.opset());
    let mut inspection = match onnx_file::open(path, at, false) {
        Ok(opened) => {
            let mut inspection = of_base(&opened.base, &original);
            inspection.notes.extend(opened.not_text.map(|why| format!("not a text encoder: {why}")));
            inspection
        }
        Err(error) => {
            // Exporters hide weights behind constants and identities.
            let mut simple = original.clone();
            if canonicalize(&mut simple).is_err() {
                simple.clone_from(&original);
            }
            let (dtypes, layers) = amounts(&simple.graph);
            let ports = |ids: &[ValueId]| ids.iter().map(|id| port(&original.graph, *id)).collect();
            Inspection {
                format: "onnx",
                kind: String::new(),
                inputs: ports(original.graph.inputs()),
                outputs: ports(original.graph.outputs()),
                dtypes,
                layers,
                operators: operators::summarize(&original, &simple),
                head: Err(chain(&error)),
                methods: Vec::new(),
                notes: Vec::new(),
            }
        }
    };
    inspection.notes.extend(inferred.err().map(|error| chain(&error)));
    inspection.kind = kind;
    Ok(inspection)
}

fn weights(tensors: &Tensors) -> Inspection {
    let each = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
    let (dtypes, layers) = grouped(each);
    Inspection {
        format: "weights",
        kind: format!("{} tensors", tensors.len()),
        inputs: Vec::new(),
        outputs: Vec::new(),
        dtypes,
        layers,
        operators: Vec::new(),
        head: Err("weights alone are no model: inspect the folder with their config.json".to_owned()),
        methods: Vec::new(),
        notes: Vec::new(),
    }
}

fn port(graph: &Graph, id: ValueId) -> Port {
    let fact: &Fact = graph.fact(id);
    Port { name: graph.value(id).name.clone(), fact: fact.to_string() }
}

fn amounts(graph: &Graph) -> (Vec<Amount>, Vec<Amount>) {
    let ids = parameters(graph);
    let each = ids.iter().filter_map(|id| {
        let initializer = graph.initializer(*id)?;
        Some((graph.value(*id).name.as_str(), &initializer.tensor))
    });
    grouped(each)
}

/// By element type, and by layer: what comes before the layers, each of them, and what has no layer.
fn grouped<'a>(each: impl Iterator<Item = (&'a str, &'a HostTensor)>) -> (Vec<Amount>, Vec<Amount>) {
    let mut dtypes: BTreeMap<String, Amount> = BTreeMap::new();
    let mut layers: BTreeMap<Option<usize>, Amount> = BTreeMap::new();
    let add = |amount: &mut Amount, tensor: &HostTensor| {
        amount.tensors += 1;
        amount.parameters += tensor.len();
        amount.bytes += tensor.bytes().len();
    };
    let new = |name: String| Amount { name, tensors: 0, parameters: 0, bytes: 0 };
    for (name, tensor) in each {
        let dtype = tensor.dtype().to_string();
        add(dtypes.entry(dtype.clone()).or_insert_with(|| new(dtype)), tensor);
        let layer = layer_of(name);
        let heading = layer.map_or("outside of layers".to_owned(), |layer| format!("layer {layer}"));
        add(layers.entry(layer).or_insert_with(|| new(heading)), tensor);
    }
    (dtypes.into_values().collect(), layers.into_values().collect())
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
