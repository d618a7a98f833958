//! A service as an operator guards it: tokens from the command, TLS with a certificate by openssl, asked by curl; and what
//! its log holds.

mod served;
mod support;

use served::Home;
use std::path::Path;
use std::process::Command;
use support::run;

const QUESTION: &str = "{\"text\": \"good film nobody else may read\"}";

/// Status and body of a request by curl with these arguments.
fn curl(arguments: &[&str]) -> (String, String) {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "10", "--write-out", "\n%{http_code}"])
        .args(arguments)
        .output()
        .expect("curl starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap_or_default();
    (status.to_owned(), body.to_owned())
}

fn token(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, &[&["token"], arguments, &["--file", "tokens.txt"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_over_tls_and_not_otherwise() {
    let monitoring = support::free_ports();
    let home = Home::new(&format!(
        "tokens = \"tokens.txt\"\nmonitoring = \"127.0.0.1:{monitoring}\"\n\
         tls = {{ certificate = \"certificate.pem\", key = \"key.pem\" }}"
    ))
    .await;
    let folder = home.folder.path();
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-keyout", "key.pem", "-out", "certificate.pem", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .current_dir(folder)
        .output()
        .expect("openssl starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let asks = token(folder, &["asks", "--scope", "predict"]);
    let file = std::fs::read_to_string(folder.join("tokens.txt")).expect("readable");
    assert!(file.starts_with("asks predict sha256:") && !file.contains(&asks), "{file}");

    let mut service = home.start();
    let ready = format!("http://127.0.0.1:{monitoring}/v2/health/ready");
    home.until("it is ready", &service, async || curl(&[&ready]).0 == "200").await;
    let url = format!("{}/v1/models/toy:predict", home.url.replace("http://", "https://"));
    let certificate = folder.join("certificate.pem").display().to_string();
    let post = |more: &[&str]| {
        let usual = ["--cacert", &certificate, "--json", QUESTION, &url];
        curl(&[&usual[..], more].concat())
    };
    assert_eq!(post(&[]).0, "401");
    let shown = format!("authorization: Bearer {asks}");
    for version in ["--http1.1", "--http2"] {
        let (status, body) = post(&["--header", &shown, version]);
        assert!(status == "200" && body.contains("\"positive\""), "{version}: {status} {body}");
    }
    // Nobody vouches for the certificate, so without naming it there is no answer at all.
    assert_eq!(curl(&["--json", QUESTION, &url]).0, "000");

    // Withdrawn while it runs.
    let next = token(folder, &["next", "--rate", "0.5", "--burst", "1"]);
    let file = std::fs::read_to_string(folder.join("tokens.txt")).expect("readable");
    let kept: Vec<&str> = file.lines().filter(|line| !line.starts_with("asks ")).collect();
    std::fs::write(folder.join("tokens.txt"), kept.join("\n")).expect("writable");
    home.until("the old token is withdrawn", &service, async || post(&["--header", &shown]).0 == "401").await;
    let shown = format!("authorization: Bearer {next}");
    assert_eq!(
        (post(&["--header", &shown]).0.as_str(), post(&["--header", &shown]).0.as_str()),
        ("200", "429")
    );
    let (status, metrics) = curl(&[&format!("http://127.0.0.1:{monitoring}/metrics")]);
    assert!(status == "200" && metrics.contains("refit_requests_rejected_total{reason=\"rate_limited\"} 1"));
    service.stop();
    assert!(!service.log().contains("nobody else may read"), "{}", service.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_holds_ids_and_holds_texts_only_when_asked() {
    for (setting, held) in [("", false), ("log_payloads = true", true)] {
        let home = Home::new(setting).await;
        let mut service = home.serve().await;
        let url = format!("{}/v1/models/toy:predict", home.url);
        let trace = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let headers = ["--header", "x-request-id: order-17", "--header", trace];
        assert_eq!(curl(&[&["--json", QUESTION, &url], &headers[..]].concat()).0, "200");
        // One that fails is in the log in any case.
        let boom = format!("{{\"text\": \"{}\"}}", served::OUTSIDE);
        assert_eq!(curl(&[&["--json", &boom, &url], &headers[..]].concat()).0, "500");
        service.stop();
        let log = service.log();
        assert_eq!(log.contains("nobody else may read"), held, "{log}");
        // What a panic prints is no line of the log.
        let lines: Vec<serde_json::Value> = log
            .lines()
            .filter(|line| line.starts_with('{'))
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
            .collect();
        let failed = lines.iter().find(|line| line["fields"]["status"] == 500 && line["level"] == "WARN");
        let failed = failed.unwrap_or_else(|| panic!("the failure is not in {log}"));
        assert_eq!(failed["span"]["request_id"], "order-17");
        assert_eq!(failed["span"]["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    }
}
