//! Which file is served: measures forms in an engine of this machine until the plan knows the fastest that is as
//! good as float32.

use super::plan::{Attempt, Measured, Rule, Step, Verdict, best, next};
use super::{Forms, explain, format, measure, sensitivity, session};
use crate::TrainError;
use crate::event::{Event, Listener};
use crate::examples::Example;
use crate::task::Task;
use refit_artifact::{Candidate, EngineSearch, Precision, Sensitivity, Serving};
use refit_engine::Engine;
use refit_spec::Quantize;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// After this long in one engine no further form with layers in float32 is made: what is found then is served.
const LONGEST_SEARCH: Duration = Duration::from_secs(300);
/// Held-out rows that a form answers at most.
const MOST_ROWS: usize = 4000;

/// What one engine serves, and why.
#[derive(Debug, Clone)]
pub struct Choice {
    /// The precision of the file that is served.
    pub precision: Precision,
    /// Why, as one sentence.
    pub reason: String,
    /// The name of the engine.
    pub engine: &'static str,
    /// float32 and every other form that was measured, in order.
    pub candidates: Vec<Candidate>,
    /// What each layer alone does in a precision that was searched, the one first that is left in float32 first.
    pub sensitivity: Vec<Sensitivity>,
    /// The weights whose layers stay in float32 in the file that is served.
    pub float_layers: Vec<String>,
}

impl Choice {
    /// The form of this precision that was measured first: whole.
    pub fn whole(&self, precision: Precision) -> Option<&Candidate> {
        self.candidates.iter().find(|candidate| candidate.precision == precision)
    }

    /// As the manifest holds it; the file that is served has this name.
    pub fn record(&self, file: &str) -> EngineSearch {
        EngineSearch {
            serving: Serving {
                file: file.to_owned(),
                precision: self.precision,
                float_layers: self.float_layers.clone(),
                engine: self.engine.to_owned(),
                reason: self.reason.clone(),
            },
            machine: refit_predictor::machine(),
            candidates: self.candidates.clone(),
            sensitivity: self.sensitivity.clone(),
        }
    }
}

/// Measures forms on held-out `rows` of `task` in each of `engines` and applies the rule of the spec.
///
/// # Errors
/// When an engine fails, or there are no rows.
pub fn choose(
    forms: &Forms,
    task: &dyn Task,
    rows: &[Example],
    engines: &[&dyn Engine],
    asked: &Quantize,
    tell: &mut Listener<'_>,
) -> Result<Vec<Choice>, TrainError> {
    let rows = &rows[..rows.len().min(MOST_ROWS)];
    // float32 answers alike in every engine, which parity has shown.
    let right = match engines.first() {
        Some(engine) => measure::rightness(*engine, &forms.float32, task, rows)?,
        None => return Ok(Vec::new()),
    };
    let asked = Asked { forms, task, rows, right, quantize: asked };
    engines.iter().map(|engine| choose_in(&asked, *engine, tell)).collect()
}

fn choose_in(asked: &Asked<'_>, engine: &dyn Engine, tell: &mut Listener<'_>) -> Result<Choice, TrainError> {
    let began = Instant::now();
    let mut search = Search::begin(asked, engine)?;
    let served = loop {
        match next(&search.rule, &search.measured, &search.layers()) {
            Step::Rank(_) | Step::Try(_) if began.elapsed() > LONGEST_SEARCH => {
                let (seconds, engine) = (LONGEST_SEARCH.as_secs(), engine.name());
                tell(Event::Notice(format!(
                    "the search in {engine} ends after {seconds} s; a better form may exist"
                )));
                break best(&search.rule, &search.measured);
            }
            Step::Judge(attempt) => search.judge(attempt)?,
            Step::Rank(precision) => {
                let engine = engine.name();
                let message = format!("looking for the layers that {precision} hurts in {engine}");
                tell(Event::Stage { name: "sensitivity", message });
                search.rank(precision)?;
            }
            Step::Try(attempt) => {
                search.attempt(attempt)?;
                tell(Event::Notice(search.sentence(attempt)));
            }
            Step::Serve(served) => break served,
        }
    };
    Ok(search.end(served))
}

/// What the searches in all engines have in common.
struct Asked<'a> {
    forms: &'a Forms,
    task: &'a dyn Task,
    rows: &'a [Example],
    /// How right float32 is on each row.
    right: Vec<f64>,
    quantize: &'a Quantize,
}

/// A search under way.
struct Search<'a> {
    asked: &'a Asked<'a>,
    engine: &'a dyn Engine,
    rule: Rule,
    float32: Candidate,
    measured: Vec<Measured>,
    /// What is told of each of `measured`.
    candidates: Vec<Candidate>,
    sensitivity: Vec<Sensitivity>,
}

impl<'a> Search<'a> {
    /// Times float32 and every whole form in turns.
    fn begin(asked: &'a Asked<'a>, engine: &'a dyn Engine) -> Result<Self, TrainError> {
        let float32 = Candidate {
            precision: Precision::Float32,
            detail: String::new(),
            float_layers: Vec::new(),
            bytes: asked.forms.float32.len() as u64,
            latency_ms: 0.0,
            speedup: 1.0,
            accuracy: Some(measure::mean_rightness(&asked.right)?),
            accuracy_drop: None,
            verdict: "what the others are compared with".to_owned(),
        };
        let rule = Rule {
            max_drop: asked.quantize.max_drop,
            min_speedup: asked.quantize.min_speedup,
            least_upper: measure::lost(&asked.right, &asked.right, asked.quantize.max_drop)?.upper,
        };
        let (measured, candidates, sensitivity) = (Vec::new(), Vec::new(), Vec::new());
        let mut search = Self { asked, engine, rule, float32, measured, candidates, sensitivity };
        let whole: Vec<Attempt> = format::candidates(asked.quantize.format, engine.name())
            .iter()
            .filter(|precision| !asked.forms.layers(**precision).is_empty())
            .map(|precision| Attempt { precision: *precision, kept: 0 })
            .collect();
        search.time(&whole)?;
        Ok(search)
    }

