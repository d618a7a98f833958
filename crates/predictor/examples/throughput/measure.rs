//! How fast threads answer, and what the process takes up.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};

use crate::Answer;

/// How long one loop runs before it is the other's turn.
pub const TURN: Duration = Duration::from_millis(500);

/// What all threads together answered in one turn.
pub struct Rate {
    pub per_second: f64,
    pub cpu_seconds: f64,
    /// Of each answer.
    pub milliseconds: Vec<f64>,
}

pub fn measure(answers: &mut [Answer], turn: Duration) -> Result<Rate> {
    let started = Instant::now();
    let cpu_before = cpu_ticks()?;
    let milliseconds = thread::scope(|scope| {
        let until_over = |answer: &mut Answer| -> Result<Vec<f64>> {
            let mut milliseconds = Vec::new();
            while started.elapsed() < turn {
                let asked = Instant::now();
                answer()?;
                milliseconds.push(asked.elapsed().as_secs_f64() * 1e3);
            }
            Ok(milliseconds)
        };
        let threads: Vec<_> =
            answers.iter_mut().map(|answer| scope.spawn(move || until_over(answer))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<Vec<f64>>>| {
            thread.join().map_err(|_| anyhow!("a thread panicked"))?
        };
        threads.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    let milliseconds = milliseconds.concat();
    ensure!(!milliseconds.is_empty(), "nothing was answered");
    let cpu_seconds = (cpu_ticks()? - cpu_before) as f64 / TICKS_PER_SECOND;
    let per_second = milliseconds.len() as f64 / started.elapsed().as_secs_f64();
    Ok(Rate { per_second, cpu_seconds, milliseconds })
}

pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Linux counts in hundredths of a second whatever its clock does (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time of all threads of this process so far.
fn cpu_ticks() -> Result<u64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').context("this system does not tell")?.1;
    after_name.split_whitespace().skip(11).take(2).map(|ticks| Ok(ticks.parse::<u64>()?)).sum()
}

pub fn resident_mib() -> Result<f64> {
    status_mib("VmRSS:")
}

pub fn peak_mib() -> Result<f64> {
    status_mib("VmHWM:")
}

fn status_mib(field: &str) -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line =
        status.lines().find_map(|line| line.strip_prefix(field)).context("this system does not tell")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}
