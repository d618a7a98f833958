//! How many raw texts a second the predictor's path answers, beside the bare engine in a loop on the same tokens.
//!
//! ```text
//! throughput --artifact DIR                    --engine onnxruntime --threads 2 --seconds 10
//! throughput --model M.onnx --tokenizer T.json --engine tract       --threads 2 --seconds 10
//! ```
//!
//! Both ask one text of 32 tokens again and again, and the bare loop is given its tokens. With `--texts FILE` (a JSON
//! array of strings, or one JSON string a line) the texts of the file are asked in turn, and the bare loop tokenizes
//! them too; `--max-length N` cuts them where no artifact says how long they may be.
//!
//! Every thread has a session of its own, with one thread or as many as `--session-threads` says. The two loops take
//! turns of half a second, so that whatever else the machine does hits both; `cpu_ratio` compares answers per second of
//! CPU time and so stands even when other processes take cores away. Prints one line of JSON; ONNX Runtime's library is
//! found as everywhere.

mod bare;
mod measure;
mod subject;
mod texts;

use std::{collections::HashMap, env, fs, path::PathBuf, time::Instant};

use anyhow::{Context, Result, anyhow};
use measure::{Rate, TURN, measure, median, peak_mib, resident_mib};
use refit_predictor::{EngineConfig, Engines};
use subject::{Setup, Subject};
use texts::Texts;

const MIB: f64 = 1048576.0;

/// One thread's way to answer, called until its turn is over.
type Answer = Box<dyn FnMut() -> Result<()> + Send>;

fn main() -> Result<()> {
    let arguments = arguments()?;
    let text_of = |name: &str| arguments.get(name).with_context(|| format!("give --{name}"));
    let number_of =
        |name: &str, default: usize| arguments.get(name).map_or(Ok(default), |value| value.parse());
    let engine_name = text_of("engine")?;
    let seconds: f64 = text_of("seconds")?.parse()?;
    let cache = env::var_os("REFIT_CACHE")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cache/refit")));
    let config = EngineConfig {
        cache: cache.unwrap_or_default(),
        onnxruntime_library: None,
        device: refit_spec::DeviceChoice::Cpu,
    };
    let engines = Engines::discover(&config);
    let setup = Setup {
        engine: engine_name,
        engines: &engines,
        threads: text_of("threads")?.parse()?,
        session_threads: number_of("session-threads", 1)?,
        max_length: number_of("max-length", 512)?,
        texts: arguments.get("texts").map(|path| Texts::read(path.as_ref())).transpose()?,
    };

    let empty_mib = resident_mib()?;
    let started = Instant::now();
    let subject = match arguments.get("artifact") {
        Some(path) => Subject::of_artifact(path.as_ref(), &setup)?,
        None => Subject::of_model(text_of("model")?.as_ref(), text_of("tokenizer")?.as_ref(), &setup)?,
    };
    let ready_seconds = started.elapsed().as_secs_f64();
    let Subject { model, precision, text, tokens, mut answers } = subject;
    measure(&mut answers, TURN)?;
    let loaded_mib = resident_mib()?;

    let mean_tokens = tokens.mean_length()?;
    let mut bare = bare::answers(&setup, &config, &model, &tokens)?;
    measure(&mut bare, TURN)?;
    let turns = (seconds / (2.0 * TURN.as_secs_f64())).ceil().max(1.0) as usize;
    let (mut refit, mut library) = (Vec::new(), Vec::new());
    for _ in 0..turns {
        refit.push(measure(&mut answers, TURN)?);
        library.push(measure(&mut bare, TURN)?);
    }
    let per_second = |rates: &[Rate]| median(rates.iter().map(|rate| rate.per_second));
    let per_cpu_second = |rates: &[Rate]| {
        let answered: usize = rates.iter().map(|rate| rate.milliseconds.len()).sum();
        answered as f64 / rates.iter().map(|rate| rate.cpu_seconds).sum::<f64>()
    };
    let p50_ms = |rates: &[Rate]| median(rates.iter().flat_map(|rate| rate.milliseconds.iter().copied()));
    let line = serde_json::json!({
        "engine": engine_name, "precision": precision, "threads": setup.threads,
        "session_threads": setup.session_threads, "tokens": mean_tokens, "text": text,
        "texts_per_second": per_second(&refit), "bare_texts_per_second": per_second(&library),
        "p50_ms": p50_ms(&refit), "bare_p50_ms": p50_ms(&library),
        "ratio": per_second(&refit) / per_second(&library),
        "cpu_ratio": per_cpu_second(&refit) / per_cpu_second(&library),
        "ready_seconds": ready_seconds, "model_mib": fs::metadata(&model)?.len() as f64 / MIB,
        "resident_mib_before": empty_mib, "resident_mib": loaded_mib, "peak_mib_with_bare": peak_mib()?,
    });
    println!("{line}");
    Ok(())
}

fn arguments() -> Result<HashMap<String, String>> {
    let words: Vec<String> = env::args().skip(1).collect();
    words
        .chunks(2)
        .map(|pair| match pair {
            [name, value] if name.starts_with("--") => Ok((name[2..].to_owned(), value.clone())),
            other => Err(anyhow!("{other:?} is not of the form --name value")),
        })
        .collect()
}
