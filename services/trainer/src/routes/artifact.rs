use super::{ApiError, Context};
use crate::run::Run;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

/// Bytes that are sent at a time.
const BLOCK: usize = 256 << 10;

/// The artifact's folder as a tar file.
pub async fn download(State(context): State<Context>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let run = context.queue.get(&id).ok_or_else(|| ApiError::unknown(&id))?;
    let folder = folder(&run).ok_or_else(|| {
        let message = format!("the run {id} has no artifact: it is {}", run.status.name());
        ApiError::new(StatusCode::CONFLICT, message)
    })?;
    let name =
        format!("{}-{}", run.model, run.outcome.as_ref().and_then(|o| o["version"].as_str()).unwrap_or("0"));
    let inside = name.clone();
    // Packed into a file without a name first: a length can be told, and nothing waits for a slow reader.
    let packed = tokio::task::spawn_blocking(move || -> std::io::Result<(File, u64)> {
        let mut tar = tar::Builder::new(tempfile::tempfile()?);
        tar.append_dir_all(&inside, &folder)?;
        let mut file = tar.into_inner()?;
        let length = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(0))?;
        Ok((file, length))
    });
    let (file, length) = packed.await.map_err(std::io::Error::other).flatten().map_err(|error| {
        tracing::error!(run = id, %error, "the artifact cannot be packed");
        ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the artifact cannot be packed: the service's log says why",
        )
    })?;
    let blocks = stream::unfold(Some(file), |file| async move {
        let read = tokio::task::spawn_blocking(move || -> std::io::Result<(Bytes, File)> {
            let mut file = file.ok_or_else(|| std::io::Error::other("read to its end"))?;
            let mut block = vec![0; BLOCK];
            let count = file.read(&mut block)?;
            block.truncate(count);
            Ok((block.into(), file))
        });
        match read.await.map_err(std::io::Error::other).flatten() {
            Ok((block, _)) if block.is_empty() => None,
            Ok((block, file)) => Some((Ok::<_, std::io::Error>(block), Some(file))),
            Err(error) => Some((Err(error), None)),
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "application/x-tar".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.tar\"")),
    ];
    Ok((headers, Body::from_stream(blocks)).into_response())
}

/// Where the run said that it put the artifact.
fn folder(run: &Run) -> Option<PathBuf> {
    Some(PathBuf::from(run.outcome.as_ref()?["artifact"].as_str()?)).filter(|folder| folder.is_dir())
}
