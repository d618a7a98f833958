//! A whole BERT classifier: loss and every gradient equal PyTorch's, runs repeat bit for bit, frozen
//! parameters cost nothing, and what cannot be done is named.

mod bert;

use candle_core::{Device, Tensor};
use refit_autodiff::{AutodiffError, Gradient, Gradients, Mode, Program};
use refit_graph::{DType, Fact, Graph, HostTensor, Model, OpName, Patch};
use serde_json::Value;
use std::collections::HashMap;

/// Absolute difference to PyTorch's float32 gradients, which lie between 1e-6 and 1.
const TOLERANCE: f32 = 5e-6;

struct Reference(Value);

impl Reference {
    fn load() -> Self {
        Self(serde_json::from_str(include_str!("bert/reference.json")).expect("a JSON file"))
    }

    fn floats(&self, section: &str, name: &str) -> Vec<f32> {
        let values = self.0[section][name].as_array().unwrap_or_else(|| panic!("{section} has no {name}"));
        values.iter().map(|v| v.as_f64().expect("a number") as f32).collect()
    }

    fn integers(&self, name: &str) -> Vec<i64> {
        let rows = self.0[name].as_array().expect("rows");
        let numbers = |row: &Value| match row.as_array() {
            Some(row) => row.iter().map(|v| v.as_i64().expect("an integer")).collect(),
            None => vec![row.as_i64().expect("an integer")],
        };
        rows.iter().flat_map(numbers).collect()
    }

    fn model(&self) -> Model {
        let size = |name: &str| self.0["config"][name].as_u64().expect("a size") as usize;
        let config = bert::Config {
            vocab_size: size("vocab_size"),
            hidden_size: size("hidden_size"),
            num_hidden_layers: size("num_hidden_layers"),
            num_attention_heads: size("num_attention_heads"),
            intermediate_size: size("intermediate_size"),
            max_position_embeddings: size("max_position_embeddings"),
            num_labels: size("num_labels"),
            layer_norm_eps: 1e-12,
        };
        bert::classifier(config, &mut |name, _| self.floats("parameters", name))
    }

    fn inputs(&self) -> HashMap<String, Tensor> {
        ["input_ids", "attention_mask", "token_type_ids"]
            .map(|name| {
                let tensor = Tensor::from_vec(self.integers(name), (3, 7), &Device::Cpu);
                (name.to_owned(), tensor.expect("three rows of seven"))
            })
            .into()
    }
}

/// Adds the loss to the graph: [`Reference::inputs`] get `labels`, the output is `loss`.
fn with_loss(mut model: Model) -> Model {
    let logits = model.graph.outputs()[0];
    let labels = model.graph.add_input("labels", refit_graph::Fact::new(refit_graph::DType::I64, ["batch"]));
    let mut patch = Patch::new(&model.graph);
    let loss = patch.node(OpName::refit("SoftmaxCrossEntropy"), "loss", &[logits, labels], []);
    patch.set_outputs(vec![logits, loss]);
    patch.apply(&mut model.graph).expect("the patch fits");
    model
}

fn step(program: &Program, reference: &Reference, seed: u64) -> (f32, Gradients) {
    let mut inputs = reference.inputs();
    let labels = Tensor::from_vec(reference.integers("labels"), 3, &Device::Cpu).expect("three labels");
    inputs.insert("labels".to_owned(), labels);
    let activations = program.forward(&inputs, Mode::Train { seed }).expect("a forward pass");
    let loss = activations.output("loss").expect("the loss").clone();
    let one = loss.ones_like().expect("a scalar");
    let gradients =
        program.backward(activations, HashMap::from([("loss".to_owned(), one)])).expect("a reverse pass");
    (loss.to_scalar().expect("a scalar"), gradients)
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|t| t.to_vec1()).expect("float32")
}

