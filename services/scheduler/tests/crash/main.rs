//! Kills the scheduler at every named point and elsewhere, starts it again, and looks whether the loop ends as if nothing
//! had happened: nothing done twice, nothing left out.
//!
//! This program is both the test and, started with `scheduler` as its first argument, the process that is killed.

#[path = "../world/mod.rs"]
mod world;

mod cases;
mod process;

use std::{panic::AssertUnwindSafe, process::ExitCode, time::Instant};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "scheduler") {
        return process::scheduler(&arguments[1..]);
    }
    // As with the usual harness, an argument without dashes selects cases by a part of their name.
    let wanted = arguments.iter().find(|argument| !argument.starts_with('-'));
    let cases: Vec<_> = cases::all()
        .into_iter()
        .filter(|case| wanted.is_none_or(|wanted| case.name.contains(wanted)))
        .collect();
    let failed: Vec<String> = run(cases);
    println!("{} cases failed {failed:?}", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Four at a time: they mostly wait.
fn run(cases: Vec<cases::Case>) -> Vec<String> {
    let queue = std::sync::Mutex::new(cases.into_iter());
    let failed = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(case) = { queue.lock().unwrap().next() } {
                    let start = Instant::now();
                    let runtime = tokio::runtime::Runtime::new().unwrap();
                    let well =
                        std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on((case.run)()))).is_ok();
                    println!(
                        "{} {:.1} s {}",
                        if well { "ok    " } else { "FAILED" },
                        start.elapsed().as_secs_f64(),
                        case.name
                    );
                    if !well {
                        failed.lock().unwrap().push(case.name);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap()
}
