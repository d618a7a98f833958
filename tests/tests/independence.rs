//! An answer never depends on its neighbours: random batches in random order, padded to random lengths, for every
//! family of text models and a convolutional network, in float32 and both kinds of int8.
//!
//! ONNX Runtime gives the same bits. tract's float32 kernels change with the size of a product, and the last bit of a
//! float32 can tip the rounding of an int8, so that int8 in tract may differ by a step; answers stay independent there
//! because the predictor runs every text alone.

#[path = "../../crates/passes/tests/edits/network.rs"]
#[allow(dead_code, reason = "the tests of the passes use more of it")]
mod network;

use network::{IMAGE, Network, numbers};
use refit_engine::{Engine, ModelSource, Session, SessionOptions, Tensor};
use refit_engine_tract::Tract;
use refit_families::{HIDDEN_STATE, load};
use refit_graph::{Model, onnx};
use refit_passes::edit::{
    ActivationRange, FixedForm, FoldBatchNorm, Pool, QuantizeInt8Fixed, QuantizeInt8Rows, ReplaceHead,
    RowsForm,
};
use refit_passes::lower::portable;
use refit_passes::{Driver, with_outputs};
use std::collections::BTreeMap;

/// Families and the ids that they pad with.
const FAMILIES: [(&str, i64); 8] = [
    ("bert", 0),
    ("deberta-v2", 0),
    ("deberta-v3", 0),
    ("distilbert", 0),
    ("electra", 0),
    ("modernbert", 0),
    ("mpnet", 1),
    ("roberta", 1),
];
/// Random batches of each form.
const ROUNDS: usize = 12;
/// Most texts or images in a batch.
const LARGEST_BATCH: usize = 7;
/// Ids that every small vocabulary has.
const VOCABULARY: usize = 36;
/// Tokens that every small model reads.
const LONGEST: usize = 20;

/// Inputs of a model by name.
type Feed = Vec<(String, Tensor)>;

/// Numbers that follow from a seed.
struct Random(u32);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        let [value] = numbers(&mut self.0, 1).try_into().expect("one number");
        (((value + 1.0) / 2.0) as f64 * bound as f64) as usize % bound
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    fn text(&mut self) -> Vec<i64> {
        let length = 2 + self.below(LONGEST - 1 - 2);
        (0..length).map(|_| (2 + self.below(VOCABULARY - 2)) as i64).collect()
    }
}

/// What is asked of a model: how a batch is fed, and what comes out.
struct Case<'a> {
    name: String,
    model: Model,
    output: &'a str,
    /// How far an answer in float32, and in int8, may be from that of the same item alone.
    tolerances: [f32; 2],
}

fn open(engine: &dyn Engine, model: &Model) -> Box<dyn Session> {
    let bytes = onnx::write(model).unwrap();
    engine.load(ModelSource::Bytes(&bytes), &SessionOptions { threads: 1 }).unwrap()
}

fn outputs(session: &mut dyn Session, feed: &Feed) -> Vec<(String, Tensor)> {
    let names: Vec<String> = session.inputs().iter().map(|port| port.name.clone()).collect();
    let given: Vec<(&str, &Tensor)> =
        feed.iter().filter(|(name, _)| names.contains(name)).map(|(n, t)| (n.as_str(), t)).collect();
    session.run(&given).unwrap()
}

fn answer(session: &mut dyn Session, feed: &Feed, name: &str) -> Vec<f32> {
    let outputs = outputs(session, feed);
    outputs.iter().find(|(output, _)| output == name).unwrap().1.as_f32().unwrap().to_vec()
}

/// Texts padded to `length` with any id where the mask hides it.
fn texts(rows: &[Vec<i64>], length: usize, padding: i64) -> Feed {
    let fill = |with: i64, of: &dyn Fn(i64) -> i64| -> Vec<i64> {
        rows.iter()
            .flat_map(|row| row.iter().map(|id| of(*id)).chain(std::iter::repeat_n(with, length - row.len())))
            .collect()
    };
    let tensor = |values| Tensor::i64([rows.len(), length], values).unwrap();
    vec![
        ("input_ids".to_owned(), tensor(fill(padding, &|id| id))),
        ("attention_mask".to_owned(), tensor(fill(0, &|_| 1))),
        ("token_type_ids".to_owned(), tensor(fill(0, &|_| 0))),
    ]
}

fn images(items: &[Vec<f32>]) -> Feed {
    let shape = [&[items.len()], IMAGE.as_slice()].concat();
    vec![("image".to_owned(), Tensor::f32(shape, items.concat()).unwrap())]
}

/// The model in int8 with fixed scales, calibrated on feeds.
fn fixed(engine: &dyn Engine, model: &Model, feeds: &[Feed], form: FixedForm) -> Model {
    let names = QuantizeInt8Fixed::activations(model, form).unwrap();
    let mut session = open(engine, &with_outputs(model, &names).unwrap());
    let mut ranges: BTreeMap<String, ActivationRange> = BTreeMap::new();
    for feed in feeds {
        for (name, tensor) in outputs(session.as_mut(), feed).into_iter().chain(feed.iter().cloned()) {
            let Some(values) = tensor.as_f32().filter(|_| names.contains(&name)) else { continue };
            let range = ranges.entry(name).or_insert(ActivationRange { low: 0.0, high: 0.0 });
            for value in values {
                (range.low, range.high) = (range.low.min(*value), range.high.max(*value));
            }
        }
    }
    let mut int8 = model.clone();
    Driver::new().edit(&mut int8, &QuantizeInt8Fixed { ranges, form, ..Default::default() }).unwrap();
    int8
}

