//! An artifact that was measured on another kind of processor: whether its file is faster than float32 here too.
//!
//! int8 is fast where the processor has instructions for it, and slower than float32 where it has none.

use crate::{Choice, Input, Predictor, PredictorError, machine};
use refit_artifact::{Golden, Manifest, Precision};
use refit_engine::Device;
use std::time::Instant;

/// How often each golden example is timed.
const ROUNDS: usize = 3;

/// The processor that the choice was measured on, if this is of another kind and the choice depends on it.
pub(crate) fn measured_elsewhere<'a>(manifest: &'a Manifest, choice: &Choice, here: &str) -> Option<&'a str> {
    let search = manifest
        .searches
        .iter()
        .find(|search| search.serving.engine == choice.engine && search.serving.file == choice.file)?;
    let on_processor = choice.device == Device::Cpu;
    let differs = on_processor && choice.precision != Precision::Float32 && search.machine != here;
    differs.then_some(search.machine.as_str())
}

/// The faster of two forms of one model on this machine, with what was found in its reason.
pub(crate) fn faster(
    chosen: Predictor,
    float32: Predictor,
    golden: &Golden,
    elsewhere: &str,
) -> Result<Predictor, PredictorError> {
    let [of_chosen, of_float32] = times([&chosen, &float32], golden)?;
    let speedup = of_float32 / of_chosen;
    let precision = chosen.choice().precision;
    let found = format!(
        "{precision} was measured on another kind of processor ({elsewhere}) and is {speedup:.2} times as fast as float32 on \
         this one ({})",
        machine()
    );
    Ok(if speedup > 1.0 {
        let reason = format!("{}; {found}", chosen.choice().reason);
        chosen.because(reason)
    } else {
        float32.because(format!("float32 is served: {found}"))
    })
}

/// Median seconds of an answer; the two take turns, so that a busy moment hits both.
fn times(predictors: [&Predictor; 2], golden: &Golden) -> Result<[f64; 2], PredictorError> {
    let mut workers = [predictors[0].worker()?, predictors[1].worker()?];
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for example in &golden.examples {
            for (worker, times) in workers.iter_mut().zip(&mut times) {
                let started = Instant::now();
                worker.predict(Input { text: &example.text, pair: example.pair.as_deref() })?;
                times.push(started.elapsed().as_secs_f64());
            }
        }
    }
    Ok(times.map(|mut times| {
        times.sort_unstable_by(f64::total_cmp);
        times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
    }))
}
