//! Every way in which an artifact can be wrong is refused with its own clear sentence.

use std::{collections::BTreeMap, fs, io::Write, path::Path};

use refit_artifact::{
    ArtifactError, Bundle, Golden, Manifest, ParityCheck, Precision, Reference, Serving, Writer, files,
};

const LABELS: [&str; 2] = ["negative", "positive"];

fn manifest() -> Manifest {
    Manifest {
        schema_version: 0,
        model: "reviews".into(),
        version: Some("v1".into()),
        created_at: "2026-11-21T04:00:00Z".parse().unwrap(),
        code_version: "0.1.0".into(),
        task: "text-classification".into(),
        labels: LABELS.map(String::from).to_vec(),
        scale: None,
        files: BTreeMap::new(),
        config: "[model]\nname = \"reviews\"\n".into(),
        data_fingerprint: "abc".into(),
        base: "file:base".into(),
        parent: None,
        metrics: BTreeMap::from([("accuracy".into(), 0.875)]),
        serving: Serving {
            file: files::MODEL_FLOAT32.into(),
            precision: Precision::Float32,
            float_layers: Vec::new(),
            engine: "tract".into(),
            reason: "int8 was not faster".into(),
        },
        searches: Vec::new(),
        parity: vec![ParityCheck {
            expected: "trained".into(),
            actual: "float32 in tract".into(),
            rows: 64,
            max_abs: 1e-6,
            tolerance: Some(1e-4),
        }],
    }
}

fn write_files(writer: &mut Writer) -> Result<(), ArtifactError> {
    writer.add_file(files::MODEL_FLOAT32, &[42; 100_000])?;
    writer.add_file(files::TOKENIZER, b"{}")?;
    writer.add_file(files::PREPROCESSING, br#"{"max_length": 8}"#)?;
    writer.add_json(files::LABELS, &LABELS)?;
    writer.add_json(files::REFERENCE, &Reference::default())?;
    writer.add_json(files::GOLDEN, &Golden::default())?;
    writer.add_file(files::CONFIG, b"[model]\n")?;
    Ok(())
}

fn write(target: &Path) -> Manifest {
    let mut writer = Writer::begin(target).unwrap();
    write_files(&mut writer).unwrap();
    writer.finish(manifest()).unwrap()
}

/// Writes an artifact, spoils it, and expects to be refused with a sentence that holds `words`.
fn check_refused(spoil: impl FnOnce(&Path), words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("v1");
    write(&target);
    spoil(&target);
    let message = Bundle::open(&target).unwrap_err().to_string();
    for word in words {
        assert!(message.contains(word), "{message:?} does not contain {word:?}");
    }
    assert!(!message.contains('\n'), "{message:?} is more than one sentence");
}

fn edit_manifest(target: &Path, edit: impl FnOnce(&mut serde_json::Value)) {
    let path = target.join(files::MANIFEST);
    let mut value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut value);
    fs::write(&path, value.to_string()).unwrap();
}

#[test]
fn what_is_written_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("reviews/v1");
    let written = write(&target);
    let bundle = Bundle::open(&target).unwrap();
    assert_eq!(bundle.manifest(), &written);
    assert_eq!(written.schema_version, refit_artifact::SCHEMA_VERSION);
    assert_eq!(bundle.read(files::MODEL_FLOAT32).unwrap(), [42; 100_000]);
    assert_eq!(bundle.golden().unwrap(), Golden::default());
    assert_eq!(bundle.reference().unwrap(), Reference::default());
    assert_eq!(bundle.file(files::MODEL_INT8), None);
    let names: Vec<_> =
        fs::read_dir(target.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["v1"], "something was left beside the artifact");
}

#[test]
fn an_artifact_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("v1");
    let mut early = Writer::begin(&target).unwrap();
    write_files(&mut early).unwrap();
    let written = write(&target);
    assert!(matches!(Writer::begin(&target), Err(ArtifactError::Exists { .. })));
    assert!(
        matches!(early.finish(manifest()), Err(ArtifactError::Exists { .. })),
        "the slower of two writers"
    );
    assert_eq!(Bundle::open(&target).unwrap().manifest(), &written);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::begin(folder.path().join("v1")).unwrap();
    write_files(&mut writer).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    drop(writer);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn an_incomplete_or_contradictory_artifact_is_not_published() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |change: &dyn Fn(&mut Writer, &mut Manifest)| {
        let (mut writer, mut manifest) = (Writer::begin(folder.path().join("v1")).unwrap(), manifest());
        write_files(&mut writer).unwrap();
        change(&mut writer, &mut manifest);
        writer.finish(manifest).unwrap_err()
    };
    let no_int8 = refused(&|_, manifest| manifest.serving.file = files::MODEL_INT8.into());
    assert!(matches!(no_int8, ArtifactError::Unlisted { name, .. } if name == files::MODEL_INT8));
    let one_label = refused(&|_, manifest| manifest.labels.truncate(1));
    assert!(one_label.to_string().contains("at least two labels"), "{one_label}");

    let mut writer = Writer::begin(folder.path().join("v1")).unwrap();
    for name in ["", "../evil", "a/b", ".hidden", "manifest.json", "nul\0"] {
        assert!(matches!(writer.add_file(name, b""), Err(ArtifactError::FileName { .. })), "{name:?}");
    }
    writer.add_file("once", b"").unwrap();
    assert!(matches!(writer.add_file("once", b""), Err(ArtifactError::Duplicate { .. })));
    drop(writer);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_changed_file_is_refused() {
    let model = |target: &Path| target.join(files::MODEL_FLOAT32);
    let flip = |target: &Path| {
        let mut content = fs::read(model(target)).unwrap();
        content[50_000] ^= 1;
        fs::write(model(target), content).unwrap();
    };
    check_refused(flip, &["model.float32.onnx", "sha256", "fetch it again"]);
    let cut = |target: &Path| fs::write(model(target), [42; 99_999]).unwrap();
    check_refused(cut, &["99999 bytes", "100000", "cut off"]);
    let grow = |target: &Path| {
        fs::OpenOptions::new().append(true).open(model(target)).unwrap().write_all(b"x").unwrap();
    };
    check_refused(grow, &["100001 bytes"]);
}

