//! A training that a service does: submitted, followed to its end, and answered as if it had been done here.

use crate::cli::training::TrainArguments;
use crate::home::Home;
use anyhow::{Context, Result, bail};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a service may be away before the run is left to itself.
const PATIENCE: Duration = Duration::from_secs(300);

/// Ends a follower whose service is gone: the run may go on, and the same command finds it.
#[derive(Debug, thiserror::Error)]
#[error(
    "the trainer at {url} does not answer ({why}); the run {run} goes on when it is back, and the same command follows it"
)]
pub struct Away {
    url: String,
    run: String,
    why: String,
}

/// Submits the run `id` to the service at `url` and waits for what it makes.
///
/// # Errors
/// When the service refuses the spec, the run fails or is cancelled, or the service stays away.
pub async fn follow(home: &Home, arguments: &TrainArguments, url: &str, id: &str) -> Result<Value> {
    let service = Service {
        http: Client::builder().connect_timeout(Duration::from_secs(10)).build()?,
        url: url.trim_end_matches('/').to_owned(),
        token: std::env::var("REFIT_TRAINER_TOKEN").ok().filter(|token| !token.is_empty()),
        run: id.to_owned(),
    };
    let spec = std::fs::read_to_string(&home.spec_path)?;
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
    };
    let additional = arguments.additional.as_deref().map(read).transpose()?;
    let body = json!({
        "spec": spec, "id": id, "folder": home.spec.base_dir, "start": arguments.start, "additional": additional,
    });
    service.send(|service| service.request(reqwest::Method::POST, "").json(&body)).await?;
    let mut shown = 0;
    loop {
        let run = service.send(|service| service.request(reqwest::Method::GET, &format!("/{id}"))).await?;
        let run: Value = run.json().await?;
        shown = service.show_log(shown).await?;
        match run["status"].as_str() {
            Some("succeeded") => return Ok(run["outcome"].clone()),
            Some("failed") => bail!("{}", run["error"].as_str().unwrap_or("the run failed")),
            Some("cancelled") => bail!("the run {id} was cancelled at the trainer: submit it again to go on"),
            _ => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
}

struct Service {
    http: Client,
    url: String,
    token: Option<String>,
    run: String,
}

impl Service {
    fn request(&self, method: reqwest::Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}/v1/runs{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends until there is an answer; a service that restarts is waited for.
    async fn send(&self, request: impl Fn(&Self) -> RequestBuilder) -> Result<Response> {
        let started = Instant::now();
        loop {
            let why = match request(self).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(answer),
                Ok(answer)
                    if answer.status().is_client_error()
                        && answer.status() != StatusCode::TOO_MANY_REQUESTS =>
                {
                    let status = answer.status();
                    let body: Value = answer.json().await.unwrap_or_default();
                    bail!(
                        "the trainer at {} refuses: {}",
                        self.url,
                        body["error"].as_str().unwrap_or(status.as_str())
                    );
                }
                Ok(answer) => answer.status().to_string(),
                Err(error) => error.to_string(),
            };
            if started.elapsed() > PATIENCE {
                return Err(Away { url: self.url.clone(), run: self.run.clone(), why }.into());
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Shows what the run's process has said since the `shown` bytes before.
    async fn show_log(&self, shown: usize) -> Result<usize> {
        let log = self.send(|service| service.request(reqwest::Method::GET, &format!("/{}/log", self.run)));
        let log = log.await?.bytes().await?;
        if let Some(more) = log.get(shown..).filter(|more| !more.is_empty()) {
            let text = String::from_utf8_lossy(more);
            // The sentence of an earlier attempt is no complaint of this command.
            eprint!("{}", text.replace("\nrefit: ", "\n           "));
        }
        Ok(log.len())
    }
}
