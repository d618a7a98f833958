//! One training step of a network with random weights: forward, loss, backward, AdamW. Prints the median
//! time and the peak memory as JSON.
//!
//! `step minilm|bert-base <batch> <sequence> <steps>`, `step resnet18 <batch> <size> <steps>` or
//! `step depthwise <channels> <size> <steps>` (a batch of 32, forward and backward alone)

#[path = "../../tests/bert/mod.rs"]
mod bert;
mod resnet;

use candle_core::{DType, Device, Tensor};
use refit_autodiff::{Gradient, Mode, Program};
use refit_graph::ValueId;
use refit_ops::kernels::{adamw, random, slices};
use std::{collections::HashMap, time::Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MINILM: bert::Config = bert::Config {
    vocab_size: 30522,
    hidden_size: 384,
    num_hidden_layers: 6,
    num_attention_heads: 12,
    intermediate_size: 1536,
    max_position_embeddings: 512,
    num_labels: CLASSES,
    layer_norm_eps: 1e-12,
};
const BERT_BASE: bert::Config =
    bert::Config { hidden_size: 768, num_hidden_layers: 12, intermediate_size: 3072, ..MINILM };
const CLASSES: usize = 4;
const DEPTHWISE_BATCH: usize = 32;

unsafe extern "C" {
    /// Sets an option of the allocator (`mimalloc.h`).
    fn mi_option_set(option: std::ffi::c_int, value: std::ffi::c_long);
}

/// `mi_option_purge_delay`: -1 keeps freed memory, which the next step needs again.
const PURGE_DELAY: std::ffi::c_int = 15;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let usage =
        "usage: step minilm|bert-base|resnet18|depthwise <batch or channels> <sequence or size> <steps>";
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (network, numbers) = arguments.split_first().ok_or(usage)?;
    let numbers: Vec<usize> = numbers.iter().map(|a| a.parse()).collect::<Result<_, _>>()?;
    let [batch, size, steps] = numbers[..] else { return Err(usage.into()) };
    // SAFETY: the option exists in every 2.x and 3.x version, and any number is a valid value.
    unsafe { mi_option_set(PURGE_DELAY, -1) };
    let (model, inputs) = match network.as_str() {
        "minilm" => (bert::classifier(MINILM, &mut random_parameter), tokens(batch, size)?),
        "bert-base" => (bert::classifier(BERT_BASE, &mut random_parameter), tokens(batch, size)?),
        "resnet18" => (
            resnet::classifier(batch, size, CLASSES, &mut random_parameter),
            HashMap::from([("image".to_owned(), image(batch, size)?)]),
        ),
        "depthwise" => {
            (resnet::depthwise([DEPTHWISE_BATCH, batch, size, size], &mut random_parameter), HashMap::new())
        }
        _ => return Err(usage.into()),
    };
    let mut program = Program::compile(&model, &["logits"], &Device::Cpu)?;
    drop(model);
    let updates = network != "depthwise";
    let mut moments: HashMap<ValueId, (Vec<f32>, Vec<f32>)> = program
        .parameters()
        .iter()
        .map(|p| (p.id, (vec![0.0; p.shape.iter().product()], vec![0.0; p.shape.iter().product()])))
        .collect();
    let rows_of: HashMap<ValueId, usize> = program.parameters().iter().map(|p| (p.id, p.shape[0])).collect();
    let mut times = Vec::new();
    let mut losses = Vec::new();
    for step in 1..=steps {
        let start = Instant::now();
        let activations = program.forward(&inputs, Mode::Train { seed: step as u64 })?;
        let forward = start.elapsed();
        let logits = activations.output("logits")?;
        let (loss, gradient) = if updates { cross_entropy(logits)? } else { (0.0, logits.ones_like()?) };
        let gradients = program.backward(activations, HashMap::from([("logits".to_owned(), gradient)]))?;
        let backward = start.elapsed();
        let settings = adamw::Settings { learning_rate: 2e-5, step: step as u32, ..Default::default() };
        for (id, gradient) in gradients.iter().filter(|_| updates) {
            let (first, second) = moments.get_mut(&id).ok_or("no moments")?;
            program.update_parameter(id, |values| {
                let width = values.len() / rows_of[&id];
                let updated = slices::with(gradient.values(), |g| match gradient {
                    Gradient::Whole(_) => adamw::update(values, g, first, second, &settings),
                    Gradient::Rows(rows) => {
                        adamw::update_rows(values, (rows.rows(), g), width, first, second, &settings);
                    }
                });
                updated.expect("gradients are contiguous");
            })?;
        }
        let total = start.elapsed();
        times.push([forward, backward - forward, total - backward, total].map(|t| t.as_secs_f64() * 1e3));
        losses.push(loss);
    }
    let median = |column: usize| {
        let mut values: Vec<f64> = times[usize::from(steps > 2)..].iter().map(|t| t[column]).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    println!(
        "{{\"steps\":{steps},\"median_ms\":{:.2},\"forward_ms\":{:.2},\"backward_ms\":{:.2},\
         \"optimizer_ms\":{:.2},\"peak_rss_mb\":{:.0},\"first_loss\":{:.6},\"last_loss\":{:.6}}}",
        median(3),
        median(0),
        median(1),
        median(2),
        peak_rss_mb(),
        losses[0],
        losses[steps - 1],
    );
    Ok(())
}

/// Gaussian weights with deviation 0.02, as BERT is initialized; norms are 1 and 0.
fn random_parameter(name: &str, shape: &[usize]) -> Vec<f32> {
    let count = shape.iter().product();
    if shape.len() == 1 {
        let is_scale = name.ends_with("LayerNorm.weight") || name.ends_with(".scale");
        return vec![if is_scale { 1.0 } else { 0.0 }; count];
    }
    let mut seed = random::mix(name.len() as u64 ^ (count as u64) << 8);
    let mut uniform = || {
        seed = random::mix(seed);
        (seed >> 40) as f32 / (1u32 << 24) as f32
    };
    // The sum of twelve uniform numbers has variance 1.
    (0..count).map(|_| 0.02 * ((0..12).map(|_| uniform()).sum::<f32>() - 6.0)).collect()
}

fn tokens(batch: usize, sequence: usize) -> candle_core::Result<HashMap<String, Tensor>> {
    let device = Device::Cpu;
    let ids: Vec<i64> =
        (0..batch * sequence).map(|i| 1000 + (random::mix(i as u64) % 20000) as i64).collect();
    let ones = Tensor::ones((batch, sequence), DType::I64, &device)?;
    Ok(HashMap::from([
        ("input_ids".to_owned(), Tensor::from_vec(ids, (batch, sequence), &device)?),
        ("token_type_ids".to_owned(), ones.zeros_like()?),
        ("attention_mask".to_owned(), ones),
    ]))
}

fn image(batch: usize, size: usize) -> candle_core::Result<Tensor> {
    let pixel = |i: usize| (random::mix(i as u64) >> 40) as f32 / (1u32 << 23) as f32 - 1.0;
    let values: Vec<f32> = (0..batch * 3 * size * size).map(pixel).collect();
    Tensor::from_vec(values, (batch, 3, size, size), &Device::Cpu)
}

/// Mean loss for labels 0, 1, 2, 3, 0, ... and its gradient.
fn cross_entropy(logits: &Tensor) -> candle_core::Result<(f32, Tensor)> {
    let rows = logits.to_vec2::<f32>()?;
    let batch = rows.len() as f32;
    let (mut loss, mut gradient) = (0.0, Vec::new());
    for (index, row) in rows.iter().enumerate() {
        let largest = row.iter().copied().fold(f32::MIN, f32::max);
        let sum: f32 = row.iter().map(|x| (x - largest).exp()).sum();
        for (class, x) in row.iter().enumerate() {
            let p = (x - largest).exp() / sum;
            let target = if class == index % row.len() { 1.0 } else { 0.0 };
            loss -= target * p.ln() / batch;
            gradient.push((p - target) / batch);
        }
    }
    Ok((loss, Tensor::from_vec(gradient, logits.dims(), &Device::Cpu)?))
}

/// The kernel's count of the largest resident set of this process; 0 where there is none.
fn peak_rss_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kib| kib.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}
