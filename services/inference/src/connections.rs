//! Takes connections and keeps each in its bounds: how many there are, how long a head may take to arrive, how large it
//! is. HTTP/1.1 and HTTP/2 on one port, with or without TLS, so that a gRPC client is served like any other.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts};
use refit_metrics::Registry;
use refit_spec::LimitsSpec;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tower::Service;

use crate::{layers::Peer, tls::Tls};

/// A listener with the bounds of its connections.
pub(crate) struct Connections {
    pub listener: TcpListener,
    pub tls: Option<Arc<Tls>>,
    pub bounds: Bounds,
    pub metrics: ConnectionMetrics,
}

/// What one connection may take up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub connections: usize,
    pub header_timeout: Duration,
    pub header_bytes: usize,
}

/// Counts of connections.
#[derive(Clone)]
pub(crate) struct ConnectionMetrics {
    open: IntGauge,
    refused: IntCounterVec,
    accept_failures: IntCounter,
}

impl ConnectionMetrics {
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let open = IntGauge::new("refit_connections", "Connections that are open.")?;
        let refused = IntCounterVec::new(
            Opts::new(
                "refit_connections_refused_total",
                "Connections that were closed: too_many, silent (no request arrived in time), handshake (of TLS).",
            ),
            &["reason"],
        )?;
        let accept_failures = IntCounter::new(
            "refit_accept_failures_total",
            "Times that the system gave no connection, most often because too many files are open.",
        )?;
        for reason in [TOO_MANY, SILENT, HANDSHAKE] {
            refused.with_label_values(&[reason]);
        }
        registry.register(Box::new(open.clone()))?;
        registry.register(Box::new(refused.clone()))?;
        registry.register(Box::new(accept_failures.clone()))?;
        Ok(Self { open, refused, accept_failures })
    }
}

const TOO_MANY: &str = "too_many";
const SILENT: &str = "silent";
const HANDSHAKE: &str = "handshake";
/// How long nothing is accepted after the system gave no connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const SMALLEST_BUFFER: usize = 64 << 10;
/// Requests of one HTTP/2 connection at once.
const MOST_STREAMS: u32 = 256;

impl Bounds {
    /// Those of the spec, with a quarter of the files that the process may open left for models and the store.
    pub fn new(limits: &LimitsSpec) -> Self {
        let room = open_files().map_or(usize::MAX, |files| files / 4 * 3);
        if room < limits.connections {
            tracing::warn!(connections = room, "the limit of open files leaves room for so many connections");
        }
        Self {
            connections: limits.connections.min(room).max(1),
            header_timeout: limits.header_timeout.0,
            header_bytes: limits.header_bytes,
        }
    }
}

/// The soft limit of open files, where the system tells.
fn open_files() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

impl Connections {
    /// Serves until `stop` turns true, then takes no more connections, answers what is under way and ends.
    pub async fn serve(self, router: Router, mut stop: watch::Receiver<bool>) {
        let mut open = JoinSet::new();
        let for_each = stop.clone();
        loop {
            tokio::select! {
                () = asked(&mut stop) => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) if open.len() < self.bounds.connections => {
                        open.spawn(self.connection(stream, peer, router.clone(), for_each.clone()));
                    }
                    Ok((stream, _)) => {
                        self.metrics.refused.with_label_values(&[TOO_MANY]).inc();
                        refuse(&stream);
                    }
                    Err(error) => self.cannot_accept(&error).await,
                },
                Some(_) = open.join_next() => {}
            }
        }
        drop(self.listener);
        while open.join_next().await.is_some() {}
    }

    async fn cannot_accept(&self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
        // Of a client that left while it waited: nothing is wrong here.
        if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
            return;
        }
        self.metrics.accept_failures.inc();
        tracing::error!(%error, "no connection can be taken now");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }

    fn connection(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        router: Router,
        stop: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (tls, bounds, metrics) = (self.tls.clone(), self.bounds, self.metrics.clone());
        async move {
            let _open = Open::count(&metrics.open);
            // Answers are small and whole: waiting to fill a packet would only delay them.
            let _ = stream.set_nodelay(true);
            let mut stopping = stop.clone();
            let begun = tokio::select! {
                begun = tokio::time::timeout(bounds.header_timeout, begin(stream, tls)) => begun,
                () = asked(&mut stopping) => return,
            };
            let refused = |reason: &str| metrics.refused.with_label_values(&[reason]).inc();
            match begun {
                Ok(Ok(Begun::Plain(stream, version))) => {
                    run(stream, version, bounds, peer, router, stop).await
                }
                Ok(Ok(Begun::Tls(stream, version))) => {
                    run(*stream, version, bounds, peer, router, stop).await
                }
                Ok(Err(Failed::Handshake)) => refused(HANDSHAKE),
                Ok(Err(Failed::Left)) => {}
                Err(_) => refused(SILENT),
            }
        }
    }
}

