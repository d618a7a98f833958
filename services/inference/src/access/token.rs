//! Tokens and the file that holds their hashes.
//!
//! A token is 32 random bytes, so that its plain SHA-256 cannot be guessed back and needs neither salt nor stretching.
//! A line of the file is `NAME SCOPE[,SCOPE...] sha256:HEX [RATE/s [BURST]]`; `#` begins a comment.

use std::{io, path::Path, sync::Arc};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Rate;

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// To ask for answers and to read what is served.
    Predict,
    /// To give labels.
    Feedback,
    /// To read `/metrics`.
    Metrics,
    /// To change what is served, and all of the above.
    Admin,
}

/// A token that was just made.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// What its owner shows; it is kept nowhere.
    pub token: String,
    /// The line for the file of tokens.
    pub line: String,
}

/// Why a file of tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It cannot be read.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// It is larger than a file of tokens is.
    #[error("it is larger than 1 MiB: is it a file of tokens?")]
    Large,
    /// A line is not what `refit token` prints.
    #[error("line {line}: {why}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// Nobody could ask anything.
    #[error("it holds no token: add a line that `refit token` prints")]
    Empty,
}

/// The tokens of a file.
#[derive(Debug, Default)]
pub(crate) struct TokenFile(Vec<Entry>);

/// One token.
#[derive(Debug)]
pub(crate) struct Entry {
    pub name: Arc<str>,
    pub scopes: Scopes,
    pub rate: Option<Rate>,
    hash: [u8; 32],
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scopes(u8);

const PREFIX: &str = "refit_";
const MOST_BYTES: u64 = 1 << 20;

impl Scope {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Predict, Self::Feedback, Self::Metrics, Self::Admin];

    /// How it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Predict => "predict",
            Self::Feedback => "feedback",
            Self::Metrics => "metrics",
            Self::Admin => "admin",
        }
    }

    /// The scope of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl Scopes {
    pub fn allow(self, scope: Scope) -> bool {
        self.0 & (scope.bit() | Scope::Admin.bit()) != 0
    }
}

impl NewToken {
    /// Makes a token. `rate` is requests a second and how many at once.
    ///
    /// # Errors
    /// A sentence, when the name cannot stand in a line.
    pub fn make(name: &str, scopes: &[Scope], rate: Option<(f64, u32)>) -> Result<Self, String> {
        check_name(name)?;
        let token = format!("{PREFIX}{}", hex::encode(rand::random::<[u8; 32]>()));
        let scopes: Vec<&str> = scopes.iter().map(|scope| scope.name()).collect();
        let mut line = format!("{name} {} sha256:{}", scopes.join(","), hex::encode(hash(&token)));
        if let Some((per_second, burst)) = rate {
            line.push_str(&format!(" {per_second}/s {burst}"));
        }
        Ok(Self { token, line })
    }
}

impl TokenFile {
    pub fn read(path: &Path) -> Result<Self, TokenFileError> {
        if std::fs::metadata(path).map_err(TokenFileError::Read)?.len() > MOST_BYTES {
            return Err(TokenFileError::Large);
        }
        Self::parse(&std::fs::read_to_string(path).map_err(TokenFileError::Read)?)
    }

    pub fn parse(text: &str) -> Result<Self, TokenFileError> {
        let mut entries: Vec<Entry> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            entries.push(entry(line).map_err(|why| TokenFileError::Line { line: index + 1, why })?);
        }
        if entries.is_empty() { Err(TokenFileError::Empty) } else { Ok(Self(entries)) }
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The entry of a token. Every hash is compared, each in a time that does not depend on where it differs.
    pub fn find(&self, token: &str) -> Option<&Entry> {
        let shown = hash(token);
        let mut found = None;
        for entry in &self.0 {
            if bool::from(entry.hash.ct_eq(&shown)) {
                found = Some(entry);
            }
        }
        found
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        return Err(format!("{name:?} is no name: write up to 64 letters, digits, '-', '_' or '.'"));
    }
    Ok(())
}

