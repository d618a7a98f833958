//! The Hugging Face hub's protocol against a local server that speaks it: commits, etags, redirects
//! to storage, tokens, downloads that break off.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use refit_trainer::data::{DataError, Fetch, Hub, Resolved, resolve};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A hub with the model org/name and the data set org/rows.
struct Server {
    port: u16,
    /// Method, path and the headers that matter of every request.
    log: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone)]
struct World {
    port: u16,
    weights: Vec<u8>,
    /// The bytes of the large file that storage sends; not always those that were promised.
    stored: Vec<u8>,
    /// Storage hangs up in the middle of the first download.
    breaks_off: bool,
    private: bool,
}

impl Server {
    fn start(change: impl FnOnce(&mut World)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let weights: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
        let mut world = World { port, stored: weights.clone(), weights, breaks_off: false, private: false };
        change(&mut world);
        let log = Arc::new(Mutex::new(Vec::new()));
        let seen = log.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = answer(stream, &mut world, &seen);
            }
        });
        Self { port, log }
    }

    fn fetch(&self, cache: &TempDir, token: Option<&str>, source: &str) -> Result<Resolved, DataError> {
        let hub = Hub { endpoint: format!("http://127.0.0.1:{}", self.port), token: token.map(String::from) };
        let fetch = Fetch { hub, ..Fetch::new(cache.path(), ".") };
        resolve(&source.parse().unwrap_or_else(|fix| panic!("{source}: {fix}")), &fetch)
    }

    fn log(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

fn answer(stream: TcpStream, world: &mut World, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut line, mut headers) = (String::new(), HashMap::new());
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(String::from);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_lowercase(), value.trim().to_string());
        }
    }
    let header = |name: &str| headers.get(name).cloned();
    log.lock().unwrap().push(format!(
        "{method} {path} range={} token={}",
        header("range").unwrap_or_default(),
        header("authorization").unwrap_or_default()
    ));
    respond(stream, world, &method, &path, header("range"), header("authorization"))
}

fn respond(
    mut stream: TcpStream,
    world: &mut World,
    method: &str,
    path: &str,
    range: Option<String>,
    token: Option<String>,
) -> std::io::Result<()> {
    let mut send = |status: &str, headers: &str, body: &[u8], length: usize| {
        write!(
            stream,
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
        )?;
        if method != "HEAD" {
            stream.write_all(body)?;
        }
        stream.flush()
    };
    if let Some(rest) = path.strip_prefix("/org/old-name/") {
        return send("307 Temporary Redirect", &format!("Location: /org/name/{rest}\r\n"), b"", 0);
    }
    if world.private && !path.starts_with("/storage/") && token.as_deref() != Some("Bearer secret") {
        return send("401 Unauthorized", "", b"", 0);
    }
    let commit = format!("X-Repo-Commit: {COMMIT}\r\n");
    let small: &[u8] = match path.rsplit_once('/').map(|(folder, file)| (folder.contains("resolve"), file)) {
        Some((true, "config.json")) if !path.contains("1_Pooling") => b"{}",
        Some((true, "tokenizer.json")) => b"{\"model\":{}}",
        Some((true, "train%20set.csv")) => b"text,label\n",
        Some((true, "model.safetensors")) => {
            let (etag, size) = (hex::encode(Sha256::digest(&world.weights)), world.weights.len());
            // Another host name: the token must not follow.
            let location = format!("http://localhost:{}/storage/weights", world.port);
            let headers = format!(
                "{commit}X-Linked-Etag: \"{etag}\"\r\nX-Linked-Size: {size}\r\nLocation: {location}\r\n"
            );
            return send("302 Found", &headers, b"", 0);
        }
        Some((false, "weights")) => {
            let from = range
                .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
            let body = world.stored[from.unwrap_or(0)..].to_vec();
            let status = if from.is_some() { "206 Partial Content" } else { "200 OK" };
            let sent = if std::mem::take(&mut world.breaks_off) { &body[..body.len() / 2] } else { &body };
            return send(status, "", sent, body.len());
        }
        _ => return send("404 Not Found", "X-Error-Code: EntryNotFound\r\n", b"", 0),
    };
    send("200 OK", &format!("{commit}ETag: W/\"abc{}\"\r\n", small.len()), small, small.len())
}

