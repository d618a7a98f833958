//! A small random model of each family against Hugging Face transformers (tests/reference/families.py tiny).

use candle_core::{Device, Tensor};
use refit_autodiff::{Gradients, Mode, Program};
use refit_families::{Base, HIDDEN_STATE, Pooling, load};
use refit_graph::{DType, Fact, Model, OpName, Patch};
use refit_passes::{
    Driver,
    edit::{Freeze, FreezePolicy, Lora, Pool, ReplaceHead, num_layers, split_frozen},
};
use safetensors::SafeTensors;
use serde_json::Value;
use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

const FAMILIES: [&str; 8] =
    ["bert", "deberta-v2", "deberta-v3", "distilbert", "electra", "modernbert", "mpnet", "roberta"];

type Tensors = HashMap<String, Tensor>;

fn folder(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(format!("tiny-{family}"))
}

fn tiny(family: &str) -> Base {
    load(&folder(family)).unwrap()
}

/// The model without dropout, which leaves training as it is when evaluating.
fn without_dropout(family: &str) -> Model {
    let copy = TempDir::new().unwrap();
    fs::copy(folder(family).join("model.safetensors"), copy.path().join("model.safetensors")).unwrap();
    let mut config: Value =
        serde_json::from_slice(&fs::read(folder(family).join("config.json")).unwrap()).unwrap();
    let keys: &[&str] = match family {
        "distilbert" => &["dropout"],
        "modernbert" => &["attention_dropout", "embedding_dropout", "mlp_dropout"],
        _ => &["hidden_dropout_prob"],
    };
    for key in keys {
        assert_eq!(config[key], 0.1);
        config[key] = 0.into();
    }
    fs::write(copy.path().join("config.json"), config.to_string()).unwrap();
    load(copy.path()).unwrap().model
}

/// What transformers computed for a padded batch.
struct Reference {
    family: &'static str,
    values: Value,
}

impl Reference {
    fn of(family: &'static str) -> Self {
        let file = fs::read(folder(family).join("expected.json")).unwrap();
        Self { family, values: serde_json::from_slice(&file).unwrap() }
    }

    fn rows(&self, name: &str) -> Vec<Vec<i64>> {
        serde_json::from_value(self.values[name].clone()).unwrap()
    }

    fn hidden(&self) -> Vec<Vec<Vec<f32>>> {
        serde_json::from_value(self.values["hidden"].clone()).unwrap()
    }

    /// The inputs of the model, as transformers got them.
    fn inputs(&self) -> Tensors {
        self.changed(|rows, _| rows)
    }

    /// One text, without its padding.
    fn alone(&self, text: usize) -> Tensors {
        let length = self.rows("attention_mask")[text].iter().sum::<i64>() as usize;
        self.changed(|rows, _| vec![rows[text][..length].to_vec()])
    }

    /// The whole batch with so much more padding in front and behind.
    fn padded(&self, before: usize, behind: usize) -> Tensors {
        let padding = if matches!(self.family, "mpnet" | "roberta") { 1 } else { 0 };
        self.changed(|rows, name| {
            let fill = if name == "input_ids" { padding } else { 0 };
            rows.into_iter().map(|row| [vec![fill; before], row, vec![fill; behind]].concat()).collect()
        })
    }

    /// The batch with its padding made of another id.
    fn padded_with(&self, id: i64) -> Tensors {
        let masks = self.rows("attention_mask").concat();
        let replace = |(token, kept): (i64, &i64)| if *kept == 1 { token } else { id };
        self.changed(|rows, name| match name {
            "input_ids" => {
                let length = rows[0].len();
                let ids: Vec<i64> = rows.concat().into_iter().zip(&masks).map(replace).collect();
                ids.chunks(length).map(<[i64]>::to_vec).collect()
            }
            _ => rows,
        })
    }

    fn changed(&self, change: impl Fn(Vec<Vec<i64>>, &str) -> Vec<Vec<i64>>) -> Tensors {
        ["input_ids", "attention_mask", "token_type_ids"]
            .into_iter()
            .filter(|name| self.values.get(name).is_some())
            .map(|name| (name.to_owned(), Tensor::new(change(self.rows(name), name), &Device::Cpu).unwrap()))
            .collect()
    }

