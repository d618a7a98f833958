//! Loading, checking and answering, on the small models of `tests/reference/toy_classifier.py`.

use std::{collections::BTreeMap, env, fs, path::Path};

use refit_artifact::{
    Bundle, EngineSearch, Golden, GoldenExample, GoldenLogits, Manifest, Precision, Reference, Serving,
    Writer, files,
};
use refit_predictor::{
    Answer, EngineConfig, Engines, FLOAT32_TOLERANCE, FeatureValue, Form, LoadOptions, Predictor,
    PredictorError, ReferenceOptions, build_reference,
};
use refit_spec::DeviceChoice;
use serde_json::{Value, json};

/// The texts of the model's three expected cases.
const TEXTS: [&str; 3] = ["good film", "", "the bad plot was slow and long zzz"];

const LABELS: [&str; 2] = ["negative", "positive"];

/// What a test may change before the artifact is written.
struct Parts {
    manifest: Manifest,
    golden: Golden,
    reference: Reference,
    max_length: usize,
    labels: Vec<String>,
    temperature: Option<f64>,
}

fn expected(case: usize, precision: Precision) -> Vec<f32> {
    let cases: Value =
        serde_json::from_str(include_str!("../../engine/tests/data/toy.expected.json")).unwrap();
    serde_json::from_value(cases[case][precision.name()]["logits"].clone()).unwrap()
}

fn input_ids(case: usize) -> Vec<i64> {
    let cases: Value =
        serde_json::from_str(include_str!("../../engine/tests/data/toy.expected.json")).unwrap();
    serde_json::from_value(cases[case]["input_ids"].clone()).unwrap()
}

fn tokenizer() -> Value {
    let words =
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "good", "film", "bad", "plot", "was", "slow", "and"];
    let vocabulary: BTreeMap<&str, usize> = words.iter().enumerate().map(|(id, word)| (*word, id)).collect();
    let special = |word: &str| json!({"id": word, "ids": [vocabulary[word]], "tokens": [word]});
    let place = |word: &str| json!({"SpecialToken": {"id": word, "type_id": 0}});
    json!({
        "version": "1.0",
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [place("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, place("[SEP]")],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"[CLS]": special("[CLS]"), "[SEP]": special("[SEP]")},
        },
        "decoder": null,
        "added_tokens": [],
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    })
}

fn parts() -> Parts {
    let logits = |case, precision| GoldenLogits {
        precision,
        engine: "tract".into(),
        values: expected(case, precision),
    };
    let example = |case: usize| GoldenExample {
        text: TEXTS[case].into(),
        pair: None,
        input_ids: input_ids(case),
        logits: vec![logits(case, Precision::Float32), logits(case, Precision::Int8)],
    };
    Parts {
        manifest: Manifest {
            schema_version: 0,
            model: "toy".into(),
            version: None,
            created_at: "2026-11-21T04:00:00Z".parse().unwrap(),
            code_version: "0.1.0".into(),
            task: "text-classification".into(),
            scale: None,
            labels: LABELS.map(String::from).to_vec(),
            files: BTreeMap::new(),
            config: String::new(),
            data_fingerprint: String::new(),
            base: String::new(),
            parent: None,
            metrics: BTreeMap::new(),
            serving: Serving {
                file: files::MODEL_FLOAT32.into(),
                precision: Precision::Float32,
                float_layers: Vec::new(),
                engine: "tract".into(),
                reason: "measured".into(),
            },
            searches: Vec::new(),
            parity: Vec::new(),
        },
        golden: Golden { examples: vec![example(0), example(1)] },
        reference: Reference::default(),
        max_length: 9,
        labels: LABELS.map(String::from).to_vec(),
        temperature: None,
    }
}

