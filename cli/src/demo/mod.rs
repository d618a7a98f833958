//! `refit demo`: a model is trained on movie reviews, the world turns to tweets, and the model refits itself.
//!
//! Nothing of the story is staged inside the product: the demo writes a `refit.toml`, starts the two services as
//! `refit up` does, and is a client of theirs. The change is in the texts that it sends.

mod figures;
mod traffic;
mod world;

use crate::cli::SpecArguments;
use crate::cli::training::DemoArguments;
use crate::commands::training::up;
use crate::home::{Home, block_on};
use crate::processes::{ensure_free, wait_until_ready};
use anyhow::{Context, Result, bail};
use figures::Figures;
use refit_store::Store;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use traffic::{Clients, Tally};
use world::{Labelled, World};

/// Reviews that version 1 is made of, validation and test rows included.
const TRAINING_ROWS: usize = 4400;
/// Reviews that are replayed before the change.
const CALM_REQUESTS: usize = 400;
/// Tweets that are kept for the time after the refit: no version is trained on them.
const KEPT_TWEETS: usize = 600;
/// Requests a second, before and after the refit, and while the model is trained on the same two cores.
const RATE: f64 = 40.0;
const RATE_WHILE_TRAINING: f64 = 8.0;
/// Labels arrive so much later than the answers.
const LABEL_DELAY: Duration = Duration::from_secs(3);
/// The longest that the loop may take from the change to the promotion.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Runs the story.
///
/// # Errors
/// With the stage that did not go as it should.
pub fn run(arguments: &DemoArguments, cache: Option<PathBuf>) -> Result<()> {
    let folder = std::path::absolute(&arguments.home)?;
    let cache = cache.unwrap_or_else(refit_spec::default_cache);
    for port in [arguments.port, arguments.port + 1] {
        ensure_free(SocketAddr::from(([127, 0, 0, 1], port)), "name another port with --port")?;
    }
    empty(&folder)?;
    let mut figures = Figures::default();

    println!("1  data and engine");
    let started = Instant::now();
    let world = world::prepare(&folder.join("reviews.csv"), TRAINING_ROWS, &cache)?;
    if let Err(error) = refit_engine_ort::install(&cache) {
        println!("   ONNX Runtime cannot be fetched ({error}); tract serves");
    }
    std::fs::write(folder.join("refit.toml"), spec(arguments.port))?;
    figures.seconds("downloads", started.elapsed());
    println!(
        "   {TRAINING_ROWS} movie reviews to train on, {} to replay; then the world changes to {} tweets",
        world.reviews.len().min(CALM_REQUESTS),
        world.tweets.len()
    );
    let story = Instant::now();

    println!("2  version 1");
    let started = Instant::now();
    let spec = SpecArguments { spec: folder.join("refit.toml"), home: Some(folder.clone()), folder: None };
    let home = Home::open(&spec, Some(cache.clone()))?;
    let outcome = up::train_first(&home, &spec)?.outcome.context("version 1 was not trained")?;
    figures.first_version(&outcome);
    figures.seconds("train_v1", started.elapsed());

    block_on(live(arguments, &home, &world, &folder, &mut figures, story))
}

/// The part of the story in which the services run.
async fn live(
    arguments: &DemoArguments,
    home: &Home,
    world: &World,
    folder: &Path,
    figures: &mut Figures,
    story: Instant,
) -> Result<()> {
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut running = tokio::task::JoinSet::new();
    for service in up::services(&home.spec_path, &home.path, &home.cache, Some(folder)) {
        running.spawn(service.keep_running(stopped.clone()));
    }
    let clients = Clients::new(&format!("http://{}", home.spec.serve.address), home.model());
    let labels = tokio::spawn(clients.clone().deliver_labels());
    let told = match tell(home, world, folder, &clients, figures).await {
        Ok(()) => {
            figures.seconds("story", story.elapsed());
            figures.print();
            arguments.json.as_ref().map_or(Ok(()), |path| figures.write(path)).and_then(|()| {
                match figures.failed() {
                    0 => Ok(()),
                    failed => bail!("{failed} requests failed"),
                }
            })
        }
        Err(error) => Err(error),
    };
    if told.is_ok() {
        let versions = folder.join("artifacts").join(home.model());
        println!("reports: {}/*/report.html, logs: {}", versions.display(), folder.display());
        let running = if arguments.stay { "until Ctrl-C" } else { "with --stay" };
        println!(
            "running {running}: answers at http://{}, console at http://{}",
            home.spec.serve.address, home.spec.refit.address
        );
    }
    if told.is_ok() && arguments.stay {
        tokio::select! {
            () = refit_inference::stop_signal() => {}
            () = go_on(&clients, world) => {}
        }
    }
    labels.abort();
    let _ = stop.send(true);
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    told.with_context(|| format!("the demo did not come to its end; the logs are in {}", folder.display()))
}