    /// Compares the hidden vectors of tokens, of which `found` has `shift` more in front.
    fn compare(&self, found: &[Vec<Vec<f32>>], shift: usize, what: &str) {
        let mut compared = 0;
        for ((found, wanted), mask) in found.iter().zip(self.hidden()).zip(self.rows("attention_mask")) {
            for (position, _) in mask.iter().enumerate().filter(|(_, kept)| **kept == 1) {
                close(&found[position + shift], &wanted[position], 1e-5, &format!("{} {what}", self.family));
                compared += 1;
            }
        }
        assert_eq!(compared, self.rows("attention_mask").concat().iter().sum::<i64>());
    }
}

#[track_caller]
fn close(found: &[f32], wanted: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (index, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        assert!((found - wanted).abs() < tolerance, "{what}[{index}]: {found} instead of {wanted}");
    }
}

fn hidden(model: &Model, inputs: &Tensors) -> Vec<Vec<Vec<f32>>> {
    let program = Program::compile(model, &[HIDDEN_STATE], &Device::Cpu).unwrap();
    let activations = program.forward(inputs, Mode::Eval).unwrap();
    activations.output(HIDDEN_STATE).unwrap().to_vec3().unwrap()
}

fn trainable(model: &Model) -> BTreeSet<String> {
    let trainable = model.graph.initializers().filter(|(_, initializer)| initializer.trainable);
    trainable.map(|(id, _)| model.graph.value(id).name.clone()).collect()
}

fn input_names(model: &Model) -> Vec<&str> {
    model.graph.inputs().iter().map(|id| model.graph.value(*id).name.as_str()).collect()
}

#[test]
fn hidden_states_equal_those_of_transformers() {
    for family in FAMILIES {
        let reference = Reference::of(family);
        reference.compare(&hidden(&tiny(family).model, &reference.inputs()), 0, "in a batch");
    }
}

#[test]
fn a_text_is_the_same_alone_and_in_any_batch() {
    for family in FAMILIES {
        let (reference, model) = (Reference::of(family), tiny(family).model);
        let alone: Vec<_> = (0..reference.rows("input_ids").len())
            .map(|text| hidden(&model, &reference.alone(text)).remove(0))
            .collect();
        reference.compare(&alone, 0, "alone");
        reference.compare(&hidden(&model, &reference.padded(0, 3)), 0, "with more padding");
        reference.compare(&hidden(&model, &reference.padded_with(7)), 0, "with other padding");
    }
}

#[test]
fn the_longest_text_fits_and_no_longer_one() {
    for family in FAMILIES {
        let base = tiny(family);
        let program = Program::compile(&base.model, &[HIDDEN_STATE], &Device::Cpu).unwrap();
        let run = |length: usize| {
            let ones = Tensor::ones((1, length), candle_core::DType::I64, &Device::Cpu).unwrap();
            let input = |name: &str| match name {
                "input_ids" => (&ones + &ones).unwrap(),
                "attention_mask" => ones.clone(),
                _ => ones.zeros_like().unwrap(),
            };
            let names = input_names(&base.model).into_iter();
            program.forward(&names.map(|name| (name.to_owned(), input(name))).collect(), Mode::Eval)
        };
        assert!(run(base.max_length).is_ok(), "{family}");
        assert!(run(base.max_length + 1).is_err(), "{family}");
    }
}

#[test]
fn positions_that_count_tokens_ignore_padding_in_front_too() {
    for family in ["mpnet", "roberta"] {
        let (reference, model) = (Reference::of(family), tiny(family).model);
        reference.compare(&hidden(&model, &reference.padded(3, 0)), 3, "padded in front");
    }
}

#[test]
fn loss_and_gradients_equal_those_of_transformers() {
    for family in FAMILIES {
        let (reference, model) = (Reference::of(family), without_dropout(family));
        let program = Program::compile(&model, &[HIDDEN_STATE], &Device::Cpu).unwrap();
        let activations = program.forward(&reference.inputs(), Mode::Train { seed: 1 }).unwrap();
        let hidden = activations.output(HIDDEN_STATE).unwrap().clone();
        let weights = loss_weights(hidden.dims(), &reference.rows("attention_mask").concat());
        let loss: f32 = (&hidden * &weights).unwrap().sum_all().unwrap().to_scalar().unwrap();
        let wanted = reference.values["loss"].as_f64().unwrap() as f32;
        assert!((loss - wanted).abs() < 1e-4, "{family}: {loss} instead of {wanted}");

        let gradients = program.backward(activations, HashMap::from([(HIDDEN_STATE.to_owned(), weights)]));
        compare_gradients(family, &program, &gradients.unwrap());
    }
}

