//! The committed reference is the one that the doc comments give, and its defaults are the real ones.

use std::path::{Path, PathBuf};

use refit_spec::{Spec, reference};

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/config.md")
}

#[test]
fn docs_config_is_fresh() {
    let expected = reference();
    if std::env::var_os("REFIT_REGENERATE").is_some() {
        std::fs::write(committed(), &expected).expect("docs/config.md can be written");
    }
    let found = std::fs::read_to_string(committed()).unwrap_or_default();
    assert!(
        found == expected,
        "docs/config.md is stale: run REFIT_REGENERATE=1 cargo test -p refit-spec --test reference"
    );
}

/// Every default in the reference that is a value parses, and is the effective value.
#[test]
fn documented_defaults_are_the_effective_ones() {
    let minimal = "[model]\nname = \"m\"\nbase = \"file:base\"\n[data]\ntrain = \"rows.csv\"\n";
    let spec = Spec::parse(minimal, Path::new(".")).expect("a minimal file is valid");
    let effective: toml::Table = spec.to_toml().parse().expect("effective configuration is TOML");
    let (mut section, mut checked) = (Vec::new(), 0);
    for line in reference().lines() {
        if let Some(title) = line.strip_prefix("## `[") {
            section = vec![title.trim_end_matches("]`").to_string()];
        } else if let Some(title) = line.strip_prefix("### `") {
            let (name, parent) = title.split_once(" = { ... }` in `[").expect("a title of a nested table");
            section = vec![parent.trim_end_matches("]`").to_string(), name.to_string()];
        } else if line.starts_with("| `") {
            let cells: Vec<&str> = line.replace("\\|", "").leak().split(" | ").collect();
            let key = cells[0].trim_matches(['|', ' ', '`']);
            let Some(default) = cells[2].strip_prefix('`') else { continue };
            let written: toml::Table = format!("v = {}", default.trim_end_matches('`')).parse().expect(line);
            // A table that is not written and has keys that must be, such as `serve.tls`, is not there at all.
            if section.len() == 2 && effective[&section[0]].get(&section[1]).is_none() {
                continue;
            }
            let place = section.iter().try_fold(&effective, |table, name| table[name].as_table());
            let value =
                place.and_then(|table| table.get(key)).unwrap_or_else(|| panic!("{section:?} has no {key}"));
            assert_eq!(&written["v"], value, "{section:?}.{key}");
            checked += 1;
        }
    }
    assert!(checked > 35, "only {checked} defaults were found in the reference");
}
