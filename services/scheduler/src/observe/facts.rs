//! What a version's artifact says about itself: its labels and how it did on the test rows.

use std::{collections::BTreeSet, path::Path};

use refit_artifact::{Manifest, files};

use crate::{SchedulerError, memory::BaselineRecord};

/// The facts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The labels that it can answer.
    pub labels: BTreeSet<String>,
    /// Its errors on the test rows.
    pub baseline: Option<BaselineRecord>,
}

/// Reads the manifest alone: the service verifies hashes before it serves, and the files are large.
pub fn read(artifact: &Path) -> Result<Facts, SchedulerError> {
    let path = artifact.join(files::MANIFEST);
    let bytes = std::fs::read(&path).map_err(SchedulerError::file("read", &path))?;
    let manifest: Manifest =
        serde_json::from_slice(&bytes).map_err(|source| SchedulerError::Manifest { path, source })?;
    let figure = |name: &str| manifest.metrics.get(name).copied().filter(|value| value.is_finite());
    let baseline = match (figure("accuracy"), figure("rows")) {
        (Some(accuracy), Some(rows)) if rows >= 1.0 => {
            Some(BaselineRecord { errors: ((1.0 - accuracy) * rows).round() as u64, rows: rows as u64 })
        }
        _ => None,
    };
    Ok(Facts { labels: manifest.labels.into_iter().collect(), baseline })
}