fn entry(line: &str) -> Result<Entry, String> {
    let mut words = line.split_whitespace();
    let (Some(name), Some(scopes), Some(hash)) = (words.next(), words.next(), words.next()) else {
        return Err("write NAME SCOPES sha256:HEX, as `refit token` prints it".to_owned());
    };
    check_name(name)?;
    let mut set = Scopes::default();
    for scope in scopes.split(',') {
        let scope = Scope::parse(scope)
            .ok_or_else(|| format!("{scope:?} is no scope: write predict, feedback, metrics or admin"))?;
        set.0 |= scope.bit();
    }
    let mut bytes = [0; 32];
    let hex = hash.strip_prefix("sha256:").unwrap_or_default();
    hex::decode_to_slice(hex, &mut bytes).map_err(|_| {
        format!("the hash of {name:?} is not sha256: and 64 digits; a token itself is never written here")
    })?;
    let rate = words.next().map(|rate| read_rate(rate, words.next())).transpose()?;
    if let Some(more) = words.next() {
        return Err(format!("{more:?} is too much: a line ends with the rate and the burst"));
    }
    Ok(Entry { name: name.into(), scopes: set, rate, hash: bytes })
}

fn read_rate(rate: &str, burst: Option<&str>) -> Result<Rate, String> {
    let per_second = rate.strip_suffix("/s").and_then(|number| number.parse().ok());
    let per_second: f64 = per_second
        .filter(|number: &f64| number.is_finite() && *number > 0.0)
        .ok_or_else(|| format!("{rate:?} is no rate: write requests a second, such as 50/s"))?;
    let burst = burst
        .map(|burst| {
            burst
                .parse()
                .ok()
                .filter(|&burst: &u32| burst > 0)
                .ok_or_else(|| format!("{burst:?} is no burst: write how many requests may come at once"))
        })
        .transpose()?;
    Ok(Rate::new(per_second, burst))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_found_and_nothing_else() {
        let first = NewToken::make("ingest", &[Scope::Predict, Scope::Feedback], None).unwrap();
        let second = NewToken::make("ops", &[Scope::Admin], Some((50.0, 100))).unwrap();
        let text = format!("# who may ask\n\n{}\n{} # on call\n", first.line, second.line);
        let file = TokenFile::parse(&text).unwrap();
        let entry = file.find(&first.token).unwrap();
        assert_eq!(&*entry.name, "ingest");
        assert!(entry.scopes.allow(Scope::Feedback) && !entry.scopes.allow(Scope::Metrics));
        let entry = file.find(&second.token).unwrap();
        assert_eq!(
            (entry.rate, entry.scopes.allow(Scope::Metrics)),
            (Some(Rate::new(50.0, Some(100))), true)
        );
        assert!(file.find("").is_none() && file.find(&first.token[..60]).is_none());
        // The hash is no token.
        assert!(file.find(first.line.rsplit(':').next().unwrap()).is_none());
        assert!(!text.contains(&first.token));
    }

    #[test]
    fn a_line_that_is_wrong_is_named() {
        let hash = "0".repeat(64);
        for (line, says) in [
            ("ingest".to_owned(), "line 1: write NAME SCOPES"),
            (format!("a\u{e4} predict sha256:{hash}"), "is no name"),
            (format!("a predct sha256:{hash}"), "\"predct\" is no scope"),
            ("a predict refit_123".to_owned(), "a token itself is never written here"),
            (format!("a predict sha256:{hash} 50"), "\"50\" is no rate"),
            (format!("a predict sha256:{hash} 5/s 0"), "\"0\" is no burst"),
            (format!("a predict sha256:{hash} 5/s 9 x"), "\"x\" is too much"),
            ("# nothing".to_owned(), "holds no token"),
        ] {
            let error = TokenFile::parse(&line).unwrap_err().to_string();
            assert!(error.contains(says), "{line}: {error}");
        }
    }
}