/// The weight of each element in the loss of families.py; 0 for padding.
fn loss_weights(shape: &[usize], mask: &[i64]) -> Tensor {
    let count = shape.iter().product();
    let weight = |index: usize| (index as f32 * 0.37).cos() * mask[index / shape[2]] as f32;
    Tensor::from_vec((0..count).map(weight).collect(), shape, &Device::Cpu).unwrap()
}

/// Differences are measured against the largest gradient of a parameter, where it is above one.
fn compare_gradients(family: &str, program: &Program, gradients: &Gradients) {
    let file = fs::read(folder(family).join("gradients.safetensors")).unwrap();
    let wanted = SafeTensors::deserialize(&file).unwrap();
    assert_eq!(program.missing_gradients(gradients), Vec::<String>::new(), "{family}");
    assert_eq!(
        program.parameters().iter().map(|parameter| parameter.name.as_str()).collect::<BTreeSet<_>>(),
        wanted.names().into_iter().collect::<BTreeSet<_>>(),
        "{family}"
    );
    for parameter in program.parameters() {
        let bytes = wanted.tensor(&parameter.name).unwrap().data().chunks_exact(4);
        let wanted: Vec<f32> = bytes.map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
        let found = gradients.get(parameter.id).unwrap().to_tensor().unwrap();
        let found: Vec<f32> = found.flatten_all().unwrap().to_vec1().unwrap();
        let largest = wanted.iter().fold(1f32, |largest, value| largest.max(value.abs()));
        close(&found, &wanted, 1e-5 * largest, &format!("{family} {}", parameter.name));
    }
}

#[test]
fn what_is_known_of_the_base() {
    const ATTENTION: &[&str] = &["attention_probs_dropout_prob"];
    for (family, hidden_size, max_length, inputs, ignored) in [
        ("bert", 32, 24, 3, ATTENTION),
        ("deberta-v2", 16, 20, 3, ATTENTION),
        ("deberta-v3", 16, 20, 2, ATTENTION),
        ("distilbert", 16, 20, 2, &["attention_dropout"]),
        ("electra", 16, 20, 3, ATTENTION),
        ("modernbert", 16, 20, 2, &[]),
        ("mpnet", 16, 20, 2, ATTENTION),
        ("roberta", 16, 20, 2, ATTENTION),
    ] {
        let base = tiny(family);
        assert_eq!((base.hidden_size, base.num_layers, base.max_length), (hidden_size, 2, max_length));
        let name = if family == "deberta-v3" { "deberta-v2" } else { family };
        assert_eq!((base.family.as_str(), base.pooling, base.tokenizer), (name, Pooling::Cls, None));
        assert_eq!(base.ignored_settings, ignored, "{family}");
        let all = ["input_ids", "attention_mask", "token_type_ids"];
        assert_eq!(input_names(&base.model), all[..inputs], "{family}");
        assert_eq!(num_layers(&base.model.graph), 2, "{family}");
    }
}

#[test]
fn dropout_stands_where_each_family_has_it() {
    for (family, count) in [
        ("bert", 1 + 2 * 2),
        ("deberta-v2", 1 + 2 * 3 + 1),
        ("deberta-v3", 1 + 2 * 3),
        ("distilbert", 1 + 2),
        ("electra", 5),
        ("modernbert", 5),
        ("mpnet", 5),
        ("roberta", 5),
    ] {
        let model = tiny(family).model;
        let dropouts = model.graph.nodes().filter(|(_, node)| node.op.is_refit("Dropout"));
        let ratios: Vec<Option<f32>> = dropouts.map(|(_, node)| node.float("ratio")).collect();
        assert_eq!(ratios, vec![Some(0.1); count], "{family}");
    }
}

