//! The trainer as a service, by a client that is not ours: `curl`.

mod support;

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{free_ports, refit, tiny};

const TOKEN: &str = "a-token-of-the-test";
const SHORT: &str = "learning_rate = 1e-3\nepochs = 2\nbatch_size = 8\nthreads = 1";
const LONG: &str = "learning_rate = 1e-3\nepochs = 60\nbatch_size = 2\nthreads = 1\n\
                    early_stopping = { metric = \"loss\", patience = 1000 }\ncheckpoint = { steps = 20 }";

struct Service {
    folder: PathBuf,
    port: u16,
    child: Child,
}

impl Service {
    fn start(folder: &Path, port: u16) -> Self {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("trainer.log"));
        let mut command = refit(folder);
        command.args(["trainer", "--home", "home", "--address", &format!("127.0.0.1:{port}")]);
        command.env("REFIT_TRAINER_TOKEN", TOKEN).stderr(log.expect("a log")).stdout(Stdio::null());
        let service = Self { folder: folder.to_owned(), port, child: command.spawn().expect("refit starts") };
        until("the service", &service, || service.status("/healthz", &[]) == "200");
        service
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn curl(&self, path: &str, more: &[&str]) -> Vec<u8> {
        let bearer = format!("Authorization: Bearer {TOKEN}");
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "120", "-H", &bearer])
            .args(more)
            .arg(self.url(path))
            .output()
            .expect("curl is there");
        assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    fn json(&self, path: &str, more: &[&str]) -> Value {
        let answer = self.curl(path, more);
        serde_json::from_slice(&answer).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&answer)))
    }

    /// The status alone, without the token.
    fn status(&self, path: &str, more: &[&str]) -> String {
        let output = Command::new("curl")
            .args(["-s", "-o", "/dev/null", "-w", "%{http_code}"])
            .args(more)
            .arg(self.url(path))
            .output();
        String::from_utf8_lossy(&output.expect("curl is there").stdout).into_owned()
    }

    fn submit(&self, id: &str) -> Value {
        let spec = std::fs::read_to_string(self.folder.join("refit.toml")).expect("a spec");
        let body = json!({ "spec": spec, "id": id, "folder": self.folder }).to_string();
        self.json("/v1/runs", &["-H", "Content-Type: application/json", "-d", &body])
    }

    fn run(&self, id: &str) -> Value {
        self.json(&format!("/v1/runs/{id}"), &[])
    }

    fn until_run(&self, id: &str, status: &str) -> Value {
        until(&format!("{id} {status}"), self, || {
            let run = self.run(id);
            assert!(status == "failed" || run["status"] != "failed", "{run}");
            run["status"] == status
        });
        self.run(id)
    }

    fn signal(&mut self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().expect("kill").success());
        self.child.wait().expect("it ends");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

