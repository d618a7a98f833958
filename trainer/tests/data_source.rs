//! Files, pins and archive members.

use std::io::Write;
use std::path::{Path, PathBuf};

use refit_trainer::data::{DataError, Fetch, Resolved, resolve};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

fn fetched(folder: &Path, source: &str) -> Result<Resolved, DataError> {
    resolve(
        &source.parse().unwrap_or_else(|fix| panic!("{source}: {fix}")),
        &Fetch::new(folder.join("cache"), folder),
    )
}

/// Writes an archive of these files.
type Make = fn(&Path, &[(&str, &[u8])]);

fn tar_gz(path: &Path, files: &[(&str, &[u8])]) {
    let gz = flate2::write::GzEncoder::new(std::fs::File::create(path).unwrap(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(gz);
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        // set_path refuses "..": an attacker's tar does not.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        tar.append(&header, *bytes).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap();
}

fn zip_file(path: &Path, files: &[(&str, &[u8])]) {
    let mut zip = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    for (name, bytes) in files {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

#[test]
fn a_file_and_its_pin() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("rows.csv"), b"abc").unwrap();
    let hash = hex::encode(Sha256::digest(b"abc"));
    let resolved = fetched(folder.path(), &format!("rows.csv#sha256={hash}")).unwrap();
    assert_eq!(resolved, Resolved { path: folder.path().join("rows.csv"), sha256: hash.clone() });
    let wrong = hex::encode(Sha256::digest(b"abd"));
    let error = fetched(folder.path(), &format!("rows.csv#sha256={wrong}")).unwrap_err();
    assert!(
        matches!(&error, DataError::Hash { expected, found, .. } if *expected == wrong && *found == hash)
    );
    assert!(matches!(fetched(folder.path(), "file:other.csv").unwrap_err(), DataError::FileMissing { .. }));
    let error = fetched(folder.path(), &format!(".#sha256={hash}")).unwrap_err();
    assert!(matches!(error, DataError::PinnedFolder { .. }));
}

fn check_members(make: Make, name: &str) {
    let folder = TempDir::new().unwrap();
    let archive: PathBuf = folder.path().join(name);
    make(
        &archive,
        &[("top/a.csv", b"a"), ("top/more/b.csv", b"bb"), ("top/a.csv.old", b"c"), ("../evil.csv", b"e")],
    );
    let one = fetched(folder.path(), &format!("{name}!/top/a.csv")).unwrap();
    assert_eq!(std::fs::read(&one.path).unwrap(), b"a");
    let all = fetched(folder.path(), &format!("{name}!/top")).unwrap();
    assert_eq!(std::fs::read(all.path.join("more/b.csv")).unwrap(), b"bb");
    assert!(!folder.path().join("evil.csv").exists() && !folder.path().join("cache/evil.csv").exists());

    let error = fetched(folder.path(), &format!("{name}!/top/aa.csv")).unwrap_err().to_string();
    assert!(error.contains("did you mean \"top/a.csv\"?"), "{error}");

    // What was taken out before is checked, not taken out again.
    std::fs::write(&one.path, b"tampered").unwrap();
    let error = fetched(folder.path(), &format!("{name}!/top/a.csv")).unwrap_err();
    assert!(matches!(error, DataError::Hash { .. }), "{error}");
}

#[test]
fn members_of_a_tar() {
    check_members(tar_gz, "rows.tar.gz");
}

#[test]
fn members_of_a_zip() {
    check_members(zip_file, "rows.zip");
}

#[test]
fn a_truncated_archive_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    for (make, name) in [(tar_gz as Make, "rows.tar.gz"), (zip_file, "rows.zip")] {
        let path = folder.path().join(name);
        make(&path, &[("a.csv", &[7; 5000]), ("b.csv", b"b")]);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let error = fetched(folder.path(), &format!("{name}!/a.csv")).unwrap_err();
        assert!(matches!(error, DataError::Archive { .. }), "{error}");
    }
    let cache = folder.path().join("cache");
    let left = walk(&cache);
    assert!(left.is_empty(), "{left:?}");
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
