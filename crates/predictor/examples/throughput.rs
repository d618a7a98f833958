//! How many raw texts a second the predictor's path answers, beside the bare engine in a loop on the same tokens.
//!
//! ```text
//! throughput --artifact DIR                    --engine onnxruntime --threads 2 --seconds 10
//! throughput --model M.onnx --tokenizer T.json --engine tract       --threads 2 --seconds 10
//! ```
//!
//! Every thread has a single-threaded session. The two loops take turns of half a second, so that whatever else the
//! machine does hits both; `cpu_ratio` compares answers per second of CPU time and so stands even when other processes
//! take cores away. Prints one line of JSON; ONNX Runtime's library is found as everywhere.

use std::{
    collections::HashMap,
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use ort::session::{Session as OrtSession, builder::GraphOptimizationLevel};
use refit_artifact::Bundle;
use refit_engine::{Engine, Session, SessionOptions, Tensor};
use refit_engine_ort::find_library;
use refit_predictor::{EngineConfig, Engines, Form, LoadOptions, Predictor, Worker};
use refit_preprocess::{Encoding, TextPreprocessor, TextSettings};
use tract_onnx::prelude::{Framework, InferenceModelExt, IntoRunnable, TypedRunnableModel, tvec};

const TOKENS: usize = 32;
const TURN: Duration = Duration::from_millis(500);
const MIB: f64 = 1048576.0;

/// One thread's way to answer, called until its turn is over.
type Answer = Box<dyn FnMut() -> Result<()> + Send>;

fn main() -> Result<()> {
    let arguments = arguments()?;
    let text_of = |name: &str| arguments.get(name).with_context(|| format!("give --{name}"));
    let engine_name = text_of("engine")?;
    let threads: usize = text_of("threads")?.parse()?;
    let seconds: f64 = text_of("seconds")?.parse()?;
    let cache = env::var_os("REFIT_CACHE")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cache/refit")));
    let config = EngineConfig { cache: cache.unwrap_or_default(), onnxruntime_library: None };
    let engines = Engines::discover(&config);

    let empty_mib = resident_mib()?;
    let started = Instant::now();
    let subject = match arguments.get("artifact") {
        Some(path) => Subject::of_artifact(Path::new(path), engine_name, &engines, threads)?,
        None => Subject::of_model(text_of("model")?, text_of("tokenizer")?, engine_name, &engines, threads)?,
    };
    let ready_seconds = started.elapsed().as_secs_f64();
    let Subject { model, precision, text, encoding, mut answers } = subject;
    measure(&mut answers, TURN)?;
    let loaded_mib = resident_mib()?;

    let mut bare = bare_answers(engine_name, &config, &model, &encoding, threads)?;
    measure(&mut bare, TURN)?;
    let turns = (seconds / (2.0 * TURN.as_secs_f64())).ceil().max(1.0) as usize;
    let (mut refit, mut library) = (Vec::new(), Vec::new());
    for _ in 0..turns {
        refit.push(measure(&mut answers, TURN)?);
        library.push(measure(&mut bare, TURN)?);
    }
    let per_second = |rates: &[Rate]| median(rates.iter().map(|rate| rate.per_second));
    let per_cpu_second = |rates: &[Rate]| {
        let answered: usize = rates.iter().map(|rate| rate.count).sum();
        answered as f64 / rates.iter().map(|rate| rate.cpu_seconds).sum::<f64>()
    };
    let line = serde_json::json!({
        "engine": engine_name, "precision": precision, "threads": threads, "tokens": TOKENS, "text": text,
        "texts_per_second": per_second(&refit), "bare_texts_per_second": per_second(&library),
        "ratio": per_second(&refit) / per_second(&library),
        "cpu_ratio": per_cpu_second(&refit) / per_cpu_second(&library),
        "ready_seconds": ready_seconds, "model_mib": fs::metadata(&model)?.len() as f64 / MIB,
        "resident_mib_before": empty_mib, "resident_mib": loaded_mib, "peak_mib_with_bare": peak_mib()?,
    });
    println!("{line}");
    Ok(())
}

/// What is measured: a model, tokens of [`TOKENS`] length, and one way to answer for each thread.
struct Subject {
    model: PathBuf,
    precision: &'static str,
    text: String,
    encoding: Encoding,
    answers: Vec<Answer>,
}

impl Subject {
    fn of_artifact(path: &Path, engine: &str, engines: &Engines, threads: usize) -> Result<Self> {
        let bundle = Bundle::open(path)?;
        let options = LoadOptions { form: Form::InEngine(engine.to_owned()), threads: 1, workers: threads };
        let predictor = Predictor::load(&bundle, engines, &options)?;
        let model =
            bundle.file(&predictor.choice().file).context("the served file is not in the artifact")?;
        let precision = predictor.choice().precision.name();
        let workers = predictor.sessions(threads)?;
        let (text, encoding) = text_of_length(|text| Ok(workers[0].tokenize(text)?.remove(0).encoding))?;
        let answer = |mut worker: Worker| -> Answer {
            let text = text.clone();
            Box::new(move || {
                worker.predict(&text)?;
                Ok(())
            })
        };
        let answers = workers.into_iter().map(answer).collect();
        Ok(Self { model, precision, text, encoding, answers })
    }

    fn of_model(
        model: &str,
        tokenizer: &str,
        engine: &str,
        engines: &Engines,
        threads: usize,
    ) -> Result<Self> {
        let settings = TextSettings { max_length: 512, stride: None };
        let preprocessor = Arc::new(TextPreprocessor::new(&fs::read(tokenizer)?, settings)?);
        let engine: &Arc<dyn Engine> =
            engines.get(engine).with_context(|| format!("no {engine}: {:?}", engines.report()))?;
        let first = engine.load(Path::new(model).into(), &SessionOptions::default())?;
        let (text, encoding) = text_of_length(|text| Ok(preprocessor.encode(text)?))?;
        let shared = first.model();
        let others = (1..threads).map(|_| shared.session()).collect::<Result<Vec<_>, _>>()?;
        let answer = |mut session: Box<dyn Session>| -> Answer {
            let (text, preprocessor) = (text.clone(), Arc::clone(&preprocessor));
            Box::new(move || {
                let encoding = preprocessor.encode(&text)?;
                let tensors = tensors(session.as_ref(), encoding)?;
                let inputs: Vec<(&str, &Tensor)> =
                    tensors.iter().map(|(name, tensor)| (&name[..], tensor)).collect();
                session.run(&inputs)?;
                Ok(())
            })
        };
        let answers = [first].into_iter().chain(others).map(answer).collect();
        Ok(Self { model: model.into(), precision: "as in the file", text, encoding, answers })
    }
}

fn tensors(session: &dyn Session, encoding: Encoding) -> Result<Vec<(String, Tensor)>> {
    let shape = [1, encoding.len()];
    let tensor =
        |name: &String| -> Result<Tensor> { Ok(Tensor::i64(shape, values(name, &encoding)?.to_vec())?) };
    session.inputs().iter().map(|port| Ok((port.name.clone(), tensor(&port.name)?))).collect()
}

fn values<'e>(input: &str, encoding: &'e Encoding) -> Result<&'e [i64]> {
    match input {
        "input_ids" => Ok(&encoding.input_ids),
        "attention_mask" => Ok(&encoding.attention_mask),
        "token_type_ids" => Ok(&encoding.token_type_ids),
        other => Err(anyhow!("the model has an input {other:?}")),
    }
}

