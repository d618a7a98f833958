//! Observes: store, metrics and run folder to a [`State`]. What cannot be seen is listed as missing, never assumed well.

mod canary;
mod child;
mod counters;
mod drift;
mod exposition;
mod facts;
mod judge;
mod scrape;

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use refit_stats::{DegradationBudget, DriftPolicy};
use refit_store::{Deployment, LoopState, Store};

pub use child::{Files, Kind};
pub use drift::Verdict;

use crate::{
    SchedulerConfig, SchedulerError,
    memory::{Memory, PhaseRecord},
    plan::{CanaryReport, Champion, Child, Drift, Judge, Missing, Seconds, State},
};
use counters::{Counters, Totals};
use exposition::Sample;
use facts::Facts;
use judge::{Running, Subject};
use scrape::{Scrape, Scraper};

/// Observes one model.
#[derive(Debug)]
pub struct Observer {
    config: SchedulerConfig,
    store: Store,
    scraper: Scraper,
    counters: Counters,
    windows: drift::Windows,
    judges: HashMap<Role, Running>,
    facts: HashMap<String, Facts>,
    canary_step: Option<canary::Step>,
    missing_since: BTreeMap<String, Seconds>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Role {
    Champion,
    Canary,
}

/// What was observed, and what the executor needs beside it.
#[derive(Debug)]
pub struct Observed {
    /// For the planner.
    pub state: State,
    /// The deployment that the state was read from; changes are made against its generation.
    pub deployment: Deployment,
    /// The memory that the state was read from, with its revision (0 before the first).
    pub memory: LoopState<Memory>,
}

impl Observer {
    /// An observer that has seen nothing.
    pub fn new(config: &SchedulerConfig, store: &Store) -> Self {
        let drift = &config.spec.monitor.drift;
        let policy =
            DriftPolicy { alpha: drift.alpha(), floor: drift.min_psi, min_observations: drift.min_rows };
        Self {
            scraper: Scraper::new(&config.inference, config.inference_token.as_deref()),
            windows: drift::Windows::new(drift.window.0.as_secs() as Seconds, policy),
            config: config.clone(),
            store: store.clone(),
            counters: Counters::default(),
            judges: HashMap::new(),
            facts: HashMap::new(),
            canary_step: None,
            missing_since: BTreeMap::new(),
        }
    }

    /// Looks at everything once.
    pub async fn observe(&mut self) -> Result<Observed, SchedulerError> {
        let model = self.config.model().to_owned();
        let now = Timestamp::now();
        let memory = self.store.loop_state::<Memory>(&model).await?;
        let memory = memory.unwrap_or(LoopState { revision: 0, state: Memory::default(), changed_at: now });
        let deployment = self.store.deployment(&model).await?;
        let scrape = self.scraper.look().await;
        for (replica, samples) in &scrape.replicas {
            self.counters.take(replica, samples);
        }
        let totals = self.counters.totals();
        let mut missing = Vec::new();
        let mut state = self.blank(&model, now.as_second(), &memory.state, &deployment);
        if let Some(champion) = deployment.champion.clone() {
            let seen = self.see_service(&champion.version, &scrape, &mut missing);
            let (version, since) = (champion.version, Some(champion.since));
            let judge = self.judge(Role::Champion, &version, since, &memory.state, &mut missing).await?;
            state.judge = judge.judge();
            state.unseen_labels = judge.unseen();
            let after = memory.state.trained_through.get(&version).copied().unwrap_or(0);
            state.new_labels = self.store.labelled_tally(&model, None, after).await?.total;
            if seen {
                state.drift = self.drift(&version, state.now, &totals, &scrape, &mut missing).await?;
            }
            self.labels_missing(&state, champion.since.as_second(), &mut missing).await?;
            state.canary = self.canary(&memory.state, &deployment, &scrape, &totals, &mut missing).await?;
        }
        state.child = self.child(&memory.state.phase)?;
        state.missing = self.lasting(missing, state.now);
        Ok(Observed { state, deployment, memory })
    }

