//! Edits on a small BERT, run before and after.

mod cut;
mod dropout;
mod fixed;
mod freeze;
mod head;
mod lora;
mod mixed_precision;
mod network;
mod prune;
mod quantize;

use candle_core::{Device, Tensor};
use refit_autodiff::{Mode, Program};
use refit_graph::{Model, OpName, Patch};
use refit_passes::{
    Driver, Edit, PassError,
    edit::{Pool, ReplaceHead},
};
use std::{collections::HashMap, error::Error, path::Path};

/// Tensors by name.
type Tensors = HashMap<String, Tensor>;

/// The encoder of `crates/families/tests/data/tiny-bert`: 2 layers, 32 wide.
fn encoder() -> Model {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../families/tests/data/tiny-bert");
    let mut model = refit_families::load(&folder).unwrap().model;
    Driver::new().begin(&mut model).unwrap();
    model
}

fn head(labels: usize) -> ReplaceHead {
    let at = "last_hidden_state".to_owned();
    ReplaceHead { at, pool: Pool::Mean, labels, dropout: 0.1, carried: Vec::new(), seed: 7 }
}

/// The encoder with a head of three labels.
fn classifier() -> Model {
    let mut model = encoder();
    edit(&mut model, &head(3)).unwrap();
    model
}

fn without_dropout(mut model: Model) -> Model {
    let mut patch = Patch::new(&model.graph);
    let dropout = OpName::refit("Dropout");
    for (_, node) in model.graph.nodes().filter(|(_, node)| node.op == dropout) {
        patch.replace(node.output(0).unwrap(), node.input(0).unwrap());
    }
    patch.apply(&mut model.graph).unwrap();
    model
}

fn edit(model: &mut Model, edit: &dyn Edit) -> Result<(), PassError> {
    Driver::new().edit(model, edit)
}

/// The message of a refused edit with its causes.
fn refusal(model: &Model, edit: &dyn Edit) -> String {
    let error = Driver::new().edit(&mut model.clone(), edit).expect_err("it is accepted");
    let cause = error.source().expect("a cause").to_string();
    format!("{error}: {cause}")
}

/// Rows of tokens, padded to the longest.
fn inputs(rows: &[&[i64]]) -> Tensors {
    let length = rows.iter().map(|row| row.len()).max().unwrap();
    let padded = |of: &dyn Fn(i64) -> i64| -> Vec<i64> {
        rows.iter()
            .flat_map(|row| row.iter().map(|id| of(*id)).chain(std::iter::repeat_n(0, length - row.len())))
            .collect()
    };
    let tensor = |values| Tensor::from_vec(values, (rows.len(), length), &Device::Cpu).unwrap();
    HashMap::from([
        ("input_ids".to_owned(), tensor(padded(&|id| id))),
        ("attention_mask".to_owned(), tensor(padded(&|_| 1))),
        ("token_type_ids".to_owned(), tensor(padded(&|_| 0))),
    ])
}

const ROWS: [&[i64]; 3] = [&[1, 5, 9, 2], &[1, 40, 41, 42, 43, 44, 45, 2], &[1, 17, 2]];

/// Runs a model in evaluation mode on those of `inputs` that it has.
fn run(model: &Model, inputs: &Tensors, output: &str) -> Tensor {
    let program = Program::compile(model, &[output], &Device::Cpu).unwrap();
    program.forward(&wanted(model, inputs), Mode::Eval).unwrap().output(output).unwrap().clone()
}

fn wanted(model: &Model, inputs: &Tensors) -> Tensors {
    let graph = &model.graph;
    let names: Vec<&str> = graph.inputs().iter().map(|id| graph.value(*id).name.as_str()).collect();
    inputs
        .iter()
        .filter(|(name, _)| names.contains(&name.as_str()))
        .map(|(n, t)| (n.clone(), t.clone()))
        .collect()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn max_difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    values(a).iter().zip(values(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn trainable(model: &Model) -> Vec<&str> {
    let graph = &model.graph;
    let trainable = graph.initializers().filter(|(_, initializer)| initializer.trainable);
    trainable.map(|(id, _)| graph.value(id).name.as_str()).collect()
}

fn outputs(model: &Model) -> Vec<&str> {
    model.graph.outputs().iter().map(|id| model.graph.value(*id).name.as_str()).collect()
}
