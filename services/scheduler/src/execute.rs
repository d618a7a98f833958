//! Carries out what was planned, one action after the other, each in the same order: record the decision, have the
//! effect, remember. All three can be repeated, so a crash between any two of them costs nothing: the next plan is the
//! same plan.

pub(crate) mod evidence;
mod export;
mod fault;
mod gate_outcome;
mod process;

use refit_store::{NewRun, RunStatus, Store, StoreError, VersionStatus};
use serde_json::json;

use crate::{
    SchedulerConfig, SchedulerError,
    memory::{Memory, PhaseRecord},
    observe::{Files, Kind, Observed, run_folder},
    plan::{Action, Plan},
};
use fault::fault_point;
use process::Processes;

/// Who is named as the one that decided.
const BY: &str = "scheduler";

/// Carries out plans for one model.
#[derive(Debug)]
pub struct Executor {
    config: SchedulerConfig,
    store: Store,
    processes: Processes,
}

impl Executor {
    /// An executor without child processes of its own.
    pub fn new(config: &SchedulerConfig, store: &Store) -> Self {
        Self { config: config.clone(), store: store.clone(), processes: Processes::default() }
    }

    /// Carries out all actions of a plan made from `observed`, which is brought up to date. Fails with a stale
    /// deployment or memory when somebody else changed them: observe and plan anew.
    pub async fn carry_out(&mut self, observed: &mut Observed, plan: &Plan) -> Result<(), SchedulerError> {
        self.processes.reap();
        for action in &plan.actions {
            tracing::info!(model = %observed.state.model, "{action}");
            let name = action.name();
            if let Some(kind) = action.decision_kind() {
                let cause = self.cause(action).await?;
                let decision =
                    evidence::decision(action, kind, observed, &because(plan, cause), &self.config);
                self.store.record_decision(&decision).await?;
                fault_point("decision", name);
            }
            self.effect(action, observed, plan).await?;
            fault_point("effect", name);
            if self.remember(action, observed)? {
                let memory = &mut observed.memory;
                memory.revision =
                    self.store.save_loop_state(&observed.state.model, memory.revision, &memory.state).await?;
                fault_point("save", name);
            }
        }
        Ok(())
    }

    async fn effect(
        &mut self,
        action: &Action,
        observed: &mut Observed,
        plan: &Plan,
    ) -> Result<(), SchedulerError> {
        let model = observed.state.model.clone();
        let generation = observed.deployment.generation;
        let reason = because(plan, self.cause(action).await?).reasons.join("; ");
        match action {
            Action::RaiseAlarm { message, .. } => tracing::warn!(%model, "alarm: {message}"),
            Action::ClearAlarm { .. }
            | Action::Suggest { .. }
            | Action::Retry { .. }
            | Action::BeginGate { .. } => {}
            Action::BeginRun { run, trigger } => {
                let run =
                    NewRun { id: run.clone(), model, kind: "refit".to_owned(), reason: trigger.clone() };
                self.store.start_run(&run).await?;
            }
            Action::LaunchTraining { run, attempt } => self.launch_training(run, *attempt, observed).await?,
            Action::LaunchGate { run, version, attempt } => {
                self.launch_gate(run, version, *attempt, observed)?;
            }
            Action::SetCanary { version, percent, .. } => {
                let percent = f64::from(*percent);
                observed.deployment =
                    self.store.set_canary(&model, generation, version, percent, &reason).await?;
            }
            Action::Promote { run, version } => {
                observed.deployment =
                    self.store.set_champion(&model, generation, version, &reason, BY).await?;
                fault_point("promoted", action.name());
                self.finish(run, RunStatus::Succeeded, Some(version), &reason).await?;
            }
            Action::RollBack { run, version } => {
                if observed.deployment.canary.as_ref().is_some_and(|canary| canary.version == *version) {
                    observed.deployment =
                        self.store.clear_canary(&model, generation, VersionStatus::RolledBack).await?;
                }
                self.finish(run, RunStatus::Failed, Some(version), &reason).await?;
            }
            Action::Reject { run, version } => {
                self.store.set_version_status(&model, version, VersionStatus::Rejected).await?;
                self.finish(run, RunStatus::Failed, Some(version), &reason).await?;
            }
            Action::GiveUp { run, error } => self.finish(run, RunStatus::Failed, None, error).await?,
        }
        Ok(())
    }