    fn blank(&self, model: &str, now: Seconds, memory: &Memory, deployment: &Deployment) -> State {
        State {
            model: model.to_owned(),
            now,
            policy: self.config.policy(),
            phase: memory.phase.to_phase(),
            champion: deployment.champion.as_ref().map(|champion| Champion {
                version: champion.version.clone(),
                since: champion.since.as_second(),
            }),
            deployed_canary: deployment
                .canary
                .as_ref()
                .map(|canary| (canary.version.clone(), canary.percent.round() as u8)),
            judge: Judge::default(),
            drift: Drift::Gathering,
            new_labels: 0,
            unseen_labels: Vec::new(),
            missing: Vec::new(),
            history: memory.history(),
            standing_alarms: memory.alarms.keys().cloned().collect(),
            child: Child::NotStarted,
            canary: None,
            refit_requested_by: memory.refit_requested_by.clone(),
        }
    }

    /// Whether every replica answers and shows the champion.
    fn see_service(&self, version: &str, scrape: &Scrape, missing: &mut Vec<(String, String)>) -> bool {
        if !scrape.failures.is_empty() {
            missing.push(("metrics".to_owned(), scrape.failures.join("; ")));
        }
        let champion = |sample: &Sample| {
            sample.name == "refit_served_version"
                && sample.label("model") == self.config.model()
                && sample.label("version") == version
                && sample.label("role") == "champion"
                && sample.value > 0.0
        };
        let shown = scrape.replicas.iter().filter(|(_, samples)| samples.iter().any(champion)).count();
        if shown < scrape.replicas.len() {
            let why = format!(
                "{} replicas do not serve version {version}: see the service's log",
                scrape.replicas.len() - shown
            );
            missing.push(("champion".to_owned(), why));
        }
        shown > 0
    }

    async fn judge(
        &mut self,
        role: Role,
        version: &str,
        since: Option<Timestamp>,
        memory: &Memory,
        missing: &mut Vec<(String, String)>,
    ) -> Result<&Running, SchedulerError> {
        let facts = self.facts(version).await?;
        let baseline = memory.baselines.get(version).copied().or(facts.baseline);
        if baseline.is_none() && role == Role::Champion {
            let why =
                format!("version {version} carries no test accuracy to judge live labels by: train it again");
            missing.push(("baseline".to_owned(), why));
        }
        let subject = Subject {
            model: self.config.model().to_owned(),
            version: version.to_owned(),
            since,
            baseline,
            labels: facts.labels,
        };
        let budget = DegradationBudget {
            margin: self.config.margin(),
            false_alarms: self.config.spec.monitor.performance.budget,
        };
        let running = match self.judges.remove(&role) {
            Some(running) if *running.subject() == subject => running,
            _ => Running::new(subject, budget)?,
        };
        let running = self.judges.entry(role).insert_entry(running).into_mut();
        running.read(&self.store).await?;
        Ok(running)
    }

    async fn facts(&mut self, version: &str) -> Result<Facts, SchedulerError> {
        if let Some(facts) = self.facts.get(version) {
            return Ok(facts.clone());
        }
        let artifact = self.store.version(self.config.model(), version).await?.artifact;
        let facts = match artifact {
            Some(artifact) => facts::read(&self.config.home.join(artifact))?,
            None => Facts::default(),
        };
        self.facts.insert(version.to_owned(), facts.clone());
        Ok(facts)
    }

    async fn drift(
        &mut self,
        version: &str,
        now: Seconds,
        totals: &Totals,
        scrape: &Scrape,
        missing: &mut Vec<(String, String)>,
    ) -> Result<Drift, SchedulerError> {
        let samples: Vec<Sample> = scrape.replicas.iter().flat_map(|(_, samples)| samples).cloned().collect();
        let model = self.config.model().to_owned();
        let complete = self.windows.look(version, &model, now, totals, &samples)?.cloned();
        let drift = self.windows.drift();
        if let Some(verdict) = complete {
            let snapshot = refit_store::NewDriftSnapshot {
                model,
                version: version.to_owned(),
                observations: verdict.rows,
                drifted: matches!(&drift, Drift::Window { drifted, .. } if !drifted.is_empty()),
                features: serde_json::to_value(&verdict.features).unwrap_or_default(),
            };
            self.store.record_drift(&snapshot).await?;
        }
        if let Some(verdict) = self.windows.verdict() {
            if verdict.rows == 0 {
                let why = format!(
                    "no request in the last {} seconds: is traffic routed here?",
                    verdict.until - verdict.from
                );
                missing.push(("traffic".to_owned(), why));
            } else if verdict.features.is_empty() {
                let why = format!("version {version} carries no reference distributions: train it again");
                missing.push(("reference".to_owned(), why));
            }
        }
        Ok(drift)
    }