/// Every form of a model for an engine, with whether it is in integers.
fn forms(engine: &dyn Engine, model: &Model, feeds: &[Feed], rows: bool) -> Vec<(&'static str, Model, bool)> {
    let mut forms = vec![("float32", model.clone(), false)];
    if rows {
        let mut int8 = model.clone();
        Driver::new().edit(&mut int8, &QuantizeInt8Rows::default()).unwrap();
        forms.push(("int8", int8, true));
        if engine.name() == refit_engine_ort::NAME {
            let mut int8 = model.clone();
            let form = RowsForm::OnnxRuntime;
            Driver::new().edit(&mut int8, &QuantizeInt8Rows { form, ..Default::default() }).unwrap();
            forms.push(("int8 for it alone", int8, true));
        }
    }
    for (name, form) in [
        ("static pairs", FixedForm::Pairs),
        ("static products", FixedForm::Products),
        ("static operators", FixedForm::Operators),
    ] {
        forms.push((name, fixed(engine, model, feeds, form), true));
    }
    forms
}

/// Random batches of items, each answer against that of the item alone.
fn check<T: Clone>(
    engine: &dyn Engine,
    case: &Case<'_>,
    integers: bool,
    random: &mut Random,
    mut item: impl FnMut(&mut Random) -> T,
    mut feed: impl FnMut(&mut Random, &[T]) -> Feed,
    alone: impl Fn(&T) -> Feed,
) {
    let mut session = open(engine, &case.model);
    let mut worst = 0f32;
    for _ in 0..ROUNDS {
        let mut items: Vec<T> = (0..1 + random.below(LARGEST_BATCH)).map(|_| item(random)).collect();
        // The same item twice in a batch, among others, in another order.
        items.push(items[0].clone());
        random.shuffle(&mut items);
        let batch = feed(random, &items);
        let together = answer(session.as_mut(), &batch, case.output);
        let width = together.len() / items.len();
        for (item, together) in items.iter().zip(together.chunks(width)) {
            let single = answer(session.as_mut(), &alone(item), case.output);
            assert_eq!(
                single,
                answer(session.as_mut(), &alone(item), case.output),
                "{}: asked twice",
                case.name
            );
            let difference = single.iter().zip(together).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
            worst = worst.max(difference);
        }
    }
    let tolerance = case.tolerances[usize::from(integers)];
    assert!(worst <= tolerance, "{}: {worst:e} more than {tolerance:e}", case.name);
}

fn answers_of_texts(engine: &dyn Engine, tolerances: [f32; 2]) {
    for (family, padding) in FAMILIES {
        let folder = refit_tests::root().join("crates/families/tests/data").join(format!("tiny-{family}"));
        let mut model = load(&folder).unwrap().model;
        let at = HIDDEN_STATE.to_owned();
        let head =
            ReplaceHead { at, pool: Pool::Mean, labels: 3, dropout: 0.1, carried: Vec::new(), seed: 7 };
        Driver::new().edit(&mut model, &head).unwrap();
        let model = portable(&model).unwrap();
        let mut random = Random(11);
        let alone = |row: &Vec<i64>| texts(std::slice::from_ref(row), row.len(), padding);
        let calibration: Vec<Feed> = (0..16).map(|_| alone(&random.text())).collect();
        for (form, model, integers) in forms(engine, &model, &calibration, true) {
            let name = format!("{family} in {form} in {}", engine.name());
            let case = Case { name, model, output: "embedding", tolerances };
            let batch = |random: &mut Random, rows: &[Vec<i64>]| {
                let longest = rows.iter().map(Vec::len).max().unwrap_or(1);
                texts(rows, longest + random.below(LONGEST + 1 - longest), padding)
            };
            check(engine, &case, integers, &mut random, Random::text, batch, alone);
        }
    }
}

fn answers_of_images(engine: &dyn Engine, tolerances: [f32; 2]) {
    let mut model = portable(&Network::model()).unwrap();
    Driver::new().edit(&mut model, &FoldBatchNorm).unwrap();
    let size: usize = IMAGE.iter().product();
    let image = |random: &mut Random| numbers(&mut random.0, size);
    let alone = |item: &Vec<f32>| images(std::slice::from_ref(item));
    let mut random = Random(5);
    let calibration: Vec<Feed> = (0..16).map(|_| alone(&image(&mut random))).collect();
    for (form, model, integers) in forms(engine, &model, &calibration, false) {
        let name = format!("convolutions in {form} in {}", engine.name());
        let case = Case { name, model, output: "logits", tolerances };
        check(engine, &case, integers, &mut random, image, |_, items| images(items), alone);
    }
}

/// What a tipped rounding may change, as in the tests on real models.
const STEP: f32 = 0.1;

#[test]
fn neighbours_change_no_answer_in_tract() {
    answers_of_texts(&Tract, [1e-5, STEP]);
    answers_of_images(&Tract, [1e-5, STEP]);
}

#[test]
#[ignore = "fetches ONNX Runtime: cargo xtask test"]
fn neighbours_change_no_answer_in_onnx_runtime() {
    let library = refit_engine_ort::install(&refit_trainer::data::default_cache()).unwrap();
    let engine = refit_engine_ort::OnnxRuntime::from_library(&library).unwrap();
    answers_of_texts(&engine, [1e-5, 1e-5]);
    answers_of_images(&engine, [1e-5, 1e-5]);
}
