//! The memory that a run will take, told before it begins, and what there is.

use crate::TrainError;
use crate::examples::{Example, collate};
use crate::fit::{Material, plan};
use crate::mixup;
use refit_autodiff::{Probe, Program};
use refit_spec::{Batch, TrainSpec};
use std::path::Path;

/// Part of what the values take that operators need beside them while they run: packed matrices, transposed
/// copies, blocks that the allocator cannot use again. Measured on small and middle-sized encoders.
const OPERATORS: f64 = 1.15;

/// What a run needs beside what the process holds already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Of the optimizer, the best weights, the average.
    pub state_bytes: u64,
    /// Of activations and gradients of the largest batch.
    pub step_bytes: u64,
}

impl Estimate {
    /// Both together.
    pub fn bytes(&self) -> u64 {
        self.state_bytes + self.step_bytes
    }
}

/// What training will take; `None` where single rows cannot be run to learn it.
pub fn estimate(program: &Program, material: &Material<'_>, spec: &TrainSpec) -> Option<Estimate> {
    let lengths = material.train.lengths();
    let probes = probes(program, material, lengths).ok()?;
    let (pair, rows) = probes.split_last()?;
    let footprint = program.footprint(rows, pair).ok()?;
    // Batches of the same number of tokens may differ in what they take: attention, or rows of one value each.
    let mut shapes: Vec<(usize, usize)> = plan(material.train, spec)
        .ok()?
        .epoch(0)
        .iter()
        .map(|batch| (batch.len(), batch.iter().map(|&row| lengths[row]).max().unwrap_or(0) as usize))
        .collect();
    shapes.sort_unstable();
    shapes.dedup();
    let step = shapes.iter().map(|&(batch, sequence)| footprint.peak_bytes(batch, sequence)).max()?;
    let parameters: usize =
        program.parameters().iter().map(|parameter| 4 * parameter.shape.iter().product::<usize>()).sum();
    // Two moments and the best weights; a sum of gradients beside the newest; the average.
    let copies = 3 + usize::from(spec.accumulate > 1) + usize::from(spec.averaging.is_some());
    Some(Estimate { state_bytes: (parameters * copies) as u64, step_bytes: (step as f64 * OPERATORS) as u64 })
}

/// Single rows of up to three different lengths, and last the first of them twice.
fn probes(program: &Program, material: &Material<'_>, lengths: &[u32]) -> Result<Vec<Probe>, TrainError> {
    let mut rows: Vec<usize> = (0..lengths.len()).collect();
    rows.sort_by_key(|&row| lengths[row]);
    rows.dedup_by_key(|row| lengths[*row]);
    let picked = match rows.as_slice() {
        [] => Vec::new(),
        [one] => vec![*one],
        [short, long] => vec![*short, *long],
        [short, .., long] => {
            let middle = lengths[*short].midpoint(lengths[*long]);
            let near = rows[1..rows.len() - 1].iter().min_by_key(|&&row| lengths[row].abs_diff(middle));
            [Some(*short), near.copied(), Some(*long)].into_iter().flatten().collect()
        }
    };
    let probe = |rows: &[usize]| -> Result<Probe, TrainError> {
        let examples = material.train.batch(rows)?;
        let examples: Vec<&Example> = examples.iter().collect();
        let mut inputs = collate(&examples, material.feature_names, material.pad_id, program)?;
        mixup::unmixed(program, rows.len(), &mut inputs)?;
        Ok(Probe {
            batch: rows.len(),
            sequence: rows.first().map_or(0, |&row| lengths[row] as usize),
            inputs,
        })
    };
    let mut probes = picked.iter().map(|&row| probe(&[row])).collect::<Result<Vec<_>, _>>()?;
    if let Some(&first) = picked.first() {
        probes.push(probe(&[first, first])?);
    }
    Ok(probes)
}

/// Says what training will take, and refuses to begin what cannot end.
///
/// # Errors
/// When more is needed than the machine, or the control group of the process, has left; with settings that fit.
pub fn check(
    program: &mut Program,
    material: &Material<'_>,
    spec: &TrainSpec,
) -> Result<Option<String>, TrainError> {
    if !program.device().is_cpu() {
        return Ok(None);
    }
    let Some(needed) = estimate(program, material, spec) else { return Ok(None) };
    let Some(free) = available_bytes() else {
        return Ok(Some(format!("needs about {} of memory", shown(needed.bytes()))));
    };
    if needed.bytes() <= free {
        return Ok(Some(format!(
            "needs about {} of memory; {} are free",
            shown(needed.bytes()),
            shown(free)
        )));
    }
    let fix = fixes(program, material, spec, free);
    Err(TrainError::Memory { needed: shown(needed.bytes()), free: shown(free), fix })
}