    /// Times forms and float32 in turns.
    fn time(&mut self, attempts: &[Attempt]) -> Result<(), TrainError> {
        let mut sessions = vec![session(self.engine, &self.asked.forms.float32)?];
        let mut sizes = Vec::new();
        for attempt in attempts {
            let form = self.made(*attempt)?;
            sizes.push(form.len() as u64);
            sessions.push(session(self.engine, &form)?);
        }
        let latencies = measure::latencies(&mut sessions, self.asked.task.output(), self.asked.rows)?;
        let [float32, others @ ..] = latencies.as_slice() else { return Ok(()) };
        if self.measured.is_empty() {
            self.float32.latency_ms = *float32;
        }
        for ((attempt, bytes), latency_ms) in attempts.iter().zip(sizes).zip(others) {
            let speedup = float32 / latency_ms;
            self.measured.push(Measured { attempt: *attempt, speedup, drop: None });
            self.candidates.push(Candidate {
                precision: attempt.precision,
                detail: self.asked.forms.detail(attempt.precision),
                float_layers: self.kept(*attempt),
                bytes,
                latency_ms: *latency_ms,
                speedup,
                accuracy: None,
                accuracy_drop: None,
                verdict: String::new(),
            });
        }
        Ok(())
    }

    /// Lets a form that was timed answer the rows.
    fn judge(&mut self, attempt: Attempt) -> Result<(), TrainError> {
        let form = self.made(attempt)?;
        let right = measure::rightness(self.engine, &form, self.asked.task, self.asked.rows)?;
        let drop = measure::lost(&self.asked.right, &right, self.asked.quantize.max_drop)?;
        let accuracy = measure::mean_rightness(&right)?;
        for (measured, candidate) in self.measured.iter_mut().zip(&mut self.candidates) {
            if measured.attempt == attempt {
                measured.drop = Some(drop);
                (candidate.accuracy, candidate.accuracy_drop) = (Some(accuracy), Some(drop));
            }
        }
        Ok(())
    }

    fn attempt(&mut self, attempt: Attempt) -> Result<(), TrainError> {
        self.time(&[attempt])?;
        let slow = |form: &Measured| self.rule.verdict(form) == Verdict::TooSlow;
        if self.measured.last().is_some_and(|form| !slow(form)) {
            self.judge(attempt)?;
        }
        Ok(())
    }

    fn rank(&mut self, precision: Precision) -> Result<(), TrainError> {
        let output = self.asked.task.output();
        let ranked = sensitivity::ranked(self.asked.forms, precision, self.engine, output, self.asked.rows)?;
        self.sensitivity.extend(ranked);
        Ok(())
    }

    /// How many layers each precision has that was ranked.
    fn layers(&self) -> Vec<(Precision, usize)> {
        let mut layers: Vec<(Precision, usize)> = Vec::new();
        for layer in &self.sensitivity {
            match layers.iter_mut().find(|(precision, _)| *precision == layer.precision) {
                Some((_, count)) => *count += 1,
                None => layers.push((layer.precision, 1)),
            }
        }
        layers
    }

    /// The weights that a form leaves in float32.
    fn kept(&self, attempt: Attempt) -> Vec<String> {
        let ranked = self.sensitivity.iter().filter(|layer| layer.precision == attempt.precision);
        ranked.take(attempt.kept).map(|layer| layer.weight.clone()).collect()
    }

    fn made(&self, attempt: Attempt) -> Result<Vec<u8>, TrainError> {
        let keep: BTreeSet<String> = self.kept(attempt).into_iter().collect();
        self.asked.forms.made(attempt.precision, &keep, self.engine)
    }

    fn sentence(&self, attempt: Attempt) -> String {
        let found = self.measured.iter().zip(&self.candidates).find(|(form, _)| form.attempt == attempt);
        found.map_or_else(String::new, |(form, candidate)| {
            format!("{}: {}", explain::measured(candidate), explain::verdict(self.rule.verdict(form)))
        })
    }

    fn end(mut self, served: Option<Attempt>) -> Choice {
        for (form, candidate) in self.measured.iter().zip(&mut self.candidates) {
            candidate.verdict = explain::verdict(self.rule.verdict(form)).to_owned();
        }
        let place =
            explain::Place { engine: self.engine.name(), rows: self.asked.rows.len(), rule: self.rule };
        let chosen = served.and_then(|served| self.measured.iter().position(|form| form.attempt == served));
        let chosen = chosen.map(|index| &self.candidates[index]);
        let verdicts: Vec<Verdict> = self.measured.iter().map(|form| self.rule.verdict(form)).collect();
        let reason = explain::reason(&place, chosen, &self.candidates, &verdicts);
        let (precision, float_layers) = chosen.map_or((Precision::Float32, Vec::new()), |candidate| {
            (candidate.precision, candidate.float_layers.clone())
        });
        let mut candidates = vec![self.float32];
        candidates.append(&mut self.candidates);
        Choice {
            precision,
            reason,
            engine: self.engine.name(),
            candidates,
            sensitivity: self.sensitivity,
            float_layers,
        }
    }
}
