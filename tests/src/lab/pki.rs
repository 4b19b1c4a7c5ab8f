//! A development CA and server certificates, made fresh for every run.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// Files of a CA certificate and of one server's certificate and key.
#[derive(Clone, Debug)]
pub struct Pki {
    /// What clients trust.
    pub ca: PathBuf,
    /// The server's certificate chain.
    pub certificate: PathBuf,
    /// The server's private key, readable by the owner only.
    pub key: PathBuf,
}

impl Pki {
    /// For a server with these names and addresses.
    pub fn create(directory: &Path, names: &[String]) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "FlyTrap laboratory CA");
        let ca_key = KeyPair::generate()?;
        let ca_certificate = params.self_signed(&ca_key)?;
        let issuer = Issuer::new(params, ca_key);

        let key = KeyPair::generate()?;
        let server = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
        let files = Self {
            ca: directory.join("ca.pem"),
            certificate: directory.join("server.pem"),
            key: directory.join("server.key"),
        };
        std::fs::write(&files.ca, ca_certificate.pem())?;
        std::fs::write(&files.certificate, server.pem())?;
        write_secret(&files.key, &key.serialize_pem())?;
        Ok(files)
    }
}

/// Writes a file that only its owner can read.
pub fn write_secret(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)?.write_all(text.as_bytes())?;
    Ok(())
}
