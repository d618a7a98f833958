//! Asks every replica of the inference service for its metrics.

use std::time::Duration;

use super::exposition::{Sample, parse};

const TIMEOUT: Duration = Duration::from_secs(5);
/// More than any service shows; a wrong address must not fill the memory.
const MOST_BYTES: usize = 16 << 20;

/// Scrapes.
#[derive(Clone, Debug)]
pub struct Scraper {
    client: reqwest::Client,
    targets: Vec<String>,
    token: Option<String>,
}

/// What one look at all replicas gave.
#[derive(Debug, Default)]
pub struct Scrape {
    /// (replica, samples) of those that answered.
    pub replicas: Vec<(String, Vec<Sample>)>,
    /// A sentence for each that did not.
    pub failures: Vec<String>,
}

impl Scraper {
    /// For these base addresses, with the token that they ask for.
    pub fn new(targets: &[String], token: Option<&str>) -> Self {
        let targets = targets.iter().map(|target| target.trim_end_matches('/').to_owned()).collect();
        Self { client: reqwest::Client::new(), targets, token: token.map(str::to_owned) }
    }

    /// Asks all at once.
    pub async fn look(&self) -> Scrape {
        let mut asked = tokio::task::JoinSet::new();
        for target in self.targets.clone() {
            let (client, token) = (self.client.clone(), self.token.clone());
            asked.spawn(async move {
                let answer = ask(&client, &target, token.as_deref()).await;
                (target, answer)
            });
        }
        let mut scrape = Scrape::default();
        for (target, answer) in asked.join_all().await {
            match answer {
                Ok(samples) => scrape.replicas.push((target, samples)),
                Err(why) => scrape.failures.push(format!("{target}/metrics {why}")),
            }
        }
        scrape
    }
}

async fn ask(client: &reqwest::Client, target: &str, token: Option<&str>) -> Result<Vec<Sample>, String> {
    let mut request = client.get(format!("{target}/metrics")).timeout(TIMEOUT);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let mut response = request.send().await.map_err(|error| {
        if error.is_timeout() {
            "did not answer within 5 s".to_owned()
        } else {
            "cannot be reached".to_owned()
        }
    })?;
    if matches!(response.status().as_u16(), 401 | 403) {
        return Err("asks for a token with the scope metrics: give it in REFIT_INFERENCE_TOKEN".to_owned());
    }
    if !response.status().is_success() {
        return Err(format!("answered {}", response.status()));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| "broke off".to_owned())? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MOST_BYTES {
            return Err("is longer than 16 MB: is it the inference service?".to_owned());
        }
    }
    let (samples, broken) = parse(&String::from_utf8_lossy(&bytes));
    match (samples.is_empty(), broken) {
        (false, 0) => Ok(samples),
        (true, _) => Err("holds no metrics: is it the inference service?".to_owned()),
        (false, broken) => {
            Err(format!("holds {broken} lines that are no metrics: is it the inference service?"))
        }
    }
}
