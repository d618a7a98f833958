//! The models of this process: what the store deploys is loaded and put in place, by hand models come and go, and where
//! memory is short those that are not asked for give way until they are.
//!
//! The old version answers until the new one is verified, loaded and warm, and requests that have begun with it end with
//! it. A version that cannot be loaded changes nothing: it is logged once, counted, and tried again from time to time.
//! One thing is done at a time, so that two loads never need room at once.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use refit_store::{Deployment, Store};
use tokio::sync::Mutex;

use crate::{
    app::Models,
    deployed::{DeploymentMetrics, install},
    error::{LoadError, chain},
    loaded::{LoadedModel, Loader},
    residence::{Resident, artifact_bytes, leavers},
    routing::{Model, Residence, Routing, Serving},
};

/// Loads and unloads. Everything that changes which versions are in memory goes through it.
pub(crate) struct Catalog {
    origin: Origin,
    loader: Loader,
    models: Models,
    metrics: DeploymentMetrics,
    memory: Memory,
    state: Mutex<State>,
}

/// How models share the memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// Bytes that all models together may hold; none stands for as many as there are.
    pub budget: Option<u64>,
    /// Models that never give way to others.
    pub pinned: Vec<String>,
}

/// Where versions come from.
pub(crate) enum Origin {
    /// What the store deploys; artifacts are relative to the home folder.
    Store { store: Store, home: PathBuf },
    /// One artifact, whatever its version.
    Artifact(PathBuf),
}

#[derive(Default)]
struct State {
    deployments: BTreeMap<String, Deployment>,
    /// Versions that could not be loaded, why, and when they may be tried again.
    failed: HashMap<(String, String), (String, Instant)>,
    store_failed: bool,
}

/// What a load may do to have room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// Only take what is free.
    Free,
    /// Others may have to leave.
    Make,
}

/// A damaged artifact can be repaired, and a full memory be freed.
const RETRY_AFTER: Duration = Duration::from_secs(30);

impl Catalog {
    pub fn new(
        origin: Origin,
        loader: Loader,
        models: Models,
        metrics: DeploymentMetrics,
        memory: Memory,
    ) -> Self {
        Self { origin, loader, models, metrics, memory, state: Mutex::default() }
    }

    /// Loads a model by hand: it stays in memory until it is unloaded by hand. Others may have to leave for it.
    pub async fn load(&self, name: &str) -> Result<(), LoadError> {
        let mut state = self.state.lock().await;
        self.read_deployments(&mut state).await;
        state.failed.retain(|(model, _), _| model != name);
        self.bring(&mut state, name, Residence::Pinned).await
    }

    /// Takes a model out of memory by hand. Requests that have begun end with it.
    pub async fn unload(&self, name: &str) -> Result<(), LoadError> {
        let _state = self.state.lock().await;
        let model = self.models.get(name).ok_or_else(|| LoadError::NotDeployed { model: name.to_owned() })?;
        self.take_out(&model, Residence::Unloaded);
        Ok(())
    }

    /// Loads a model that a request needs and that is only loaded on demand.
    pub async fn wake(&self, model: &Model) -> Result<(), LoadError> {
        if model.residence() != Residence::OnDemand {
            return Ok(());
        }
        let mut state = self.state.lock().await;
        // Another request may have been first.
        if model.residence() != Residence::OnDemand {
            return Ok(());
        }
        self.bring(&mut state, &model.name, Residence::Wanted).await
    }

    /// Asks the store and does what it says.
    pub async fn look(&self) {
        let mut state = self.state.lock().await;
        self.read_deployments(&mut state).await;
        let deployments: Vec<Deployment> = state.deployments.values().cloned().collect();
        for deployment in deployments {
            let model = self.models.get_or_add(&deployment.model);
            if model.residence() == Residence::Wanted && self.memory.pinned.contains(&deployment.model) {
                model.set_residence(Residence::Pinned);
            }
            match model.residence() {
                Residence::Unloaded | Residence::OnDemand => {}
                Residence::Wanted | Residence::Pinned => {
                    // A failure is logged and counted where it happens, and the next look tries again.
                    match self.apply(&mut state, &model, &deployment, Room::Free).await {
                        Err(LoadError::NoRoom { .. }) if model.routing().champion.is_none() => {
                            tracing::info!(model = %model.name, "there is no room now: its first request loads it");
                            model.set_residence(Residence::OnDemand);
                        }
                        Ok(()) | Err(_) => {}
                    }
                }
            }
        }
        if !state.store_failed {
            self.models.mark_started();
        }
    }

