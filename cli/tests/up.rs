//! `refit up` goes on where it was, however it ended, and leaves nothing running.

mod support;

use std::net::TcpListener;
use std::time::{Duration, Instant};
use support::{Background, free_ports, newsgroups, run, write_csv, write_topics_spec};

async fn until(what: &str, up: &Background, mut done: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !done().await {
        assert!(started.elapsed() < Duration::from_secs(120), "{what} took too long:\n{}", up.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "fetches a real model: cargo xtask test"]
async fn killed_at_any_time_it_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_ports();
    write_csv(&folder.path().join("topics.csv"), &newsgroups(&["rec.autos", "sci.space"], 240));
    let services =
        format!("[serve]\naddress = \"127.0.0.1:{port}\"\n[refit]\naddress = \"127.0.0.1:{}\"\n", port + 1);
    write_topics_spec(folder.path(), "method = \"full\"\nepochs = 1", &services);
    let start = || Background::start(folder.path(), &["up", "refit.toml"]);
    let ready = async || {
        let answer = reqwest::get(format!("http://127.0.0.1:{port}/v2/health/ready")).await;
        answer.is_ok_and(|answer| answer.status().is_success())
    };
    let trainings = |up: &Background| up.log().matches("trainable parameters").count();

    let mut up = start();
    until("the first training", &up, async || trainings(&up) == 1).await;
    up.kill();
    let artifacts = folder.path().join(".refit/artifacts/topics");
    assert!(!artifacts.join("1").exists(), "nothing is half-published");

    let mut up = start();
    until("the second training", &up, &ready).await;
    assert_eq!(trainings(&up), 2);
    up.kill();
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    until("the end of the services", &up, async || is_free(port) && is_free(port + 1)).await;

    let up = start();
    until("serving what is there", &up, &ready).await;
    assert_eq!(trainings(&up), 2, "what was trained is not trained again");
    let models = run(folder.path(), &["models", "refit.toml", "--json"]);
    let models: serde_json::Value = serde_json::from_slice(&models.stdout).expect("JSON");
    assert_eq!((&models[0]["version"], &models[0]["role"]), (&"1".into(), &"champion".into()), "{models}");
    assert_eq!(models.as_array().expect("a list").len(), 1);
}