/// Settings with which the run fits.
fn fixes(program: &mut Program, material: &Material<'_>, spec: &TrainSpec, free: u64) -> String {
    let fits = |program: &Program, spec: &TrainSpec| {
        estimate(program, material, spec).is_some_and(|needed| needed.bytes() <= free)
    };
    let mut found = Vec::new();
    let mut smaller = spec.clone();
    while let Some(half) = halved(smaller.batch) {
        smaller.batch = half;
        smaller.accumulate *= 2;
        if fits(program, &smaller) {
            let (key, size) = match half {
                Batch::Rows(rows) => ("batch_size", rows),
                Batch::Tokens(tokens) => ("batch_tokens", tokens),
            };
            found.push(format!("train.{key} = {size} with train.accumulate = {}", smaller.accumulate));
            break;
        }
    }
    if !spec.activation_checkpointing && program.recompute_activations() > 1 && fits(program, spec) {
        found.push("train.activation_checkpointing = true".to_owned());
    }
    if found.is_empty() {
        return "use a smaller base, train.method = \"lora\", or a machine with more memory".to_owned();
    }
    format!("use {}", found.join(", or "))
}

fn halved(batch: Batch) -> Option<Batch> {
    match batch {
        Batch::Rows(rows) if rows > 1 => Some(Batch::Rows(rows / 2)),
        Batch::Tokens(tokens) if tokens > 32 => Some(Batch::Tokens(tokens / 2)),
        _ => None,
    }
}

/// Bytes in words.
pub fn shown(bytes: u64) -> String {
    let mega = bytes as f64 / 1e6;
    if mega >= 1000.0 { format!("{:.1} GB", mega / 1000.0) } else { format!("{mega:.0} MB") }
}

/// Bytes that this process may still take: what the machine has left, or less where a control group limits it.
pub fn available_bytes() -> Option<u64> {
    let machine = field(Path::new("/proc/meminfo"), "MemAvailable:");
    [machine, group_bytes(Path::new("/sys/fs/cgroup"), Path::new("/proc/self/cgroup"))]
        .into_iter()
        .flatten()
        .min()
}

/// What the control groups of the process (version 2, else version 1) leave, each of them and those around it.
fn group_bytes(root: &Path, of_process: &Path) -> Option<u64> {
    let groups = std::fs::read_to_string(of_process).ok()?;
    let mut left: Option<u64> = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next(), parts.next()?, parts.next()?);
        let (base, limit, usage, cache) = match controllers {
            "" => (root.to_owned(), "memory.max", "memory.current", "inactive_file"),
            names if names.split(',').any(|name| name == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            }
            _ => continue,
        };
        let inner = base.join(path.trim_start_matches('/'));
        // Inside a container the path may be that of the host, and the group itself is mounted at the root.
        for folder in inner.ancestors().take_while(|folder| folder.starts_with(&base)) {
            let number =
                |name: &str| std::fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
            if let (Some(limit), Some(usage)) = (number(limit), number(usage)) {
                // Pages of files are given back before anybody is killed.
                let reclaimable = field(&folder.join("memory.stat"), cache).unwrap_or(0);
                let free = limit.saturating_sub(usage.saturating_sub(reclaimable));
                left = Some(left.map_or(free, |left| left.min(free)));
            }
        }
    }
    left
}

/// The number behind `name` in a file of lines, in bytes.
fn field(path: &Path, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut words =
        text.lines().find(|line| line.split_whitespace().next() == Some(name))?.split_whitespace();
    let number: u64 = words.nth(1)?.parse().ok()?;
    Some(if words.next() == Some("kB") { number * 1024 } else { number })
}

/// Memory of the process from a moment on, where the system tells.
pub struct Watch {
    before: u64,
}

impl Watch {
    /// Begins; the peak of what was before is forgotten.
    pub fn begin() -> Option<Self> {
        std::fs::write("/proc/self/clear_refs", "5").ok()?;
        Some(Self { before: field(Path::new("/proc/self/status"), "VmRSS:")? })
    }

    /// The most that the process has held since, beside what it held before.
    pub fn peak_bytes(&self) -> Option<u64> {
        Some(field(Path::new("/proc/self/status"), "VmHWM:")?.saturating_sub(self.before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn the_tightest_group_counts() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let of_process = root.join("self");
        write(&of_process, "0::/pod/container\n");
        write(&root.join("pod/container/memory.max"), "max\n");
        write(&root.join("pod/container/memory.current"), "500\n");
        assert_eq!(group_bytes(root, &of_process), None, "no limit");
        write(&root.join("pod/memory.max"), "2000\n");
        write(&root.join("pod/memory.current"), "1500\n");
        write(&root.join("pod/memory.stat"), "anon 1000\ninactive_file 300\n");
        assert_eq!(group_bytes(root, &of_process), Some(800), "pages of files are given back");
        write(&root.join("pod/container/memory.max"), "600\n");
        assert_eq!(group_bytes(root, &of_process), Some(100));
    }

    #[test]
    fn groups_of_the_first_version_count_too() {
        let folder = tempfile::tempdir().unwrap();
        let of_process = folder.path().join("self");
        write(&of_process, "5:cpu,cpuacct:/x\n4:memory:/x\n");
        write(&folder.path().join("memory/x/memory.limit_in_bytes"), "1000\n");
        write(&folder.path().join("memory/x/memory.usage_in_bytes"), "400\n");
        assert_eq!(group_bytes(folder.path(), &of_process), Some(600));
    }
}
