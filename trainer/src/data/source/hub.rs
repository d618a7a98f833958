//! The Hugging Face hub: `GET <endpoint>/<repository>/resolve/<revision>/<path>`.
//!
//! The first answer names the commit (`X-Repo-Commit`) and the file's identity (`X-Linked-Etag` for
//! large files, where it is the sha256, else `ETag`); large files are a redirect away. Files are
//! kept by commit, so a branch that moves is fetched again and a commit never is. A download that
//! broke off goes on where it was.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::config::RedirectAuthHeaders;
use ureq::http::{Response, header};
use ureq::{Agent, Body};

use super::{Fetch, Progress, record};
use crate::data::error::{DataError, io};

/// Which hub, and as whom.
#[derive(Clone)]
pub struct Hub {
    /// `https://huggingface.co`, or another server that speaks its protocol.
    pub endpoint: String,
    /// Opens private and gated repositories.
    pub token: Option<String>,
}

/// The token stays out of logs.
impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Hub {
    /// From `HF_ENDPOINT` and `HF_TOKEN`.
    pub fn from_env() -> Self {
        let read =
            |name| std::env::var(name).ok().map(|value| value.trim().to_string()).filter(|v| !v.is_empty());
        let endpoint = read("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        Self { endpoint: endpoint.trim_end_matches('/').into(), token: read("HF_TOKEN") }
    }
}

/// The files that make a model's folder, and whether it is none without them.
const MODEL_FILES: [(&str, bool); 6] = [
    ("config.json", true),
    ("model.safetensors", true),
    ("tokenizer.json", true),
    ("tokenizer_config.json", false),
    ("modules.json", false),
    ("1_Pooling/config.json", false),
];

/// Times that a broken connection is taken up again.
const ATTEMPTS: usize = 4;
const MAX_BYTES: u64 = 32 << 30;

/// `<cache>/hf/<models|datasets>--<org>--<name>/<commit>[/<path>]`.
pub(super) fn resolve(
    dataset: bool,
    repository: &str,
    revision: &str,
    path: Option<&str>,
    fetch: &Fetch<'_>,
) -> Result<PathBuf, DataError> {
    let kind = if dataset { "datasets" } else { "models" };
    let folder = fetch.cache.join("hf").join(format!("{kind}--{}", repository.replace('/', "--")));
    let prefix = if dataset { "datasets/" } else { "" };
    let url = format!("{}/{prefix}{repository}/resolve", fetch.hub.endpoint);
    let repository = Repository { folder, url, agent: agent(), fetch };
    match path {
        Some(path) => repository.file(revision, path).map(|(_, path)| path),
        None => repository.model(revision),
    }
}

struct Repository<'a> {
    folder: PathBuf,
    url: String,
    agent: Agent,
    fetch: &'a Fetch<'a>,
}

/// What the first answer says about a file.
struct Head {
    commit: String,
    etag: String,
    size: Option<u64>,
}

