//! A topic that did not exist at training time: its label arrives as feedback, the loop learns it.

mod support;

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::{Background, Row, free_ports, newsgroups, run, write_csv, write_topics_spec};

const KNOWN: [&str; 2] = ["rec.autos", "sci.space"];
const NEW: &str = "sci.med";

struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    /// The label and version that answered.
    async fn ask(&self, text: &str) -> (String, String, String) {
        let url = format!("{}/v1/models/topics:predict", self.base);
        let answer = self.http.post(url).json(&json!({ "text": text })).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.status());
        let answer: Value = answer.json().await.expect("JSON");
        let field = |name: &str| answer[name].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        (field("prediction_id"), field("label"), field("version"))
    }

    async fn ask_and_correct(&self, (text, label): &Row) {
        let (id, _, _) = self.ask(text).await;
        let feedback = json!({ "prediction_id": id, "label": label });
        let url = format!("{}/v1/feedback", self.base);
        let taken = self.http.post(url).json(&feedback).send().await.expect("an answer");
        assert!(
            taken.status().is_success(),
            "{}: {}",
            taken.status(),
            taken.text().await.unwrap_or_default()
        );
    }

    async fn is_ready(&self) -> bool {
        let url = format!("{}/v2/health/ready", self.base);
        self.http.get(url).send().await.is_ok_and(|answer| answer.status().is_success())
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute and fetches a real model: cargo xtask test"]
async fn the_loop_learns_a_label_that_the_model_has_never_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_ports();
    write_csv(&folder.path().join("topics.csv"), &newsgroups(&KNOWN, 260));
    let services = format!(
        r#"
[serve]
address = "127.0.0.1:{port}"
canary = {{ steps = [50, 100], min_requests = 20 }}
[monitor]
drift = {{ window = "10s", budget = "1 false alarm a month", min_rows = 100 }}
[refit]
when = ["accuracy falls by more than 0.05"]
min_labels = 600
poll = "1s"
address = "127.0.0.1:{}"
"#,
        port + 1
    );
    write_topics_spec(folder.path(), "method = \"full\"\nepochs = 2\nlearning_rate = 1e-4", &services);
    let mut up = Background::start(folder.path(), &["up", "refit.toml"]);
    let client = Client { http: reqwest::Client::new(), base: format!("http://127.0.0.1:{port}") };
    let started = Instant::now();
    while !client.is_ready().await {
        assert!(started.elapsed() < Duration::from_secs(240), "{}", up.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    let mut groups = KNOWN.to_vec();
    groups.push(NEW);
    let rows = newsgroups(&groups, 540);
    // The first 260 of each known group are training rows.
    let fresh = &rows[260 * groups.len()..];
    let (told, kept) = fresh.split_at(fresh.len() * 4 / 5);
    for row in told {
        client.ask_and_correct(row).await;
    }
    let started = Instant::now();
    let mut version = String::from("1");
    'promoted: while version == "1" {
        assert!(started.elapsed() < Duration::from_secs(400), "no promotion:\n{}", up.log());
        for (text, _) in kept {
            let champion = run(folder.path(), &["models", "refit.toml", "--json"]);
            let models: Value = serde_json::from_slice(&champion.stdout).expect("JSON");
            let serves = |model: &Value| model["version"] == "2" && model["role"] == "champion";
            if models.as_array().expect("a list").iter().any(serves) {
                version = "2".to_owned();
                continue 'promoted;
            }
            client.ask(text).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    // The registry knows of the promotion before the service does, which gives half of the texts to the old version
    // until then.
    let mut right = 0;
    let news: Vec<_> = kept.iter().filter(|(_, label)| label == NEW).collect();
    for (text, label) in &news {
        let mut answer = client.ask(text).await;
        while answer.2 != version {
            assert!(started.elapsed() < Duration::from_secs(460), "version 1 still answers:\n{}", up.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
            answer = client.ask(text).await;
        }
        right += usize::from(answer.1 == *label);
    }
    let decisions = run(folder.path(), &["decisions", "refit.toml"]);
    let decisions = String::from_utf8_lossy(&decisions.stdout);
    assert!(right * 10 >= news.len() * 6, "{right} of {} new texts are known:\n{decisions}", news.len());
    up.stop();
}
