//! The MQTT user name: who claims to log in.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::refusal::Fault;
use crate::types::{KeyId, KeyIdPrefix, Wallet};

const DEVICE: &str = "dev:";

/// Who a user name says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claimed {
    /// `0x` and 40 hexadecimal digits.
    Wallet(Wallet),
    /// `dev:` and the first half of a key id in base64url, canonical, without padding.
    Device(KeyIdPrefix),
}

impl Claimed {
    pub(super) fn parse(user_name: &str) -> Result<Self, Fault> {
        if let Some(prefix) = user_name.strip_prefix(DEVICE) {
            let prefix = URL_SAFE_NO_PAD
                .decode(prefix)
                .map_err(|_| Fault::UserName)?;
            let prefix = prefix.try_into().map_err(|_| Fault::UserName)?;
            return Ok(Self::Device(prefix));
        }
        let wallet = Wallet::from_hex_any_case(user_name).map_err(|_| Fault::UserName)?;
        Ok(Self::Wallet(wallet))
    }
}

/// The MQTT user name of a device key.
pub fn device_user_name(id: &KeyId) -> String {
    DEVICE.to_owned() + &URL_SAFE_NO_PAD.encode(id.prefix())
}