fn write(folder: &Path, change: impl FnOnce(&mut Parts)) -> Bundle {
    let mut parts = parts();
    change(&mut parts);
    parts.manifest.labels.clone_from(&parts.labels);
    let target = folder.join("v1");
    let mut writer = Writer::begin(&target).unwrap();
    writer
        .add_file(files::MODEL_FLOAT32, include_bytes!("../../engine/tests/data/toy.float32.onnx"))
        .unwrap();
    writer.add_file(files::MODEL_INT8, include_bytes!("../../engine/tests/data/toy.int8.onnx")).unwrap();
    writer.add_json(files::TOKENIZER, &tokenizer()).unwrap();
    writer.add_json(files::PREPROCESSING, &json!({"max_length": parts.max_length})).unwrap();
    writer.add_json(files::LABELS, &parts.labels).unwrap();
    writer.add_json(files::REFERENCE, &parts.reference).unwrap();
    writer.add_json(files::GOLDEN, &parts.golden).unwrap();
    writer.add_file(files::CONFIG, b"").unwrap();
    if let Some(temperature) = parts.temperature {
        let fitted =
            json!({"temperature": temperature, "rows": 9, "log_loss_before": 0.7, "log_loss_after": 0.6});
        writer.add_json(files::CALIBRATION, &fitted).unwrap();
    }
    writer.finish(parts.manifest).unwrap();
    Bundle::open(target).unwrap()
}

fn load(change: impl FnOnce(&mut Parts), form: Form) -> Result<Predictor, PredictorError> {
    let folder = tempfile::tempdir().unwrap();
    let bundle = write(folder.path(), change);
    Predictor::load(&bundle, &Engines::tract_only(), &LoadOptions { form, ..LoadOptions::default() })
}

fn refusal(change: impl FnOnce(&mut Parts)) -> PredictorError {
    match load(change, Form::AsManifest) {
        Ok(_) => panic!("the artifact was not refused"),
        Err(error) => error,
    }
}

fn in_tract(precision: Precision) -> Form {
    Form::Exactly { engine: "tract".into(), precision }
}

fn assert_close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    let close = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() <= 2e-5);
    assert!(close, "found {found:?}, expected {expected:?}");
}

#[test]
fn texts_are_answered_as_the_reference_says() {
    for precision in [Precision::Float32, Precision::Int8] {
        let predictor = load(|_| {}, in_tract(precision)).unwrap();
        assert_eq!(predictor.golden_replay().examples, 2);
        assert_eq!(predictor.choice().precision, precision);
        for (case, text) in TEXTS.iter().enumerate() {
            let expected = expected(case, precision);
            let prediction = predictor.predict(text).unwrap();
            assert_close(&prediction.logits, &expected);
            let Answer::Class { label, index, probabilities } = &prediction.answer else {
                panic!("no class: {prediction:?}")
            };
            assert_eq!(*index, usize::from(expected[1] > expected[0]));
            assert_eq!(&**label, LABELS[*index]);
            assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            assert_eq!(prediction.embedding.len(), 8);
        }
    }
}

#[test]
fn a_batch_is_answered_exactly_as_its_texts_alone() {
    let predictor = load(|_| {}, Form::AsManifest).unwrap();
    let texts: Vec<&str> = TEXTS.into_iter().cycle().take(50).collect();
    let together = predictor.predict_batch(&texts).unwrap();
    let alone: Vec<_> = texts.iter().map(|text| predictor.predict(text).unwrap()).collect();
    assert_eq!(together, alone);
    assert_eq!(predictor.predict_batch::<&str>(&[]).unwrap(), []);
    let mut workers = predictor.sessions(2).unwrap();
    assert_eq!(workers[1].predict_batch(&texts).unwrap(), alone);
}