#[test]
fn loss_and_gradients_equal_pytorch() {
    let reference = Reference::load();
    let model = with_loss(reference.model());
    let program = Program::compile(&model, &["logits", "loss"], &Device::Cpu).expect("a program");
    let (loss, gradients) = step(&program, &reference, 1);
    let expected = reference.0["loss"].as_f64().expect("a loss") as f32;
    assert!((loss - expected).abs() < 1e-5, "loss {loss}, PyTorch's {expected}");
    assert_eq!(program.missing_gradients(&gradients), Vec::<String>::new());
    assert_eq!(program.parameters().len(), reference.0["gradients"].as_object().expect("a table").len());
    for parameter in program.parameters() {
        let ours = gradients.get(parameter.id).expect("none is missing").to_tensor().expect("float32");
        let ours = values(&ours);
        let theirs = reference.floats("gradients", &parameter.name);
        for (index, (a, b)) in ours.iter().zip(&theirs).enumerate() {
            assert!((a - b).abs() < TOLERANCE, "{}[{index}]: {a}, PyTorch's {b}", parameter.name);
        }
    }
}

#[test]
fn evaluating_and_training_give_the_same_logits() {
    let reference = Reference::load();
    let program = Program::compile(&reference.model(), &["logits"], &Device::Cpu).expect("a program");
    let run = |mode| {
        let activations = program.forward(&reference.inputs(), mode).expect("a forward pass");
        (values(activations.output("logits").expect("logits")), activations.kept_bytes())
    };
    let ((eval, eval_bytes), (train, train_bytes)) = (run(Mode::Eval), run(Mode::Train { seed: 1 }));
    assert_eq!(eval, train);
    assert!(
        eval_bytes < train_bytes,
        "{eval_bytes} bytes are kept when evaluating, {train_bytes} in training"
    );
}

#[test]
fn a_table_has_the_gradient_of_the_rows_that_were_read() {
    let reference = Reference::load();
    let program =
        Program::compile(&with_loss(reference.model()), &["loss"], &Device::Cpu).expect("a program");
    let (_, gradients) = step(&program, &reference, 1);
    let of_words = program.parameters().iter().find(|p| p.name.ends_with("word_embeddings.weight"));
    let table = of_words.expect("a table of words");
    let Some(Gradient::Rows(rows)) = gradients.get(table.id) else { panic!("the gradient is a whole table") };
    let mut read: Vec<usize> = reference.integers("input_ids").iter().map(|id| *id as usize).collect();
    read.sort_unstable();
    read.dedup();
    assert_eq!(rows.rows(), read);
    assert!(read.len() < table.shape[0]);
    let mut twice = Gradients::default();
    twice.add(gradients).expect("the first part");
    let (_, again) = step(&program, &reference, 1);
    let once = again.get(table.id).expect("a gradient").to_tensor().expect("a table");
    twice.add(again).expect("the second part");
    let twice = twice.get(table.id).expect("a gradient").to_tensor().expect("a table");
    assert_eq!(values(&twice), values(&(once * 2.0).expect("twice as much")));
}

#[test]
fn two_runs_are_equal_bit_for_bit() {
    let reference = Reference::load();
    let model = with_loss(reference.model());
    let run = || {
        let program = Program::compile(&model, &["loss"], &Device::Cpu).expect("a program");
        let (loss, gradients) = step(&program, &reference, 3);
        let bits = |tensor: &Tensor| values(tensor).into_iter().map(f32::to_bits).collect::<Vec<_>>();
        (loss.to_bits(), gradients.iter().map(|(_, g)| bits(g.values())).collect::<Vec<_>>())
    };
    assert_eq!(run(), run());
}

