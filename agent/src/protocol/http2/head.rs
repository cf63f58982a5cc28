//! Message heads and trailers: fields of which some may be unknown.

use super::fields::Fields;
use std::fmt;

/// The fields of a head or of trailers (RFC 9113, section 8.1), names in lower case as on the wire.
///
/// On a connection that was joined late, or behind a loss, fields may refer to what was never seen. Such a field has
/// an unknown name, or value, or both; what is known is right. So a field that is not found is absent only where
/// [`Self::may_have_more`] is false.
#[derive(Clone, PartialEq, Eq)]
pub struct Head {
    fields: Fields,
}

/// A pseudo-header field of requests alone.
const OF_REQUESTS: [&[u8]; 5] = [b":method", b":path", b":scheme", b":authority", b":protocol"];

impl Head {
    pub(super) fn new(mut fields: Fields) -> Self {
        fields.shrink();
        Self { fields }
    }

    /// Value of the first field of this name, which has to be in lower case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields
            .iter()
            .find(|(key, _)| *key == Some(name.as_bytes()))
            .and_then(|(_, value)| value)
    }

    /// Fields whose name and value are known, in order.
    pub fn known(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().filter_map(|(name, value)| name.zip(value))
    }

    /// How many fields have an unknown name or value.
    #[must_use]
    pub fn unknown(&self) -> usize {
        let unknown = |field: &(Option<&[u8]>, Option<&[u8]>)| field.0.is_none() || field.1.is_none();
        self.fields.iter().filter(unknown).count()
    }

    /// Whether there may be fields that are not found here.
    #[must_use]
    pub fn may_have_more(&self) -> bool {
        self.fields.is_cut() || self.unknown() > 0
    }

    /// Whether the fields were over the limit, so that the last of them are missing.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.fields.is_cut()
    }

    /// `:method`
    #[must_use]
    pub fn method(&self) -> Option<&[u8]> {
        self.field(":method")
    }

    /// `:path`, with the query.
    #[must_use]
    pub fn path(&self) -> Option<&[u8]> {
        self.field(":path")
    }

    /// `:status`, 100 to 999.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match *self.field(":status")? {
            [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
                let digit = |digit: u8| u16::from(digit - b'0');
                Some(digit(a) * 100 + digit(b) * 10 + digit(c))
            }
            _ => None,
        }
    }

    /// Whether this begins a request, whatever is unknown of it.
    pub(super) fn is_of_request(&self) -> bool {
        self.known().any(|(name, _)| OF_REQUESTS.contains(&name))
    }

    /// Whether this can be trailers only: they have no pseudo-header fields, and those come first (section 8.3).
    pub(super) fn is_of_trailers(&self) -> bool {
        let first = self.fields.iter().next();
        first.is_some_and(|(name, _)| name.is_some_and(|name| !name.starts_with(b":")))
    }

    /// Bytes that it takes.
    pub(super) fn cost(&self) -> usize {
        self.fields.cost()
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |text: Option<&[u8]>| text.map_or("?".to_owned(), |text| text.escape_ascii().to_string());
        let fields = self.fields.iter();
        out.debug_map()
            .entries(fields.map(|(name, value)| (text(name), text(value))))
            .finish()
    }
}