    /// Why the run of a promotion was started: the reason that people look for when they ask why a version serves.
    async fn cause(&self, action: &Action) -> Result<Option<String>, SchedulerError> {
        let Action::Promote { run, .. } = action else { return Ok(None) };
        match self.store.run(run).await {
            Ok(run) => Ok(Some(run.reason)),
            Err(StoreError::UnknownRun { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn finish(
        &self,
        run: &str,
        status: RunStatus,
        version: Option<&str>,
        reason: &str,
    ) -> Result<(), SchedulerError> {
        Ok(self.store.finish_run(run, status, version, &json!({ "reason": reason })).await?)
    }

    async fn launch_training(
        &mut self,
        run: &str,
        attempt: u32,
        observed: &Observed,
    ) -> Result<(), SchedulerError> {
        let folder = run_folder(&self.config, run);
        let champion = observed.deployment.champion.as_ref().map(|champion| champion.version.as_str());
        let seen = champion.and_then(|version| observed.memory.state.trained_through.get(version));
        export::export(&self.store, &self.config, &folder, seen.copied().unwrap_or(0)).await?;
        fault_point("export", "launch-training");
        let arguments = process::train_arguments(&self.config, run, &export::additional(&folder));
        self.processes.start(&self.config, &arguments, &Files::of(&folder, Kind::Train, attempt))
    }

    fn launch_gate(
        &mut self,
        run: &str,
        version: &str,
        attempt: u32,
        observed: &Observed,
    ) -> Result<(), SchedulerError> {
        let folder = run_folder(&self.config, run);
        let champion = observed.deployment.champion.as_ref().map_or("", |champion| champion.version.as_str());
        let arguments = process::gate_arguments(&self.config, champion, version, &export::recent(&folder));
        self.processes.start(&self.config, &arguments, &Files::of(&folder, Kind::Gate, attempt))
    }

    /// Brings the memory up to date; `false` when the action leaves nothing to remember.
    fn remember(&self, action: &Action, observed: &mut Observed) -> Result<bool, SchedulerError> {
        let now = observed.state.now;
        let memory = &mut observed.memory.state;
        match action {
            Action::RaiseAlarm { key, .. } => {
                memory.notes += 1;
                memory.alarms.insert(key.clone(), now);
            }
            Action::ClearAlarm { key } => {
                memory.notes += 1;
                memory.alarms.remove(key);
            }
            Action::Suggest { trigger } => {
                memory.notes += 1;
                memory.suggested = Some(trigger.clone());
            }
            Action::BeginRun { run, .. } => memory.begin_run(run.clone(), now),
            // The run folder remembers these.
            Action::LaunchTraining { .. } | Action::LaunchGate { .. } => return Ok(false),
            Action::Retry { attempt: next, .. } => match &mut memory.phase {
                PhaseRecord::Training { attempt, .. } | PhaseRecord::Gating { attempt, .. } => {
                    *attempt = *next
                }
                PhaseRecord::Watching | PhaseRecord::Canary { .. } => {}
            },
            Action::BeginGate { run, version } => {
                let through = export::through(&run_folder(&self.config, run))?;
                memory.trained_through.insert(version.clone(), through);
                memory.phase = PhaseRecord::Gating { run: run.clone(), version: version.clone(), attempt: 1 };
            }
            Action::SetCanary { run, version, step, .. } => {
                self.keep_baseline(run, version, memory)?;
                memory.phase =
                    PhaseRecord::Canary { run: run.clone(), version: version.clone(), step: *step };
            }
            Action::Promote { run, version } => {
                self.keep_baseline(run, version, memory)?;
                memory.suggested = None;
                memory.end_run(now);
            }
            Action::RollBack { .. } | Action::Reject { .. } | Action::GiveUp { .. } => memory.end_run(now),
        }
        Ok(true)
    }

    /// A version that passed its gate is judged by what it showed there: recent rows are what it will meet.
    fn keep_baseline(&self, run: &str, version: &str, memory: &mut Memory) -> Result<(), SchedulerError> {
        if let PhaseRecord::Gating { attempt, .. } = memory.phase {
            let files = Files::of(&run_folder(&self.config, run), Kind::Gate, attempt);
            if let Some(baseline) = gate_outcome::baseline(&files.outcome)? {
                memory.baselines.insert(version.to_owned(), baseline);
            }
        }
        Ok(())
    }

    /// Ends the children that this scheduler started, so that they are started again by the next one. A scheduler that
    /// is killed does not come here: its children go on, and the next scheduler finds them.
    pub async fn stop(&mut self) {
        self.processes.stop().await;
    }
}

/// The plan with the cause in front of its reasons.
fn because(plan: &Plan, cause: Option<String>) -> Plan {
    let reasons = cause.map(|cause| format!("refitted because {cause}")).into_iter();
    Plan { actions: plan.actions.clone(), reasons: reasons.chain(plan.reasons.iter().cloned()).collect() }
}
