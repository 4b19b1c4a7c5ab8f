//! Address prefixes: what bans and the allowlist name.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A range of addresses in CIDR form, its host bits zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    base: IpAddr,
    bits: u8,
}

/// Why a text is no prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPrefix {
    /// The part before the slash is no address.
    #[error("`{0}` is no IPv4 or IPv6 address")]
    Address(String),
    /// The part behind the slash is no length, or longer than an address.
    #[error("`{0}` is no prefix length: 0 to 32 for IPv4, 0 to 128 for IPv6")]
    Length(String),
    /// Bits behind the prefix length are set.
    #[error("`{given}` has bits set behind its length: write `{meant}`")]
    HostBits {
        /// As written.
        given: String,
        /// The same prefix with these bits cleared.
        meant: Prefix,
    },
}

impl Prefix {
    /// The prefix of `bits` bits that holds `address`; `bits` beyond the address's length are
    /// taken as the whole address. An IPv4-mapped IPv6 address is the IPv4 address.
    pub fn covering(address: IpAddr, bits: u8) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let bits = bits.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                Self {
                    base: IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask)),
                    bits,
                }
            }
            IpAddr::V6(v6) => {
                let bits = bits.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                Self {
                    base: IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask)),
                    bits,
                }
            }
        }
    }

    /// What a misdeed of `address` is charged to: the IPv4 address itself, or the /64 that an
    /// IPv6 host can move about in freely.
    pub fn of_source(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(_) => Self::covering(address, 32),
            IpAddr::V6(_) => Self::covering(address, 64),
        }
    }

    /// The lowest address in it.
    pub fn base(&self) -> IpAddr {
        self.base
    }

    /// Its length in bits: at most 32 or 128.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Whether `address` lies in it. An IPv4-mapped IPv6 address is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.base.is_ipv4() && Self::covering(address, self.bits) == *self
    }

    /// Whether the two have an address in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.base) || other.contains(self.base)
    }
}

/// In one or two words: tables of a million prefixes are filled and asked by it.
impl Hash for Prefix {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.base {
            IpAddr::V4(v4) => state.write_u64(u64::from(v4.to_bits()) << 8 | u64::from(self.bits)),
            IpAddr::V6(v6) => {
                state.write_u128(v6.to_bits());
                state.write_u8(self.bits);
            }
        }
    }
}

/// `192.0.2.7`, `192.0.2.0/24`, `2001:db8::/32`; an address alone is the whole address.
impl FromStr for Prefix {
    type Err = BadPrefix;

    fn from_str(text: &str) -> Result<Self, BadPrefix> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let base: IpAddr = address
            .parse()
            .map_err(|_| BadPrefix::Address(address.to_owned()))?;
        let longest = if base.is_ipv4() { 32 } else { 128 };
        let bits = match length {
            None => longest,
            Some(length) => length
                .parse()
                .ok()
                .filter(|bits| *bits <= longest)
                .ok_or_else(|| BadPrefix::Length(length.to_owned()))?,
        };
        // A mapped address with a length under 96 would not survive `covering`.
        let prefix = Self::covering(
            base,
            if base.to_canonical() == base {
                bits
            } else {
                32
            },
        );
        if prefix.base != base.to_canonical() {
            return Err(BadPrefix::HostBits {
                given: text.to_owned(),
                meant: prefix,
            });
        }
        Ok(prefix)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bits == if self.base.is_ipv4() { 32 } else { 128 } {
            write!(f, "{}", self.base)
        } else {
            write!(f, "{}/{}", self.base, self.bits)
        }
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Prefix {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Prefix {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(PrefixText)
    }
}

/// Reads the text where it lies: lists have a million.
struct PrefixText;

impl serde::de::Visitor<'_> for PrefixText {
    type Value = Prefix;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address or a prefix, as text")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Prefix, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn reads_and_shows() {
        for text in [
            "192.0.2.7",
            "192.0.2.0/24",
            "0.0.0.0/0",
            "2001:db8::/32",
            "::/0",
            "2001:db8::1",
        ] {
            assert_eq!(prefix(text).to_string(), text);
        }
        assert_eq!(prefix("192.0.2.7/32").to_string(), "192.0.2.7");
        assert_eq!(prefix("::ffff:192.0.2.7").to_string(), "192.0.2.7");
    }

    #[test]
    fn says_what_was_meant() {
        let error = "192.0.2.7/24".parse::<Prefix>().unwrap_err();
        assert!(
            error.to_string().ends_with("write `192.0.2.0/24`"),
            "{error}"
        );
        for text in [
            "",
            "host",
            "192.0.2.0/33",
            "192.0.2.0/-1",
            "2001:db8::/129",
            "192.0.2.0/",
        ] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }

    #[test]
    fn contains_its_own_and_no_others() {
        assert!(prefix("192.0.2.0/24").contains("192.0.2.255".parse().unwrap()));
        assert!(prefix("192.0.2.0/24").contains("::ffff:192.0.2.1".parse().unwrap()));
        assert!(!prefix("192.0.2.0/24").contains("192.0.3.0".parse().unwrap()));
        assert!(!prefix("0.0.0.0/0").contains("2001:db8::".parse().unwrap()));
        assert!(prefix("::/0").contains("2001:db8::".parse().unwrap()));
    }

    #[test]
    fn an_ipv6_source_is_its_64() {
        let source = Prefix::of_source("2001:db8:1:2:3:4:5:6".parse().unwrap());
        assert_eq!(source.to_string(), "2001:db8:1:2::/64");
    }
}
