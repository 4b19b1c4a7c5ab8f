//! Country tables: flat, so that a lookup costs a few memory accesses however the prefixes lie.
//!
//! User space builds them from one list of ranges and puts them into the kernel whole; kernel and
//! host look up with the same code. A country is a number from 1 on; 0 is no country.
//!
//! Capacities are fixed, because a table is one value of a BPF map. Whoever builds one checks them.
#![expect(
    clippy::inline_always,
    reason = "the verifier follows a map pointer only within one function"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "countries fit into a byte, and both sides have 64-bit addresses"
)]

use bytemuck::{Pod, Zeroable};

/// IPv4: by the top 16 bits, then by the third byte, then by the last.
///
/// An entry of `root` or `pages` below [`INNER`] is a country; from there on it leads to a page or
/// a leaf. Equal pages and equal leaves are stored once.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Table4 {
    /// By the first two bytes of the address.
    pub root: [u16; 1 << 16],
    /// By its third byte.
    pub pages: [[u16; 256]; PAGES],
    /// By its fourth byte: countries.
    pub leaves: [[u8; 256]; LEAVES],
}

/// Different /16s of more than one country that a [`Table4`] holds.
pub const PAGES: usize = 1 << 14;
/// Different /24s of more than one country that a [`Table4`] holds.
pub const LEAVES: usize = 1 << 15;

/// Marks an entry that leads on; the bits below it say where.
pub const INNER: u16 = 1 << 15;

/// IPv6: a static B+-tree over the upper 64 bits of where ranges begin.
///
/// A node is eight keys; the first key of every node stands again in the level above, so a node's
/// place follows from the keys passed on the way and nothing points anywhere. Unused keys are
/// [`NO_KEY`]. The levels repeat keys; the leaves hold all of them, and beside each what begins
/// there: a country, or [`INNER`] and the number of a group in which the lower 64 bits decide.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Table6 {
    /// The first keys of the first level's nodes.
    pub root: [u64; ROOT],
    /// 16 nodes.
    pub level1: [Node; ROOT],
    /// 128 nodes.
    pub level2: [Node; ROOT * 8],
    /// 1,024 nodes.
    pub level3: [Node; ROOT * 64],
    /// 8,192 nodes.
    pub level4: [Node; ROOT * 512],
    /// 65,536 leaves: every key.
    pub leaves: [Leaf; LEAVES6],
    /// /64s that hold more than one country.
    pub groups: [Group; GROUPS],
    /// Lower halves of where their ranges begin, ascending within a group.
    pub fine_starts: [u64; FINE],
    /// What begins there.
    pub fine_values: [u8; FINE],
}

/// Keys of the root node.
pub const ROOT: usize = 16;
/// Leaves of a [`Table6`].
pub const LEAVES6: usize = ROOT * 4096;
/// Ranges that a [`Table6`] holds, by the upper halves of their starts.
pub const STARTS: usize = LEAVES6 * 8;
/// /64s with finer ranges that a [`Table6`] holds.
pub const GROUPS: usize = 1 << 12;
/// Finer ranges that a [`Table6`] holds in all.
pub const FINE: usize = 1 << 15;
/// Finer ranges that one /64 can have: what [`Table6`]'s bisection looks through.
pub const GROUP: usize = 1 << BISECTIONS;
const BISECTIONS: u32 = 10;

/// A cache line of keys, where the kernel aligns it so.
pub type Node = [u64; 8];

/// The end of the way down. Keys and values lie beside each other because each is a cache miss of
/// its own where sources are random.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Leaf {
    /// Where ranges begin.
    pub keys: Node,
    /// What begins there.
    pub values: [u16; 8],
}

/// Greater than every key: addresses in `2000::/3` begin with the bits 001.
pub const NO_KEY: u64 = 1 << 62;

/// The finer ranges of one /64: a piece of [`Table6::fine_starts`]. The first starts at 0.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Group {
    /// Position of the first.
    pub start: u32,
    /// How many: 1 to [`GROUP`].
    pub count: u32,
}

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

impl Table4 {
    /// The country of an address; 0 for none.
    #[inline(always)]
    pub fn country(&self, address: [u8; 4]) -> u8 {
        self.walk(address).unwrap_or(0)
    }

    #[inline(always)]
    fn walk(&self, [a, b, c, d]: [u8; 4]) -> Option<u8> {
        let entry = *self.root.get(usize::from(u16::from_be_bytes([a, b])))?;
        if entry & INNER == 0 {
            return Some(entry as u8);
        }
        let page = self.pages.get(usize::from(entry & !INNER))?;
        let entry = *page.get(usize::from(c))?;
        if entry & INNER == 0 {
            return Some(entry as u8);
        }
        let leaf = self.leaves.get(usize::from(entry & !INNER))?;
        leaf.get(usize::from(d)).copied()
    }
}

