//! Keystore files: a wallet's key, encrypted with a password (Web3 Secret Storage, version 3).

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ethers_core::rand::rngs::OsRng;
use ethers_signers::{LocalWallet, Signer as _, WalletError};

use crate::types::Wallet;

/// Why a keystore file can't be made or used.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// The file system refused.
    #[error("cannot {action} the keystore {path}", path = path.display())]
    File {
        /// "create" or "read".
        action: &'static str,
        /// The keystore.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no keystore of the usual form.
    #[error(
        "{path} is no Ethereum keystore: give the JSON file (version 3) that geth, cast or a \
         wallet's export wrote",
        path = path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The password doesn't open it.
    #[error("the password does not open the keystore {path}", path = path.display())]
    WrongPassword {
        /// The keystore.
        path: PathBuf,
    },
}

/// A wallet's key, ready to sign.
pub struct Signer(pub(super) LocalWallet);

impl Signer {
    /// Opens a keystore file. Takes a second or so, which is the file's protection.
    pub fn open(path: &Path, password: &str) -> Result<Self, KeystoreError> {
        let malformed = || KeystoreError::Malformed {
            path: path.to_owned(),
        };
        let text = fs::read_to_string(path).map_err(|source| KeystoreError::File {
            action: "read",
            path: path.to_owned(),
            source,
        })?;
        has_usual_lengths(&text)
            .then_some(())
            .ok_or_else(malformed)?;
        match LocalWallet::decrypt_keystore(path, password) {
            Ok(wallet) => Ok(Self(wallet)),
            // The keystore library is ethers' own dependency: its errors have no nameable type.
            Err(WalletError::EthKeystoreError(error)) if error.to_string() == "Mac Mismatch" => {
                Err(KeystoreError::WrongPassword {
                    path: path.to_owned(),
                })
            }
            Err(_) => Err(malformed()),
        }
    }

    /// The address that belongs to the key.
    pub fn wallet(&self) -> Wallet {
        Wallet(self.0.address().0)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.wallet())
    }
}

/// Makes a new random key and its keystore file, readable by its owner only. An existing file is
/// left alone and is an error.
pub fn create_keystore(path: &Path, password: &str) -> Result<Wallet, KeystoreError> {
    let error = |source| KeystoreError::File {
        action: "create",
        path: path.to_owned(),
        source,
    };
    let directory = path.parent().unwrap_or(Path::new(""));
    let name = path
        .file_name()
        .and_then(OsStr::to_str)
        .ok_or_else(|| error(io::ErrorKind::InvalidFilename.into()))?;
    // The keystore library opens the file with the default mode, but keeps that of a file which is
    // there: so it is never readable by others, not even for a moment.
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(error)?;
    match LocalWallet::new_keystore(directory, &mut OsRng, password, Some(name)) {
        Ok((wallet, _)) => Ok(Signer(wallet).wallet()),
        Err(cause) => {
            fs::remove_file(path).map_err(error)?;
            Err(error(io::Error::other(cause)))
        }
    }
}

/// Whether the lengths in a keystore are those that the keystore library takes for granted (it
/// panics on others).
fn has_usual_lengths(text: &str) -> bool {
    let Ok(keystore) = serde_json::from_str::<serde_json::Value>(text) else {
        return false;
    };
    let number = |pointer| {
        keystore
            .pointer(pointer)
            .and_then(serde_json::Value::as_u64)
    };
    let length = |pointer| {
        let text = keystore
            .pointer(pointer)
            .and_then(serde_json::Value::as_str);
        text.and_then(|text| hex::decode(text).ok())
            .map(|bytes| bytes.len())
    };
    number("/crypto/kdfparams/dklen") == Some(32)
        && length("/crypto/cipherparams/iv") == Some(16)
        && length("/crypto/ciphertext") == Some(32)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_created_opens_with_its_password_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("alice.json");
        let wallet = create_keystore(&path, "correct horse").unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            Signer::open(&path, "correct horse").unwrap().wallet(),
            wallet
        );
        let error = Signer::open(&path, "wrong").unwrap_err();
        assert!(
            matches!(error, KeystoreError::WrongPassword { .. }),
            "{error:?}"
        );
    }

    #[test]
    fn an_existing_file_is_not_overwritten() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, "precious").unwrap();
        let error = create_keystore(file.path(), "x").unwrap_err();
        assert!(
            matches!(
                error,
                KeystoreError::File {
                    action: "create",
                    ..
                }
            ),
            "{error:?}"
        );
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    }

    #[test]
    fn other_files_are_no_keystores() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keystore.json");
        create_keystore(&path, "x").unwrap();
        let good = fs::read_to_string(&path).unwrap();
        for bad in [
            "",
            "{}",
            &good.replace("\"dklen\":32", "\"dklen\":8"),
            &good.replace("\"ciphertext\":\"", "\"ciphertext\":\"00"),
            &good.replace("\"iv\":\"", "\"iv\":\"00"),
            &good.replace("\"kdf\"", "\"kd\""),
        ] {
            assert_ne!(bad, good);
            fs::write(&path, bad).unwrap();
            let error = Signer::open(&path, "x").unwrap_err();
            assert!(
                matches!(error, KeystoreError::Malformed { .. }),
                "{bad}: {error:?}"
            );
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Signer::open(Path::new("no/such/keystore"), "x").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("cannot read the keystore no/such/keystore")
        );
    }
}