#[test]
fn a_model_is_fetched_once_and_kept_by_commit() {
    let (server, cache) = (Server::start(|_| {}), TempDir::new().unwrap());
    let model = server.fetch(&cache, None, "hf:org/name").unwrap();
    assert_eq!(model.path, cache.path().join("hf/models--org--name").join(COMMIT));
    assert_eq!(std::fs::read(model.path.join("model.safetensors")).unwrap().len(), 300_000);
    assert_eq!(std::fs::read(model.path.join("config.json")).unwrap(), b"{}");
    assert!(!model.path.join("1_Pooling").exists());
    let log = server.log();
    assert!(log[0].starts_with("HEAD /org/name/resolve/main/config.json"), "{log:?}");
    assert!(
        log[2..].iter().all(|line| line.contains(COMMIT) || line.contains("/storage/")),
        "one commit: {log:?}"
    );

    assert_eq!(server.fetch(&cache, None, "hf:org/name").unwrap(), model);
    let again = server.log();
    assert!(again.iter().all(|line| line.starts_with("HEAD")), "nothing is fetched twice: {again:?}");
}

#[test]
fn a_data_set_file_with_a_blank_in_its_name() {
    let (server, cache) = (Server::start(|_| {}), TempDir::new().unwrap());
    let rows = server.fetch(&cache, None, "hf:datasets/org/rows@v1/data/train set.csv").unwrap();
    assert_eq!(std::fs::read(rows.path).unwrap(), b"text,label\n");
    assert!(server.log()[0].starts_with("HEAD /datasets/org/rows/resolve/v1/data/train%20set.csv"));
}

#[test]
fn a_renamed_repository() {
    let (server, cache) = (Server::start(|_| {}), TempDir::new().unwrap());
    assert!(server.fetch(&cache, None, "hf:org/old-name/config.json").is_ok());
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_was() {
    let (server, cache) = (Server::start(|world| world.breaks_off = true), TempDir::new().unwrap());
    let weights = server.fetch(&cache, None, "hf:org/name/model.safetensors").unwrap();
    let expected: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    assert_eq!(std::fs::read(weights.path).unwrap(), expected);
    let log = server.log();
    assert!(log.iter().any(|line| line.contains("/storage/weights range=bytes=150000-")), "{log:?}");
}

#[test]
fn other_bytes_than_promised_are_refused_and_not_kept() {
    let server = Server::start(|world| world.stored[1000] ^= 1);
    let cache = TempDir::new().unwrap();
    for _ in 0..2 {
        let error = server.fetch(&cache, None, "hf:org/name/model.safetensors").unwrap_err();
        assert!(matches!(error, DataError::Hash { .. }), "{error}");
    }
}

#[test]
fn the_token_opens_and_stays_with_the_hub() {
    let (server, cache) = (Server::start(|world| world.private = true), TempDir::new().unwrap());
    let error = server.fetch(&cache, None, "hf:org/name/config.json").unwrap_err();
    assert!(matches!(error, DataError::HubDenied { status: 401, .. }), "{error}");
    assert!(error.to_string().contains("set HF_TOKEN"));
    server.log();
    assert!(server.fetch(&cache, Some("secret"), "hf:org/name/model.safetensors").is_ok());
    for line in server.log() {
        assert_eq!(line.ends_with("token="), line.contains("/storage/"), "{line}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let (server, cache) = (Server::start(|_| {}), TempDir::new().unwrap());
    let error = server.fetch(&cache, None, "hf:org/name/nothing.csv").unwrap_err();
    assert!(
        matches!(&error, DataError::HubMissing { url } if url.ends_with("/org/name/resolve/main/nothing.csv"))
    );
}

#[test]
fn without_the_hub_the_cache_serves_and_is_checked() {
    let (server, cache) = (Server::start(|_| {}), TempDir::new().unwrap());
    let fetched = server.fetch(&cache, None, "hf:org/name/config.json").unwrap();
    // A port where nobody listens.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let gone = Server { port: closed, log: Arc::default() };
    assert_eq!(gone.fetch(&cache, None, "hf:org/name/config.json").unwrap(), fetched);
    let error = gone.fetch(&cache, None, "hf:org/name/tokenizer.json").unwrap_err();
    assert!(matches!(error, DataError::HubUnreachable { .. }), "{error}");
    std::fs::write(&fetched.path, b"[]").unwrap();
    let error = gone.fetch(&cache, None, "hf:org/name/config.json").unwrap_err();
    assert!(matches!(error, DataError::Hash { .. }), "{error}");
}
