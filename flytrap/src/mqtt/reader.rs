//! Reads the data types of section 1.5 off the front of a slice.

use std::num::{NonZeroU16, NonZeroU32};

use crate::types::TopicName;

use super::{Hidden, Malformed, ReasonCode};

/// The largest value of a variable byte integer (1.5.5).
pub(super) const MAX_VARINT: u32 = 268_435_455;

const TRUNCATED: Malformed = Malformed::packet("a packet holds every field of its type (1.5)");
const ZERO: Malformed = Malformed::protocol("the value of this property is not 0 (2.2.2.2)");

/// A variable byte integer at the front of `input` and what follows it; none while its last
/// byte is missing.
pub(super) fn varint(input: &[u8]) -> Result<Option<(u32, &[u8])>, Malformed> {
    let mut value = 0;
    let mut rest = input;
    for shift in [0, 7, 14, 21] {
        let Some((&byte, after)) = rest.split_first() else {
            return Ok(None);
        };
        rest = after;
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            if byte == 0 && shift > 0 {
                return Err(Malformed::packet(
                    "a length is written in the fewest bytes (1.5.5-1)",
                ));
            }
            return Ok(Some((value, rest)));
        }
    }
    Err(Malformed::packet("a length has at most four bytes (1.5.5)"))
}

/// What is left to read of a packet's body or of a property list.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(input: &'a [u8]) -> Self {
        Self(input)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All that is left.
    pub(super) const fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Ends a packet that has a fixed last field.
    pub(super) const fn finish(&self) -> Result<(), Malformed> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(Malformed::packet(
                "nothing follows the last field of a packet (2.1.4)",
            ))
        }
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(TRUNCATED)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(TRUNCATED)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn packet_id(&mut self) -> Result<NonZeroU16, Malformed> {
        const RULE: Malformed =
            Malformed::protocol("a packet identifier is not 0 (2.2.1; 3.1.1: 2.3.1)");
        NonZeroU16::new(self.u16()?).ok_or(RULE)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        // Refuses surrogates and overlong forms as well.
        let text = str::from_utf8(self.bytes()?)
            .map_err(|_| Malformed::packet("a text is valid UTF-8 (1.5.4-1; 3.1.1: 1.5.3-1)"))?;
        if text.contains('\0') {
            return Err(Malformed::packet(
                "a text does not contain U+0000 (1.5.4-2; 3.1.1: 1.5.3-2)",
            ));
        }
        Ok(text)
    }

    // One method for each form of a property's value.

    pub(super) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::protocol(
                "the value of this property is 0 or 1 (2.2.2.2)",
            )),
        }
    }

    pub(super) fn nonzero_u16(&mut self) -> Result<NonZeroU16, Malformed> {
        NonZeroU16::new(self.u16()?).ok_or(ZERO)
    }

    pub(super) fn alias(&mut self) -> Result<NonZeroU16, Malformed> {
        NonZeroU16::new(self.u16()?).ok_or(Malformed {
            rule: "a topic alias is not 0 (3.3.2-8)",
            reason: ReasonCode::TOPIC_ALIAS_INVALID,
        })
    }

    pub(super) fn nonzero_u32(&mut self) -> Result<NonZeroU32, Malformed> {
        NonZeroU32::new(self.u32()?).ok_or(ZERO)
    }

    pub(super) fn varint(&mut self) -> Result<u32, Malformed> {
        let (value, rest) = varint(self.0)?.ok_or(TRUNCATED)?;
        self.0 = rest;
        Ok(value)
    }

    pub(super) fn nonzero_varint(&mut self) -> Result<NonZeroU32, Malformed> {
        NonZeroU32::new(self.varint()?).ok_or(ZERO)
    }

    pub(super) fn topic(&mut self) -> Result<TopicName<'a>, Malformed> {
        TopicName::new(self.text()?)
            .map_err(|bad| Malformed::topic(bad, ReasonCode::TOPIC_NAME_INVALID))
    }

    pub(super) fn hidden(&mut self) -> Result<Hidden<'a>, Malformed> {
        self.bytes().map(Hidden)
    }

    pub(super) fn pair(&mut self) -> Result<(&'a str, &'a str), Malformed> {
        Ok((self.text()?, self.text()?))
    }
}
