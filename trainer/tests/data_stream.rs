//! Files larger than memory: the reader's memory does not grow with the texts.

use std::fmt::Write as _;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::Command;

use refit_spec::Spec;
use refit_trainer::data::{Fetch, LoadedData, load_dataset};
use tempfile::TempDir;

/// Texts of some 300 bytes; a few are duplicates, a few have no label.
fn write_rows(path: &Path, rows: usize) {
    let mut file = BufWriter::new(std::fs::File::create(path).unwrap());
    writeln!(file, "text,label,group").unwrap();
    for row in 0..rows {
        let number = if row % 1000 == 999 { row - 1 } else { row };
        let mut text = String::new();
        for word in 0..30u64 {
            let hash = (number as u64 * 31 + word).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            write!(text, "word{hash} ").unwrap();
        }
        let label = if row % 500 == 7 { "" } else { ["good", "bad", "ugly"][number % 3] };
        writeln!(file, "{text},{label},{}", number / 7).unwrap();
    }
}

fn load(folder: &Path, in_memory: usize) -> LoadedData {
    let toml = "[model]\nname = 'm'\nbase = 'base'\n[data]\ntrain = 'rows.csv'\nslices = ['group']\n";
    let spec = Spec::parse(toml, folder).unwrap_or_else(|problems| panic!("{problems}"));
    let fetch = Fetch { in_memory, ..Fetch::new(folder.join("cache"), folder) };
    load_dataset(&spec.data, &fetch).unwrap()
}

#[test]
fn rows_on_disk_are_the_rows_in_memory() {
    let folder = TempDir::new().unwrap();
    write_rows(&folder.path().join("rows.csv"), 20_000);
    let (disk, memory) = (load(folder.path(), 0), load(folder.path(), usize::MAX));
    for (disk, memory) in
        [(&disk.train, &memory.train), (&disk.validation, &memory.validation), (&disk.test, &memory.test)]
    {
        assert!(disk.to_vec().unwrap() == memory.to_vec().unwrap());
    }
    assert_eq!(disk.audit, memory.audit);
    assert_eq!(disk.audit.findings.len(), 2);
    assert_eq!(disk.fingerprint, memory.fingerprint);
    assert_eq!(disk.train.get(11_111).unwrap(), memory.train.get(11_111).unwrap());
}

/// The other process of [`memory_grows_by_bytes_a_row_and_not_by_its_text`].
#[test]
fn reads_in_a_process_of_its_own() {
    let Some(folder) = std::env::var_os("REFIT_TEST_ROWS") else { return };
    let data = load(Path::new(&folder), refit_trainer::spool::IN_MEMORY);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    println!("peak {} rows {}", peak.trim().trim_end_matches(" kB"), data.audit.rows_kept);
}

#[test]
#[cfg(target_os = "linux")]
fn memory_grows_by_bytes_a_row_and_not_by_its_text() {
    let peak = |rows: usize| {
        let folder = TempDir::new().unwrap();
        write_rows(&folder.path().join("rows.csv"), rows);
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "reads_in_a_process_of_its_own", "--nocapture"])
            .env("REFIT_TEST_ROWS", folder.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let figure = text.lines().find_map(|line| line.split("peak ").nth(1));
        let words: Vec<usize> = figure
            .unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        assert!(words[1] > rows / 100 * 99, "{words:?}");
        words[0] << 10
    };
    // Both are larger than what is kept in memory; the texts of the second are 100 MB more.
    let (few, many) = (peak(80_000), peak(400_000));
    let bytes = (many.saturating_sub(few)) as f64 / 320_000.0;
    println!("peak of 80,000 rows {few}, of 400,000 rows {many}: {bytes:.1} bytes a row");
    assert!(bytes < 80.0, "{bytes} bytes a row");
    assert!(many < 128 << 20, "{many} bytes");
}
