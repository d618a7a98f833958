use std::{io, path::PathBuf};

/// What can go wrong with an artifact.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The target of a writer is taken.
    #[error("{path} already exists: an artifact is never overwritten, so choose another version")]
    Exists {
        /// The target.
        path: PathBuf,
    },
    /// The disk is full. Nothing was left behind.
    #[error("the disk that holds {path} is full, and nothing was written: free some space and run it again")]
    DiskFull {
        /// The target of the writer.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Writing failed for another reason. Nothing was left behind.
    #[error(
        "cannot write the artifact {path}, and nothing was left behind: check the folder's permissions and disk"
    )]
    Write {
        /// The target of the writer.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file's name is not a plain name.
    #[error("{name:?} cannot name a file of an artifact: use letters, digits, '.', '-' and '_' only")]
    FileName {
        /// The name.
        name: String,
    },
    /// A file was added twice.
    #[error("{name} was added to the artifact twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// The manifest and the other files contradict each other.
    #[error("the artifact {path} contradicts itself: {reason}")]
    Inconsistent {
        /// The artifact.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// There is no artifact.
    #[error("{path} is not an artifact, it has no manifest.json: give the folder that `refit train` wrote")]
    NotAnArtifact {
        /// The folder.
        path: PathBuf,
    },
    /// The artifact was written by a newer refit.
    #[error(
        "the artifact {path} has schema version {found}, but this refit reads up to {supported}: upgrade refit, or train it again"
    )]
    Newer {
        /// The artifact.
        path: PathBuf,
        /// The version in the manifest.
        found: u64,
        /// The newest version that this code reads.
        supported: u32,
    },
    /// A file is not what its name promises.
    #[error("{path} cannot be understood: the artifact is damaged, fetch it again or train it again")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The manifest lists a file that is not there.
    #[error("{path} is missing, although the manifest lists it: the artifact is incomplete, fetch it again")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The manifest lacks a file that every artifact has.
    #[error("the manifest of {path} does not list {name}, which every artifact has: train it again")]
    Unlisted {
        /// The artifact.
        path: PathBuf,
        /// The file's name.
        name: String,
    },
    /// There is something in the folder that the manifest does not list.
    #[error("{path} is not listed in the manifest: remove it, or fetch the artifact again")]
    Unexpected {
        /// The file.
        path: PathBuf,
    },
    /// A file has another size than the manifest says.
    #[error(
        "{path} has {found} bytes, but the manifest says {expected}: it was changed or cut off, fetch it again"
    )]
    Size {
        /// The file.
        path: PathBuf,
        /// The size in the manifest.
        expected: u64,
        /// The size on disk.
        found: u64,
    },
    /// A file has other content than the manifest says.
    #[error(
        "{path} does not have the sha256 that the manifest says: it was changed after training, fetch it again"
    )]
    Hash {
        /// The file.
        path: PathBuf,
        /// The sha256 in the manifest.
        expected: String,
        /// The sha256 of what is on disk.
        found: String,
    },
    /// A file is larger than refit reads.
    #[error("{path} would take {bytes} bytes, more than the {limit} that refit reads of such a file")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Reading failed.
    #[error("cannot read {path}: check that it exists and that this user may read it")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}