/// With a head of three labels and a loss.
fn classifier(family: &str, edits: impl FnOnce(&mut Model)) -> Model {
    let mut model = tiny(family).model;
    let head = ReplaceHead {
        at: HIDDEN_STATE.to_owned(),
        pool: Pool::Mean,
        labels: 3,
        dropout: 0.1,
        carried: Vec::new(),
        seed: 7,
    };
    Driver::new().edit(&mut model, &head).unwrap();
    edits(&mut model);
    let logits = model.graph.find("logits").unwrap();
    let labels = model.graph.add_input("labels", Fact::new(DType::I64, ["batch"]));
    let mut patch = Patch::new(&model.graph);
    let loss = patch.node(OpName::refit("SoftmaxCrossEntropy"), "loss", &[logits, labels], []);
    patch.set_outputs(vec![logits, loss]);
    patch.apply(&mut model.graph).unwrap();
    model
}

/// One step down the gradient; the loss before and after.
fn step(program: &mut Program, inputs: &Tensors) -> (f32, f32) {
    let mode = Mode::Train { seed: 5 };
    let loss = |program: &Program| -> f32 {
        program.forward(inputs, mode).unwrap().output("loss").unwrap().to_scalar().unwrap()
    };
    let before = loss(program);
    let activations = program.forward(inputs, mode).unwrap();
    let one = activations.output("loss").unwrap().ones_like().unwrap();
    let gradients = program.backward(activations, HashMap::from([("loss".to_owned(), one)])).unwrap();
    assert_eq!(program.missing_gradients(&gradients), Vec::<String>::new());
    let steps: Vec<(_, Vec<f32>)> = gradients
        .iter()
        .map(|(id, gradient)| (id, gradient.to_tensor().unwrap().flatten_all().unwrap().to_vec1().unwrap()))
        .collect();
    for (id, gradient) in steps {
        let descend = |values: &mut [f32]| {
            values.iter_mut().zip(&gradient).for_each(|(value, gradient)| *value -= 1e-3 * gradient);
        };
        program.update_parameter(id, descend).unwrap();
    }
    (before, loss(program))
}

#[test]
fn a_step_trains_every_parameter() {
    for family in FAMILIES {
        let reference = Reference::of(family);
        let mut inputs = reference.inputs();
        let texts = reference.rows("input_ids").len();
        let labels: Vec<i64> = (0..texts as i64).map(|text| text % 3).collect();
        inputs.insert("labels".to_owned(), Tensor::new(labels, &Device::Cpu).unwrap());

        let full = classifier(family, |_| ());
        let mut expected = trainable(&tiny(family).model);
        expected.extend(["classifier.weight".to_owned(), "classifier.bias".to_owned()]);
        assert_eq!(trainable(&full), expected, "{family}");
        let lora = Lora { rank: 2, alpha: 4.0, targets: Vec::new(), dropout: 0.0, seed: 3 };
        let adapted = classifier(family, |model| Driver::new().edit(model, &lora).unwrap());
        // Two matrices for queries and values (one projection in ModernBERT) of two layers, and the head.
        let projections = if family == "modernbert" { 1 } else { 2 };
        assert_eq!(trainable(&adapted).len(), 2 * projections * 2 + 2, "{family}");

        for model in [full, adapted] {
            let mut program = Program::compile(&model, &["loss"], &Device::Cpu).unwrap();
            let (before, after) = step(&mut program, &inputs);
            assert!(after < before, "{family}: the loss goes from {before} to {after}");
        }
    }
}

#[test]
fn of_frozen_layers_hidden_states_alone_are_cached() {
    for family in FAMILIES {
        let freeze = Freeze { train: FreezePolicy::LastLayers(1) };
        let model = classifier(family, |model| Driver::new().edit(model, &freeze).unwrap());
        let split = split_frozen(&model).unwrap().unwrap();
        assert_eq!(split.features, ["features.0"], "{family}");
        assert_eq!(input_names(&split.suffix), ["attention_mask", "labels", "features.0"], "{family}");
        let reference = Reference::of(family);
        let program = Program::compile(&split.prefix, &["features.0"], &Device::Cpu).unwrap();
        let mut inputs = reference.inputs();
        inputs.retain(|name, _| input_names(&split.prefix).contains(&name.as_str()));
        let features = program.forward(&inputs, Mode::Eval).unwrap().output("features.0").unwrap().clone();
        assert_eq!(features.dims(), Tensor::new(reference.hidden(), &Device::Cpu).unwrap().dims());
    }
}
