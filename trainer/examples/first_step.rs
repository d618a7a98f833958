//! Seconds from the start of the process to the end of the first training step, and the peak of memory:
//! what `refit train` does until then. `xtask/bench/torch_first_step.py` is the same in PyTorch.
//!
//! ```text
//! first_step <file with text and label> <folder of the base> <seconds since 1970 when it was started>
//! ```

use refit_predictor::{EngineConfig, Engines};
use refit_spec::Spec;
use refit_trainer::{Event, Running, TrainRequest, train};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rows, base, started] = arguments.as_slice() else {
        return Err("give a file of rows, a base and the time".into());
    };
    let started: f64 = started.parse()?;
    let toml = format!(
        "[model]\nname = \"first\"\nbase = \"file:{base}\"\n[data]\ntrain = \"file:{rows}\"\n\
         [train]\nepochs = 1\nmax_length = 128\nbatch_size = 32\nthreads = 2\n"
    );
    let spec = Spec::parse(&toml, Path::new("/"))?;
    let folder = std::env::temp_dir().join(format!("refit-first-step-{}", std::process::id()));
    let engines = Engines::discover(&EngineConfig {
        cache: folder.clone(),
        onnxruntime_library: None,
        device: refit_spec::DeviceChoice::Cpu,
    });
    let request = TrainRequest {
        spec: &spec,
        cache: &folder.join("cache"),
        output: &folder.join("artifact"),
        version: None,
        additional: None,
        champion: None,
        engines: &engines,
        running: Running::default(),
    };
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let gone = folder.clone();
    let verbose = std::env::var_os("REFIT_BENCH_VERBOSE").is_some();
    train(&request, &mut |event| match event {
        Event::Step(_) => {
            let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
            let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let peak: f64 =
                peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0.0);
            println!("{{\"seconds\": {:.3}, \"peak_rss_mb\": {:.1}}}", now() - started, peak / 1024.0);
            // A folder that stays behind is the system's to clear.
            let _ = std::fs::remove_dir_all(&gone);
            std::process::exit(0);
        }
        Event::Stage { message, .. } if verbose => eprintln!("{:.3} {message}", now() - started),
        _ => {}
    })?;
    Err("the training ended without a step".into())
}
