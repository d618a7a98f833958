//! Serves one artifact from its folder: `serve ARTIFACT [ADDRESS]`.

use std::path::Path;

use refit_inference::{ServeConfig, ServeError, Source, run, stop_signal};

#[tokio::main]
async fn main() -> Result<(), ServeError> {
    let mut arguments = std::env::args().skip(1);
    let artifact = arguments.next().unwrap_or_else(|| ".".to_owned());
    let mut config = ServeConfig::new(Source::Artifact(artifact.into()), Path::new(".refit/cache"));
    if let Some(address) = arguments.next().and_then(|address| address.parse().ok()) {
        config.address = address;
    }
    run(config, stop_signal()).await
}
