//! Which models and versions there are, and loading and unloading them by hand.
//!
//! What serves follows from the deployment in the store: a model that it names is loaded without being asked for. What is
//! done by hand is done in this process alone, and stands until it is undone by hand or the process ends.

use crate::{
    api_error::{ApiError, Code},
    app::App,
    error::LoadError,
    routing::Residence,
};

/// A version that there is.
pub(crate) struct IndexEntry {
    pub model: String,
    /// Empty for a model without a version that is known.
    pub version: String,
    pub ready: bool,
    /// Why it is not ready.
    pub reason: &'static str,
}

impl IndexEntry {
    /// The protocol's word for it.
    pub fn state(&self) -> &'static str {
        if self.ready { "READY" } else { "UNAVAILABLE" }
    }
}

/// All versions: those that serve first, then those that are registered. `ready_only` leaves out those that do not
/// answer.
pub(crate) async fn index(app: &App, ready_only: bool) -> Result<Vec<IndexEntry>, ApiError> {
    let mut entries = Vec::new();
    for model in app.models.all() {
        let before = entries.len();
        for (serving, _) in model.routing().serving() {
            let (model, version) = (model.name.to_string(), serving.model.version.to_string());
            entries.push(IndexEntry { model, version, ready: true, reason: "" });
        }
        if entries.len() == before && !ready_only {
            let (model, version, residence) = (model.name.to_string(), String::new(), model.residence());
            let reason = match residence {
                Residence::Wanted | Residence::Pinned => "no version is ready yet",
                Residence::OnDemand => "its next request loads it",
                Residence::Unloaded => "it was unloaded",
            };
            entries.push(IndexEntry { model, version, ready: false, reason });
        }
    }
    if let (false, Some(store)) = (ready_only, &app.store) {
        for version in store.versions(None).await? {
            let is_known =
                |entry: &IndexEntry| entry.model == version.model && entry.version == version.version;
            if !entries.iter().any(is_known) {
                let (model, version) = (version.model, version.version);
                entries.push(IndexEntry { model, version, ready: false, reason: "it is not deployed" });
            }
        }
    }
    Ok(entries)
}

/// Sees to it that a model answers, and that it does not give way to others.
///
/// # Errors
/// [`Code::NotFound`] for a model that nobody deployed, [`Code::Unavailable`] for one that cannot be loaded.
pub(crate) async fn load(app: &App, name: &str) -> Result<(), ApiError> {
    app.catalog.load(name).await.map_err(|error| named(name, error))
}

/// Takes a model out of this process until it is loaded by hand. Requests that have begun are answered.
///
/// # Errors
/// [`Code::NotFound`] for a model that nobody deployed.
pub(crate) async fn unload(app: &App, name: &str) -> Result<(), ApiError> {
    app.catalog.unload(name).await.map_err(|error| named(name, error))
}

fn named(name: &str, error: LoadError) -> ApiError {
    match error {
        LoadError::NotDeployed { .. } => {
            ApiError::new(Code::NotFound, format!("no version of a model {name:?} is deployed: promote one"))
        }
        error => error.into(),
    }
}
