use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Cores that share a memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its number.
    pub id: usize,
    /// Numbers of its cores, rising.
    pub cpus: Vec<usize>,
    /// Whether it has memory of its own.
    pub has_memory: bool,
    /// How far every node's memory is, by the place of the node among those that are online; empty where the system does
    /// not tell.
    pub distances: Vec<u32>,
}

/// Why the nodes are not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TopologyError {
    /// A file is not there or cannot be read.
    #[error("{} cannot be read", .path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A file holds something else than a list of numbers.
    #[error("{} holds {text:?}, which is no list of numbers and ranges", .path.display())]
    List { path: PathBuf, text: String },
}

/// Reads the nodes under `root`, on Linux `/sys/devices/system/node`, in the order of their numbers. None where there is
/// no such folder: a kernel without NUMA, or another system.
pub(crate) fn read(root: &Path) -> Result<Vec<Node>, TopologyError> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(TopologyError::Read { path: root.to_owned(), source }),
    };
    let with_memory = root.join("has_memory");
    let with_memory = if with_memory.exists() { Some(list(&with_memory)?) } else { None };
    let number = |name: &str| name.strip_prefix("node")?.parse().ok();
    let mut ids: Vec<usize> =
        entries.flatten().filter_map(|entry| number(entry.file_name().to_str()?)).collect();
    ids.sort_unstable();
    ids.into_iter()
        .map(|id| {
            let folder = root.join(format!("node{id}"));
            let distances = fs::read_to_string(folder.join("distance")).unwrap_or_default();
            let distances = distances.split_whitespace().map(str::parse).collect::<Result<_, _>>();
            Ok(Node {
                id,
                cpus: list(&folder.join("cpulist"))?,
                has_memory: with_memory.as_ref().is_none_or(|ids| ids.contains(&id)),
                distances: distances.unwrap_or_default(),
            })
        })
        .collect()
}

fn list(path: &Path) -> Result<Vec<usize>, TopologyError> {
    let text =
        fs::read_to_string(path).map_err(|source| TopologyError::Read { path: path.to_owned(), source })?;
    parse_list(text.trim())
        .ok_or_else(|| TopologyError::List { path: path.to_owned(), text: text.trim().to_owned() })
}

/// More cores than a machine has: a bound for what a list may unfold to.
const MOST: usize = 1 << 16;

/// The numbers of a list as the kernel writes it: `0-3,8,10-11`; an empty one has none.
fn parse_list(text: &str) -> Option<Vec<usize>> {
    let mut numbers = Vec::new();
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= MOST {
            return None;
        }
        numbers.extend(first..=last);
    }
    numbers.sort_unstable();
    numbers.dedup();
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_as_the_kernel_writes_them() {
        for (text, expected) in [
            ("", Some(vec![])),
            ("0", Some(vec![0])),
            ("0-3,8,10-11", Some(vec![0, 1, 2, 3, 8, 10, 11])),
            ("4-5,0-1", Some(vec![0, 1, 4, 5])),
            ("3-1", None),
            ("0-", None),
            ("0,,1", None),
            ("zero", None),
            ("-1", None),
            ("0-99999999999", None),
        ] {
            assert_eq!(parse_list(text), expected, "{text:?}");
        }
    }

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn nodes_are_read_in_the_order_of_their_numbers() {
        let root = folder(&[
            ("node10/cpulist", "\n"),
            ("node10/distance", "21 12 10\n"),
            ("node0/cpulist", "0-1\n"),
            ("node0/distance", "10 21 21\n"),
            ("node2/cpulist", "2,3\n"),
            ("has_memory", "0,10\n"),
            ("online", "0,2,10\n"),
            ("node_of_something/cpulist", "9\n"),
        ]);
        let node = |id, cpus: &[usize], has_memory, distances: &[u32]| Node {
            id,
            cpus: cpus.to_vec(),
            has_memory,
            distances: distances.to_vec(),
        };
        let expected = [
            node(0, &[0, 1], true, &[10, 21, 21]),
            node(2, &[2, 3], false, &[]),
            node(10, &[], true, &[21, 12, 10]),
        ];
        assert_eq!(read(root.path()).unwrap(), expected);
    }

    #[test]
    fn what_is_not_there_is_no_node_and_what_cannot_be_read_is_named() {
        assert_eq!(read(Path::new("/nowhere/at/all")).unwrap(), []);
        let bare = folder(&[("node0/cpulist", "0-1\n")]);
        assert!(read(bare.path()).unwrap()[0].has_memory);
        let malformed = folder(&[("node0/cpulist", "0-1\n"), ("node1/cpulist", "2-x\n")]);
        let error = read(malformed.path()).unwrap_err().to_string();
        assert!(
            error.ends_with(r#"node1/cpulist holds "2-x", which is no list of numbers and ranges"#),
            "{error}"
        );
        let missing = folder(&[("node0/distance", "10\n")]);
        assert!(matches!(read(missing.path()), Err(TopologyError::Read { .. })));
    }
}
