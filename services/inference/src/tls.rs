//! TLS, with a certificate that can be renewed while connections are open.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use refit_spec::TlsSpec;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

/// The certificate that new connections get.
pub(crate) struct Tls {
    spec: TlsSpec,
    current: RwLock<Arc<ServerConfig>>,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read as PEM.
    #[error("{} cannot be read as PEM", .path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// The file of certificates holds none.
    #[error("{} holds no certificate", .path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The two do not fit each other.
    #[error("certificate and key cannot be used together: is one of them older?")]
    Pair(#[source] rustls::Error),
}

impl Tls {
    pub fn load(spec: &TlsSpec) -> Result<Self, TlsError> {
        Ok(Self { spec: spec.clone(), current: RwLock::new(read(spec)?) })
    }

    pub fn files(&self) -> Vec<PathBuf> {
        vec![self.spec.certificate.clone(), self.spec.key.clone()]
    }

    /// Reads both files again. What cannot be used changes nothing.
    pub fn reload(&self) -> Result<(), TlsError> {
        let read = read(&self.spec)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }

    /// For one connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

fn read(spec: &TlsSpec) -> Result<Arc<ServerConfig>, TlsError> {
    let pem = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::Pem { path, source }
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&spec.certificate)
        .map_err(pem(&spec.certificate))?
        .collect::<Result<_, _>>()
        .map_err(pem(&spec.certificate))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { path: spec.certificate.clone() });
    }
    let key = PrivateKeyDer::from_pem_file(&spec.key).map_err(pem(&spec.key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