#[test]
fn frozen_parameters_cost_nothing() {
    let reference = Reference::load();
    let mut model = with_loss(reference.model());
    let full = Program::compile(&model, &["loss"], &Device::Cpu).expect("a program");
    let (_, full_gradients) = step(&full, &reference, 1);
    let frozen: Vec<_> = model
        .graph
        .initializers()
        .map(|(id, _)| id)
        .filter(|id| !model.graph.value(*id).name.starts_with("classifier"))
        .collect();
    frozen.into_iter().for_each(|id| model.graph.set_trainable(id, false));
    let head = Program::compile(&model, &["loss"], &Device::Cpu).expect("a program");
    let (_, gradients) = step(&head, &reference, 1);
    assert_eq!(gradients.len(), 2);
    for (id, gradient) in gradients.iter() {
        let of_all = full_gradients.get(id).expect("the same parameter");
        assert_eq!(values(gradient.values()), values(of_all.values()));
    }
    let kept = |program: &Program| {
        let mut inputs = reference.inputs();
        inputs.insert("labels".to_owned(), Tensor::new(&[0i64, 1, 2], &Device::Cpu).expect("labels"));
        let parameters: usize = model.graph.initializers().map(|(_, i)| i.tensor.bytes().len()).sum();
        program.forward(&inputs, Mode::Train { seed: 1 }).expect("a forward pass").kept_bytes() - parameters
    };
    // The pooled vectors, the logits and the inputs.
    assert!(kept(&head) * 10 < kept(&full), "{} of {} bytes", kept(&head), kept(&full));
}

#[test]
fn a_parameter_that_the_loss_does_not_reach_is_named() {
    let reference = Reference::load();
    let model = reference.model();
    let program = Program::compile(&model, &["logits"], &Device::Cpu).expect("a program");
    let activations = program.forward(&reference.inputs(), Mode::Train { seed: 1 }).expect("a forward pass");
    let gradients = program.backward(activations, HashMap::new()).expect("an empty reverse pass");
    assert_eq!(program.missing_gradients(&gradients).len(), program.parameters().len());
    assert!(program.missing_gradients(&gradients).contains(&"classifier.weight".to_owned()));
}

#[test]
fn updates_change_the_answers_and_go_back_into_the_model() {
    let reference = Reference::load();
    let mut model = reference.model();
    let mut program = Program::compile(&model, &["logits"], &Device::Cpu).expect("a program");
    let bias = program.parameters().iter().find(|p| p.name == "classifier.bias").expect("a bias").id;
    let logits = |program: &Program| {
        let activations = program.forward(&reference.inputs(), Mode::Eval).expect("a forward pass");
        values(activations.output("logits").expect("logits"))
    };
    let before = logits(&program);
    program.update_parameter(bias, |values| values.iter_mut().for_each(|v| *v += 0.5)).expect("a parameter");
    let after = logits(&program);
    assert!(before.iter().zip(&after).all(|(a, b)| (b - a - 0.5).abs() < 1e-5));
    program.write_back(&mut model).expect("the same model");
    let again = Program::compile(&model, &["logits"], &Device::Cpu).expect("a program");
    assert_eq!(logits(&again), after);
}

#[test]
fn all_unsupported_operators_are_named_at_once() {
    let mut model = Reference::load().model();
    let logits = model.graph.outputs()[0];
    let mut patch = Patch::new(&model.graph);
    let first = patch.node(OpName::standard("Mystery"), "first", &[logits], []);
    let second = patch.node(OpName::standard("Riddle"), "second", &[first], []);
    patch.set_outputs(vec![second]);
    patch.apply(&mut model.graph).expect("the patch fits");
    let error = Program::compile(&model, &["second"], &Device::Cpu).err().expect("an error");
    let AutodiffError::Unsupported { places } = &error else { panic!("{error:?}") };
    assert_eq!(places.len(), 2);
    let text = error.to_string();
    assert!(text.contains("Mystery") && text.contains("first") && text.contains("Riddle"), "{text}");
}

#[test]
fn wrong_inputs_are_named() {
    let reference = Reference::load();
    let program = Program::compile(&reference.model(), &["logits"], &Device::Cpu).expect("a program");
    let mut inputs = reference.inputs();
    let ids = inputs.remove("input_ids").expect("it was there");
    let error = program.forward(&inputs, Mode::Eval).expect_err("an input is missing");
    assert!(error.to_string().contains("input_ids"), "{error}");
    inputs.insert("input_ids".to_owned(), (ids + 1000.0).expect("integers"));
    let error = program.forward(&inputs, Mode::Eval).expect_err("ids beyond the vocabulary");
    let chain = format!("{error:?}");
    assert!(chain.contains("lies outside 40 entries") && chain.contains("Gather"), "{chain}");
}

