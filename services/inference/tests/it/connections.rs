//! Connections that are slow, silent, too many, too large or half: each costs its client, and the others are answered.

use std::time::{Duration, Instant};

use crate::service::{Service, Toy, fixed};
use refit_inference::ServeConfig;
use reqwest::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

async fn connect(service: &Service) -> TcpStream {
    TcpStream::connect(service.url.strip_prefix("http://").unwrap()).await.unwrap()
}

/// All that the service sends until it closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end too.
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await.unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn quick(config: &mut ServeConfig) {
    config.limits.header_timeout = refit_spec::Span(Duration::from_millis(600));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_arrive_ends_its_connection() {
    let (service, _folder) = fixed(Toy::default(), quick).await;
    let started = Instant::now();
    let mut silent = connect(&service).await;
    let mut half = connect(&service).await;
    half.write_all(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let mut preface = connect(&service).await;
    preface.write_all(b"PR").await.unwrap();
    let mut slow = connect(&service).await;
    let trickle = async {
        for byte in b"GET /v2/health/live HTTP/1.1\r\nhost: example.org\r\n" {
            if slow.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        rest(&mut slow).await
    };
    let (silent, half, preface, _slow) =
        tokio::join!(rest(&mut silent), rest(&mut half), rest(&mut preface), trickle);
    assert_eq!((silent.as_str(), preface.as_str()), ("", ""));
    assert!(half.is_empty() || half.starts_with("HTTP/1.1 408"), "{half}");
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(service.metric(r#"refit_connections_refused_total{reason="silent"}"#).await, Some(2.0));
    service.predict("good").await;
    service.until("they are gone", async || service.metric("refit_connections").await == Some(1.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_refused() {
    let (service, _folder) = fixed(Toy::default(), |config| config.limits.header_bytes = 8192).await;
    let mut large = connect(&service).await;
    let head = format!("GET /v2/health/live HTTP/1.1\r\nhost: x\r\nlarge: {}\r\n\r\n", "x".repeat(9000));
    large.write_all(head.as_bytes()).await.unwrap();
    assert!(rest(&mut large).await.starts_with("HTTP/1.1 431"));
    let mut fits = connect(&service).await;
    let head = format!(
        "GET /v2/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\nlarge: {}\r\n\r\n",
        "x".repeat(7000)
    );
    fits.write_all(head.as_bytes()).await.unwrap();
    assert!(rest(&mut fits).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_body_is_refused_and_holds_nobody_up() {
    let (service, _folder) =
        fixed(Toy::default(), |config| config.deadline = Duration::from_millis(500)).await;
    let head = "POST /v1/models/toy:predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 100\r\n\r\n{\"text\": ";
    let mut left = connect(&service).await;
    left.write_all(head.as_bytes()).await.unwrap();
    left.shutdown().await.unwrap();
    let mut stalls = connect(&service).await;
    stalls.write_all(head.as_bytes()).await.unwrap();
    service.predict("good").await;
    let (left, stalls) = tokio::join!(rest(&mut left), rest(&mut stalls));
    assert!(left.is_empty() || left.starts_with("HTTP/1.1 400"), "{left}");
    assert!(stalls.starts_with("HTTP/1.1 408") && stalls.contains("did not arrive in time"), "{stalls}");
    service.predict("good").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_connections_than_allowed() {
    let (service, _folder) = fixed(Toy::default(), |config| config.limits.connections = 4).await;
    service.predict("good").await;
    let mut idle = Vec::new();
    for _ in 0..3 {
        let mut stream = connect(&service).await;
        stream.write_all(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        idle.push(stream);
    }
    let mut fifth = connect(&service).await;
    let refused = rest(&mut fifth).await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.ends_with("try again soon\"}"), "{refused}");
    // Those that are there are answered.
    service.predict("good").await;
    drop(idle);
    service
        .until("there is room", async || {
            // Until there is, a new connection of the client is refused too.
            let Ok(answer) = service.client.get(format!("{}/metrics", service.url)).send().await else {
                return false;
            };
            let text = answer.text().await.unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("refit_connections "));
            line.is_some_and(|connections| {
                connections.parse().is_ok_and(|connections: f64| connections < 4.0)
            })
        })
        .await;
    assert_eq!(
        reqwest::get(format!("{}/v2/health/live", service.url)).await.unwrap().status(),
        StatusCode::OK
    );
    let refused = service.metric(r#"refit_connections_refused_total{reason="too_many"}"#).await;
    assert!(refused >= Some(1.0), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_is_spoken_on_the_same_port() {
    let (service, _folder) = fixed(Toy::default(), |_| {}).await;
    let mut stream = connect(&service).await;
    // The preface, and settings that are empty.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").await.unwrap();
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame[3], 4, "settings come first");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_hold_up_the_end() {
    let (service, _folder) = fixed(Toy::default(), |_| {}).await;
    let mut silent = connect(&service).await;
    let mut kept = connect(&service).await;
    kept.write_all(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 15];
    kept.read_exact(&mut answer).await.unwrap();
    let started = Instant::now();
    service.stop().await.unwrap().unwrap();
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(rest(&mut silent).await, "");
    rest(&mut kept).await;
}