impl Table6 {
    /// The country of an address in `2000::/3`, by its upper half and its lower one; 0 for none.
    #[inline(always)]
    pub fn country(&self, upper: u64, lower: u64) -> u8 {
        self.descend(upper, lower).unwrap_or(0)
    }

    #[inline(always)]
    fn descend(&self, upper: u64, lower: u64) -> Option<u8> {
        // Beyond all that may be subtracted from below: see `last`.
        if upper >= NO_KEY {
            return None;
        }
        let at = last(&self.root, upper);
        let at = at * 8 + last(self.level1.get(at)?, upper);
        let at = at * 8 + last(self.level2.get(at)?, upper);
        let at = at * 8 + last(self.level3.get(at)?, upper);
        let at = at * 8 + last(self.level4.get(at)?, upper);
        let leaf = self.leaves.get(at)?;
        // The values' cache line is on its way while the keys are looked through.
        // SAFETY: a number that can be read.
        let _ = unsafe { core::ptr::read_volatile(&raw const leaf.values[0]) };
        let value = *leaf.values.get(last(&leaf.keys, upper))?;
        if value & INNER == 0 {
            return Some(value as u8);
        }
        let group = self.groups.get(usize::from(value & !INNER))?;
        self.bisect(*group, lower)
    }

    /// The last range of the group that begins at `lower` or before. The same steps whatever it
    /// finds: branches would double the paths that the verifier walks at every one.
    #[inline(always)]
    fn bisect(&self, group: Group, lower: u64) -> Option<u8> {
        let mut at = group.start as usize;
        let mut count = group.count as usize;
        for _ in 0..BISECTIONS {
            let half = count / 2;
            let start = *self.fine_starts.get(at + half)?;
            at += half & (opaque(at_least(lower, start)) as usize).wrapping_neg();
            count -= half;
        }
        self.fine_values.get(at).copied()
    }
}

/// The position of the node's last key that is `upper` or less.
#[inline(always)]
fn last<const N: usize>(node: &[u64; N], upper: u64) -> usize {
    const { assert!(N.is_power_of_two()) }
    let mut rank = 0;
    // The first is `upper` or less: it is what led here, or the start of `2000::/3`.
    for key in node.iter().skip(1) {
        // The sign: 1 if the key is `upper` or less. Both are far below 2^63.
        rank += key.wrapping_sub(upper + 1) >> 63;
    }
    opaque(rank) as usize & (N - 1)
}

/// 1 if `a` is `b` or greater, else 0: the borrow of `a - b`, written so that it stays arithmetic.
#[inline(always)]
const fn at_least(a: u64, b: u64) -> u64 {
    let borrow = (!a & b) | (!(a ^ b) & a.wrapping_sub(b));
    1 ^ (borrow >> 63)
}

/// Keeps LLVM from seeing through to where a number comes from. It would drop the mask that
/// follows as needless, and with it what the verifier knows of the number.
#[inline(always)]
fn opaque(value: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = value;
        // SAFETY: a move of a register to itself. A body of nothing but a comment would do for
        // LLVM, but leaves a line of debug information to no instruction, which the kernel refuses.
        unsafe {
            core::arch::asm!(
                "{value} = {value}",
                value = inout(reg) value,
                options(pure, nomem, nostack),
            );
        }
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    value
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

const _: () = {
    // Numbers of pages, leaves and groups fit below INNER.
    assert!(PAGES <= INNER as usize);
    assert!(LEAVES <= INNER as usize);
    assert!(GROUPS <= INNER as usize);
    assert!(size_of::<Table4>() == (1 << 17) + PAGES * 512 + LEAVES * 256);
    assert!(size_of::<Table6>() == 6_169_728);
    assert!(size_of::<CountryPolicy>() == 32);
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_borrow_compares(a: u64, b: u64) {
            prop_assert_eq!(at_least(a, b), u64::from(a >= b));
            prop_assert_eq!(at_least(a, a), 1);
        }

        #[test]
        fn a_node_is_ranked(
            mut node in proptest::array::uniform8(0..=NO_KEY),
            upper in 0..NO_KEY,
        ) {
            node[0] = 0;
            node.sort_unstable();
            let expected = node.iter().rposition(|key| *key <= upper).unwrap();
            prop_assert_eq!(last(&node, upper), expected);
        }
    }

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
