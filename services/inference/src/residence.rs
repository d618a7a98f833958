//! Which models share the memory: what a model needs, and which ones give way to it.

use std::{path::Path, time::Instant};

/// A model in memory.
#[derive(Clone, Debug)]
pub(crate) struct Resident {
    pub name: String,
    pub bytes: u64,
    pub last_used: Instant,
    /// Whether it may give way to others.
    pub can_leave: bool,
}

/// The models that give way so that `needed` bytes fit beside the rest: those that were not asked for the longest time.
/// `None` when even then there is no room.
pub(crate) fn leavers(mut residents: Vec<Resident>, needed: u64, budget: u64) -> Option<Vec<String>> {
    let mut held: u64 = residents.iter().map(|resident| resident.bytes).sum();
    residents.retain(|resident| resident.can_leave);
    residents.sort_by_key(|resident| resident.last_used);
    let mut leaving = Vec::new();
    let mut residents = residents.into_iter();
    while held.saturating_add(needed) > budget {
        let resident = residents.next()?;
        held = held.saturating_sub(resident.bytes);
        leaving.push(resident.name);
    }
    Some(leaving)
}

/// What a model holds: engines keep its weights as they are in the file and as matrix products want them. Sessions add
/// little. What the process grows by would tell more at the first load and nothing at the next, since freed memory stays
/// with the allocator.
pub(crate) fn model_bytes(file: &Path) -> u64 {
    2 * std::fs::metadata(file).map_or(0, |file| file.len())
}

/// The same for an artifact that is not open yet: its largest file is the weights.
pub(crate) fn artifact_bytes(artifact: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(artifact) else { return 0 };
    let sizes = entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()));
    2 * sizes.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_longest_unused_give_way() {
        let start = Instant::now();
        let resident = |name: &str, bytes, used, can_leave| Resident {
            name: name.into(),
            bytes,
            last_used: start + Duration::from_secs(used),
            can_leave,
        };
        let all = || {
            vec![
                resident("late", 30, 9, true),
                resident("early", 30, 1, true),
                resident("pinned", 30, 0, false),
                resident("middle", 5, 5, true),
            ]
        };
        let check = |needed, budget, expected: Option<&[&str]>| {
            let found = leavers(all(), needed, budget);
            assert_eq!(
                found.as_ref().map(|names| names.iter().map(String::as_str).collect::<Vec<_>>()),
                expected.map(<[_]>::to_vec)
            );
        };
        check(5, 100, Some(&[]));
        check(6, 100, Some(&["early"]));
        check(40, 100, Some(&["early", "middle"]));
        check(70, 100, Some(&["early", "middle", "late"]));
        check(71, 100, None);
        check(0, 30, Some(&["early", "middle", "late"]));
    }
}
