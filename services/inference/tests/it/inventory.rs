//! The list of metrics in the documentation is made of what a service registers.

use std::path::Path;

use crate::service::Home;
use refit_inference::{MetricFamily, Server};
use refit_metrics::Section;
use refit_spec::TelemetrySpec;

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
    assert_eq!(families.iter().find_map(MetricFamily::problem), None);

    let command = "cargo test -p refit-inference --test it inventory";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let section = Section { title: "Inference service", command, families: &families };
    let wanted = section.in_page(&page).expect("docs/metrics.md has the section");
    if std::env::var_os("REFIT_REGENERATE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    } else {
        assert!(page == wanted, "docs/metrics.md is stale: run REFIT_REGENERATE=1 {command}");
    }
}
