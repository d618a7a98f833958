//! From configuration to a listening service, and its orderly end.

use std::{future::Future, net::SocketAddr, sync::Arc, thread, time::Duration};

use refit_engine::Device;
use refit_metrics::Registry;
use refit_predictor::Engines;
use refit_store::Store;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use crate::{
    MetricFamily, ServeConfig, ServeError, Source,
    access::{Access, Buckets, Rate},
    app::{App, Models, RequestMetrics},
    background,
    cache::{Answers, CacheMetrics},
    catalog::{Catalog, Memory, Origin},
    connections::{Bounds, ConnectionMetrics, Connections},
    deployed::DeploymentMetrics,
    error::chain,
    events::{EventMetrics, Events},
    follow,
    job::Outlets,
    limits::Limits,
    loaded::Loader,
    memory::GiveBack,
    monitor::MonitorMetrics,
    numa::Placement,
    process::ProcessMetrics,
    queue::{LineLimits, Queue},
    recorder::{Recorder, RecorderMetrics, Sinks},
    reload, routes,
    sampling::Sampler,
    scheduling::Curves,
    shadow::Shadows,
    spool::Spool,
    telemetry::Telemetry,
    tls::Tls,
    workers::{self, WorkMetrics, Workplace},
};

/// A service that has its address and is about to serve.
pub struct Server {
    config: ServeConfig,
    connections: Connections,
    monitoring: Option<Connections>,
    app: Arc<App>,
    workers: Vec<thread::JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
    background: JoinSet<()>,
}

impl Server {
    /// Takes the address, opens the store, starts the worker threads, and begins to load what is to be served. With
    /// [`Source::Home`] the models load while the service already runs, and it is ready once they are; a single
    /// artifact is loaded before this returns, and an error if it cannot be.
    pub async fn bind(mut config: ServeConfig) -> Result<Self, ServeError> {
        let listener = listen(config.address)?;
        let engines = Engines::discover(&config.engines);
        let placement = Arc::new(place(&mut config, &engines)?);
        let registry = Registry::new();
        let work_metrics = WorkMetrics::register(&registry)?;
        let deployment_metrics = DeploymentMetrics::register(&registry)?;
        let sinks = sinks(&config, &registry)?;
        let loader = Loader {
            engines,
            form: config.form.clone(),
            placement: Arc::clone(&placement),
            curves: Curves::default(),
            monitor: config.monitor,
            work_metrics: work_metrics.clone(),
            monitor_metrics: MonitorMetrics::register(&registry)?,
            give_back: GiveBack { collect: config.collect },
        };
        let models = Models::default();
        let mut background = JoinSet::new();
        let Opened { origin, store, recorder, writer } = Opened::of(&config, sinks, &mut background).await?;
        let memory = Memory { budget: config.memory_budget, pinned: config.pinned.clone() };
        let catalog = Arc::new(Catalog::new(origin, loader, models.clone(), deployment_metrics, memory));
        match &config.source {
            Source::Home(_) => {
                background.spawn(follow::run(Arc::clone(&catalog), config.poll));
            }
            Source::Artifact(_) => catalog.begin_with_artifact().await?,
        }
        let connection_metrics = ConnectionMetrics::register(&registry)?;
        let telemetry =
            config.telemetry.as_ref().map(|spec| Telemetry::start(spec, &registry)).transpose()?;
        let outlets = Outlets { recorder, shadows: Shadows::start(&registry)? };
        let queue = Arc::new(Queue::register(line_limits(&config), &registry)?);
        let workplace = Workplace {
            queue: Arc::clone(&queue),
            outlets: outlets.clone(),
            metrics: work_metrics,
            limit: config.p99.unwrap_or(config.deadline),
        };
        let workers = workers::start(&placement, &workplace).map_err(ServeError::Thread)?;
        let limits = Arc::new(Limits::register(&config.limits, &registry)?);
        let cache_metrics = CacheMetrics::register(&registry)?;
        let app = Arc::new(App {
            models,
            queue,
            store,
            outlets,
            answers: (config.cache_bytes > 0 || config.coalesce)
                .then(|| Answers::new(config.cache_bytes, cache_metrics)),
            catalog,
            metrics: RequestMetrics::register(&registry)?,
            process: ProcessMetrics::register(&registry)?,
            registry,
            max_body_bytes: config.max_body_bytes,
            deadline: config.deadline,
            accuracy_labels: config.monitor.accuracy_labels,
            draining: watch::Sender::new(false),
            workers: config.workers.max(1),
            access: Access::open(config.tokens.as_deref())?,
            buckets: Buckets::new(rate(&config)),
            limits,
            log_payloads: config.log_payloads,
            telemetry,
        });
        background.spawn(background::judge(app.models.clone()));
        let tls = config.tls.as_ref().map(Tls::load).transpose()?.map(Arc::new);
        watch_files(&config, &app, tls.as_ref(), &mut background);
        let monitoring = monitoring(&config, &connection_metrics).await?;
        let connections =
            Connections { listener, tls, bounds: Bounds::new(&config.limits), metrics: connection_metrics };
        Ok(Self { config, connections, monitoring, app, workers, writer, background })
    }

