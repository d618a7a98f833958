//! Bodies and messages that nobody would send: the service answers each with a status of its own, never with a failure of its own, and
//! goes on.

use std::{collections::BTreeMap, path::Path, time::Duration};

use crate::service::Home;
use crate::service::{Service, Toy};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use refit_tests::fuzz::{Numbers, mutated};

const ROUTES: [(&str, &str); 5] = [
    ("/v1/models/toy:predict", "application/json"),
    ("/v2/models/toy/infer", "application/json"),
    ("/v2/models/toy/infer", "application/octet-stream"),
    ("/v2/models/toy/versions/1/infer", "application/json"),
    ("/v1/feedback", "application/json"),
];
const ROUNDS: usize = 1500;

fn seeds(of: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(of);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

async fn serving() -> (Service, Home) {
    let home = Home::new().await;
    home.register(&Toy::default()).await;
    home.promote("1").await;
    let service = Service::start(home.config()).await;
    service.until_ready().await;
    (service, home)
}

#[tokio::test(flavor = "multi_thread")]
async fn mutated_bodies_get_a_status_and_the_service_goes_on() {
    let (service, _home) = serving().await;
    let seeds = seeds("http");
    let mut numbers = Numbers(20_261_127);
    let mut statuses = BTreeMap::<u16, usize>::new();
    for round in 0..ROUNDS {
        let (path, kind) = ROUTES[round % ROUTES.len()];
        let seed = &seeds[numbers.below(seeds.len())];
        let body = mutated(seed, &seeds[numbers.below(seeds.len())], &mut numbers);
        let mut request = service.client.post(format!("{}{path}", service.url)).header("content-type", kind);
        if kind == "application/octet-stream" {
            // Near the end of the JSON part, where it is right or just wrong.
            let json = seed.iter().rposition(|&byte| byte == b'}').map_or(0, |at| at + 1);
            let length = (json + numbers.below(5)).saturating_sub(2);
            request = request.header("inference-header-content-length", length.to_string());
        }
        let shown = body.escape_ascii().to_string();
        let answer = request.body(body).timeout(Duration::from_secs(10)).send().await;
        let status = answer.unwrap_or_else(|error| panic!("{path} {shown}: {error}")).status().as_u16();
        assert!(status == 200 || (400..500).contains(&status), "{status} {path} {shown}");
        *statuses.entry(status).or_default() += 1;
    }
    eprintln!("{statuses:?}");
    // Some are good, some are no JSON, some are JSON of another shape.
    for status in [200, 400, 422] {
        assert!(statuses.contains_key(&status), "{statuses:?}");
    }
    assert_eq!(service.predict("good film").await["label"], "positive");
}

/// Calls of the protocol, each with a message in a frame of gRPC.
const CALLS: [&str; 4] = ["ModelInfer", "ModelStreamInfer", "ModelMetadata", "RepositoryIndex"];

#[tokio::test(flavor = "multi_thread")]
async fn mutated_messages_get_a_status_and_the_service_goes_on() {
    let (service, _home) = serving().await;
    let seeds = seeds("grpc");
    let mut numbers = Numbers(20_261_128);
    let mut statuses = BTreeMap::<String, usize>::new();
    let stream = tokio::net::TcpStream::connect(service.url.strip_prefix("http://").unwrap()).await.unwrap();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for round in 0..ROUNDS {
        let call = CALLS[round % CALLS.len()];
        let seed = &seeds[numbers.below(seeds.len())];
        let message = mutated(seed, &seeds[numbers.below(seeds.len())], &mut numbers);
        let shown = message.escape_ascii().to_string();
        let mut frame = BytesMut::new();
        // Not compressed, and now and then of another length than it says.
        frame.put_u8(u8::from(numbers.below(50) == 0));
        frame.put_u32((message.len() + numbers.below(30) / 28) as u32);
        frame.extend_from_slice(&message);
        let request = hyper::Request::post(format!("{}/inference.GRPCInferenceService/{call}", service.url))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::<Bytes>::new(frame.freeze()))
            .unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(10), client.send_request(request)).await;
        let answer =
            answer.expect("an answer in time").unwrap_or_else(|error| panic!("{call} {shown}: {error}"));
        let in_head = answer.headers().get("grpc-status").cloned();
        let body = answer.into_body().collect().await.unwrap();
        let in_trailers = body.trailers().and_then(|trailers| trailers.get("grpc-status").cloned());
        let status = in_head.or(in_trailers).unwrap_or_else(|| panic!("{call} {shown}: no status"));
        let status = status.to_str().unwrap().to_owned();
        // 2 is unknown and 13 internal: 13 is also what a frame that breaks off gets.
        assert!(status != "2", "{call} {shown}");
        *statuses.entry(status).or_default() += 1;
    }
    eprintln!("{statuses:?}");
    // Answered, of another shape, of an unknown model; the library calls what is no message at all internal.
    for status in ["0", "3", "5"] {
        assert!(statuses.contains_key(status), "{statuses:?}");
    }
    assert_eq!(service.predict("good film").await["label"], "positive");
}