#[test]
fn what_drift_is_measured_by_is_observed() {
    let first = load(|_| {}, Form::AsManifest).unwrap();
    let rows = first.predict_batch(&TEXTS.repeat(20)).unwrap();
    let labels = LABELS.map(String::from);
    let reference = build_reference(&labels, &rows, &ReferenceOptions::default()).unwrap();
    let names: Vec<&str> = reference.distributions.iter().map(|entry| entry.feature.as_str()).collect();
    let known = ["text_length", "token_count", "unknown_token_rate", "predicted_class", "confidence"];
    assert_eq!(names[..5], known);
    assert_eq!(names[5..], ["embedding_0", "embedding_1", "embedding_2", "embedding_3"]);

    let predictor = load(|parts| parts.reference = reference.clone(), Form::AsManifest).unwrap();
    let prediction = predictor.predict(TEXTS[2]).unwrap();
    let observed = &prediction.observation;
    assert_eq!((observed.text_length, observed.token_count), (34, 9));
    assert_eq!(observed.unknown_token_rate, 1.0 / 9.0);
    assert_eq!(observed.confidence, prediction.answer.confidence());
    let label = prediction.answer.label().unwrap();
    assert_eq!(observed.value(&reference, "predicted_class"), Some(FeatureValue::Category(&label)));
    assert_eq!(
        observed.value(&reference, "embedding_1"),
        Some(FeatureValue::Number(observed.projections[1]))
    );
    assert_eq!(observed.value(&reference, "brightness"), None);

    // Replaying the reference rows fills the bins as the reference was filled.
    let mut counts: Vec<Vec<u64>> =
        reference.distributions.iter().map(|distribution| vec![0; distribution.bins()]).collect();
    for row in predictor.predict_batch(&TEXTS.repeat(20)).unwrap() {
        for (counts, bin) in counts.iter_mut().zip(row.observation.bins(&reference)) {
            counts[bin.unwrap()] += 1;
        }
    }
    let filled: Vec<Vec<u64>> = reference.distributions.iter().map(|entry| entry.counts.clone()).collect();
    assert_eq!(counts, filled);
}

#[test]
fn a_long_text_is_cut_and_says_so() {
    let predictor = load(|_| {}, Form::AsManifest).unwrap();
    let prediction = predictor.predict(&"good ".repeat(100)).unwrap();
    assert!(prediction.truncated);
    assert_eq!(prediction.observation.token_count, 9);
    assert!(!predictor.predict("good").unwrap().truncated);
}

#[test]
fn without_the_measured_engine_float32_runs_in_tract() {
    let int8_in_onnxruntime = |parts: &mut Parts| {
        parts.manifest.serving = Serving {
            file: files::MODEL_INT8.into(),
            precision: Precision::Int8,
            float_layers: Vec::new(),
            engine: "onnxruntime".into(),
            reason: "twice as fast".into(),
        };
    };
    let predictor = load(int8_in_onnxruntime, Form::AsManifest).unwrap();
    let choice = predictor.choice();
    assert_eq!((choice.engine.as_str(), choice.precision), ("tract", Precision::Float32));
    assert!(choice.reason.starts_with("onnxruntime cannot be used"), "{}", choice.reason);
    let asked = load(int8_in_onnxruntime, Form::InEngine("onnxruntime".into()));
    assert!(matches!(asked, Err(PredictorError::NoEngine { name, .. }) if name == "onnxruntime"));
}

#[test]
fn other_tokens_than_at_training_time_are_refused() {
    let error = refusal(|parts| parts.golden.examples[0].input_ids[1] = 7);
    let message = error.to_string();
    assert!(message.contains("\"good film\" gives other tokens than at training time"), "{message}");
    // The length is part of the preprocessing, and no text that it cuts goes unnoticed.
    let shorter = refusal(|parts| parts.max_length = 3);
    assert!(matches!(shorter, PredictorError::GoldenTokens { .. }), "{shorter}");
}

