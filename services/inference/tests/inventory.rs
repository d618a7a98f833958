//! The list of metrics in the documentation is made of what a service registers.

mod service;

use std::{fmt::Write, path::Path};

use refit_inference::{MetricFamily, Server};
use refit_spec::TelemetrySpec;
use service::Home;

const TITLE: &str = "## Inference service\n";

fn section(families: &[MetricFamily]) -> String {
    let mut text = format!(
        "{TITLE}\n<!-- Generated from what the service registers: change the help texts there, then run\n     \
         REFIT_REGENERATE=1 cargo test -p refit-inference --test inventory -->\n\n\
         | metric | type | labels | |\n|---|---|---|---|\n"
    );
    for MetricFamily { name, kind, labels, help } in families {
        let labels = labels.join(", ");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| `{name}` | {kind} | {labels} | {} |", help.replace('|', "\\|"));
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_committed_list_is_what_the_service_registers() {
    let home = Home::new().await;
    let mut config = home.config();
    // Some are registered only with what they count.
    config.telemetry =
        Some(TelemetrySpec { endpoint: "http://127.0.0.1:9".into(), share: 0.0, service: "toys".into() });
    let server = Server::bind(config).await.unwrap();
    let families = server.metric_families();
    assert!(families.len() > 30, "{}", families.len());
    for family in &families {
        assert!(family.help.ends_with('.') && family.kind != "untyped", "{family:?}");
        assert_eq!(family.name.ends_with("_total"), family.kind == "counter", "{family:?}");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let start = page.find(TITLE).expect("docs/metrics.md has the section");
    let end = page[start + 3..].find("\n## ").map_or(page.len(), |at| start + 3 + at + 1);
    let wanted = format!("{}{}\n{}", &page[..start], section(&families), page[end..].trim_start());
    if std::env::var_os("REFIT_REGENERATE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    } else {
        assert!(
            page == wanted,
            "docs/metrics.md is stale: run REFIT_REGENERATE=1 cargo test -p refit-inference --test inventory"
        );
    }
}