#[test]
fn activations_that_are_computed_again_give_the_same_bits_in_less_memory() {
    let reference = Reference::load();
    let model = with_loss(reference.model());
    let mut program = Program::compile(&model, &["loss"], &Device::Cpu).expect("a program");
    let bits = |tensor: &Tensor| values(tensor).into_iter().map(f32::to_bits).collect::<Vec<_>>();
    let run = |program: &Program| {
        let mut inputs = reference.inputs();
        let labels = Tensor::from_vec(reference.integers("labels"), 3, &Device::Cpu).expect("three labels");
        inputs.insert("labels".to_owned(), labels);
        let activations = program.forward(&inputs, Mode::Train { seed: 5 }).expect("a forward pass");
        let kept = activations.kept_bytes();
        drop(activations);
        let (loss, gradients) = step(program, &reference, 5);
        (kept, loss.to_bits(), gradients.iter().map(|(_, g)| bits(g.values())).collect::<Vec<_>>())
    };
    let (all, loss, gradients) = run(&program);
    assert!(program.recompute_activations() > 3, "a border after every layer at least");
    let (some, again, same) = run(&program);
    assert_eq!(loss, again);
    assert!(gradients == same, "the gradients are not the same bits");
    let parameters: usize =
        program.parameters().iter().map(|parameter| 4 * parameter.shape.iter().product::<usize>()).sum();
    assert!(some - parameters < (all - parameters) * 3 / 4, "{some} bytes are kept, {all} without");
}

#[test]
fn what_is_cheap_is_made_again_and_not_kept() {
    let mut graph = Graph::new("two products");
    let x = graph.add_input("x", Fact::new(DType::F32, ["batch"]));
    let mut patch = Patch::new(&graph);
    let weight = |patch: &mut Patch, name: &str, shape: [usize; 2]| {
        let values: Vec<f32> = (0..shape[0] * shape[1]).map(|i| (i as f32).sin()).collect();
        patch.initializer(name, HostTensor::from_f32(&shape, &values), true)
    };
    let (first, second) = (weight(&mut patch, "first", [3, 5]), weight(&mut patch, "second", [5, 4]));
    let hidden = patch.node(OpName::standard("MatMul"), "hidden", &[x, first], []);
    let bent = patch.node(OpName::refit("Gelu"), "bent", &[hidden], []);
    let y = patch.node(OpName::standard("MatMul"), "y", &[bent, second], []);
    patch.set_outputs(vec![y]);
    patch.apply(&mut graph).expect("a fresh graph takes its patch");
    let model = Model::new(graph, 17);
    let program = Program::compile(&model, &["y"], &Device::Cpu).expect("a program");

    let x: Vec<f32> = (0..6).map(|i| (i as f32).cos()).collect();
    let inputs =
        HashMap::from([("x".to_owned(), Tensor::from_vec(x, (2, 3), &Device::Cpu).expect("a matrix"))]);
    let activations = program.forward(&inputs, Mode::Train { seed: 1 }).expect("a forward pass");
    // Inputs, weights, `hidden`, of which the reverse rule of `bent` is made, and `y`; `bent` itself is gone.
    assert_eq!(activations.kept_bytes(), 4 * (2 * 3 + 3 * 5 + 5 * 4 + 2 * 5 + 2 * 4));
    let ones = Tensor::ones((2, 4), candle_core::DType::F32, &Device::Cpu).expect("ones");
    let gradients =
        program.backward(activations, HashMap::from([("y".to_owned(), ones)])).expect("a reverse pass");
    // The gradient of `second` by ones holds in each of its rows the sum of a column of `bent`.
    let bent = Program::compile(&model, &["bent"], &Device::Cpu).expect("a program");
    let bent = bent.forward(&inputs, Mode::Eval).expect("a forward pass");
    let sums = values(&bent.output("bent").expect("an output").sum(0).expect("sums"));
    let second =
        program.parameters().iter().find(|parameter| parameter.name == "second").expect("a parameter");
    let gradient = values(gradients.get(second.id).expect("a gradient").values());
    for (row, sum) in gradient.chunks(4).zip(sums) {
        assert!(row.iter().all(|g| (g - sum).abs() < 1e-6), "{row:?} {sum}");
    }
}