#[test]
fn other_answers_than_at_training_time_are_refused() {
    let error = refusal(|parts| parts.golden.examples[1].logits[0].values[0] += 2.0 * FLOAT32_TOLERANCE);
    assert!(matches!(error, PredictorError::GoldenLogits { .. }), "{error}");
    assert!(error.to_string().contains("float32 in tract"), "{error}");
    assert!(load(|parts| parts.golden.examples[1].logits[0].values[0] += 5e-5, Form::AsManifest).is_ok());
    let shorter = refusal(|parts| parts.golden.examples[0].logits[0].values.truncate(1));
    assert!(matches!(shorter, PredictorError::GoldenLogits { .. }), "{shorter}");
    let unchecked = refusal(|parts| parts.golden.examples.clear());
    assert!(matches!(unchecked, PredictorError::NoGolden { .. }), "{unchecked}");
}

#[test]
fn labels_that_do_not_fit_the_model_are_refused() {
    let error = refusal(|parts| parts.labels.push("neutral".into()));
    assert!(error.to_string().contains("2 values for 3"), "{error}");
}

#[test]
fn onnxruntime_answers_the_same() {
    let cache = env::var_os("REFIT_CACHE")
        .map_or_else(|| Path::new(&env::var_os("HOME").unwrap_or_default()).join(".cache/refit"), Into::into);
    let engines =
        Engines::discover(&EngineConfig { cache, onnxruntime_library: None, device: DeviceChoice::Auto });
    let found = engines.report().iter().find(|entry| entry.engine == "onnxruntime").unwrap();
    if found.version.is_none() {
        let required = env::var_os("REFIT_REQUIRE_ORT").is_some_and(|value| value == "1");
        assert!(!required, "{}", found.detail);
        eprintln!("skipped: {}", found.detail);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let bundle = write(folder.path(), |_| {});
    for precision in [Precision::Float32, Precision::Int8] {
        let form = Form::Exactly { engine: "onnxruntime".into(), precision };
        let options = LoadOptions { form, ..LoadOptions::default() };
        let predictor = Predictor::load(&bundle, &engines, &options).unwrap();
        assert_eq!(Some(predictor.engine_version()), found.version.as_deref());
        for (case, text) in TEXTS.iter().enumerate() {
            assert_close(&predictor.predict(text).unwrap().logits, &expected(case, precision));
        }
    }
    let tract = Predictor::load(&bundle, &engines, &LoadOptions::default()).unwrap();
    assert_eq!(tract.choice().engine, "tract", "the manifest says tract");
}

#[test]
fn a_gpu_that_is_asked_for_is_there_or_the_reason_is_said() {
    let folder = tempfile::tempdir().unwrap();
    // Without a library; one that is named by ORT_DYLIB_PATH would be found.
    let library = Some(folder.path().join("libonnxruntime.so"));
    let engines = |device| {
        Engines::discover(&EngineConfig {
            cache: folder.path().into(),
            onnxruntime_library: library.clone(),
            device,
        })
    };
    let reason = engines(DeviceChoice::Cuda).computing().unwrap_err().to_owned();
    assert!(reason.starts_with("ONNX Runtime is not available ("), "{reason}");
    assert!(reason.contains("`refit engine install onnxruntime --device cuda`"), "{reason}");
    let fallback = engines(DeviceChoice::Auto);
    let computing = fallback.computing().unwrap();
    assert_eq!(
        (computing.device.name(), &*computing.reason),
        ("cpu", &*format!("no GPU can be used: {reason}"))
    );
    assert_eq!(engines(DeviceChoice::Cpu).computing().unwrap().reason, "no GPU is asked for");
    let predictor = Predictor::load(&write(folder.path(), |_| {}), &fallback, &LoadOptions::default());
    assert_eq!(predictor.unwrap().choice().device.name(), "cpu");
}

#[test]
fn every_place_answers_the_same_from_a_copy_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = write(folder.path(), |_| {});
    let options = LoadOptions { places: 2, ..LoadOptions::default() };
    let predictor = Predictor::load(&bundle, &Engines::tract_only(), &options).unwrap();
    for place in 0..2 {
        let mut worker = predictor.worker_at(place).unwrap();
        for (case, text) in TEXTS.iter().enumerate() {
            assert_close(&worker.predict(*text).unwrap().logits, &expected(case, Precision::Float32));
        }
    }
    // Both places are loaded, each with an idle session; what is asked for beyond them has to be read again.
    fs::remove_file(folder.path().join("v1").join(files::MODEL_FLOAT32)).unwrap();
    assert!(predictor.worker_at(1).is_ok() && predictor.worker_at(0).is_ok());
    let unloaded = write(&folder.path().join("other"), |_| {});
    let predictor = Predictor::load(&unloaded, &Engines::tract_only(), &options).unwrap();
    fs::remove_file(folder.path().join("other/v1").join(files::MODEL_FLOAT32)).unwrap();
    assert!(matches!(predictor.worker_at(1), Err(PredictorError::Engine(_))));
    assert!(predictor.worker_at(0).is_ok());
}