impl Repository<'_> {
    /// All files of one commit, so that a push in between cannot mix two.
    fn model(&self, revision: &str) -> Result<PathBuf, DataError> {
        let mut commit = None;
        for (name, required) in MODEL_FILES {
            match self.file(commit.as_deref().unwrap_or(revision), name) {
                Ok((found, _)) => commit = Some(found),
                Err(DataError::HubMissing { .. }) if !required => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.folder.join(commit.unwrap_or_else(|| revision.into())))
    }

    /// The commit that the revision names now, and the file of that commit.
    fn file(&self, revision: &str, path: &str) -> Result<(String, PathBuf), DataError> {
        let url = format!("{}/{revision}/{}", self.url, escaped(path));
        let reference = self.folder.join("refs").join(revision);
        let head = match self.head(&url) {
            // Without the network, what was fetched before is what there is.
            Err(DataError::HubUnreachable { url, source }) => {
                let known = fs::read_to_string(&reference).unwrap_or_else(|_| revision.into());
                let root = self.folder.join(&known);
                if !root.join(path).exists() {
                    return Err(DataError::HubUnreachable { url, source });
                }
                tracing::warn!(%url, commit = known, "the hub cannot be reached: using the cached file");
                let path = record::once(&root, path, |_| Err(DataError::HubUnreachable { url, source }))?;
                return Ok((known, path));
            }
            head => head?,
        };
        record::write_atomically(&reference, head.commit.as_bytes())?;
        let root = self.folder.join(&head.commit);
        let place = record::once(&root, path, |staging| self.download(&url, &head, &staging.join(path)))?;
        Ok((head.commit, place))
    }

    fn head(&self, url: &str) -> Result<Head, DataError> {
        let mut url = url.to_string();
        for _ in 0..4 {
            let request =
                self.agent.head(&url).config().max_redirects(0).max_redirects_will_error(false).build();
            let response = self.authorized(request).call().map_err(|error| unreachable(&url, error))?;
            let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
            // A renamed repository answers with a relative redirect and without a commit.
            if response.status().is_redirection()
                && text("x-repo-commit").is_none()
                && let Some(location) = text("location").filter(|location| location.starts_with('/'))
            {
                url = format!("{}{location}", self.fetch.hub.endpoint);
                continue;
            }
            if !response.status().is_redirection() {
                accept(&url, &response)?;
            }
            let missing = |header| DataError::HubProtocol { url: url.clone(), header };
            let commit = text("x-repo-commit").filter(|commit| plain(commit));
            let etag = text("x-linked-etag").or(text("etag"));
            let etag =
                etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"')).filter(|etag| plain(etag));
            return Ok(Head {
                commit: commit.ok_or_else(|| missing("X-Repo-Commit"))?.into(),
                etag: etag.ok_or_else(|| missing("ETag"))?.into(),
                size: text("x-linked-size").and_then(|size| size.parse().ok()),
            });
        }
        Err(DataError::HubProtocol { url, header: "Location" })
    }

    fn download(&self, url: &str, head: &Head, target: &Path) -> Result<(), DataError> {
        // Beside the staging folder, which does not outlive this run: what is there can be resumed.
        let parts = self.folder.join("parts");
        fs::create_dir_all(&parts).map_err(io(&parts))?;
        let part = parts.join(&head.etag);
        let mut attempt = 1;
        loop {
            match self.continue_download(url, head, &part) {
                Err(DataError::HubUnreachable { .. }) if attempt < ATTEMPTS => attempt += 1,
                result => break result?,
            }
            std::thread::sleep(Duration::from_millis(200 << attempt));
        }
        if head.etag.len() == 64 {
            let found = record::hash(&part)?;
            if found != head.etag {
                fs::remove_file(&part).map_err(io(&part))?;
                return Err(DataError::Hash { path: part, expected: head.etag.clone(), found });
            }
        }
        let folder = target.parent().unwrap_or(&parts);
        fs::create_dir_all(folder).map_err(io(folder))?;
        fs::rename(&part, target).map_err(io(target))
    }

    fn continue_download(&self, url: &str, head: &Head, part: &Path) -> Result<(), DataError> {
        let options = OpenOptions::new().create(true).truncate(false).write(true).open(part);
        let mut file = options.map_err(io(part))?;
        let mut have = file.seek(SeekFrom::End(0)).map_err(io(part))?;
        if have > 0 && head.size == Some(have) {
            return Ok(());
        }
        let mut request = self.agent.get(url);
        if have > 0 {
            request = request.header(header::RANGE, format!("bytes={have}-"));
        }
        let mut response = self.authorized(request).call().map_err(|error| unreachable(url, error))?;
        if response.status() == 416 {
            // What is there is longer than the file: it is of no use.
            file.set_len(0).map_err(io(part))?;
            return Err(unreachable(url, "the server cannot go on where the download broke off"));
        }
        accept(url, &response)?;
        if response.status() != 206 {
            file.set_len(0).map_err(io(part))?;
            file.seek(SeekFrom::Start(0)).map_err(io(part))?;
            have = 0;
        }
        let length = response
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let total = head.size.or_else(|| length.map(|length: u64| have + length));
        let mut body = response.body_mut().as_reader();
        let mut buffer = vec![0; 1 << 18];
        loop {
            let read = body.read(&mut buffer).map_err(|error| unreachable(url, error))?;
            if read == 0 {
                break;
            }
            file.write_all(&buffer[..read]).map_err(io(part))?;
            have += read as u64;
            if have > MAX_BYTES {
                return Err(DataError::TooLarge { path: part.into(), limit: MAX_BYTES });
            }
            (self.fetch.progress)(Progress { what: url.into(), done: have, total });
        }
        match total {
            Some(total) if have != total => Err(unreachable(url, format!("{have} of {total} bytes came"))),
            _ => file.sync_all().map_err(io(part)),
        }
    }

    fn authorized<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.fetch.hub.token {
            Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }
}

fn agent() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        // Redirects lead to storage elsewhere, which must not see the token.
        .redirect_auth_headers(RedirectAuthHeaders::SameHost)
        .timeout_connect(Some(Duration::from_secs(10)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .user_agent(concat!("refit/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
        .build()
        .into()
}

fn accept(url: &str, response: &Response<Body>) -> Result<(), DataError> {
    let url = url.to_string();
    match response.status().as_u16() {
        200 | 206 => Ok(()),
        status @ (401 | 403) => Err(DataError::HubDenied { url, status }),
        404 => Err(DataError::HubMissing { url }),
        status => Err(DataError::HubStatus { url, status }),
    }
}

fn unreachable(url: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> DataError {
    DataError::HubUnreachable { url: url.into(), source: error.into() }
}

/// Fits in a file name: commits and etags become some.
fn plain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Percent-encodes what a path in a URL cannot have.
fn escaped(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                text.push(byte.into())
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}