/// Done when the service is asked to stop.
async fn asked(stop: &mut watch::Receiver<bool>) {
    // An error means that nobody can ask any more, which is as good.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Counts a connection for as long as it is open.
struct Open(IntGauge);

impl Open {
    fn count(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A connection of which the protocol is known.
enum Begun {
    Plain(TcpStream, Version),
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>, Version),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Http1,
    Http2,
}

enum Failed {
    /// The client closed, or its network did.
    Left,
    /// TLS was not agreed on.
    Handshake,
}

/// Waits for the first bytes: hyper's own time limit begins only after them.
async fn begin(stream: TcpStream, tls: Option<Arc<Tls>>) -> Result<Begun, Failed> {
    if let Some(tls) = tls {
        let stream = tls.acceptor().accept(stream).await.map_err(|_| Failed::Handshake)?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let version = if is_http2 { Version::Http2 } else { Version::Http1 };
        return Ok(Begun::Tls(Box::new(stream), version));
    }
    // No method of HTTP/1.1 begins like HTTP/2's preface.
    const PREFACE: &[u8] = b"PRI";
    let mut first = [0; PREFACE.len()];
    loop {
        let count = stream.peek(&mut first).await.map_err(|_| Failed::Left)?;
        if count == 0 {
            return Err(Failed::Left);
        }
        if !PREFACE.starts_with(&first[..count]) {
            return Ok(Begun::Plain(stream, Version::Http1));
        }
        if count == PREFACE.len() {
            return Ok(Begun::Plain(stream, Version::Http2));
        }
        // What was seen stays readable, so there is nothing to wait for.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn run(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    version: Version,
    bounds: Bounds,
    peer: SocketAddr,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        router.clone().call(request)
    });
    let io = TokioIo::new(stream);
    // An error here is the client's: it left, or did not speak HTTP, and hyper has told it.
    match version {
        Version::Http1 => {
            let mut builder = hyper::server::conn::http1::Builder::new();
            let builder = builder
                .timer(TokioTimer::new())
                .header_read_timeout(bounds.header_timeout)
                .max_header_size(bounds.header_bytes)
                // What the size is not known of yet: a head that has no end.
                .max_buf_size(bounds.header_bytes.max(SMALLEST_BUFFER));
            let mut connection = std::pin::pin!(builder.serve_connection(io, service));
            tokio::select! {
                _ = connection.as_mut() => {}
                () = asked(&mut stop) => {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            }
        }
        Version::Http2 => {
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let builder = builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(MOST_STREAMS)
                .max_header_list_size(u32::try_from(bounds.header_bytes).unwrap_or(u32::MAX))
                // A client that is gone without a word answers no ping.
                .keep_alive_interval(bounds.header_timeout)
                .keep_alive_timeout(bounds.header_timeout);
            let mut connection = std::pin::pin!(builder.serve_connection(io, service));
            tokio::select! {
                _ = connection.as_mut() => {}
                () = asked(&mut stop) => {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            }
        }
    }
}

/// Tells a client that there are too many, if it listens, and closes.
fn refuse(stream: &TcpStream) {
    const ANSWER: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
        connection: close\r\ncontent-length: 57\r\n\r\n{\"error\":\"too many connections are open: try again soon\"}";
    let _ = stream.try_write(ANSWER.as_bytes());
}