async fn tell(
    home: &Home,
    world: &World,
    folder: &Path,
    clients: &Clients,
    figures: &mut Figures,
) -> Result<()> {
    let base = format!("http://{}", home.spec.serve.address);
    let http = reqwest::Client::new();
    let started = Instant::now();
    wait_until_ready(
        &http,
        &format!("{base}/v2/health/ready"),
        Duration::from_secs(30),
        &folder.join("serve.log"),
    )
    .await?;
    figures.seconds("ready", started.elapsed());
    let store = home.store().await?;
    let model = home.model();

    println!("3  traffic like the training data");
    let started = Instant::now();
    let calm = &world.reviews[..world.reviews.len().min(CALM_REQUESTS)];
    let before = clients.replay(calm, RATE, LABEL_DELAY).await;
    clients.labels_delivered().await;
    tokio::time::sleep(2 * home.spec.refit.poll.0).await;
    let alarms = count(&store, model, "alarm").await?;
    figures.calm(before, alarms);
    figures.seconds("calm", started.elapsed());

    println!("4  the world changes: tweets; labels come {} s late", LABEL_DELAY.as_secs());
    let started = Instant::now();
    let (changed, kept) = world.tweets.split_at(world.tweets.len().saturating_sub(KEPT_TWEETS));
    let degraded = until_refit_begins(clients, &store, model, changed, figures).await?;
    figures.degraded(degraded, started.elapsed());

    println!("5  the loop refits, gates, canaries and promotes");
    let started = Instant::now();
    until_promoted(clients, &store, model, changed, figures).await?;
    figures.seconds("refit", started.elapsed());

    println!("6  the same changed world, answered by the new version");
    let started = Instant::now();
    let recovered = clients.replay(kept, RATE, LABEL_DELAY).await;
    clients.labels_delivered().await;
    figures.seconds("recovered", started.elapsed());
    figures.recovered(
        recovered,
        clients.counts.answered.load(Ordering::Relaxed),
        clients.counts.failed.load(Ordering::Relaxed),
    );
    figures.decisions(&store.decisions(Some(model), 200).await?);
    Ok(())
}

/// Traffic for those who stay, so that there is something to watch.
async fn go_on(clients: &Clients, world: &World) {
    for part in world.tweets.chunks(RATE as usize).cycle() {
        clients.replay(part, RATE / 2.0, LABEL_DELAY).await;
    }
}

/// Sends tweets until the loop has decided to refit; what the old version answered of them.
async fn until_refit_begins(
    clients: &Clients,
    store: &Store,
    model: &str,
    tweets: &[Labelled],
    figures: &mut Figures,
) -> Result<Tally> {
    let mut tally = Tally::default();
    for part in tweets.chunks(RATE as usize) {
        let answered = clients.replay(part, RATE, LABEL_DELAY).await;
        tally.right += answered.right;
        tally.total += answered.total;
        if count(store, model, "refit").await? > 0 {
            figures.note_decisions(&store.decisions(Some(model), 200).await?);
            return Ok(tally);
        }
    }
    bail!("{} tweets were not enough for the loop to refit", tweets.len())
}

/// Keeps a light load on the service until another version serves.
async fn until_promoted(
    clients: &Clients,
    store: &Store,
    model: &str,
    tweets: &[Labelled],
    figures: &mut Figures,
) -> Result<()> {
    let serving = store.deployment(model).await?.champion.map(|champion| champion.version);
    let deadline = Instant::now() + PATIENCE;
    // From the end backwards: the tweets at the beginning are already labelled.
    for part in tweets.rchunks(RATE_WHILE_TRAINING as usize).cycle() {
        let deployment = store.deployment(model).await?;
        let rate = if deployment.canary.is_some() { RATE } else { RATE_WHILE_TRAINING };
        clients.replay(part, rate, LABEL_DELAY).await;
        figures.note_decisions(&store.decisions(Some(model), 200).await?);
        if deployment.champion.map(|champion| champion.version) != serving {
            return Ok(());
        }
        if count(store, model, "reject").await? + count(store, model, "give-up").await? > 0 {
            bail!("the challenger was not promoted: see `refit decisions`");
        }
        if Instant::now() > deadline {
            bail!("no version was promoted within {} minutes", PATIENCE.as_secs() / 60);
        }
    }
    Ok(())
}

async fn count(store: &Store, model: &str, kind: &str) -> Result<usize> {
    let decisions = store.decisions(Some(model), 200).await?;
    Ok(decisions.iter().filter(|decision| decision.kind == kind).count())
}

/// A fresh folder; one that is not a demo's is left alone.
fn empty(folder: &Path) -> Result<()> {
    let marker = folder.join(".refit-demo");
    if folder.exists() && !marker.exists() && folder.read_dir()?.next().is_some() {
        bail!("{} is not empty and not a demo's: name another folder with --home", folder.display());
    }
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("{} cannot be emptied", folder.display()))?;
    }
    std::fs::create_dir_all(folder)?;
    Ok(std::fs::write(marker, "")?)
}

fn spec(port: u16) -> String {
    include_str!("refit.toml").replace("{port}", &port.to_string()).replace("{next}", &(port + 1).to_string())
}
