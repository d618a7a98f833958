//! Who may ask what, and how often: tokens with scopes from a file that is read again when it changes, the scope that a
//! path asks for, and a bucket of requests for each caller.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use axum::http::{HeaderMap, header};

use crate::{
    api_error::{ApiError, Code},
    error::ServeError,
};

mod bucket;
mod policy;
pub(crate) mod token;

pub(crate) use bucket::{Buckets, Rate};
pub(crate) use policy::{Needed, needed};
use token::{Entry, TokenFile};
pub use token::{NewToken, Scope, TokenFileError};

/// The tokens that are accepted now.
pub(crate) struct Access {
    file: Option<PathBuf>,
    tokens: RwLock<Arc<TokenFile>>,
}

/// Who asks: by the name of the token, or by the address where no tokens are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Caller {
    Named(Arc<str>),
    From(Option<IpAddr>),
}

/// A caller that may go on, and the rate of its token if that has one of its own.
pub(crate) struct Admitted {
    pub caller: Caller,
    pub rate: Option<Rate>,
}

impl Access {
    /// Reads the file of tokens; without one everybody may do everything.
    pub fn open(file: Option<&Path>) -> Result<Self, ServeError> {
        let tokens = match file {
            None => TokenFile::default(),
            Some(path) => TokenFile::read(path)
                .map_err(|source| ServeError::Tokens { path: path.to_owned(), source })?,
        };
        Ok(Self { file: file.map(Path::to_owned), tokens: RwLock::new(Arc::new(tokens)) })
    }

    /// Whether callers have to show a token.
    pub fn asks(&self) -> bool {
        self.file.is_some()
    }

    /// Reads the file again. What cannot be used changes nothing: the tokens of before stay good.
    pub fn reload(&self) -> Result<(), TokenFileError> {
        let Some(file) = &self.file else { return Ok(()) };
        let read = TokenFile::read(file)?;
        tracing::info!(file = %file.display(), tokens = read.len(), "tokens in use");
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(read);
        Ok(())
    }

    /// Lets a request through, or says why not.
    pub fn admit(
        &self,
        headers: &HeaderMap,
        needed: Needed,
        from: Option<IpAddr>,
    ) -> Result<Admitted, Refusal> {
        let anybody = || Admitted { caller: Caller::From(from), rate: None };
        let Needed::Scope(scope) = needed else { return Ok(anybody()) };
        if !self.asks() {
            return Ok(anybody());
        }
        let shown = bearer(headers)?;
        let tokens = Arc::clone(&self.tokens.read().unwrap_or_else(PoisonError::into_inner));
        let Some(Entry { name, scopes, rate, .. }) = tokens.find(shown) else { return Err(Refusal::Unknown) };
        if !scopes.allow(scope) {
            return Err(Refusal::Scope { name: Arc::clone(name), scope });
        }
        Ok(Admitted { caller: Caller::Named(Arc::clone(name)), rate: *rate })
    }
}

/// Why a request is turned away.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No token was shown.
    Missing,
    /// The header is of another scheme.
    OtherScheme,
    /// No such token.
    Unknown,
    /// The token is good, but not for this.
    Scope { name: Arc<str>, scope: Scope },
}

impl Refusal {
    /// What the client is told.
    pub fn error(&self) -> ApiError {
        match self {
            Self::Missing => ApiError::new(
                Code::Unauthenticated,
                "show a token: send the header Authorization: Bearer TOKEN",
            ),
            Self::OtherScheme => {
                ApiError::new(Code::Unauthenticated, "the header Authorization must be: Bearer TOKEN")
            }
            Self::Unknown => ApiError::new(
                Code::Unauthenticated,
                "this token is not known here: it was withdrawn, or belongs to another service",
            ),
            Self::Scope { name, scope } => {
                let message =
                    format!("the token {name:?} has not the scope {:?} that this asks for", scope.name());
                ApiError::new(Code::Forbidden, message)
            }
        }
    }

    /// The challenge of RFC 6750 that goes with it.
    pub fn challenge(&self) -> String {
        match self {
            Self::Missing => "Bearer realm=\"refit\"".to_owned(),
            Self::OtherScheme => "Bearer realm=\"refit\", error=\"invalid_request\"".to_owned(),
            Self::Unknown => "Bearer realm=\"refit\", error=\"invalid_token\"".to_owned(),
            Self::Scope { scope, .. } => {
                format!("Bearer realm=\"refit\", error=\"insufficient_scope\", scope=\"{}\"", scope.name())
            }
        }
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let value = headers.get(header::AUTHORIZATION).ok_or(Refusal::Missing)?;
    let value = value.to_str().map_err(|_| Refusal::OtherScheme)?;
    let (scheme, token) = value.split_once(' ').ok_or(Refusal::OtherScheme)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::OtherScheme);
    }
    Ok(token.trim())
}
