//! `refit up`: everything, from one file.

use super::train;
use crate::cli::{SpecArguments, TrainArguments};
use crate::home::{Home, block_on};
use crate::processes::{Service, ensure_free};
use anyhow::Result;
use std::path::{Path, PathBuf};

pub fn run(arguments: &SpecArguments, cache: Option<PathBuf>) -> Result<()> {
    let home = Home::open(arguments, cache)?;
    for (address, key) in [(home.spec.serve.address, "serve"), (home.spec.refit.address, "refit")] {
        ensure_free(address, &format!("set another address in [{key}] of {}", arguments.spec.display()))?;
    }
    first_version(&home, arguments)?;
    println!("inference  http://{}", home.spec.serve.address);
    println!("console    http://{}", home.spec.refit.address);
    block_on(async {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let services = services(&home.spec_path, &home.path, &home.cache, None);
        let mut running = tokio::task::JoinSet::new();
        for service in services {
            running.spawn(service.keep_running(stopped.clone()));
        }
        tokio::select! {
            () = refit_inference::stop_signal() => {}
            Some(ended) = running.join_next() => ended??,
        }
        let _ = stop.send(true);
        while let Some(ended) = running.join_next().await {
            ended??;
        }
        Ok(())
    })
}

/// The two services of a home, logging into `logs` if it is given.
pub fn services(spec: &Path, home: &Path, cache: &Path, logs: Option<&Path>) -> [Service; 2] {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let arguments = vec![path(spec), "--home".to_owned(), path(home), "--cache".to_owned(), path(cache)];
    ["serve", "scheduler"]
        .map(|name| Service::new(name, arguments.clone(), logs.map(|logs| logs.join(format!("{name}.log")))))
}

/// Trains and promotes version 1, unless a version serves already.
fn first_version(home: &Home, arguments: &SpecArguments) -> Result<()> {
    let serves =
        block_on(async { Ok(home.store().await?.deployment(home.model()).await?.champion.is_some()) })?;
    if serves {
        return Ok(());
    }
    // A fixed run id: an `up` that was killed while it trained goes on with the same version.
    let first = TrainArguments {
        spec: arguments.clone(),
        run: Some("first".to_owned()),
        additional: None,
        start: "pretrained".to_owned(),
        output: None,
        json: false,
    };
    let registered = train::register(home, &first)?;
    promote_first(home, registered.version.as_deref().unwrap_or("1"))
}

/// Makes the first version the champion.
///
/// # Errors
/// When the store cannot be written.
pub fn promote_first(home: &Home, version: &str) -> Result<()> {
    let reason = "the first version";
    block_on(async {
        let store = home.store().await?;
        let now = store.deployment(home.model()).await?;
        let deployment =
            store.set_champion(home.model(), now.generation, version, reason, "refit up").await?;
        let decision = refit_store::NewDecision {
            model: home.model().to_owned(),
            key: "first version".to_owned(),
            kind: "promote".to_owned(),
            reason: reason.to_owned(),
            evidence: serde_json::json!({ "version": version, "generation": deployment.generation }),
        };
        store.record_decision(&decision).await?;
        Ok(())
    })
}
