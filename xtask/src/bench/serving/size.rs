//! How large the binary of a serving machine is, and what it takes up when nobody asks it anything.

use super::service::Service;
use super::{Bench, PORT};
use crate::bench::Row;
use crate::shell;
use anyhow::{Context, Result};
use std::time::Duration;

const BINARY_MB: f64 = 40.0;
/// What the process may need beside the model's file.
const ROOM_MB: f64 = 60.0;
/// After this long at rest.
const REST: Duration = Duration::from_secs(10);

pub fn run(bench: &Bench) -> Result<Vec<Row>> {
    let home = bench.int8()?;
    let stripped = bench.folder.join("refit");
    let mut strip = shell::program("strip");
    shell::run(strip.arg("-o").arg(&stripped).arg(&bench.service))?;
    let megabytes = |path: &std::path::Path| -> Result<f64> {
        let file = path.metadata().with_context(|| format!("{} cannot be read", path.display()))?;
        Ok(file.len() as f64 / 1e6)
    };
    let service = Service::of_binary(&stripped, home, PORT, "")?;
    std::thread::sleep(REST);
    let allowed = ROOM_MB + megabytes(&home.model("1")?)?;
    Ok(vec![
        Row::at_most("stripped binary, MB, against 40", megabytes(&stripped)?, BINARY_MB, 1.0).of_rounds(1),
        Row::at_most("memory at rest, MB, the model's file + 60", service.memory_mb()?, allowed, 1.0)
            .of_rounds(1),
    ])
}