    async fn read_deployments(&self, state: &mut State) {
        let Origin::Store { store, .. } = &self.origin else { return };
        match store.deployments().await {
            Ok(deployments) => {
                state.store_failed = false;
                let by_model = |deployment: Deployment| (deployment.model.clone(), deployment);
                state.deployments = deployments.into_iter().map(by_model).collect();
            }
            Err(error) => {
                self.metrics.store_failures.inc();
                if !std::mem::replace(&mut state.store_failed, true) {
                    tracing::error!(
                        error = chain(&error),
                        "the deployments cannot be read; serving goes on as it is"
                    );
                }
            }
        }
    }

    /// Loads a model with whatever its deployment says, and makes room for it.
    async fn bring(&self, state: &mut State, name: &str, residence: Residence) -> Result<(), LoadError> {
        if let Origin::Artifact(path) = &self.origin {
            return self.bring_artifact(path, name, residence).await;
        }
        let not_deployed = || LoadError::NotDeployed { model: name.to_owned() };
        let deployment = state.deployments.get(name).cloned().ok_or_else(not_deployed)?;
        let model = self.models.get_or_add(name);
        self.apply(state, &model, &deployment, Room::Make).await?;
        if model.routing().champion.is_none() {
            return Err(not_deployed());
        }
        model.set_residence(residence);
        Ok(())
    }

    /// Loads the only artifact there is.
    async fn bring_artifact(&self, path: &Path, name: &str, residence: Residence) -> Result<(), LoadError> {
        let known = self.models.get(name);
        let model = known.ok_or_else(|| LoadError::NotDeployed { model: name.to_owned() })?;
        if model.routing().champion.is_none() {
            let loaded = self.loader.load_apart(path.to_owned(), None).await?;
            install(&model, fixed(loaded), &self.metrics);
        }
        model.set_residence(residence);
        Ok(())
    }

    /// Loads the only artifact there is, under the name that it has.
    pub async fn begin_with_artifact(&self) -> Result<(), LoadError> {
        let Origin::Artifact(path) = &self.origin else { return Ok(()) };
        let _state = self.state.lock().await;
        let loaded = self.loader.load_apart(path.clone(), None).await?;
        let model = self.models.get_or_add(&loaded.name);
        install(&model, fixed(loaded), &self.metrics);
        self.models.mark_started();
        Ok(())
    }

    /// Makes what answers be what `deployment` says, as far as it can be loaded.
    async fn apply(
        &self,
        state: &mut State,
        model: &Model,
        deployment: &Deployment,
        room: Room,
    ) -> Result<(), LoadError> {
        let current = model.routing();
        let complete = current.canary.is_some() == deployment.canary.is_some()
            && current.shadow.is_some() == deployment.shadow.is_some()
            && current.champion.is_some();
        if current.generation == deployment.generation && complete {
            return Ok(());
        }
        let Some(champion) = &deployment.champion else { return Ok(()) };
        let loaded = self.obtain(state, model, &champion.version, room).await?;
        let mut next = Routing {
            generation: deployment.generation,
            champion: Some(Serving { model: loaded, since: champion.since, reason: champion.reason.clone() }),
            ..Routing::default()
        };
        if let Some(canary) = &deployment.canary
            && let Ok(loaded) = self.obtain(state, model, &canary.version, room).await
        {
            let serving = Serving { model: loaded, since: canary.since, reason: canary.reason.clone() };
            next.canary = Some((serving, canary.percent));
        }
        if let Some(shadow) = &deployment.shadow
            && let Ok(loaded) = self.obtain(state, model, &shadow.version, room).await
        {
            let serving = Serving { model: loaded, since: shadow.since, reason: shadow.reason.clone() };
            next.shadow = Some((serving, shadow.percent));
        }
        let unchanged = current.generation == next.generation
            && current.champion.is_some()
            && current.canary.is_some() == next.canary.is_some()
            && current.shadow.is_some() == next.shadow.is_some();
        if !unchanged {
            install(model, next, &self.metrics);
            self.shrink(model);
        }
        Ok(())
    }