/// A text of exactly [`TOKENS`] tokens.
fn text_of_length(tokenize: impl Fn(&str) -> Result<Encoding>) -> Result<(String, Encoding)> {
    let words = "the film was a long and slow story of two people who never met but wrote letters for years"
        .split(' ');
    let mut text = String::new();
    for word in words.cycle().take(2 * TOKENS) {
        text = format!("{text} {word}");
        let encoding = tokenize(&text)?;
        if encoding.len() == TOKENS {
            return Ok((text, encoding));
        }
    }
    Err(anyhow!("no text has {TOKENS} tokens: does the model take that many?"))
}

fn bare_answers(
    engine: &str,
    config: &EngineConfig,
    model: &Path,
    encoding: &Encoding,
    threads: usize,
) -> Result<Vec<Answer>> {
    match engine {
        "tract" => bare_tract(model, encoding, threads),
        "onnxruntime" => bare_onnxruntime(config, model, encoding, threads),
        other => Err(anyhow!("there is no bare loop for {other}")),
    }
}

fn bare_tract(model: &Path, encoding: &Encoding, threads: usize) -> Result<Vec<Answer>> {
    let onnx = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
    let plan: Arc<TypedRunnableModel> =
        onnx.model_for_path(model)?.into_typed()?.into_decluttered()?.into_optimized()?.into_runnable()?;
    let shape = [1, encoding.len()];
    let graph = plan.model();
    let names = graph.input_outlets()?.iter().map(|outlet| graph.node(outlet.node).name.clone());
    let inputs = names
        .map(|name| Ok(tract_onnx::prelude::Tensor::from_shape(&shape, values(&name, encoding)?)?.into()))
        .collect::<Result<Vec<tract_onnx::prelude::TValue>>>()?;
    let answer = |_| -> Answer {
        let (plan, inputs) = (Arc::clone(&plan), inputs.clone());
        Box::new(move || {
            let mut values = tvec!();
            values.extend(inputs.iter().cloned());
            plan.run(values)?;
            Ok(())
        })
    };
    Ok((0..threads).map(answer).collect())
}