    /// Where health and metrics are answered too, if anywhere.
    pub fn monitoring_address(&self) -> Result<Option<SocketAddr>, ServeError> {
        let address = self.monitoring.as_ref().map(|monitoring| monitoring.listener.local_addr());
        address.transpose().map_err(ServeError::Http)
    }

    /// Every metric that it may tell.
    pub fn metric_families(&self) -> Vec<MetricFamily> {
        self.app.registry.inventory()
    }

    /// Where it listens.
    pub fn address(&self) -> Result<SocketAddr, ServeError> {
        self.connections.listener.local_addr().map_err(ServeError::Http)
    }

    /// Serves until `shutdown` is done, then drains: readiness falls, connections are taken for a while longer,
    /// requests under way are answered, and what was recorded is written.
    pub async fn run(
        mut self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        let scheme = if self.connections.tls.is_some() { "https" } else { "http" };
        tracing::info!(address = %self.address()?, scheme, workers = self.workers.len(), "listening");
        if !self.app.access.asks() && !self.address()?.ip().is_loopback() {
            tracing::warn!(
                "whoever reaches this address may ask: set `serve.tokens`, or let nobody else reach it"
            );
        }
        let (stop, stopped) = watch::channel(false);
        let mut http = tokio::spawn(self.connections.serve(routes::router(&self.app), stopped));
        // Nobody stops it before the very end, so that the end can be watched.
        let (_open, never) = watch::channel(false);
        let monitoring = self
            .monitoring
            .take()
            .map(|monitoring| tokio::spawn(monitoring.serve(routes::monitoring(&self.app), never)));
        tokio::select! {
            () = shutdown => {}
            ended = &mut http => return http_ended(ended),
        }
        tracing::info!("draining");
        self.app.draining.send_replace(true);
        tokio::time::sleep(self.config.drain.delay).await;
        let _ = stop.send(true);
        match tokio::time::timeout(self.config.drain.timeout, &mut http).await {
            Ok(ended) => http_ended(ended)?,
            Err(_) => {
                tracing::warn!("requests were still under way at the end of the drain timeout");
                http.abort();
            }
        }
        if let Some(monitoring) = monitoring {
            monitoring.abort();
            let _ = monitoring.await;
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

/// Connections that may wait to be taken; the system may allow fewer. With the usual 128 a burst of new clients waits
/// seconds, until they knock again.
const BACKLOG: u32 = 4096;

fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // Elsewhere it lets several processes listen at once.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound().map_err(|source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AddrInUse => ServeError::AddressInUse { address },
        _ => ServeError::Bind { address, source },
    })
}

fn http_ended(ended: Result<(), tokio::task::JoinError>) -> Result<(), ServeError> {
    ended.map_err(|error| ServeError::Http(std::io::Error::other(error)))
}

/// Where versions come from, and what a home has beside them.
struct Opened {
    origin: Origin,
    store: Option<Store>,
    recorder: Option<Recorder>,
    writer: Option<JoinHandle<()>>,
}

impl Opened {
    async fn of(
        config: &ServeConfig,
        sinks: Sinks,
        background: &mut JoinSet<()>,
    ) -> Result<Self, ServeError> {
        let home = match &config.source {
            Source::Home(home) => home,
            Source::Artifact(path) => {
                let origin = Origin::Artifact(path.clone());
                return Ok(Self { origin, store: None, recorder: None, writer: None });
            }
        };
        let store = Store::open_home(home).await?;
        let folder = home.join(SPOOL);
        let spool = Spool::open(&folder, config.sampling.spool_bytes)
            .map_err(|source| ServeError::Spool { path: folder, source })?;
        let (recorder, writer) = Recorder::start(store.clone(), spool, &config.record, sinks);
        background.spawn(background::prune(store.clone(), config.record));
        let origin = Origin::Store { store: store.clone(), home: home.clone() };
        Ok(Self { origin, store: Some(store), recorder: Some(recorder), writer: Some(writer) })
    }
}

