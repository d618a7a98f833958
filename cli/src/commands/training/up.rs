//! `refit up`: everything, from one file.

use super::train::{self, Registered};
use crate::cli::SpecArguments;
use crate::cli::training::TrainArguments;
use crate::home::{Home, block_on};
use crate::processes::{Service, ensure_free};
use anyhow::{Context, Result};
use refit_scheduler::operate::{self, Order};
use std::path::{Path, PathBuf};

pub fn run(arguments: &SpecArguments, cache: Option<PathBuf>) -> Result<()> {
    let home = Home::open(arguments, cache)?;
    for (address, key) in [(home.spec.serve.address, "serve"), (home.spec.refit.address, "refit")] {
        ensure_free(address, &format!("set another address in [{key}] of {}", arguments.spec.display()))?;
    }
    first_version(&home, arguments)?;
    let scheme = if home.spec.serve.tls.is_some() { "https" } else { "http" };
    println!("inference  {scheme}://{}", home.spec.serve.address);
    let no_refit = home.spec.no_refit();
    match &no_refit {
        None => println!("console    http://{}", home.spec.refit.address),
        Some(sentence) => println!("{sentence}"),
    }
    block_on(async {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let services = services(&home.spec_path, &home.path, &home.cache, None);
        let mut running = tokio::task::JoinSet::new();
        let wanted = if no_refit.is_none() { 2 } else { 1 };
        for service in services.into_iter().take(wanted) {
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
    if !serves {
        train_first(home, arguments)?;
    }
    Ok(())
}

/// Trains the first version and makes it the champion.
///
/// # Errors
/// Those of the run, and when the store cannot be written.
pub fn train_first(home: &Home, arguments: &SpecArguments) -> Result<Registered> {
    // A fixed run id: an `up` that was killed while it trained goes on with the same version.
    let first = TrainArguments {
        spec: arguments.clone(),
        run: Some("first".to_owned()),
        additional: None,
        start: "pretrained".to_owned(),
        output: None,
        resume: false,
        fresh: false,
        trainer: None,
        events: None,
        with_parent: false,
        json: false,
    };
    let registered = train::register(home, &first)?;
    let version = registered.version.as_deref().context("the first version was not registered")?;
    let order = Order { model: home.model(), reason: "the first version", by: "refit" };
    block_on(async { Ok(operate::promote(&home.store().await?, order, version).await?) })?;
    Ok(registered)
}
