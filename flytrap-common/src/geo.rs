//! Countries: tables in which a lookup takes a few reads of memory, and the policy.
//!
//! User space builds them from one list of ranges and puts them into the kernel whole; kernel and
//! host look up with the same code. A country is a number from 1 on; 0 is no country.
//!
//! Capacities are fixed, because a table is one value of a BPF map. Whoever builds one checks them.
#![expect(
    clippy::inline_always,
    reason = "the verifier follows a map pointer only within one function"
)]

mod table;

use bytemuck::{Pod, Zeroable};

pub use table::{
    FAR6, FINE, FINE_STARTS, Far, GROUPS, Group, HOPS, NEAR4, NEAR6, Near, SLOTS4, SLOTS6, Slot,
    Start, Table4, Table6,
};

/// Countries that are dropped, as bits: country n is bit n % 64 of word n / 64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct CountryPolicy {
    /// Bit 0 stands for addresses without a country.
    pub drop: [u64; 4],
}

impl CountryPolicy {
    /// Whether packets from there are dropped.
    #[inline(always)]
    pub fn drops(&self, country: u8) -> bool {
        let word = self.drop.get(usize::from(country >> 6)).copied();
        word.unwrap_or(0) >> (country & 63) & 1 != 0
    }
}

/// What decides about an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The IPv4 address that it stands for or carries.
    Inner([u8; 4]),
    /// Itself: its upper half and its lower one.
    Global(u64, u64),
    /// Nothing: it is none of the Internet's.
    Local,
}

/// Sorts out the addresses that carry an IPv4 address in a form that leaves no doubt: 6to4
/// (`2002::/16`, RFC 3056), Teredo (`2001::/32`, the client's address, RFC 4380), NAT64 by the
/// well-known prefix (`64:ff9b::/96`, RFC 6052) and IPv4-mapped ones.
#[inline(always)]
pub fn origin(address: [u8; 16]) -> Origin {
    let [
        a0,
        a1,
        a2,
        a3,
        a4,
        a5,
        a6,
        a7,
        b0,
        b1,
        b2,
        b3,
        b4,
        b5,
        b6,
        b7,
    ] = address;
    let upper = u64::from_be_bytes([a0, a1, a2, a3, a4, a5, a6, a7]);
    let lower = u64::from_be_bytes([b0, b1, b2, b3, b4, b5, b6, b7]);
    if upper >> 61 == 0b001 {
        if upper >> 48 == 0x2002 {
            return Origin::Inner([a2, a3, a4, a5]);
        }
        if upper >> 32 == 0x2001_0000 {
            return Origin::Inner([!b4, !b5, !b6, !b7]);
        }
        return Origin::Global(upper, lower);
    }
    let nat64 = upper == 0x0064_ff9b_0000_0000 && lower >> 32 == 0;
    let mapped = upper == 0 && lower >> 32 == 0xffff;
    if nat64 || mapped {
        Origin::Inner([b4, b5, b6, b7])
    } else {
        Origin::Local
    }
}

#[cfg(feature = "user")]
mod user {
    // SAFETY: `bytemuck::Pod` is derived: `repr(C)`, no padding, every bit pattern valid.
    unsafe impl aya::Pod for super::Table4 {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Table6 {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::CountryPolicy {}
}

const _: () = assert!(size_of::<CountryPolicy>() == 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inner_address_decides_where_the_form_leaves_no_doubt() {
        for (address, expected) in [
            ("2002:c000:207::1", Origin::Inner([192, 0, 2, 7])),
            (
                "2001:0:1234:5678:8000:ffff:3fff:fdf8",
                Origin::Inner([192, 0, 2, 7]),
            ),
            ("64:ff9b::192.0.2.7", Origin::Inner([192, 0, 2, 7])),
            ("::ffff:192.0.2.7", Origin::Inner([192, 0, 2, 7])),
            ("2001:1::7", Origin::Global(0x2001_0001_0000_0000, 7)),
            ("2003::7", Origin::Global(0x2003_0000_0000_0000, 7)),
            // A local NAT64 prefix, RFC 8215, and an operator's own: where the IPv4 address lies
            // depends on the prefix length.
            ("64:ff9b:1::192.0.2.7", Origin::Local),
            ("64:ff9b::1:192.0.2.7", Origin::Local),
            ("::192.0.2.7", Origin::Local),
            ("::", Origin::Local),
            ("fe80::1", Origin::Local),
            ("4000::1", Origin::Local),
            ("1fff::1", Origin::Local),
        ] {
            let parsed: core::net::Ipv6Addr = address.parse().unwrap();
            assert_eq!(origin(parsed.octets()), expected, "{address}");
        }
    }

    #[test]
    fn a_policy_has_a_bit_for_every_country() {
        for country in 0..=255 {
            let mut policy = CountryPolicy::default();
            assert!(!policy.drops(country));
            policy.drop[usize::from(country) / 64] |= 1 << (country % 64);
            assert!(policy.drops(country));
            assert_eq!((0..=255).filter(|other| policy.drops(*other)).count(), 1);
        }
    }
}