    async fn labels_missing(
        &self,
        state: &State,
        champion_since: Seconds,
        missing: &mut Vec<(String, String)>,
    ) -> Result<(), SchedulerError> {
        let grace = self.config.label_grace.as_secs() as Seconds;
        if state.judge.labels > 0 || state.now - champion_since < grace {
            return Ok(());
        }
        let since = Timestamp::from_second(champion_since).unwrap_or(Timestamp::UNIX_EPOCH);
        let answered = self.store.count_predictions(&state.model, since).await?;
        if answered > 0 {
            let why =
                format!("{answered} predictions and not one label: send true labels to POST /v1/feedback");
            missing.push(("labels".to_owned(), why));
        }
        Ok(())
    }

    async fn canary(
        &mut self,
        memory: &Memory,
        deployment: &Deployment,
        scrape: &Scrape,
        totals: &Totals,
        missing: &mut Vec<(String, String)>,
    ) -> Result<Option<CanaryReport>, SchedulerError> {
        let PhaseRecord::Canary { version, step, .. } = &memory.phase else {
            self.canary_step = None;
            self.judges.remove(&Role::Canary);
            return Ok(None);
        };
        let of = (version.clone(), *step);
        if self.canary_step.as_ref().is_none_or(|known| known.of != of) {
            self.canary_step = Some(canary::Step { of, start: totals.clone() });
        }
        let judge = self.judge(Role::Canary, version, None, memory, missing).await?.judge();
        let served = |sample: &Sample| {
            sample.name == "refit_served_version" && sample.label("version") == version && sample.value > 0.0
        };
        let seen = scrape.replicas.iter().any(|(_, samples)| samples.iter().any(served));
        if !seen {
            let why = format!("no replica shows the canary {version}: see the service's log");
            missing.push(("canary_metrics".to_owned(), why));
        }
        let champion = deployment.champion.as_ref().map_or("", |champion| champion.version.as_str());
        let step = self.canary_step.as_ref().filter(|_| seen);
        let ratio = self.config.canary_max_latency_ratio;
        Ok(step.map(|step| canary::report(step, totals, self.config.model(), champion, ratio, judge)))
    }

    fn child(&self, phase: &PhaseRecord) -> Result<Child, SchedulerError> {
        let (run, kind, attempt) = match phase {
            PhaseRecord::Training { run, attempt } => (run, Kind::Train, *attempt),
            PhaseRecord::Gating { run, attempt, .. } => (run, Kind::Gate, *attempt),
            PhaseRecord::Watching | PhaseRecord::Canary { .. } => return Ok(Child::NotStarted),
        };
        child::look(&Files::of(&run_folder(&self.config, run), kind, attempt), kind)
    }

    /// Adds since when each observation has been missing.
    fn lasting(&mut self, missing: Vec<(String, String)>, now: Seconds) -> Vec<Missing> {
        self.missing_since.retain(|what, _| missing.iter().any(|(missing, _)| missing == what));
        missing
            .into_iter()
            .map(|(what, detail)| {
                let since = *self.missing_since.entry(what.clone()).or_insert(now);
                Missing { what, detail, since }
            })
            .collect()
    }

    /// The last complete drift window.
    pub fn drift_verdict(&self) -> Option<&Verdict> {
        self.windows.verdict()
    }

    /// (labels, ln wealth) of the champion's test, for the plot.
    pub fn wealth_points(&self) -> Vec<(u64, f64)> {
        self.judges.get(&Role::Champion).map(|running| running.points().to_vec()).unwrap_or_default()
    }
}

/// Where a run keeps its files.
pub fn run_folder(config: &SchedulerConfig, run: &str) -> std::path::PathBuf {
    config.home.join("runs").join(run)
}