fn bare_onnxruntime(
    config: &EngineConfig,
    model: &Path,
    encoding: &Encoding,
    threads: usize,
) -> Result<Vec<Answer>> {
    let library = find_library(None, &config.cache).map_err(|reason| anyhow!(reason))?;
    let runtime = refit_engine_ort::OnnxRuntime::from_library(&library.path)?;
    let shape = [1, encoding.len()];
    let session = || -> ort::Result<OrtSession> {
        OrtSession::builder(runtime.environment())?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(1)?
            .with_intra_op_spinning(false)?
            .commit_from_file(model)
    };
    let answer = |_| -> Result<Answer> {
        let mut session = session()?;
        let inputs = session
            .inputs()
            .iter()
            .map(|input| {
                Ok(ort::value::Tensor::from_array((shape, values(input.name(), encoding)?.to_vec()))?)
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Box::new(move || {
            let views: Vec<ort::session::SessionInputValue<'_>> = inputs.iter().map(Into::into).collect();
            session.run(&views[..])?;
            Ok(())
        }))
    };
    (0..threads).map(answer).collect()
}

/// What all threads together answered in one turn.
struct Rate {
    count: usize,
    per_second: f64,
    cpu_seconds: f64,
}

fn measure(answers: &mut [Answer], turn: Duration) -> Result<Rate> {
    let started = Instant::now();
    let cpu_before = cpu_ticks()?;
    let count = thread::scope(|scope| {
        let until_over = |answer: &mut Answer| -> Result<usize> {
            let mut count = 0;
            while started.elapsed() < turn {
                answer()?;
                count += 1;
            }
            Ok(count)
        };
        let threads: Vec<_> =
            answers.iter_mut().map(|answer| scope.spawn(move || until_over(answer))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<usize>>| {
            thread.join().map_err(|_| anyhow!("a thread panicked"))?
        };
        threads.into_iter().map(join).sum::<Result<usize>>()
    })?;
    ensure!(count > 0, "nothing was answered");
    let cpu_seconds = (cpu_ticks()? - cpu_before) as f64 / TICKS_PER_SECOND;
    let per_second = count as f64 / started.elapsed().as_secs_f64();
    Ok(Rate { count, per_second, cpu_seconds })
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Linux counts in hundredths of a second whatever its clock does (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time of all threads of this process so far.
fn cpu_ticks() -> Result<u64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').context("this system does not tell")?.1;
    after_name.split_whitespace().skip(11).take(2).map(|ticks| Ok(ticks.parse::<u64>()?)).sum()
}

fn resident_mib() -> Result<f64> {
    status_mib("VmRSS:")
}

fn peak_mib() -> Result<f64> {
    status_mib("VmHWM:")
}

fn status_mib(field: &str) -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line =
        status.lines().find_map(|line| line.strip_prefix(field)).context("this system does not tell")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
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
