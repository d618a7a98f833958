//! The control API, the console and the metrics of a running scheduler.

mod world;

use refit_scheduler::{Scheduler, memory::Memory};
use refit_store::{Feedback, LabelledQuery, PredictionRecord, Role};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use world::{Acts, MODEL, WELL, World, champion, give_labels, until};

struct Running {
    address: String,
    client: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    ended: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn start(world: &World) -> Self {
        let scheduler = Scheduler::start(world.config()).await.unwrap();
        let address = format!("http://{}", scheduler.address().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            scheduler.run(shutdown).await.unwrap();
        });
        Self { address, client: reqwest::Client::new(), stop: Some(stop), ended }
    }

    async fn text(&self, path: &str) -> String {
        let answer = self.client.get(format!("{}{path}", self.address)).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.text().await.unwrap()
    }

    async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path).await).unwrap()
    }

    async fn order(&self, path: &str, body: Value) -> (u16, Value) {
        let request = self.client.post(format!("{}/v1/models/{path}", self.address)).json(&body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
    }

    async fn stop(mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        self.ended.await.unwrap();
    }
}

#[tokio::test]
async fn a_person_promotes_and_takes_back() {
    let world = World::new(&WELL, 60, 9).await;
    let store = world.store().await;
    let running = Running::start(&world).await;
    let (status, _) =
        running.order("reviews/promote", json!({ "version": "2", "reason": "checked", "by": "ada" })).await;
    assert_eq!((status, champion(&store).await.as_str()), (200, "2"));
    let (status, _) = running.order("reviews/rollback", json!({ "reason": "complaints", "by": "ada" })).await;
    assert_eq!((status, champion(&store).await.as_str()), (200, "1"));
    let decisions = running.json("/v1/decisions").await;
    let of_a_person: Vec<(&str, &str)> = decisions["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|decision| decision["evidence"]["by"] == "ada")
        .map(|decision| (decision["kind"].as_str().unwrap(), decision["reason"].as_str().unwrap()))
        .collect();
    assert_eq!(
        of_a_person,
        [
            ("promote", "version 2 serves: checked (by ada)"),
            ("rollback", "version 1 serves again: complaints (by ada)")
        ]
    );
    running.stop().await;
}

#[tokio::test]
async fn a_person_tries_versions_on_requests() {
    let world = World::new(&WELL, 60, 9).await;
    let store = world.store().await;
    let running = Running::start(&world).await;
    let order = async |what: &str, body: Value| running.order(&format!("reviews/{what}"), body).await;
    let (status, answer) = order("shadow", json!({ "version": "2", "reason": "a look", "by": "ada" })).await;
    assert_eq!((status, &answer["deployment"]["shadow"]["percent"]), (200, &json!(100.0)));
    // The page shows what the loop saw last.
    let mut looks = 0;
    while !running.text("/").await.contains("is a shadow with a copy of 100 %") {
        looks += 1;
        assert!(looks < 100, "the page does not show the shadow");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(order("shadow", json!({ "by": "ada" })).await.0, 200);
    assert_eq!(store.deployment(MODEL).await.unwrap().shadow, None);
    let (status, _) =
        order("canary", json!({ "version": "2", "percent": 5, "reason": "trial", "by": "ada" })).await;
    assert_eq!((status, store.deployment(MODEL).await.unwrap().canary.unwrap().percent), (200, 5.0));
    assert_eq!(order("rollback", json!({ "reason": "enough", "by": "ada" })).await.0, 200);
    assert_eq!((store.deployment(MODEL).await.unwrap().canary, champion(&store).await.as_str()), (None, "1"));
    assert_eq!(order("canary", json!({ "version": "2" })).await.0, 400);
    assert_eq!(order("canary", json!({ "version": "2", "percent": 101 })).await.0, 400);
    assert_eq!(order("shadow", json!({ "version": "9" })).await.0, 404);
    let decisions = running.json("/v1/decisions").await;
    let kinds: Vec<&str> = decisions["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|decision| decision["evidence"]["by"] == "ada")
        .map(|decision| decision["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["shadow", "shadow", "canary", "rollback"]);
    running.stop().await;
}

#[tokio::test]
async fn orders_that_cannot_be_carried_out() {
    let world = World::new(&WELL, 0, 9).await;
    let running = Running::start(&world).await;
    let check = async |path: &str, body: Value, status: u16, part: &str| {
        let (found, answer) = running.order(path, body).await;
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(found == status && error.contains(part), "{path}: {found} {answer}");
    };
    check("reviews/promote", json!({ "version": "9" }), 404, "no version \"9\"").await;
    check("reviews/promote", json!({}), 400, "name the version").await;
    check("reviews/promote", json!({ "versoin": "2" }), 400, "unknown field").await;
    check("other/rollback", json!({}), 404, "this scheduler runs").await;
    check("reviews/rollback", json!({}), 409, "no previous version").await;
    let foreign = running.client.post(format!("{}/v1/models/reviews/refit", running.address));
    let answer = foreign.header("sec-fetch-site", "cross-site").send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 403);
    assert_eq!(
        world
            .store()
            .await
            .loop_state::<Memory>(MODEL)
            .await
            .unwrap()
            .and_then(|memory| memory.state.refit_requested_by),
        None
    );
    running.stop().await;
}

#[tokio::test]
async fn a_refit_on_request_learns_a_label_never_seen() {
    // Right until now: nothing but the request starts this run.
    let world = World::new(&WELL, 60, 9).await;
    let store = world.store().await;
    let id = uuid::Uuid::now_v7();
    let record = PredictionRecord {
        id,
        model: MODEL.to_owned(),
        version: "1".to_owned(),
        role: Role::Champion,
        text: "to the moon".to_owned(),
        label: "pos".to_owned(),
        confidence: 0.5,
        probabilities: vec![0.5, 0.5],
        predicted_at: jiff::Timestamp::now(),
    };
    store.insert_predictions(&[record]).await.unwrap();
    let label = "<b>space</b>".to_owned();
    store.give_feedback(&Feedback { prediction_id: id.to_string(), label }).await.unwrap();
    let running = Running::start(&world).await;
    until("the new label to raise an alarm", async || {
        let page = running.text("/").await;
        assert!(!page.contains("<b>space</b>"), "a label is shown as it is");
        page.contains("new-label:&lt;b&gt;space&lt;/b&gt;")
    })
    .await;
    let (status, _) = running.order("reviews/refit", json!({ "reason": "new topic", "by": "ada" })).await;
    assert_eq!(status, 200);
    until("version 2 to be promoted", async || champion(&store).await == "2").await;
    let lines = std::fs::read_dir(world.home().join("runs/reviews-r0001"))
        .unwrap()
        .filter_map(|file| std::fs::read_to_string(file.unwrap().path()).ok())
        .filter(|text| text.contains("{\"text\":\"to the moon\",\"label\":\"<b>space</b>\"}"))
        .count();
    assert_eq!(lines, 1, "the row is on one side of the split");
    running.stop().await;
}

#[tokio::test]
async fn state_metrics_and_console_show_what_happens() {
    let world = World::new(&Acts { train: "exec sleep 1000", ..WELL }, 120, 5).await;
    let running = Running::start(&world).await;
    until("the training to begin", async || {
        running.json("/v1/state").await["view"]["phase"]["phase"] == "training"
    })
    .await;
    let state = running.json("/v1/state").await;
    assert_eq!(state["view"]["judge"]["alarmed"], true, "{state}");
    assert_eq!(state["view"]["judge"]["labels"], 120);
    let metrics = running.text("/metrics").await;
    for line in [
        "refit_loop_phase{model=\"reviews\",phase=\"training\"} 1",
        "refit_loop_phase{model=\"reviews\",phase=\"watching\"} 0",
        "refit_decisions_total{kind=\"refit\",model=\"reviews\"} 1",
        "refit_decisions_total{kind=\"rollback\",model=\"reviews\"} 0",
        "refit_degradation_labels{model=\"reviews\",version=\"1\"} 120",
        "refit_observation_missing{model=\"reviews\",what=\"metrics\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    until("the first drift window", async || running.json("/v1/state").await["view"]["drift"]["tested"] == 1)
        .await;
    let page = running.text("/").await;
    for part in [
        "Version 1",
        "refit rollback",
        "polyline",
        "text_length",
        "stable",
        "reviews-r0001 trains",
        "evidence",
    ] {
        assert!(page.contains(part) || part == "refit rollback", "{part} is not on the page");
    }
    assert!(!page.contains("refit rollback"), "there is nothing to go back to yet");
    assert!(running.text("/healthz").await.contains("ok"));
    running.stop().await;
}

#[tokio::test]
async fn silence_is_an_alarm() {
    let world = World::new(&WELL, 60, 9).await;
    let mut config = world.config();
    config.inference = vec!["http://127.0.0.1:9".to_owned()];
    let scheduler = Scheduler::start(config).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = tokio::spawn(scheduler.run(async {
        let _ = stopped.await;
    }));
    let store = world.store().await;
    until("the alarm", async || {
        let decisions = store.decisions(Some(MODEL), 100).await.unwrap();
        decisions
            .iter()
            .any(|decision| decision.kind == "alarm" && decision.reason.contains("cannot be reached"))
    })
    .await;
    let _ = stop.send(());
    ended.await.unwrap().unwrap();
    // The service is there again.
    let running = Running::start(&world).await;
    until("the all-clear", async || {
        let decisions = store.decisions(Some(MODEL), 100).await.unwrap();
        decisions.iter().any(|decision| decision.reason == "missing:metrics is over")
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn the_gate_gets_only_rows_that_the_champion_has_not_seen() {
    let world = World::new(&WELL, 120, 5).await;
    let store = world.store().await;
    let running = Running::start(&world).await;
    until("version 2 to be promoted", async || champion(&store).await == "2").await;
    until("the run to be over", async || {
        store.loop_state::<Memory>(MODEL).await.unwrap().is_some_and(|memory| memory.state.last_end.is_some())
    })
    .await;
    give_labels(&store, "2", 100, 9).await;
    let (status, _) = running.order("reviews/refit", json!({ "by": "ada" })).await;
    assert_eq!(status, 200);
    let folder = world.home().join("runs/reviews-r0002");
    until("the second export", async || folder.join("export.json").exists()).await;
    let recent = std::fs::read_to_string(folder.join("recent.jsonl")).unwrap();
    let learn = std::fs::read_to_string(folder.join("additional.jsonl")).unwrap();
    assert!(recent.lines().count() > 10);
    assert!(recent.lines().all(|line| line.contains("for 2")), "{recent}");
    assert!(learn.lines().any(|line| line.contains("for 1")), "older rows are still learned from");
    let query = LabelledQuery { model: MODEL, version: None, after: 0, predicted_since: None, limit: 1000 };
    assert_eq!(store.labelled_rows(query).await.unwrap().len(), 220);
    running.stop().await;
}

#[tokio::test]
async fn a_port_in_use_is_one_clear_sentence() {
    let world = World::new(&WELL, 0, 9).await;
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = world.config();
    config.address = taken.local_addr().unwrap();
    let error = Scheduler::start(config).await.unwrap_err();
    assert!(error.to_string().contains("is the port in use?"), "{error}");
}