fn until(what: &str, service: &Service, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        let log = std::fs::read_to_string(service.folder.join("trainer.log")).unwrap_or_default();
        assert!(started.elapsed() < Duration::from_secs(120), "{what} took too long:\n{log}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn folder(train: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    tiny::write(folder.path(), 400, train, "");
    folder
}

#[test]
fn submit_follow_and_fetch() {
    let folder = folder(SHORT);
    let folder = folder.path();
    let service = Service::start(folder, free_ports());
    assert_eq!(service.status("/v1/runs", &[]), "401", "nobody without the token");
    assert_eq!(service.status("/v1/runs", &["-H", "Authorization: Bearer wrong"]), "401");

    let first = service.submit("first");
    assert_eq!((&first["id"], &first["model"]), (&"first".into(), &"tiny".into()), "{first}");
    assert_eq!(service.submit("first")["id"], "first", "the same again is the same run");
    service.submit("second");
    service.submit("third");
    let cancelled = service.json("/v1/runs/third/cancel", &["-X", "POST"]);
    assert_eq!(cancelled["status"], "cancelled", "{cancelled}");

    // A stream of events up to the end, in the order of the run.
    let events = String::from_utf8(service.curl("/v1/runs/first/events", &["-N"])).expect("text");
    let data: Vec<Value> =
        events.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
    assert_eq!((&data[0]["event"], &data[0]["stage"]), (&"stage".into(), &"device".into()), "{}", data[0]);
    let steps = data.iter().filter(|event| event["event"] == "step").count();
    let epochs = data.iter().filter(|event| event["event"] == "epoch").count();
    assert!(steps > 20 && epochs == 2, "{steps} steps, {epochs} epochs");
    assert!(events.contains("event: end"), "{events}");
    assert_eq!(data.last().expect("the end")["status"], "succeeded");
    let rest =
        String::from_utf8(service.curl("/v1/runs/first/events", &["-H", "Last-Event-ID: 3"])).expect("text");
    assert!(rest.starts_with("id: 4\n"), "{}", &rest[..rest.len().min(100)]);

    let run = service.until_run("first", "succeeded");
    assert_eq!(run["outcome"]["version"], "1", "{run}");
    assert!(
        String::from_utf8_lossy(&service.curl("/v1/runs/first/log", &[])).contains("trainable parameters")
    );
    let tar = folder.join("first.tar");
    std::fs::write(&tar, service.curl("/v1/runs/first/artifact", &[])).expect("written");
    let names = Command::new("tar").arg("tf").arg(&tar).output().expect("tar is there");
    let names = String::from_utf8_lossy(&names.stdout);
    assert!(names.contains("tiny-1/manifest.json") && names.contains("tiny-1/model.float32.onnx"), "{names}");

    service.until_run("second", "succeeded");
    let runs = service.json("/v1/runs", &[]);
    assert_eq!(runs["runs"].as_array().expect("runs").len(), 3);
    let metrics = String::from_utf8(service.curl("/metrics", &[])).expect("text");
    for line in [
        "refit_trainer_queue_depth 0",
        "refit_trainer_runs_total{model=\"tiny\",outcome=\"succeeded\"} 2",
        "refit_trainer_step_duration_seconds_count{model=\"tiny\"}",
        "refit_trainer_tokens_total{model=\"tiny\"}",
    ] {
        assert!(metrics.contains(line), "{line:?} is not in\n{metrics}");
    }
    let count = metrics.lines().find(|line| line.starts_with("refit_trainer_step_duration_seconds_count"));
    let count: usize = count.and_then(|line| line.rsplit(' ').next()?.parse().ok()).expect("a count");
    assert_eq!(count, 2 * steps, "every step of both runs is counted once");
}

#[test]
fn what_is_refused_says_why() {
    let folder = folder(SHORT);
    let service = Service::start(folder.path(), free_ports());
    let post = |body: Value| {
        let body = body.to_string();
        service.json("/v1/runs", &["-H", "Content-Type: application/json", "-d", &body])
    };
    let error = |answer: Value| answer["error"].as_str().unwrap_or_default().to_owned();
    assert!(error(post(json!({ "spec": "[model]\nname = 3" }))).contains("model.name"));
    assert!(error(post(json!({ "spec": "", "id": "../x" }))).contains("no id of a run"));
    assert!(error(post(json!({ "spec": "", "folder": "relative" }))).contains("absolute"));
    assert!(error(post(json!({ "specification": "" }))).contains("specification"));
    assert!(error(service.json("/v1/runs/nothing", &[])).contains("no run"));
    service.submit("one");
    tiny::write_spec(folder.path(), &SHORT.replace("epochs = 2", "epochs = 3"), "");
    assert!(error(service.submit("one")).contains("another spec"));

    // What the run itself finds wrong is its error, in the words of the command.
    let spec = "[model]\nname = \"m\"\nbase = \"file:nothing\"\n[data]\ntrain = \"file:rows.csv\"\n";
    let run = post(json!({ "spec": spec, "id": "bad", "folder": folder.path() }));
    assert_eq!(run["status"], "queued", "{run}");
    let run = service.until_run("bad", "failed");
    assert!(run["error"].as_str().expect("why").contains("nothing"), "{run}");

    let mut open = refit(folder.path());
    open.args(["trainer", "--home", "other", "--address", "0.0.0.0:0"]).env_remove("REFIT_TRAINER_TOKEN");
    let open = open.output().expect("refit starts");
    assert!(String::from_utf8_lossy(&open.stderr).contains("no token is set"), "{open:?}");
    let mut second = refit(folder.path());
    second.args(["trainer", "--home", "home", "--address", "127.0.0.1:0"]);
    let second = second.output().expect("refit starts");
    assert!(String::from_utf8_lossy(&second.stderr).contains("another trainer works in"), "{second:?}");
}

#[test]
fn a_restart_takes_up_the_queue_and_the_run() {
    let folder = folder(LONG);
    let folder = folder.path();
    let port = free_ports();
    let mut service = Service::start(folder, port);
    service.submit("long");
    let log =
        |service: &Service| String::from_utf8_lossy(&service.curl("/v1/runs/long/log", &[])).into_owned();
    let checkpoints = folder.join("home/artifacts/tiny/.1.checkpoints");
    let kept = || {
        let entries = std::fs::read_dir(&checkpoints).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("step-")).count()
    };
    until("a checkpoint", &service, || kept() > 0);
    tiny::write_spec(folder, SHORT, "");
    service.submit("next");
    tiny::write_spec(folder, LONG, "");

    service.signal("-KILL");
    let mut service = Service::start(folder, port);
    until("going on", &service, || log(&service).contains("goes on from the checkpoint of step"));
    assert_eq!(service.run("next")["status"], "queued", "the queue is kept, in its order");
    let before = log(&service).matches("goes on from").count();
    service.signal("-TERM");
    let service = Service::start(folder, port);
    until("going on again", &service, || log(&service).matches("goes on from").count() > before);
    let run = service.until_run("long", "succeeded");
    assert_eq!(run["outcome"]["version"], "1", "{run}");
    service.until_run("next", "succeeded");

    // The file says which version it is, so the other one is made as version 1 too.
    let direct = refit(folder).args(["train", "refit.toml", "--home", "other"]).output().expect("refit");
    assert!(direct.status.success(), "{}", String::from_utf8_lossy(&direct.stderr));
    let model = |home: &str| {
        std::fs::read(folder.join(home).join("artifacts/tiny/1/model.float32.onnx")).expect("a model")
    };
    assert!(model("other") == model("home"), "not the same bytes");
}

