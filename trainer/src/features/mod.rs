//! What lies before the first trainable node is computed once per example, by the inference engine, and
//! kept on disk: the second epoch, and the next run with the same frozen part, read it.

mod pack;

use crate::TrainError;
use crate::event::{Event, Listener};
use crate::examples::{Examples, Feature, Tokens};
use bytes::Bytes;
pub use pack::Attached;
use pack::{Key, Pack};
use refit_engine::{ModelSource, Session, SessionOptions, Tensor, TensorData};
use refit_graph::{Model, onnx};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the cache did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Computed {
    /// Examples that the engine ran.
    pub computed: usize,
    /// Examples whose values were on disk already.
    pub cached: usize,
}

/// Examples that are read, and run by the engine, before their values are written.
const EXAMPLES_AT_ONCE: usize = 256;

/// Fills [`Tokens::features`] with the values named `names` of the frozen part `prefix`, a portable
/// model. Values are keyed by the content of the model and of the tokens.
///
/// # Errors
/// When the engine refuses the model, or the cache cannot be written (disk full, no permission).
pub fn attach(
    examples: &mut Examples,
    prefix: &Model,
    names: &[String],
    engine: &dyn refit_engine::Engine,
    threads: usize,
    cache: &Path,
    tell: &mut Listener<'_>,
) -> Result<Computed, TrainError> {
    let bytes = onnx::write(prefix)?;
    let model_hash = hex::encode(Sha256::digest(&bytes));
    let mut pack = Pack::open(&cache.join("features").join(format!("{model_hash}.pack")))?;
    let (mut keys, mut first): (Vec<Key>, Vec<u32>) = (Vec::new(), Vec::new());
    let mut missing = Vec::new();
    for (number, example) in examples.iter().enumerate() {
        first.push(u32::try_from(keys.len()).unwrap_or(u32::MAX));
        keys.extend(example?.texts.iter().map(key));
        if keys[first[number] as usize..].iter().any(|key| !pack.contains(key)) {
            missing.push(number);
        }
    }
    if !missing.is_empty() {
        let session = engine.load(ModelSource::Bytes(&bytes), &SessionOptions { threads: 1 })?;
        for (done, part) in missing.chunks(EXAMPLES_AT_ONCE).enumerate() {
            let texts: Vec<Tokens> =
                examples.batch(part)?.into_iter().flat_map(|example| example.texts).collect();
            let computed = compute(&texts, names, session.as_ref(), threads)?;
            for (text, features) in texts.iter().zip(&computed) {
                pack.append(&key(text), features)?;
            }
            let done = (done * EXAMPLES_AT_ONCE + part.len()) as u64;
            tell(Event::Progress { done, total: missing.len() as u64 });
        }
    }
    examples.attach(pack.finish()?.select(&keys, first)?);
    Ok(Computed { computed: missing.len(), cached: examples.len() - missing.len() })
}

/// Runs texts through sessions over the same weights, one a thread; results in their order.
fn compute(
    rows: &[Tokens],
    names: &[String],
    session: &dyn Session,
    threads: usize,
) -> Result<Vec<Vec<Feature>>, TrainError> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(vec![None; rows.len()]);
    let model = session.model();
    let sessions: Vec<_> =
        (0..threads.clamp(1, rows.len())).map(|_| model.session()).collect::<Result<_, _>>()?;
    std::thread::scope(|scope| {
        let workers: Vec<_> = sessions
            .into_iter()
            .map(|mut session| {
                let (next, results) = (&next, &results);
                scope.spawn(move || -> Result<(), TrainError> {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(row) = rows.get(index) else { return Ok(()) };
                        let features = run(session.as_mut(), row, names)?;
                        results.lock().unwrap_or_else(std::sync::PoisonError::into_inner)[index] =
                            Some(features);
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok::<(), TrainError>(())
    })?;
    let results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(results.into_iter().flatten().collect())
}

fn run(session: &mut dyn Session, text: &Tokens, names: &[String]) -> Result<Vec<Feature>, TrainError> {
    let encoding = &text.encoding;
    let shape = vec![1, encoding.input_ids.len()];
    let mut inputs = Vec::new();
    for (name, values) in [
        ("input_ids", &encoding.input_ids),
        ("attention_mask", &encoding.attention_mask),
        ("token_type_ids", &encoding.token_type_ids),
    ] {
        if session.inputs().iter().any(|port| port.name == name) {
            inputs.push((name, Tensor::i64(shape.clone(), values.clone())?));
        }
    }
    let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let mut outputs = session.run(&inputs)?;
    names
        .iter()
        .map(|name| {
            let position = outputs.iter().position(|(output, _)| output == name);
            let found = position.map(|position| outputs.swap_remove(position).1.into_parts());
            match found {
                Some((shape, TensorData::F32(values))) => Ok(Feature {
                    shape: shape[1..].to_vec(),
                    bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect::<Bytes>(),
                }),
                _ => Err(TrainError::Feature { name: name.clone() }),
            }
        })
        .collect()
}

fn key(text: &Tokens) -> Key {
    let mut hash = Sha256::new();
    for values in [&text.encoding.input_ids, &text.encoding.token_type_ids] {
        for value in values {
            hash.update(value.to_le_bytes());
        }
    }
    hash.finalize().into()
}
