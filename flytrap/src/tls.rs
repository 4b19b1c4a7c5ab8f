//! TLS towards clients: certificates from PEM files, rustls with ring.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{self, ServerConfig};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::types::UnixTime;

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
    /// A PEM block holds something else.
    #[error("the certificate in place {place} of {} is damaged: {reason}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Which of its certificates, from 1 on.
        place: usize,
        /// What is wrong with it.
        reason: String,
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

/// From when until when a certificate is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Whose certificate it is, as it says: `CN=gw.example.org`.
    pub subject: String,
    /// Not before this time.
    pub from: UnixTime,
    /// Not after this time.
    pub until: UnixTime,
}

/// From when until when the certificates of a file are valid, the server's own first.
pub fn validity(certificate: &Path) -> Result<Vec<Validity>, TlsError> {
    let read = |(place, der): (usize, CertificateDer<'static>)| {
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|error| TlsError::Damaged {
            path: certificate.to_owned(),
            place,
            reason: error.to_string(),
        })?;
        // Before 1970 is as good as 1970.
        let time = |seconds: i64| UnixTime(u64::try_from(seconds).unwrap_or(0));
        Ok(Validity {
            subject: parsed.subject().to_string(),
            from: time(parsed.validity().not_before.timestamp()),
            until: time(parsed.validity().not_after.timestamp()),
        })
    };
    (1..).zip(chain(certificate)?).map(read).collect()
}

fn chain(certificate: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(file("certificate", certificate))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate {
            path: certificate.to_owned(),
        });
    }
    Ok(chain)
}

/// For `map_err`: what was read, and where.
fn file(what: &'static str, path: &Path) -> impl FnOnce(rustls_pki_types::pem::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::File { what, path, source }
}

/// Reads a certificate chain and its key. TLS 1.2 and 1.3, no client certificates.
pub fn server_config(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = chain(certificate)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate and its key in files of `folder`.
    fn pair(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let made = rcgen::generate_simple_self_signed(["gw.example.org".to_owned()]).unwrap();
        let certificate = folder.join(format!("{name}.pem"));
        let key = folder.join(format!("{name}.key"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (certificate, key)
    }

    #[test]
    fn files_that_belong_together_are_taken_and_others_named() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = pair(folder.path(), "one");
        let (_, other_key) = pair(folder.path(), "other");
        assert!(server_config(&certificate, &key).is_ok());

        let refused = |certificate: &Path, key: &Path| {
            let error = server_config(certificate, key).unwrap_err();
            (error.to_string(), error)
        };
        let (text, error) = refused(&certificate, &other_key);
        assert!(matches!(error, TlsError::Pair { .. }), "{text}");
        assert!(
            text.contains("one.pem") && text.contains("other.key"),
            "{text}"
        );

        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "").unwrap();
        let (text, error) = refused(&empty, &key);
        assert!(matches!(error, TlsError::NoCertificate { .. }), "{text}");
        let (text, error) = refused(&certificate, &empty);
        assert!(
            matches!(
                error,
                TlsError::File {
                    what: "private key",
                    ..
                }
            ),
            "{text}"
        );
        let missing = folder.path().join("missing.pem");
        let (text, error) = refused(&missing, &key);
        assert!(
            matches!(
                error,
                TlsError::File {
                    what: "certificate",
                    ..
                }
            ),
            "{text}"
        );
        assert!(text.contains("missing.pem"), "{text}");
    }

    #[test]
    fn validity_is_read_and_what_is_no_certificate_named() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, _) = pair(folder.path(), "one");
        let valid = validity(&certificate).unwrap();
        // The span of rcgen's defaults.
        let shown = |time: UnixTime| time.to_string();
        assert_eq!(valid.len(), 1);
        assert_eq!(shown(valid[0].from), "1975-01-01T00:00:00Z");
        assert_eq!(shown(valid[0].until), "4096-01-01T00:00:00Z");
        assert_eq!(valid[0].subject, "CN=rcgen self signed cert");

        let mut chain = std::fs::read_to_string(&certificate).unwrap();
        chain.push_str("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        std::fs::write(&certificate, chain).unwrap();
        let error = validity(&certificate).unwrap_err();
        assert!(
            matches!(error, TlsError::Damaged { place: 2, .. }),
            "{error}"
        );
    }
}
