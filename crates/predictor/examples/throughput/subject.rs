//! What is measured: the predictor's path from raw text to an answer.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, anyhow};
use refit_artifact::{Bundle, files};
use refit_engine::{Engine, Session, SessionOptions, Tensor};
use refit_predictor::{Engines, Form, LoadOptions, Predictor, Worker};
use refit_preprocess::{Encoding, TextPreprocessor, TextSettings};

use crate::{
    Answer,
    texts::{Texts, Tokens, text_of_length},
};

/// How it is measured.
pub struct Setup<'a> {
    pub engine: &'a str,
    pub engines: &'a Engines,
    /// Threads that ask, each with a session.
    pub threads: usize,
    /// Threads of one session.
    pub session_threads: usize,
    /// Longest text in tokens where no artifact says it.
    pub max_length: usize,
    /// None asks one text of a fixed length.
    pub texts: Option<Texts>,
}

/// A model, and one way to answer for each thread.
pub struct Subject {
    pub model: PathBuf,
    pub precision: &'static str,
    /// The first of the texts.
    pub text: String,
    /// What the bare loop runs on.
    pub tokens: Tokens,
    pub answers: Vec<Answer>,
}

impl Subject {
    pub fn of_artifact(path: &Path, setup: &Setup<'_>) -> Result<Self> {
        let bundle = Bundle::open(path)?;
        let (form, threads) = (Form::InEngine(setup.engine.to_owned()), setup.session_threads);
        let options = LoadOptions { form, threads, workers: setup.threads, ..LoadOptions::default() };
        let predictor = Predictor::load(&bundle, setup.engines, &options)?;
        let model =
            bundle.file(&predictor.choice().file).context("the served file is not in the artifact")?;
        let precision = predictor.choice().precision.name();
        let workers = predictor.sessions(setup.threads)?;
        let (texts, tokens) = match &setup.texts {
            Some(texts) => {
                let tokenizer = bundle.file(files::TOKENIZER).context("there is no tokenizer")?;
                let settings: TextSettings = bundle.json(files::PREPROCESSING)?;
                (texts.clone(), Tokens::of_texts(texts, &tokenizer, settings.max_length)?)
            }
            None => one_text(|text| Ok(workers[0].tokenize(text)?.remove(0).encoding))?,
        };
        let answer = |mut worker: Worker| -> Answer {
            let texts = texts.clone();
            Box::new(move || {
                worker.predict(texts.next())?;
                Ok(())
            })
        };
        let answers = workers.into_iter().map(answer).collect();
        Ok(Self { model, precision, text: texts.first().to_owned(), tokens, answers })
    }

    pub fn of_model(model: &Path, tokenizer: &Path, setup: &Setup<'_>) -> Result<Self> {
        let settings = TextSettings { max_length: setup.max_length, stride: None };
        let preprocessor = Arc::new(TextPreprocessor::new(&fs::read(tokenizer)?, settings)?);
        let (name, engines) = (setup.engine, setup.engines);
        let engine: &Arc<dyn Engine> =
            engines.get(name).with_context(|| format!("no {name}: {:?}", engines.report()))?;
        let first = engine.load(model.into(), &SessionOptions { threads: setup.session_threads })?;
        let (texts, tokens) = match &setup.texts {
            Some(texts) => (texts.clone(), Tokens::of_texts(texts, tokenizer, setup.max_length)?),
            None => one_text(|text| Ok(preprocessor.encode(text)?))?,
        };
        let shared = first.model();
        let others = (1..setup.threads).map(|_| shared.session()).collect::<Result<Vec<_>, _>>()?;
        let answer = |mut session: Box<dyn Session>| -> Answer {
            let (texts, preprocessor) = (texts.clone(), Arc::clone(&preprocessor));
            Box::new(move || {
                let encoding = preprocessor.encode(texts.next())?;
                let tensors = tensors(session.as_ref(), encoding)?;
                let inputs: Vec<(&str, &Tensor)> =
                    tensors.iter().map(|(name, tensor)| (&name[..], tensor)).collect();
                session.run(&inputs)?;
                Ok(())
            })
        };
        let answers = [first].into_iter().chain(others).map(answer).collect();
        let text = texts.first().to_owned();
        Ok(Self { model: model.into(), precision: "as in the file", text, tokens, answers })
    }
}

fn one_text(tokenize: impl Fn(&str) -> Result<Encoding>) -> Result<(Texts, Tokens)> {
    let (text, encoding) = text_of_length(tokenize)?;
    Ok((Texts::one(text), Tokens::Given(encoding)))
}

fn tensors(session: &dyn Session, encoding: Encoding) -> Result<Vec<(String, Tensor)>> {
    let shape = [1, encoding.len()];
    let tensor =
        |name: &String| -> Result<Tensor> { Ok(Tensor::i64(shape, values(name, &encoding)?.to_vec())?) };
    session.inputs().iter().map(|port| Ok((port.name.clone(), tensor(&port.name)?))).collect()
}

/// What an input of the model is given.
pub fn values<'e>(input: &str, encoding: &'e Encoding) -> Result<&'e [i64]> {
    match input {
        "input_ids" => Ok(&encoding.input_ids),
        "attention_mask" => Ok(&encoding.attention_mask),
        "token_type_ids" => Ok(&encoding.token_type_ids),
        other => Err(anyhow!("the model has an input {other:?}")),
    }
}
