//! Ethereum addresses.

use std::fmt;
use std::str::FromStr;

use tiny_keccak::{Hasher, Keccak};

/// An Ethereum address, 20 bytes. Shown with its EIP-55 checksum.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Wallet(pub [u8; 20]);

/// Why a text is no wallet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadWallet {
    /// It isn't `0x` and 40 hexadecimal digits.
    #[error("a wallet is written as 0x and 40 hexadecimal digits")]
    Form,
    /// Upper and lower case are mixed, but not as EIP-55 says: a digit was mistyped.
    #[error(
        "the checksum in the wallet's upper and lower case letters is wrong: check for a mistyped digit"
    )]
    Checksum,
}

impl Wallet {
    /// Reads `0x` and 40 hexadecimal digits of any case, without looking at the checksum: the
    /// form that MQTT user names have.
    ///
    /// # Errors
    /// [`BadWallet::Form`].
    pub fn from_hex_any_case(text: &str) -> Result<Self, BadWallet> {
        let digits = text.strip_prefix("0x").ok_or(BadWallet::Form)?;
        let mut bytes = [0; 20];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| BadWallet::Form)?;
        Ok(Self(bytes))
    }

    /// The address in EIP-55 form.
    pub fn checksummed(&self) -> String {
        let lower = hex::encode(self.0);
        let mut hash = [0; 32];
        let mut keccak = Keccak::v256();
        keccak.update(lower.as_bytes());
        keccak.finalize(&mut hash);
        let nibbles = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let cased = lower.chars().zip(nibbles).map(|(digit, nibble)| {
            if nibble >= 8 {
                digit.to_ascii_uppercase()
            } else {
                digit
            }
        });
        "0x".chars().chain(cased).collect()
    }
}

/// Reads an address; where upper and lower case are mixed, the EIP-55 checksum must hold.
impl FromStr for Wallet {
    type Err = BadWallet;

    fn from_str(text: &str) -> Result<Self, BadWallet> {
        let wallet = Self::from_hex_any_case(text)?;
        let letters = || text.chars().skip(2).filter(char::is_ascii_alphabetic);
        let mixed =
            letters().any(|c| c.is_ascii_uppercase()) && letters().any(|c| c.is_ascii_lowercase());
        if mixed && text != wallet.checksummed() {
            return Err(BadWallet::Checksum);
        }
        Ok(wallet)
    }
}

impl fmt::Display for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.checksummed())
    }
}

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Wallet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Wallet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of EIP-55.
    #[test]
    fn checksums_as_eip_55_says() {
        for text in [
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
            "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
            "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        ] {
            assert_eq!(text.parse::<Wallet>().unwrap().to_string(), text);
            assert_eq!(
                text.to_lowercase().parse::<Wallet>().unwrap().to_string(),
                text
            );
        }
    }

    #[test]
    fn a_mistyped_digit_is_found_by_the_checksum() {
        let mistyped = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAec";
        assert_eq!(mistyped.parse::<Wallet>(), Err(BadWallet::Checksum));
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "",
            "0x",
            "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0x12",
            "0xzz",
        ] {
            assert_eq!(text.parse::<Wallet>(), Err(BadWallet::Form), "{text}");
        }
    }
}
