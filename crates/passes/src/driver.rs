use crate::PassError;
use refit_graph::{Model, Patch, verify};
use std::{
    fmt,
    time::{Duration, Instant},
};

/// Rounds after which a set of simplifying passes that never settles is called broken.
const MAX_ROUNDS: usize = 64;

/// A pass that keeps the meaning of the model: outputs are equal before and after.
pub trait Simplify {
    /// Name for errors, timings and dumps: `fold-constants`.
    fn name(&self) -> &'static str;

    /// The patch that rewrites every place where the pass applies at present; `None` when there is none.
    ///
    /// # Errors
    /// When the model breaks a rule on which the pass relies.
    fn rewrite(&self, model: &Model) -> Result<Option<Patch>, PassError>;
}

/// By how much the outputs of a model may change through an [`Edit`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tolerance {
    /// Not at all: only what is trained changes (freezing, LoRA before its first step).
    Exact,
    /// By rounding: the largest absolute difference of any output (merging LoRA).
    Rounding(f32),
    /// As much as a measured margin of quality allows; a gate decides (quantization).
    Measured,
    /// The outputs are others (a new head).
    Replaced,
}

/// A pass that changes what the model computes, or how it is trained.
pub trait Edit {
    /// Name for errors, timings and dumps: `replace-head`.
    fn name(&self) -> &'static str;

    /// What it does to the outputs.
    fn tolerance(&self) -> Tolerance;

    /// The patch.
    ///
    /// # Errors
    /// When the edit does not fit the model.
    fn apply(&self, model: &Model) -> Result<Patch, PassError>;
}

/// How often a pass changed the model and how long it took, checks included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassTiming {
    /// [`Simplify::name`] or [`Edit::name`].
    pub pass: String,
    /// How often it had something to change.
    pub changes: usize,
    /// Time in the pass, the verifier and shape inference.
    pub elapsed: Duration,
}

/// What a driver did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// One entry a pass, in order of first use.
    pub passes: Vec<PassTiming>,
}

impl Report {
    /// How often this pass changed the model.
    pub fn changes(&self, pass: &str) -> usize {
        self.passes.iter().find(|timing| timing.pass == pass).map_or(0, |timing| timing.changes)
    }

    fn record(&mut self, pass: &str, changed: bool, elapsed: Duration) {
        match self.passes.iter_mut().find(|timing| timing.pass == pass) {
            Some(timing) => {
                timing.changes += usize::from(changed);
                timing.elapsed += elapsed;
            }
            None => {
                let changes = usize::from(changed);
                self.passes.push(PassTiming { pass: pass.to_owned(), changes, elapsed });
            }
        }
    }
}

/// Hears the model after each pass that changed it.
type Dump<'a> = Box<dyn FnMut(&str, &Model) + 'a>;

/// Applies passes: the only caller of [`Patch::apply`] outside of code that builds graphs.
///
/// After every patch the model is verified and its facts are inferred anew; an error names its pass.
/// A failed pass leaves the model as it was before that pass. A `ValueId` of a value that is still there
/// stays valid; a `NodeId` does not.
#[derive(Default)]
pub struct Driver<'a> {
    report: Report,
    dump: Option<Dump<'a>>,
}

impl fmt::Debug for Driver<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("report", &self.report).finish_non_exhaustive()
    }
}

impl<'a> Driver<'a> {
    /// A driver that has done nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows the model to `dump` after each pass that changed it.
    pub fn with_dump(mut self, dump: impl FnMut(&str, &Model) + 'a) -> Self {
        self.dump = Some(Box::new(dump));
        self
    }

    /// What was done so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Verifies a model that comes from outside and infers its facts.
    ///
    /// # Errors
    /// When the model is broken.
    pub fn begin(&mut self, model: &mut Model) -> Result<(), PassError> {
        self.timed("begin", |_| check(model, "reading").map(|()| false)).map(|_| ())
    }

    /// Runs the passes in order, again and again, until none of them changes anything.
    ///
    /// # Errors
    /// When a pass fails, breaks the graph or never settles.
    pub fn simplify(&mut self, model: &mut Model, passes: &[&dyn Simplify]) -> Result<(), PassError> {
        self.begin(model)?;
        let mut last = "none of them";
        for _ in 0..MAX_ROUNDS {
            let mut changed = false;
            for pass in passes {
                if self.step(model, pass.name(), |model| pass.rewrite(model))? {
                    changed = true;
                    last = pass.name();
                }
            }
            if !changed {
                return Ok(());
            }
        }
        Err(PassError::NoFixpoint { rounds: MAX_ROUNDS, pass: last.to_owned() })
    }

    /// Applies one edit.
    ///
    /// # Errors
    /// When the edit does not fit the model or breaks the graph.
    pub fn edit(&mut self, model: &mut Model, edit: &dyn Edit) -> Result<(), PassError> {
        self.begin(model)?;
        self.step(model, edit.name(), |model| edit.apply(model).map(Some)).map(|_| ())
    }

    fn step(
        &mut self,
        model: &mut Model,
        name: &str,
        make: impl FnOnce(&Model) -> Result<Option<Patch>, PassError>,
    ) -> Result<bool, PassError> {
        let changed = self.timed(name, |_| {
            let Some(patch) = make(model)?.filter(|patch| !patch.is_empty()) else { return Ok(false) };
            // Initializers share their bytes, so this copies names and nodes only.
            let mut next = model.clone();
            patch.apply(&mut next.graph)?;
            check(&mut next, name)?;
            *model = next;
            Ok(true)
        })?;
        if changed && let Some(dump) = &mut self.dump {
            dump(name, model);
        }
        Ok(changed)
    }

    fn timed(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut Self) -> Result<bool, PassError>,
    ) -> Result<bool, PassError> {
        let start = Instant::now();
        let changed = work(self).map_err(|error| error.in_pass(name))?;
        self.report.record(name, changed, start.elapsed());
        Ok(changed)
    }
}

/// What holds at every phase boundary.
fn check(model: &mut Model, phase: &str) -> Result<(), PassError> {
    verify(model, phase)?;
    refit_ops::infer_facts(model)?;
    Ok(())
}
