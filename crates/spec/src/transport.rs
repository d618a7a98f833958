use std::path::PathBuf;

use crate::problem::Problem;
use crate::reader::Reader;
use crate::section::section;
use crate::spec::{Section, TableBuilder};
use crate::written::Written;

section! {
    /// TLS. Both files are read again when they change, without a restart.
    RawTls at "serve.tls" {
        /// The certificate and those that vouch for it, in PEM.
        certificate: "path" = "",
        /// Its private key, in PEM.
        key: "path" = "",
    }
}

section! {
    /// Where spans of requests are sent, by OTLP over HTTP.
    RawTelemetry at "serve.telemetry" {
        /// The collector, such as `"http://127.0.0.1:4318"`.
        endpoint: "address" = "",
        /// Share of the traces that begin here; a caller's own decision in `traceparent` comes first.
        share: "share" = "1.0",
        /// The service's name in them.
        service: "name" = "\"refit-inference\"",
    }
}

/// `serve.tls`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSpec {
    /// The certificate; relative to `refit.toml`.
    pub certificate: PathBuf,
    /// Its key; relative to `refit.toml`.
    pub key: PathBuf,
}

/// `serve.telemetry`, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetrySpec {
    /// The collector.
    pub endpoint: String,
    /// Share of the traces that begin here.
    pub share: f64,
    /// The service's name.
    pub service: String,
}

impl TlsSpec {
    /// None when the table is not there, or has a problem.
    pub(crate) fn read(written: Option<&Written>, problems: &mut Vec<Problem>) -> Option<Self> {
        let raw = RawTls::read(Some(written?), problems);
        Self::check(&raw, problems)
    }
}

impl TelemetrySpec {
    /// None when the table is not there, or has a problem.
    pub(crate) fn read(written: Option<&Written>, problems: &mut Vec<Problem>) -> Option<Self> {
        let raw = RawTelemetry::read(Some(written?), problems);
        Self::check(&raw, problems)
    }
}

impl Section for TlsSpec {
    type Raw = RawTls;

    fn check(raw: &RawTls, problems: &mut Vec<Problem>) -> Option<Self> {
        let mut r = Reader::new("serve.tls", problems);
        r.required("certificate", &raw.certificate, "write the path of a PEM file");
        r.required("key", &raw.key, "write the path of a PEM file");
        let (certificate, key) = (r.text("certificate", &raw.certificate), r.text("key", &raw.key));
        Some(Self { certificate: certificate?.into(), key: key?.into() })
    }

    fn table(&self) -> TableBuilder {
        TableBuilder::default()
            .text("certificate", self.certificate.display())
            .text("key", self.key.display())
    }
}

impl Section for TelemetrySpec {
    type Raw = RawTelemetry;

    fn check(raw: &RawTelemetry, problems: &mut Vec<Problem>) -> Option<Self> {
        let mut r = Reader::new("serve.telemetry", problems);
        r.required(
            "endpoint",
            &raw.endpoint,
            "write the collector's address, such as \"http://127.0.0.1:4318\"",
        );
        let endpoint = r.text("endpoint", &raw.endpoint);
        if endpoint.as_ref().is_some_and(|endpoint| !is_plain_http(endpoint)) {
            let fix = "write an address that begins with http://; for TLS run a collector beside the service";
            r.problem("endpoint", raw.endpoint.as_ref(), "not an HTTP address", fix);
        }
        Some(Self {
            share: r.number("share", &raw.share, 0.0..=1.0).unwrap_or(1.0),
            service: r.text("service", &raw.service).unwrap_or_else(|| "refit-inference".to_owned()),
            endpoint: endpoint?.trim_end_matches('/').to_owned(),
        })
    }

    fn table(&self) -> TableBuilder {
        TableBuilder::default()
            .text("endpoint", &self.endpoint)
            .value("share", self.share)
            .text("service", &self.service)
    }
}

/// Whether it is `http://` with something behind it.
pub(crate) fn is_plain_http(address: &str) -> bool {
    address.strip_prefix("http://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
}