#[test]
fn opened_to_load_what_is_asked_for_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("v1");
    write(&target);
    let model = target.join(files::MODEL_FLOAT32);
    let check = |open: fn(&Path) -> Result<Bundle, ArtifactError>| {
        open(&target).and_then(|bundle| bundle.checked_file(files::MODEL_FLOAT32))
    };
    let openings: [fn(&Path) -> _; 2] = [|path| Bundle::open(path), |path| Bundle::open_to_load(path)];
    for open in openings {
        assert_eq!(check(open).unwrap(), Some(model.clone()));
        assert_eq!(open(&target).unwrap().checked_file(files::MODEL_INT8).unwrap(), None);
    }
    fs::write(&model, [43; 100_000]).unwrap();
    assert!(Bundle::open_to_load(&target).is_ok());
    for open in openings {
        assert!(matches!(check(open), Err(ArtifactError::Hash { .. })));
    }
    // What is shorter is seen without being asked for.
    fs::write(&model, [42; 99_999]).unwrap();
    assert!(matches!(Bundle::open_to_load(&target), Err(ArtifactError::Size { .. })));
}

#[test]
fn missing_and_extra_files_are_refused() {
    check_refused(
        |target| fs::remove_file(target.join(files::TOKENIZER)).unwrap(),
        &["tokenizer.json is missing"],
    );
    check_refused(|target| fs::write(target.join("extra.bin"), b"").unwrap(), &["extra.bin is not listed"]);
    check_refused(|target| fs::create_dir(target.join("sub")).unwrap(), &["sub is not listed"]);
    check_refused(|target| fs::remove_file(target.join(files::MANIFEST)).unwrap(), &["has no manifest.json"]);
    let unlist = |target: &Path| {
        edit_manifest(target, |manifest| {
            drop(manifest["files"].as_object_mut().unwrap().remove(files::GOLDEN))
        });
    };
    check_refused(unlist, &["does not list golden.json"]);
    assert!(matches!(Bundle::open("/nowhere/at/all"), Err(ArtifactError::NotAnArtifact { .. })));
}

#[test]
fn a_manifest_that_cannot_be_trusted_is_refused() {
    let newer = |target: &Path| {
        // A layout of the future: nothing but the version is as it is today.
        fs::write(target.join(files::MANIFEST), r#"{"schema_version": 2, "models": []}"#).unwrap();
    };
    check_refused(newer, &["schema version 2", "up to 1", "upgrade refit"]);
    let cut = |target: &Path| {
        let content = fs::read(target.join(files::MANIFEST)).unwrap();
        fs::write(target.join(files::MANIFEST), &content[..content.len() / 2]).unwrap();
    };
    check_refused(cut, &["manifest.json cannot be understood", "damaged"]);
    let escape = |target: &Path| {
        edit_manifest(target, |manifest| {
            let record = manifest["files"][files::TOKENIZER].clone();
            manifest["files"]["../../etc/passwd"] = record;
        });
    };
    check_refused(escape, &["cannot name a file"]);
    let huge = |target: &Path| {
        let file = fs::File::create(target.join(files::MANIFEST)).unwrap();
        file.set_len(1 << 40).unwrap();
    };
    check_refused(huge, &["manifest.json would take"]);
    let relabel =
        |target: &Path| edit_manifest(target, |manifest| manifest["labels"] = ["bad", "good"].into());
    check_refused(relabel, &["labels.json and the manifest list different labels"]);
}

#[test]
fn sizes_in_the_manifest_are_checked_before_anything_is_read() {
    let boast = |target: &Path| {
        edit_manifest(target, |manifest| manifest["files"][files::TOKENIZER]["bytes"] = u64::MAX.into());
    };
    check_refused(boast, &["tokenizer.json has 2 bytes", "18446744073709551615"]);
}

#[cfg(unix)]
#[test]
fn links_and_devices_are_refused() {
    let link = |target: &Path| {
        let path = target.join(files::TOKENIZER);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    };
    check_refused(link, &["cannot read", "tokenizer.json"]);
}

/// A real disk of 1 MiB that fills up. Mounting needs root; without it the writer's own test with `/dev/full` stands.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_up_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(folder.path())
        .output();
    if !mount.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this user may not mount a small disk");
        return;
    }
    let outcome = std::panic::catch_unwind(|| {
        let mut writer = Writer::begin(folder.path().join("v1")).unwrap();
        let error = writer.add_file(files::MODEL_FLOAT32, &[1; 4 << 20]).unwrap_err();
        drop(writer);
        (error.to_string(), fs::read_dir(folder.path()).unwrap().count())
    });
    let unmounted = std::process::Command::new("umount").arg(folder.path()).status();
    let (message, left) = outcome.unwrap();
    assert!(message.contains("is full, and nothing was written: free some space"), "{message}");
    assert_eq!(left, 0);
    assert!(unmounted.unwrap().success());
}