#[test]
fn a_running_one_is_cancelled_and_can_go_on() {
    let folder = folder(LONG);
    let service = Service::start(folder.path(), free_ports());
    service.submit("long");
    until("steps", &service, || {
        String::from_utf8_lossy(&service.curl("/metrics", &[])).contains("refit_trainer_loss{model=\"tiny\"}")
    });
    service.json("/v1/runs/long/cancel", &["-X", "POST"]);
    service.until_run("long", "cancelled");
    let metrics = String::from_utf8(service.curl("/metrics", &[])).expect("text");
    assert!(!metrics.contains("refit_trainer_loss{"), "no run, no loss");
    let again = service.submit("long");
    assert_ne!(again["status"], "cancelled", "{again}");
    until("going on", &service, || {
        String::from_utf8_lossy(&service.curl("/v1/runs/long/log", &[]))
            .contains("goes on from the checkpoint")
    });
}

#[test]
fn the_command_and_the_scheduler_let_it_train() {
    let folder = folder(SHORT);
    let folder = folder.path();
    let port = free_ports();
    let service = Service::start(folder, port);
    let url = service.url("");
    let with_token = |arguments: &[&str]| {
        let mut command = refit(folder);
        command.args(arguments).env("REFIT_TRAINER_TOKEN", TOKEN);
        command
    };
    let train = ["train", "refit.toml", "--home", "home", "--run", "first", "--trainer", &url, "--json"];
    let output = with_token(&train).output().expect("refit starts");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("trainable parameters"), "the run's words come through: {text}");
    let outcome: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(outcome["version"], "1");
    let promoted =
        with_token(&["promote", "refit.toml", "1", "--home", "home"]).output().expect("refit starts");
    assert!(promoted.status.success(), "{promoted:?}");

    let scheduler = free_ports();
    tiny::write_spec(
        folder,
        SHORT,
        &format!(
            "[refit]\nwhen = []\npoll = \"1s\"\naddress = \"127.0.0.1:{scheduler}\"\ntrainer = \"{url}\""
        ),
    );
    let log = std::fs::File::create(folder.join("scheduler.log")).expect("a log");
    let mut command = with_token(&["scheduler", "refit.toml", "--home", "home"]);
    let mut child = command.stderr(log).stdout(Stdio::null()).spawn().expect("refit starts");
    let refit_url = format!("http://127.0.0.1:{scheduler}/v1/models/tiny/refit");
    until("the scheduler", &service, || {
        let asked = Command::new("curl")
            .args([
                "-sf",
                "-X",
                "POST",
                "-H",
                "Content-Type: application/json",
                "-d",
                "{\"reason\":\"asked\",\"by\":\"test\"}",
            ])
            .arg(&refit_url)
            .output();
        asked.expect("curl").status.success()
    });
    until("the refit", &service, || {
        let runs = service.json("/v1/runs", &[]);
        let runs = runs["runs"].as_array().expect("runs").clone();
        runs.len() == 2 && runs[1]["status"] == "succeeded"
    });
    let models = with_token(&["models", "refit.toml", "--home", "home", "--json"]).output().expect("refit");
    let models: Value = serde_json::from_slice(&models.stdout).expect("JSON");
    assert!(models.as_array().expect("versions").iter().any(|model| model["version"] == "2"), "{models}");
    let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    child.wait().expect("it ends");
}
