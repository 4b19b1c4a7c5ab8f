//! The client id under which a session appears at the broker.

use sha2::{Digest as _, Sha256};

use crate::types::{KeyId, Wallet};

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const LENGTH: usize = 22;

/// The client id that the broker sees: 22 characters of 0-9, A-Z, a-z, which every MQTT 3.1.1
/// broker must accept. It depends on the wallet and on the device key (32 zeros if none),
/// so nobody can take over a session by choosing somebody else's client id.
///
/// SHA-256 over `FTC1`, wallet, key id and client id; the first 16 bytes of it as a big-endian
/// number in base 62, left-padded with `0`.
pub fn upstream_client_id(wallet: Wallet, device: Option<KeyId>, client_id: &str) -> String {
    let hash: [u8; 32] = Sha256::new()
        .chain_update(b"FTC1")
        .chain_update(wallet.0)
        .chain_update(device.map_or([0; 32], |id| id.0))
        .chain_update(client_id)
        .finalize()
        .into();
    let mut number = hash
        .iter()
        .take(16)
        .fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    let mut digits = [b'0'; LENGTH];
    for slot in digits.iter_mut().rev() {
        // The remainder is below 62: there is always a digit.
        let digit = usize::try_from(number % 62)
            .ok()
            .and_then(|i| DIGITS.get(i));
        *slot = *digit.unwrap_or(&b'0');
        number /= 62;
    }
    digits.map(char::from).iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with Python's hashlib and integers.
    #[test]
    fn known_answers() {
        let wallet =
            Wallet::from_hex_any_case("0xaeaa181f3fda0477846955636d95e335acd364d0").unwrap();
        assert_eq!(
            upstream_client_id(wallet, None, "sensor-1"),
            "0PmCZtLPGTz8T0AFm2ZdgQ"
        );
        assert_eq!(
            upstream_client_id(wallet, Some(KeyId([7; 32])), "sensor-1"),
            "3cVmO4YYYlWWz9izR1sJW1"
        );
        assert_eq!(
            upstream_client_id(wallet, None, ""),
            "0v58M7tqeFEVHSvTFwug6j"
        );
        assert_eq!(
            upstream_client_id(wallet, None, "sensor-738"),
            "00y7SD58EVy1WmBuAOEwHX"
        );
    }

    #[test]
    fn wallets_and_devices_with_one_client_id_stay_apart() {
        let ids = [
            upstream_client_id(Wallet([1; 20]), None, "x"),
            upstream_client_id(Wallet([2; 20]), None, "x"),
            upstream_client_id(Wallet([1; 20]), Some(KeyId([1; 32])), "x"),
            upstream_client_id(Wallet([1; 20]), Some(KeyId([2; 32])), "x"),
            upstream_client_id(Wallet([1; 20]), None, "y"),
        ];
        let distinct: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
    }
}
