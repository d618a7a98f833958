use std::{
    fs::{File, TryLockError},
    future::Future,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use refit_metrics::Registry;
use refit_store::Store;
use tokio::{net::TcpListener, sync::Notify};

use crate::{
    SchedulerConfig, SchedulerError, api,
    execute::Executor,
    metrics::Metrics,
    observe::Observer,
    plan,
    view::{Board, View},
};

/// Plans that follow one another without waiting for the next poll: from a trigger to a running child in one go.
const STEPS_A_TICK: usize = 8;
/// How far back decisions are counted when the scheduler starts.
const COUNTED_DECISIONS: u32 = 10_000;

/// A scheduler that listens and has not begun to look.
#[derive(Debug)]
pub struct Scheduler {
    config: SchedulerConfig,
    store: Store,
    listener: TcpListener,
    metrics: Metrics,
    registry: Registry,
    board: Board,
    wake: Arc<Notify>,
    counted: i64,
    _lock: File,
}

/// Runs the loop until `shutdown` is ready.
///
/// # Errors
/// When the home is in use by another scheduler, the store cannot be opened or the address is taken.
pub async fn run(
    config: SchedulerConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), SchedulerError> {
    Scheduler::start(config).await?.run(shutdown).await
}

impl Scheduler {
    /// Takes the home's lock, opens the store and listens.
    pub async fn start(config: SchedulerConfig) -> Result<Self, SchedulerError> {
        std::fs::create_dir_all(&config.home).map_err(SchedulerError::file("create", &config.home))?;
        let lock = lock(&config)?;
        let store = Store::open_home(&config.home).await?;
        let listener = TcpListener::bind(config.address)
            .await
            .map_err(|source| SchedulerError::Listen { address: config.address, source })?;
        let registry = Registry::new();
        let metrics = Metrics::register(&registry)?;
        metrics.know_kinds(config.model());
        Ok(Self {
            config,
            store,
            listener,
            metrics,
            registry,
            board: Board::new(),
            wake: Arc::new(Notify::new()),
            counted: 0,
            _lock: lock,
        })
    }

    /// Where the control API listens.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Runs the loop until `shutdown` is ready.
    ///
    /// # Errors
    /// When the control API's server fails. What goes wrong in the loop is logged, shown, and tried again.
    pub async fn run(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), SchedulerError> {
        let Self { config, store, listener, metrics, registry, board, wake, counted, _lock } = self;
        let application = api::router(api::Context {
            config: config.clone(),
            store: store.clone(),
            registry,
            board: board.clone(),
            wake: wake.clone(),
        });
        tracing::info!(
            model = config.model(),
            "the loop watches; console at http://{}",
            listener.local_addr().map_err(SchedulerError::Serve)?
        );
        let stop = Arc::new(Notify::new());
        let stopped = stop.clone();
        let server = axum::serve(listener, application).with_graceful_shutdown(async move {
            stopped.notified().await;
        });
        let mut server = tokio::spawn(server.into_future());
        let mut ticker = Ticker {
            observer: Observer::new(&config, &store),
            executor: Executor::new(&config, &store),
            config,
            store,
            metrics,
            board,
            counted,
        };
        let mut shutdown = std::pin::pin!(shutdown);
        let ended = loop {
            // A tick is not interrupted: its steps are short, and what it waits for has a deadline.
            ticker.tick().await;
            tokio::select! {
                () = &mut shutdown => break None,
                ended = &mut server => break Some(ended),
                () = wake.notified() => {}
                () = tokio::time::sleep(ticker.config.poll) => {}
            }
        };
        ticker.executor.stop().await;
        if let Some(ended) = ended {
            return ended
                .unwrap_or_else(|error| Err(std::io::Error::other(error)))
                .map_err(SchedulerError::Serve);
        }
        stop.notify_one();
        // A browser that keeps its connection open must not keep the scheduler.
        let _ = tokio::time::timeout(Duration::from_secs(5), &mut server).await;
        Ok(())
    }
}

struct Ticker {
    config: SchedulerConfig,
    store: Store,
    observer: Observer,
    executor: Executor,
    metrics: Metrics,
    board: Board,
    counted: i64,
}

impl Ticker {
    async fn tick(&mut self) {
        if let Err(error) = self.steps().await {
            let sentence = chain(&error);
            tracing::error!(
                model = self.config.model(),
                "{sentence}; trying again in {:?}",
                self.config.poll
            );
            self.board.show(Err(sentence));
        }
    }

    async fn steps(&mut self) -> Result<(), SchedulerError> {
        for _ in 0..STEPS_A_TICK {
            let mut observed = self.observer.observe().await?;
            let plan = plan::plan(&observed.state);
            tracing::debug!(model = %observed.state.model, "{plan}");
            match self.executor.carry_out(&mut observed, &plan).await {
                Err(error) if error.is_stale() => continue,
                done => done?,
            }
            self.count_decisions().await?;
            self.metrics.observed(&observed.state, &observed.memory.state);
            let idle = plan.actions.is_empty();
            self.board.show(Ok(View {
                drift: self.observer.drift_verdict().cloned(),
                wealth: self.observer.wealth_points(),
                state: observed.state,
                deployment: observed.deployment,
                memory: observed.memory.state,
                plan,
            }));
            if idle {
                break;
            }
        }
        Ok(())
    }

    /// Decisions are counted from the store, so those of other processes and those before a restart count too.
    async fn count_decisions(&mut self) -> Result<(), SchedulerError> {
        let limit = if self.counted == 0 { COUNTED_DECISIONS } else { 100 };
        for decision in self.store.decisions(Some(self.config.model()), limit).await? {
            if decision.sequence > self.counted {
                self.metrics.decided(&decision.model, &decision.kind);
                self.counted = decision.sequence;
            }
        }
        Ok(())
    }
}

/// One scheduler a home: the lock is gone when its process is, however it ends.
fn lock(config: &SchedulerConfig) -> Result<File, SchedulerError> {
    let path = config.home.join("scheduler.lock");
    let file = File::create(&path).map_err(SchedulerError::file("create", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SchedulerError::AlreadyRunning { home: config.home.clone() }),
        Err(TryLockError::Error(error)) => Err(SchedulerError::file("lock", path)(error)),
    }
}

/// An error with its causes as one sentence.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
