//! Which client ids a token may be used with.

use std::num::NonZeroU8;

use super::refusal::Fault;

/// The rule as the record carries it: without the id or prefix itself, which the CONNECT supplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientRule {
    /// One client id only: the one that was signed.
    Exact,
    /// Any client id.
    Any,
    /// Every client id that starts with the same bytes, this many (1 to 255).
    Prefix(NonZeroU8),
}

/// What the signature says about client ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientScope<'a> {
    /// This client id only. Not empty.
    Exact(&'a str),
    /// Any client id.
    Any,
    /// Every client id that starts with this. Not empty.
    Prefix(&'a str),
}

impl ClientRule {
    /// What must have been signed if a client with this id may use the token.
    ///
    /// # Errors
    /// [`Fault::ClientIdEmpty`] or [`Fault::ClientIdPrefix`] when no signature can fit.
    pub fn scope(self, client_id: &str) -> Result<ClientScope<'_>, Fault> {
        match self {
            Self::Any => Ok(ClientScope::Any),
            Self::Exact | Self::Prefix(_) if client_id.is_empty() => Err(Fault::ClientIdEmpty),
            Self::Exact => Ok(ClientScope::Exact(client_id)),
            // `get` answers `None` beyond the end and inside a character.
            Self::Prefix(length) => client_id
                .get(..usize::from(length.get()))
                .map(ClientScope::Prefix)
                .ok_or(Fault::ClientIdPrefix),
        }
    }
}

impl ClientScope<'_> {
    /// As EIP-712 has it: the id, the prefix and `*`, or `*` alone.
    pub(super) fn raw(self) -> String {
        self.written(str::to_owned)
    }

    /// As the EIP-4361 text has it: the same with the id percent-encoded.
    pub(super) fn encoded(self) -> String {
        self.written(percent_encode)
    }

    fn written(self, id: impl Fn(&str) -> String) -> String {
        match self {
            Self::Exact(exact) => id(exact),
            Self::Any => "*".to_owned(),
            Self::Prefix(prefix) => id(prefix) + "*",
        }
    }
}

/// RFC 3986: unreserved characters stay, every other byte of the UTF-8 becomes %XX in upper case.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push_str(&hex::encode_upper([byte]));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(length: u8) -> ClientRule {
        ClientRule::Prefix(NonZeroU8::new(length).unwrap())
    }

    #[test]
    fn a_prefix_ends_on_a_character_inside_the_client_id() {
        assert_eq!(prefix(1).scope("aä"), Ok(ClientScope::Prefix("a")));
        assert_eq!(prefix(2).scope("aä"), Err(Fault::ClientIdPrefix));
        assert_eq!(prefix(3).scope("aä"), Ok(ClientScope::Prefix("aä")));
        assert_eq!(prefix(4).scope("aä"), Err(Fault::ClientIdPrefix));
    }

    #[test]
    fn an_empty_client_id_needs_a_token_for_any() {
        assert_eq!(ClientRule::Any.scope(""), Ok(ClientScope::Any));
        assert_eq!(ClientRule::Exact.scope(""), Err(Fault::ClientIdEmpty));
        assert_eq!(prefix(1).scope(""), Err(Fault::ClientIdEmpty));
    }

    #[test]
    fn encodes_everything_but_the_unreserved_characters() {
        assert_eq!(percent_encode("aZ09-._~"), "aZ09-._~");
        assert_eq!(percent_encode("*%/ \nß"), "%2A%25%2F%20%0A%C3%9F");
    }
}
