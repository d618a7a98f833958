//! From configuration to a listening service, and its orderly end.

use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::routes::{Context, router};
use crate::{TrainerConfig, TrainerError, process};
use refit_metrics::Registry;
use std::fs::{File, TryLockError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Serves until `shutdown` is done; runs that are under way keep their state then, and go on after the next start.
///
/// # Errors
/// When the home or the address cannot be taken.
pub async fn run(
    config: TrainerConfig,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), TrainerError> {
    if config.token.is_none() && !config.address.ip().is_loopback() {
        return Err(TrainerError::Open { address: config.address });
    }
    for name in &config.devices {
        let is_gpu = name.strip_prefix("cuda:").is_some_and(|index| index.parse::<u16>().is_ok());
        if name != "cpu" && !is_gpu {
            return Err(TrainerError::Device { name: name.clone() });
        }
    }
    let _lock = lock(&config)?;
    let registry = Registry::new();
    let metrics = Metrics::register(&registry)?;
    let address = config.address;
    let devices = config.devices.clone();
    let queue = Arc::new(Queue::open(config, metrics)?);
    let listener = tokio::net::TcpListener::bind(address).await;
    let listener = listener.map_err(|source| TrainerError::Bind { address, source })?;
    let address = listener.local_addr().map_err(TrainerError::Serve)?;
    tracing::info!(devices = devices.join(", "), "the trainer listens at http://{address}");

    let (stop, stopped) = watch::channel(false);
    let mut work = JoinSet::new();
    for device in devices {
        work.spawn(process::work(queue.clone(), device, stopped.clone()));
    }
    let application = router(Context { queue, registry, stop: stopped.clone() });
    let mut ending = stopped.clone();
    let server = axum::serve(listener, application).with_graceful_shutdown(async move {
        let _ = ending.wait_for(|stop| *stop).await;
    });
    let mut server = tokio::spawn(server.into_future());
    let ended = tokio::select! {
        () = shutdown => None,
        ended = &mut server => Some(ended),
    };
    let _ = stop.send(true);
    while work.join_next().await.is_some() {}
    if let Some(ended) = ended {
        return ended.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(TrainerError::Serve);
    }
    // A reader that keeps its connection open must not keep the service.
    let _ = tokio::time::timeout(Duration::from_secs(5), server).await;
    Ok(())
}

/// One trainer a home: the lock is gone when its process is, however it ends.
fn lock(config: &TrainerConfig) -> Result<File, TrainerError> {
    let folder = config.runs();
    std::fs::create_dir_all(&folder).map_err(TrainerError::file(&folder))?;
    let path = config.home.join("trainer").join("lock");
    let file = File::create(&path).map_err(TrainerError::file(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(TrainerError::AlreadyRunning { home: config.home.clone() }),
        Err(TryLockError::Error(error)) => Err(TrainerError::file(path)(error)),
    }
}