    /// The version, loaded: the one that is in memory already, or a new one.
    async fn obtain(
        &self,
        state: &mut State,
        model: &Model,
        version: &str,
        room: Room,
    ) -> Result<Arc<LoadedModel>, LoadError> {
        let current = model.routing();
        let in_memory = current.loaded().find(|(serving, _)| &*serving.model.version == version);
        if let Some((serving, _)) = in_memory {
            return Ok(Arc::clone(&serving.model));
        }
        let key = (model.name.to_string(), version.to_owned());
        if let Some((reason, again)) = state.failed.get(&key)
            && Instant::now() < *again
        {
            return Err(LoadError::Again { reason: reason.clone() });
        }
        match self.load_version(model, version, room).await {
            Ok(loaded) => {
                state.failed.remove(&key);
                Ok(Arc::new(loaded))
            }
            // Room is not a matter of the version.
            Err(error @ LoadError::NoRoom { .. }) => Err(error),
            Err(error) => {
                self.metrics.load_failures.with_label_values(&[&*model.name, version]).inc();
                let entry = (chain(&error), Instant::now() + RETRY_AFTER);
                if state.failed.insert(key, entry).is_none() {
                    let serving = current.champion.as_ref().map(|serving| Arc::clone(&serving.model.version));
                    let serving = serving.as_deref().unwrap_or("nothing");
                    let (model, error) = (&*model.name, chain(&error));
                    tracing::error!(model, version, serving, error, "cannot be loaded");
                }
                Err(error)
            }
        }
    }

    async fn load_version(&self, model: &Model, version: &str, room: Room) -> Result<LoadedModel, LoadError> {
        let Origin::Store { store, home } = &self.origin else {
            return Err(LoadError::NotDeployed { model: model.name.to_string() });
        };
        let registered = store.version(&model.name, version).await?;
        let Some(artifact) = registered.artifact else {
            return Err(LoadError::NoArtifact { version: version.to_owned() });
        };
        let path = home.join(artifact);
        // While versions of a model change, the old one has to stay: only a model that comes anew waits for room.
        if model.routing().champion.is_none() {
            self.make_room(model, self.loader.copies() * artifact_bytes(&path), room)?;
        }
        self.loader.load_apart(path, Some((model.name.to_string(), version.to_owned()))).await
    }

    /// Lets others leave until `needed` bytes fit beside them.
    fn make_room(&self, model: &Model, needed: u64, room: Room) -> Result<(), LoadError> {
        let Some(budget) = self.memory.budget else { return Ok(()) };
        let leaving = leavers(self.residents(model), needed, budget);
        match leaving {
            Some(names) if names.is_empty() || room == Room::Make => {
                self.let_leave(names);
                Ok(())
            }
            _ => Err(LoadError::NoRoom { needed, budget }),
        }
    }

    /// Lets others leave once all versions of a model are there.
    fn shrink(&self, model: &Model) {
        let Some(budget) = self.memory.budget else { return };
        let held = model.memory_bytes();
        match leavers(self.residents(model), held, budget) {
            Some(names) => self.let_leave(names),
            None => {
                tracing::warn!(model = %model.name, held, budget, "the models hold more than serve.memory_budget")
            }
        }
    }

    /// The other models in memory.
    fn residents(&self, model: &Model) -> Vec<Resident> {
        let others = self.models.all().into_iter().filter(|other| other.name != model.name);
        others
            .map(|other| Resident {
                name: other.name.to_string(),
                bytes: other.memory_bytes(),
                last_used: other.last_used(),
                can_leave: other.residence() == Residence::Wanted && other.routing().champion.is_some(),
            })
            .collect()
    }

    fn let_leave(&self, names: Vec<String>) {
        for name in names {
            if let Some(model) = self.models.get(&name) {
                tracing::info!(model = name, "gives way to another model: its next request loads it again");
                self.metrics.evictions.with_label_values(&[&name]).inc();
                self.take_out(&model, Residence::OnDemand);
            }
        }
    }

    fn take_out(&self, model: &Model, residence: Residence) {
        model.set_residence(residence);
        install(model, Routing::default(), &self.metrics);
    }
}

/// What an artifact that is served without store is routed as.
fn fixed(loaded: LoadedModel) -> Routing {
    let reason = "it is served from its folder, without a store".to_owned();
    let champion = Serving { model: Arc::new(loaded), since: Timestamp::now(), reason };
    Routing { generation: 1, champion: Some(champion), ..Routing::default() }
}
