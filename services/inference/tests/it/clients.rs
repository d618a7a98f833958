//! Clients that refit did not write.

use std::{
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use crate::service::{Service, Toy, fixed};

fn script(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "..", "tests", "clients", name].iter().collect()
}

/// What a client says, which must be well.
async fn run(mut command: Command) -> String {
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    out.into_owned()
}

/// The first `python3` on the path has `module` under `cargo xtask test`, which says so with `REFIT_REQUIRE_PARTS`;
/// elsewhere it may not.
fn has(module: &str) -> bool {
    let has = Command::new("python3").args(["-c", &format!("import {module}")]).output();
    let has = has.is_ok_and(|it| it.status.success());
    if !has {
        assert!(std::env::var_os("REFIT_REQUIRE_PARTS").is_none(), "python3 has no {module}");
        eprintln!("not run: python3 has no {module}");
    }
    has
}

/// A script that is given the service's address and the model's name.
fn python(service: &Service, name: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(script(name)).args([service.url.strip_prefix("http://").unwrap(), "toy"]);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn curl() {
    let (service, _folder) = fixed(Toy::default(), |_| {}).await;
    let mut command = Command::new("sh");
    command.arg(script("raw_text.sh")).args([service.url.as_str(), "toy"]);
    assert!(run(command).await.contains("ok: "));
}

#[tokio::test(flavor = "multi_thread")]
async fn tritonclient_http() {
    if has("tritonclient.http") {
        let (service, _folder) = fixed(Toy::default(), |_| {}).await;
        assert!(run(python(&service, "oip_http.py")).await.contains("ok: asynchronous"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tritonclient_grpc() {
    if has("tritonclient.grpc") {
        let (service, _folder) = fixed(Toy::default(), |_| {}).await;
        assert!(run(python(&service, "oip_grpc.py")).await.contains("ok: health, watched"));
    }
}

/// Readiness falls, what is asked is answered, and an open stream does not hold up the end.
#[tokio::test(flavor = "multi_thread")]
async fn tritonclient_grpc_while_the_service_stops() {
    if !has("tritonclient.grpc") {
        return;
    }
    let (service, _folder) = fixed(Toy::default(), |config| {
        config.drain.delay = Duration::from_secs(2);
    })
    .await;
    let mut client = python(&service, "oip_grpc_drain.py").stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(client.stdout.take().unwrap());
    let mut first = String::new();
    let (first, mut said) = tokio::task::spawn_blocking(move || {
        said.read_line(&mut first).unwrap();
        (first, said)
    })
    .await
    .unwrap();
    assert_eq!(first, "ok: streaming\n");
    let ended = tokio::time::timeout(Duration::from_secs(15), service.stop()).await;
    let rest = tokio::task::spawn_blocking(move || {
        let mut rest = String::new();
        said.read_to_string(&mut rest).unwrap();
        assert!(client.wait().unwrap().success(), "{rest}");
        rest
    });
    assert!(rest.await.unwrap().contains("ok: the stream is told"));
    ended.expect("the stream held up the end").unwrap().unwrap();
}

/// The same with a toy that embeds.
#[tokio::test(flavor = "multi_thread")]
async fn openai() {
    if has("openai") {
        let (service, _folder) = fixed(Toy { embeds: true, ..Toy::default() }, |_| {}).await;
        assert!(run(python(&service, "openai_embeddings.py")).await.contains("ok: base64"));
    }
}

/// Requests made up from the description, right ones and wrong ones: no answer is a failure of the service, and none is
/// other than described. 501 is what the description promises for what is not supported.
#[tokio::test(flavor = "multi_thread")]
async fn schemathesis() {
    if !has("schemathesis") {
        return;
    }
    let (service, folder) = fixed(Toy::default(), |_| {}).await;
    let mut command = Command::new("python3");
    command.current_dir(folder.path()).args(["-m", "schemathesis.cli", "--config-file"]);
    command.arg(script("schemathesis.toml")).arg("run").arg(format!("{}/openapi.json", service.url));
    let out = run(command).await;
    // "6515 generated, 6515 passed": what it warns of is no failure.
    let counts = out.lines().find_map(|line| line.trim().split_once(" generated, "));
    let (generated, rest) = counts.unwrap_or_else(|| panic!("{out}"));
    assert_eq!(rest, format!("{generated} passed"), "{out}");
    assert!(generated.parse::<usize>().is_ok_and(|generated| generated > 500), "{out}");
    assert_eq!(service.predict("good film").await["label"], "positive");
}