/// Says what computes, and decides how many threads work for it and where.
fn place(config: &mut ServeConfig, engines: &Engines) -> Result<Placement, ServeError> {
    let computing = engines.computing().map_err(|reason| ServeError::Device { reason: reason.to_owned() })?;
    tracing::info!(device = computing.device.name(), reason = computing.reason, "computing");
    if computing.device == Device::Cpu {
        return Ok(Placement::of_this_machine(config.workers, config.cores));
    }
    // The weights are on the GPU, and a lone text has all of it anyway.
    (config.workers, config.cores) = (config.gpu_workers, 1);
    Ok(Placement::anywhere(config.workers, config.cores))
}

fn line_limits(config: &ServeConfig) -> LineLimits {
    let workers = config.workers.max(1);
    let runs = config.runs_per_model.unwrap_or(workers).clamp(1, workers);
    LineLimits { line: config.queue, runs, workers }
}

/// The second listener, if there is to be one.
async fn monitoring(
    config: &ServeConfig,
    metrics: &ConnectionMetrics,
) -> Result<Option<Connections>, ServeError> {
    let Some(address) = config.monitoring else { return Ok(None) };
    let listener = listen(address)?;
    let bounds = Bounds::new(&config.limits);
    Ok(Some(Connections { listener, tls: None, bounds, metrics: metrics.clone() }))
}

/// The folder of the home that holds what waits for the store.
const SPOOL: &str = "spool";

fn sinks(config: &ServeConfig, registry: &Registry) -> Result<Sinks, ServeError> {
    let sampling = &config.sampling;
    let metrics = EventMetrics::register(registry)?;
    let events = sampling
        .events
        .as_ref()
        .map(|address| Events::start(address.clone(), sampling.events_mode, metrics).0);
    Ok(Sinks {
        sampler: Sampler::register(sampling, registry)?,
        events,
        metrics: RecorderMetrics::register(registry)?,
    })
}

fn rate(config: &ServeConfig) -> Option<Rate> {
    config.limits.requests_per_second.map(|per_second| Rate::new(per_second, config.limits.burst))
}

/// Reads tokens and certificate again when their files change.
fn watch_files(config: &ServeConfig, app: &Arc<App>, tls: Option<&Arc<Tls>>, background: &mut JoinSet<()>) {
    if let Some(file) = &config.tokens {
        let (app, file) = (Arc::clone(app), file.clone());
        background.spawn(reload::watch(vec![file.clone()], move || match app.access.reload() {
            Ok(()) => app.metrics.reloaded(reload::TOKENS, true),
            Err(error) => {
                app.metrics.reloaded(reload::TOKENS, false);
                let error = chain(&error);
                tracing::error!(file = %file.display(), error, "the tokens of before stay in use");
            }
        }));
    }
    if let Some(tls) = tls {
        let (app, tls) = (Arc::clone(app), Arc::clone(tls));
        background.spawn(reload::watch(tls.files(), move || match tls.reload() {
            Ok(()) => app.metrics.reloaded(reload::CERTIFICATE, true),
            Err(error) => {
                app.metrics.reloaded(reload::CERTIFICATE, false);
                tracing::error!(error = chain(&error), "the certificate of before stays in use");
            }
        }));
    }
}

/// The most that a text under way may still take once nobody waits for it.
const LAST_TEXT: Duration = Duration::from_secs(5);

/// Ends the worker threads, then the writer, which ends once nobody can record any more, then the store.
async fn finish(app: Arc<App>, workers: Vec<thread::JoinHandle<()>>, writer: Option<JoinHandle<()>>) {
    app.queue.close();
    let joined =
        tokio::task::spawn_blocking(move || workers.into_iter().for_each(|worker| drop(worker.join())));
    let _ = tokio::time::timeout(LAST_TEXT, joined).await;
    if let Some(recorder) = &app.outlets.recorder {
        recorder.flush().await;
    }
    if let Some(telemetry) = &app.telemetry {
        telemetry.stop().await;
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
