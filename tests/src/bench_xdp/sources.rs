//! Where packets come from: banned, known to a country table, or just any address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flytrap::geo::Country;

use super::rig::SOURCES;
use crate::lab::geo::Row;
use crate::lab::numbers::Numbers;

/// The `number`th banned IPv4 address: spread over 224.0.0.0/3, where no random source is.
pub(super) fn banned4(number: u32) -> Ipv4Addr {
    // An odd factor: another address for each number.
    Ipv4Addr::from_bits(0xe000_0000 | (number.wrapping_mul(0x9e37_79b1) & 0x1fff_ffff))
}

/// The `number`th banned IPv6 /64: spread over `c000::/3`.
pub(super) fn banned6(number: u32) -> Ipv6Addr {
    let spread = u128::from(u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 3);
    Ipv6Addr::from_bits((0b110 << 125) | (spread << 64) | 1)
}

pub(super) fn random4(number: u64) -> IpAddr {
    let bits = u32::try_from(number >> 32).unwrap_or(0);
    // Below 224.0.0.0, and not in 10.0.0.0/8, where the allowlist is.
    let bits = bits % 0xe000_0000;
    let bits = if bits >> 24 == 10 {
        bits | 1 << 24
    } else {
        bits
    };
    Ipv4Addr::from_bits(bits).into()
}

pub(super) fn random6(number: u64) -> IpAddr {
    // In 2000::/3, all that is assigned.
    Ipv6Addr::from_bits(u128::from((number >> 3) | 1 << 61) << 64 | 1).into()
}

/// The beginnings of random rows of one family: each has a range of its own in the table. None is
/// on the allowlist, and none in `not`.
pub(super) fn in_ranges(rows: &[Row], ipv4: bool, not: Country) -> Vec<IpAddr> {
    let row = |number: u64| {
        let index = usize::try_from(number >> 16).ok()? % rows.len();
        let (start, _, country) = rows.get(index)?;
        let allowed = matches!(start, IpAddr::V4(start) if start.octets().starts_with(&[10]));
        (start.is_ipv4() == ipv4 && *country != not && !allowed).then_some(*start)
    };
    Numbers(if ipv4 { 14 } else { 16 })
        .filter_map(row)
        .take(SOURCES)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_random_source_is_banned_or_allowlisted() {
        for number in Numbers(4).take(10_000) {
            let IpAddr::V4(address) = random4(number) else {
                continue;
            };
            assert!(address.octets()[0] < 224 && address.octets()[0] != 10);
            assert!(matches!(random6(number), IpAddr::V6(each) if each.segments()[0] >> 13 == 1));
        }
        for number in (0..1 << 20).step_by(997) {
            assert!(banned4(number).octets()[0] >= 224);
            assert!(banned6(number).segments()[0] >> 13 == 6);
        }
    }
}
