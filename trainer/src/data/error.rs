use std::path::PathBuf;

/// Why data, or a pretrained model, cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum DataError {
    #[error("{} does not exist: check the path, which is relative to the folder of refit.toml", path.display())]
    FileMissing { path: PathBuf },

    #[error("{} cannot be read or written: check its permissions and the free space", path.display())]
    Io { path: PathBuf, source: std::io::Error },

    #[error(
        "no python with pip was found (tried {tried}): install python3 and python3-pip, or set REFIT_PYTHON to a python that has pip"
    )]
    NoPip { tried: String },

    #[error(
        "pip could not download {package}: check the name, the version and the network; pip said: {said}"
    )]
    PipDownload { package: String, said: String },

    #[error("{} cannot be opened as an archive: delete it and try again", path.display())]
    Archive { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },

    #[error("there is no {member} in {archive}{}", near(suggestion))]
    MemberMissing { archive: String, member: String, suggestion: Option<String> },

    #[error(
        "{member} in {archive} is larger than {limit} bytes: unpack it yourself and name it as file:PATH"
    )]
    MemberTooLarge { archive: String, member: String, limit: u64 },

    #[error(
        "{} has the sha256 {found}, and {expected} was expected: if the file is right, correct the #sha256= of the source; if it came from the cache, delete it there and try again",
        path.display()
    )]
    Hash { path: PathBuf, expected: String, found: String },

    #[error("{} is a folder, and a #sha256= is for one file: remove it from the source", path.display())]
    PinnedFolder { path: PathBuf },

    #[error(
        "{url} is not open to this account (status {status}): set HF_TOKEN to a token with access, and accept the terms on the page of the repository"
    )]
    HubDenied { url: String, status: u16 },

    #[error("{url} does not exist: check organisation, name, revision and path")]
    HubMissing { url: String },

    #[error("{url} was answered with {status}: try again later, or set HF_ENDPOINT to another server")]
    HubStatus { url: String, status: u16 },

    #[error("{url} cannot be reached: check the network, or set HF_ENDPOINT to a server that can")]
    HubUnreachable { url: String, source: Box<dyn std::error::Error + Send + Sync> },

    #[error("{url} answers without a usable {header} header: check that HF_ENDPOINT is a Hugging Face hub")]
    HubProtocol { url: String, header: &'static str },

    #[error("rows cannot be kept in {}: make free space there, or name another cache folder", folder.display())]
    Spool { folder: PathBuf, source: std::io::Error },

    #[error("{} is of no known kind: use .csv, .tsv, .jsonl (also with .gz) or .parquet", path.display())]
    UnknownFormat { path: PathBuf },

    #[error("{} has no rows: give a file with labelled rows", path.display())]
    Empty { path: PathBuf },

    #[error(
        "{} has no column {column:?}{}; its columns are {}",
        path.display(), near(suggestion), existing.join(", ")
    )]
    ColumnMissing { path: PathBuf, column: String, suggestion: Option<String>, existing: Vec<String> },

    #[error(
        "line {line} of {} cannot be read: {why}; correct it, or set data.broken_rows = \"skip\"",
        path.display()
    )]
    BrokenRow { path: PathBuf, line: u64, why: String },

    #[error("none of the {rows} rows of {} can be read, the first because: {why}", path.display())]
    AllBroken { path: PathBuf, rows: usize, why: String },

    #[error("{} cannot be read as {format}: {why}", path.display())]
    Format { path: PathBuf, format: &'static str, why: String },

    #[error("{} is larger than {limit} bytes: split it, or keep fewer rows", path.display())]
    TooLarge { path: PathBuf, limit: u64 },

    #[error("no row of {} has a label in column {column:?}: name the column with the labels under data.label", path.display())]
    NoLabels { path: PathBuf, column: String },

    #[error("line {line} of {} has no {what} in column {column:?}: correct it, or set data.missing_{what} = \"skip\"", path.display())]
    MissingValue { path: PathBuf, line: u64, what: &'static str, column: String },

    #[error("no row of {} has a time in column {column:?}: data.split.time needs numbers, dates (2024-02-29) or timestamps (2024-02-29T10:00:00Z)", path.display())]
    NoTimes { path: PathBuf, column: String },

    #[error("column {column:?} of {} has both plain numbers and dates, whose order is not known: write all of them in one way", path.display())]
    MixedTimes { path: PathBuf, column: String },

    #[error("none of the {rows} rows of {} is left after the audit ({why}): give other rows, or change [data]", path.display())]
    AllLeftOut { path: PathBuf, rows: usize, why: String },

    #[error("all rows of {} have the label {label:?}: a classifier needs rows of at least two labels", path.display())]
    OneLabel { path: PathBuf, label: String },

    #[error("line {line} of {} has the label {label:?}, which is not one of {}{}", path.display(), known.join(", "), near(suggestion))]
    UnknownLabel { path: PathBuf, line: u64, label: String, known: Vec<String>, suggestion: Option<String> },

    #[error(
        "no rows are left for {part} after the audit and the split: give more rows, or change data.split"
    )]
    PartEmpty { part: &'static str },
}

fn near(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map_or_else(String::new, |name| format!("; did you mean {name:?}?"))
}

/// `map_err` of operations on a path.
pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> DataError + '_ {
    |source| match source.kind() {
        std::io::ErrorKind::NotFound => DataError::FileMissing { path: path.into() },
        _ => DataError::Io { path: path.into(), source },
    }
}
