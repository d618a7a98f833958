use std::path::PathBuf;

/// Why a run cannot begin, or not go on from where it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum CheckpointError {
    #[error(
        "another run is writing to {}: wait for it, or give this one an output of its own",
        folder.display()
    )]
    Locked { folder: PathBuf },

    #[error(
        "the run cannot go on from the checkpoints in {}, because {why}: set it back, or leave --resume away to start from the beginning",
        folder.display()
    )]
    Changed { folder: PathBuf, why: String },

    #[error(
        "there is no checkpoint to go on from in {}: leave --resume away to start from the beginning",
        folder.display()
    )]
    Nothing { folder: PathBuf },

    #[error("the folder of checkpoints {} cannot be used", folder.display())]
    Folder { folder: PathBuf, source: std::io::Error },
}
