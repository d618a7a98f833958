//! Encrypted connections, and a certificate that is renewed under them.

use std::{path::Path, sync::Arc};

use crate::service::{Service, Toy, fixed};
use refit_spec::TlsSpec;
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// Writes a certificate for localhost with its key, and returns it.
fn certificate(spec: &TlsSpec) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&spec.certificate, made.cert.pem()).unwrap();
    std::fs::write(&spec.key, made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

fn spec(folder: &Path) -> TlsSpec {
    TlsSpec { certificate: folder.join("certificate.pem"), key: folder.join("key.pem") }
}

/// Asks over TLS, trusting only this certificate.
async fn get(service: &Service, path: &str, trusted: &CertificateDer<'static>) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(service.url.strip_prefix("http://").unwrap()).await?;
    let name = "localhost".try_into().unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_used_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let spec = spec(folder.path());
    let first = certificate(&spec);
    let (service, _folder) = fixed(Toy::default(), |config| config.tls = Some(spec.clone())).await;
    assert!(get(&service, "/v2/health/ready", &first).await.unwrap().starts_with("HTTP/1.1 200"));

    // Whoever speaks plain HTTP is not answered, and nobody else is disturbed.
    let plain = service.client.get(format!("{}/v2/health/live", service.url)).send().await;
    assert!(plain.is_err());

    // Half of a renewal: the key does not fit any more, so the pair of before stays in use.
    let other = tempfile::tempdir().unwrap();
    let next = TlsSpec { certificate: other.path().join("c"), key: other.path().join("k") };
    let second = certificate(&next);
    std::fs::copy(&next.key, &spec.key).unwrap();
    let failed = r#"refit_reloads_total{file="certificate",outcome="failed"} 1"#;
    let mut tells = false;
    for _ in 0..200 {
        tells = get(&service, "/metrics", &first).await.unwrap().contains(failed);
        if tells {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    assert!(tells, "the first certificate stays, and the failure is told");

    std::fs::copy(&next.certificate, &spec.certificate).unwrap();
    let path = "/v2/health/ready";
    service.until("the new one is shown", async || get(&service, path, &second).await.is_ok()).await;
    assert!(get(&service, path, &first).await.is_err());
    assert!(get(&service, "/metrics", &second).await.unwrap().contains("reason=\"handshake\"} "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_cannot_be_used_is_said_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let spec = spec(folder.path());
    let artifact = folder.path().join("artifact");
    Toy::default().write(&artifact);
    let start = async || {
        let mut config = crate::service::config(refit_inference::Source::Artifact(artifact.clone()));
        config.tls = Some(spec.clone());
        match refit_inference::Server::bind(config).await {
            Ok(_) => panic!("it was used"),
            Err(error) => std::error::Error::source(&error).unwrap().to_string(),
        }
    };
    assert!(start().await.ends_with("certificate.pem cannot be read as PEM"));
    certificate(&spec);
    std::fs::write(&spec.certificate, "# nothing\n").unwrap();
    assert!(start().await.ends_with("holds no certificate"));
    let key = std::fs::read(&spec.key).unwrap();
    certificate(&spec);
    std::fs::write(&spec.key, key).unwrap();
    assert!(start().await.starts_with("certificate and key cannot be used together"));
}
