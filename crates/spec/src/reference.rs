use std::fmt::Write;

use crate::raw::SECTIONS;
use crate::section::SectionReference;

const HEAD: &str = "# refit.toml

<!-- Generated from the doc comments in crates/spec. Change those, then run
     REFIT_REGENERATE=1 cargo test -p refit-spec --test reference -->

One file says what a model is. Only `[model]` and `[data]` have required keys; everything else has
the default shown here. `refit check` reports every problem at once, with its line, the value and the
fix. Paths are relative to the file. The effective configuration, defaults included, is saved with
every model that it made.
";

/// `docs/config.md`: every section and key, from their doc comments.
pub fn reference() -> String {
    let mut text = HEAD.to_string();
    for section in SECTIONS {
        write_section(&mut text, section);
    }
    text
}

fn write_section(text: &mut String, section: &SectionReference) {
    let title = match section.path.split_once('.') {
        None => format!("## `[{}]`", section.path),
        Some((parent, name)) => format!("### `{name} = {{ ... }}` in `[{parent}]`"),
    };
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "\n{title}\n\n{}\n\n| key | value | default | |\n|---|---|---|---|\n",
        joined(section.docs)
    );
    for key in section.keys {
        let default = match key.default {
            "" => "required".to_string(),
            sentence if sentence.starts_with('(') => sentence.trim_matches(['(', ')']).to_string(),
            value => format!("`{value}`"),
        };
        let docs = joined(key.docs).replace('|', "\\|");
        let _ =
            writeln!(text, "| `{}` | {} | {} | {} |", key.name, key.kind.replace('|', "\\|"), default, docs);
    }
}

fn joined(docs: &[&str]) -> String {
    docs.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}
