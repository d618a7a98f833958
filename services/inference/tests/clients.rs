//! Clients that refit did not write.

mod service;

use std::{path::PathBuf, process::Command};

use service::{Toy, fixed};

fn script(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "..", "tests", "clients", name].iter().collect()
}

async fn run(mut command: Command) {
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("ok: "), "{out}\n{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn curl() {
    let (service, _folder) = fixed(Toy::default(), |_| {}).await;
    let mut command = Command::new("sh");
    command.arg(script("raw_text.sh")).args([service.url.as_str(), "toy"]);
    run(command).await;
}

/// The first `python3` on the path has `tritonclient[http]` under `cargo xtask test`, which says so with
/// `REFIT_REQUIRE_PARTS`; elsewhere it may not.
#[tokio::test(flavor = "multi_thread")]
async fn tritonclient() {
    let mut probe = Command::new("python3");
    let has_client =
        probe.args(["-c", "import tritonclient.http"]).output().is_ok_and(|it| it.status.success());
    if !has_client {
        assert!(std::env::var_os("REFIT_REQUIRE_PARTS").is_none(), "python3 has no tritonclient[http]");
        eprintln!("not run: python3 has no tritonclient[http]");
        return;
    }
    let (service, _folder) = fixed(Toy::default(), |_| {}).await;
    let mut command = Command::new("python3");
    command.arg(script("oip_http.py")).args([service.url.strip_prefix("http://").unwrap(), "toy"]);
    run(command).await;
}
