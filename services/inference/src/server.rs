//! From configuration to a listening service, and its orderly end.

use std::{
    collections::HashMap,
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use axum::serve::ListenerExt;
use prometheus::Registry;
use refit_predictor::Engines;
use refit_store::Store;
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::{JoinHandle, JoinSet},
};

use crate::{
    ServeConfig, ServeError, Source,
    app::{App, Models, RequestMetrics},
    background,
    follow::{DeploymentMetrics, Follower, fixed, install},
    loaded::Loader,
    monitor::MonitorMetrics,
    queue::Queue,
    recorder::{Recorder, RecorderMetrics},
    routes,
    workers::{self, WorkMetrics},
};

/// A service that has its address and is about to serve.
pub struct Server {
    config: ServeConfig,
    listener: TcpListener,
    app: Arc<App>,
    workers: Vec<thread::JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
    background: JoinSet<()>,
}

impl Server {
    /// Takes the address, opens the store, starts the worker threads, and begins to load what is to be served. With
    /// [`Source::Home`] the models load while the service already runs, and it is ready once they are; a single
    /// artifact is loaded before this returns, and an error if it cannot be.
    pub async fn bind(config: ServeConfig) -> Result<Self, ServeError> {
        let listener = listen(config.address).await?;
        let registry = Registry::new();
        let work_metrics = WorkMetrics::register(&registry)?;
        let deployment_metrics = DeploymentMetrics::register(&registry)?;
        let recorder_metrics = RecorderMetrics::register(&registry)?;
        let loader = Loader {
            engines: Engines::discover(&config.engines),
            form: config.form.clone(),
            workers: config.workers.max(1),
            monitor: config.monitor,
            work_metrics: work_metrics.clone(),
            monitor_metrics: MonitorMetrics::register(&registry)?,
        };
        let models = Models::default();
        let mut background = JoinSet::new();
        let (mut store, mut recorder, mut writer) = (None, None, None);
        match &config.source {
            Source::Home(home) => {
                let opened = Store::open_home(home).await?;
                let (sender, task) = Recorder::start(opened.clone(), &config.record, recorder_metrics);
                let follower = Follower {
                    store: opened.clone(),
                    home: home.clone(),
                    loader,
                    models: models.clone(),
                    metrics: deployment_metrics,
                    failed: HashMap::new(),
                    store_was_reachable: true,
                };
                background.spawn(follower.run(config.poll));
                background.spawn(background::prune(opened.clone(), config.record));
                (store, recorder, writer) = (Some(opened), Some(sender), Some(task));
            }
            Source::Artifact(path) => {
                let path = path.clone();
                let loaded = tokio::task::spawn_blocking(move || loader.load(&path, None))
                    .await
                    .unwrap_or_else(|error| Err(crate::LoadError::Panicked(error.to_string())))?;
                let model = models.get_or_add(&loaded.name);
                install(&model, fixed(loaded), &deployment_metrics);
            }
        }
        let queue = Arc::new(Queue::register(config.queue, &registry)?);
        let workers = workers::start(config.workers, &queue, recorder.as_ref(), &work_metrics)
            .map_err(ServeError::Thread)?;
        let app = Arc::new(App {
            models,
            queue,
            store,
            recorder,
            metrics: RequestMetrics::register(&registry)?,
            registry,
            max_body_bytes: config.max_body_bytes,
            deadline: config.deadline,
            accuracy_labels: config.monitor.accuracy_labels,
            draining: AtomicBool::new(false),
        });
        Ok(Self { config, listener, app, workers, writer, background })
    }

    /// Where it listens.
    pub fn address(&self) -> Result<SocketAddr, ServeError> {
        self.listener.local_addr().map_err(ServeError::Http)
    }

    /// Serves until `shutdown` is done, then drains: readiness falls, connections are taken for a while longer,
    /// requests under way are answered, and what was recorded is written.
    pub async fn run(
        mut self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        tracing::info!(address = %self.address()?, workers = self.workers.len(), "listening");
        let router = routes::router(&self.app);
        let (stop, stopped) = oneshot::channel::<()>();
        // Answers are small and whole: waiting to fill a packet would only delay them.
        let listener = self.listener.tap_io(|connection| {
            let _ = connection.set_nodelay(true);
        });
        let http = axum::serve(listener, router).with_graceful_shutdown(async {
            let _ = stopped.await;
        });
        let mut http = tokio::spawn(http.into_future());
        tokio::select! {
            () = shutdown => {}
            ended = &mut http => return http_ended(ended),
        }
        tracing::info!("draining");
        self.app.draining.store(true, Ordering::Relaxed);
        tokio::time::sleep(self.config.drain.delay).await;
        let _ = stop.send(());
        match tokio::time::timeout(self.config.drain.timeout, &mut http).await {
            Ok(ended) => http_ended(ended)?,
            Err(_) => {
                tracing::warn!("requests were still under way at the end of the drain timeout");
                http.abort();
            }
        }
        self.background.shutdown().await;
        finish(self.app, self.workers, self.writer).await;
        tracing::info!("stopped");
        Ok(())
    }
}

/// Serves until `shutdown` is done.
pub async fn run(
    config: ServeConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    Server::bind(config).await?.run(shutdown).await
}

/// Done when the process is asked to stop: SIGTERM or SIGINT. It listens from the call on, not from the first poll.
///
/// # Panics
/// Outside a tokio runtime.
pub fn stop_signal() -> impl Future<Output = ()> + Send + 'static {
    #[cfg(unix)]
    let terminate = {
        use tokio::signal::unix::{SignalKind, signal};
        [SignalKind::terminate(), SignalKind::interrupt()].map(signal)
    };
    async move {
        #[cfg(unix)]
        if let [Ok(mut terminate), Ok(mut interrupt)] = terminate {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            return;
        }
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => ServeError::AddressInUse { address },
        _ => ServeError::Bind { address, source },
    })
}

fn http_ended(ended: Result<std::io::Result<()>, tokio::task::JoinError>) -> Result<(), ServeError> {
    ended.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(ServeError::Http)
}

/// The most that a text under way may still take once nobody waits for it.
const LAST_TEXT: Duration = Duration::from_secs(5);

/// Ends the worker threads, then the writer, which ends once nobody can record any more, then the store.
async fn finish(app: Arc<App>, workers: Vec<thread::JoinHandle<()>>, writer: Option<JoinHandle<()>>) {
    app.queue.close();
    let joined =
        tokio::task::spawn_blocking(move || workers.into_iter().for_each(|worker| drop(worker.join())));
    let _ = tokio::time::timeout(LAST_TEXT, joined).await;
    if let Some(recorder) = &app.recorder {
        recorder.flush().await;
    }
    let store = app.store.clone();
    drop(app);
    if let Some(writer) = writer {
        let _ = tokio::time::timeout(LAST_TEXT, writer).await;
    }
    if let Some(store) = store {
        store.close().await;
    }
}
