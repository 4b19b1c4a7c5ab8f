//! TLS towards clients: certificates from PEM files, rustls with ring.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{self, ServerConfig};

/// Why a listener's TLS can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file can't be read, or is no PEM file of the expected kind.
    #[error("cannot read the {what} in {}: {source}", path.display())]
    File {
        /// "certificate" or "private key".
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: rustls_pki_types::pem::Error,
    },
    /// The certificate file holds no certificate.
    #[error("{} holds no certificate: a PEM block that begins with BEGIN CERTIFICATE is needed", path.display())]
    NoCertificate {
        /// Which file.
        path: PathBuf,
    },
    /// rustls refuses the pair: mostly a key that belongs to another certificate.
    #[error("the certificate {} and the key {} cannot be used together: {source}", certificate.display(), key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// Reads a certificate chain and its key. TLS 1.2 and 1.3, no client certificates.
pub fn server_config(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let file = |what, path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::File { what, path, source }
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(file("certificate", certificate))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate {
            path: certificate.to_owned(),
        });
    }
    let private_key = PrivateKeyDer::from_pem_file(key).map_err(file("private key", key))?;
    let pair = |source| TlsError::Pair {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        source,
    };
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, private_key)
        .map_err(pair)?;
    Ok(Arc::new(config))
}