#[test]
fn a_named_library_that_is_wrong_is_reported_and_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libonnxruntime.so");
    fs::write(&library, b"not a library").unwrap();
    let config = EngineConfig {
        cache: folder.path().into(),
        onnxruntime_library: Some(library),
        device: DeviceChoice::Cpu,
    };
    let engines = Engines::discover(&config);
    assert_eq!(engines.available().len(), 1);
    let onnxruntime = &engines.report()[1];
    assert_eq!(onnxruntime.version, None);
    assert!(!onnxruntime.detail.is_empty());
    assert!(Predictor::load(&write(folder.path(), |_| {}), &engines, &LoadOptions::default()).is_ok());
}

#[test]
fn a_shipped_temperature_changes_confidence_and_never_a_label() {
    let plain = load(|_| {}, Form::AsManifest).unwrap();
    let calibrated = load(|parts| parts.temperature = Some(2.5), Form::AsManifest).unwrap();
    assert_eq!((plain.temperature(), calibrated.temperature()), (1.0, 2.5));
    for text in TEXTS {
        let (before, after) = (plain.predict(text).unwrap(), calibrated.predict(text).unwrap());
        assert_eq!((before.answer.label(), &before.logits), (after.answer.label(), &after.logits));
        let expected = before.clone().at_temperature(2.5);
        assert_eq!(after, expected);
        assert!(after.observation.confidence < before.observation.confidence, "{text}");
        assert_eq!(after.observation.confidence, after.answer.confidence());
        assert_eq!(after.at_temperature(1.0), before);
    }
    let broken = refusal(|parts| parts.temperature = Some(-1.0)).to_string();
    assert!(!broken.is_empty());
}

/// The manifest's choice of int8 in tract, measured on the processor `machine`.
fn chosen_on(machine: &str) -> impl FnOnce(&mut Parts) {
    let machine = machine.to_owned();
    move |parts| {
        parts.manifest.serving.file = files::MODEL_INT8.into();
        parts.manifest.serving.precision = Precision::Int8;
        let serving = parts.manifest.serving.clone();
        parts.manifest.searches =
            vec![EngineSearch { serving, machine, candidates: Vec::new(), sensitivity: Vec::new() }];
    }
}

#[test]
fn what_was_measured_here_is_served_as_it_was_chosen() {
    let predictor = load(chosen_on(&refit_predictor::machine()), Form::AsManifest).unwrap();
    assert_eq!((predictor.choice().precision, &*predictor.choice().reason), (Precision::Int8, "measured"));
}

#[test]
fn what_was_measured_on_another_processor_is_timed_against_float32() {
    let predictor = load(chosen_on("another"), Form::AsManifest).unwrap();
    let choice = predictor.choice();
    assert!(choice.reason.contains("measured on another kind of processor (another)"), "{}", choice.reason);
    let slower = choice.reason.starts_with("float32 is served");
    assert_eq!(
        choice.precision,
        if slower { Precision::Float32 } else { Precision::Int8 },
        "{}",
        choice.reason
    );
    // What is asked for by name is not second-guessed.
    let asked = load(chosen_on("another"), in_tract(Precision::Int8)).unwrap();
    assert_eq!(asked.choice().precision, Precision::Int8);
}
