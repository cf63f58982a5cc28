//! Content headers: body size, properties, and the table of headers in them (AMQP 0-9-1, sections 2.3.5.2 and 4.2.5).
//!
//! ```text
//!   +-----------+------------+---------------+-----------+----------------+
//!   | class (2) | weight (2) | body size (8) | flags (2) | properties ... |
//!   +-----------+------------+---------------+-----------+----------------+
//! ```
//!
//! They are kept as they were sent, and read when they are asked for: no length that is only said is believed.

use super::method::Fields;

/// Number of the class `basic`, the only one that has content.
const BASIC: u16 = 60;

/// A content header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Length of the body in bytes, over all its frames.
    pub body_size: u64,
    /// From the flags on.
    properties: Box<[u8]>,
    /// The end of the properties is missing.
    pub is_cut: bool,
}

/// Properties of a message. What is not set, or was cut off, is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Properties<'a> {
    /// `content-type`.
    pub content_type: Option<&'a [u8]>,
    /// `content-encoding`.
    pub content_encoding: Option<&'a [u8]>,
    /// `headers`.
    pub headers: Option<Table<'a>>,
    /// `delivery-mode`: 2 is persistent.
    pub delivery_mode: Option<u8>,
    /// `priority`.
    pub priority: Option<u8>,
    /// `correlation-id`.
    pub correlation_id: Option<&'a [u8]>,
    /// `reply-to`.
    pub reply_to: Option<&'a [u8]>,
    /// `expiration`.
    pub expiration: Option<&'a [u8]>,
    /// `message-id`.
    pub message_id: Option<&'a [u8]>,
    /// `timestamp`, in seconds.
    pub timestamp: Option<u64>,
    /// `type`.
    pub kind: Option<&'a [u8]>,
    /// `user-id`.
    pub user_id: Option<&'a [u8]>,
    /// `app-id`.
    pub app_id: Option<&'a [u8]>,
}

impl Content {
    /// Reads a header frame's payload, of which the end may be missing; `None` where it is none of the class `basic`.
    pub(super) fn read(payload: &[u8], is_whole: bool) -> Option<Self> {
        let mut fields = Fields(payload);
        let (class, _weight) = (fields.u16()?, fields.u16()?);
        let body_size = fields.u64()?;
        (class == BASIC).then(|| Self {
            body_size,
            properties: fields.0.into(),
            is_cut: !is_whole,
        })
    }

    /// Bytes that it takes.
    pub(super) fn cost(&self) -> usize {
        self.properties.len()
    }

    /// Reads the properties.
    #[must_use]
    pub fn properties(&self) -> Properties<'_> {
        let mut properties = Properties::default();
        // What was read before the end is kept.
        let _ = properties.read(&mut Fields(&self.properties));
        properties
    }

    /// The header called `name`, where it is a text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        match self.properties().headers?.get(name.as_bytes())? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl<'a> Properties<'a> {
    fn read(&mut self, fields: &mut Fields<'a>) -> Option<()> {
        let flags = fields.u16()?;
        // The lowest bit says that more flags follow.
        let mut more = flags;
        while more & 1 != 0 {
            more = fields.u16()?;
        }
        let has = |bit: u16| flags & (1 << bit) != 0;
        if has(15) {
            self.content_type = Some(fields.short()?);
        }
        if has(14) {
            self.content_encoding = Some(fields.short()?);
        }
        if has(13) {
            let length = usize::try_from(fields.u32()?).ok()?;
            // Where the end was cut off, what is there of the table is read.
            let here = length.min(fields.0.len());
            self.headers = Some(Table(fields.take(here)?));
            (here == length).then_some(())?;
        }
        if has(12) {
            self.delivery_mode = Some(fields.bits()?);
        }
        if has(11) {
            self.priority = Some(fields.bits()?);
        }
        if has(10) {
            self.correlation_id = Some(fields.short()?);
        }
        if has(9) {
            self.reply_to = Some(fields.short()?);
        }
        if has(8) {
            self.expiration = Some(fields.short()?);
        }
        if has(7) {
            self.message_id = Some(fields.short()?);
        }
        if has(6) {
            self.timestamp = Some(fields.u64()?);
        }
        if has(5) {
            self.kind = Some(fields.short()?);
        }
        if has(4) {
            self.user_id = Some(fields.short()?);
        }
        if has(3) {
            self.app_id = Some(fields.short()?);
        }
        Some(())
    }
}

/// A field table: names and values, in the order on the wire. It ends where it makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table<'a>(&'a [u8]);

impl<'a> Table<'a> {
    /// Value of the first field called `name`.
    #[must_use]
    pub fn get(mut self, name: &[u8]) -> Option<Value<'a>> {
        self.find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

impl<'a> Iterator for Table<'a> {
    type Item = (&'a [u8], Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let mut fields = Fields(std::mem::take(&mut self.0));
        let entry = (fields.short()?, Value::read(&mut fields)?);
        self.0 = fields.0;
        Some(entry)
    }
}

/// A field array: values, in the order on the wire. It ends where it makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Array<'a>(&'a [u8]);

impl<'a> Iterator for Array<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut fields = Fields(std::mem::take(&mut self.0));
        let value = Value::read(&mut fields)?;
        self.0 = fields.0;
        Some(value)
    }
}

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// `t`.
    Boolean(bool),
    /// `b`, `s`, `U`, `I`, `L` and `l`, of one to eight bytes. The specification has a text where RabbitMQ and all
    /// clients of it have a 16-bit integer (`s`), and takes `l` as unsigned.
    Integer(i64),
    /// `B`, `u` and `i`, of one to four bytes.
    Unsigned(u32),
    /// `f` and `d`.
    Float(f64),
    /// `D`: `unscaled` divided by ten to the power of `scale`.
    Decimal {
        /// Digits behind the point.
        scale: u8,
        /// All digits.
        unscaled: i32,
    },
    /// `S`: text by intention, any bytes in truth.
    Text(&'a [u8]),
    /// `x`.
    Bytes(&'a [u8]),
    /// `T`, in seconds.
    Timestamp(u64),
    /// `F`.
    Table(Table<'a>),
    /// `A`.
    Array(Array<'a>),
    /// `V`.
    Void,
}

impl<'a> Value<'a> {
    fn read(fields: &mut Fields<'a>) -> Option<Self> {
        Some(match fields.bits()? {
            b't' => Self::Boolean(fields.bits()? != 0),
            b'b' => Self::Integer(fields.bits()?.cast_signed().into()),
            b's' | b'U' => Self::Integer(fields.u16()?.cast_signed().into()),
            b'I' => Self::Integer(fields.u32()?.cast_signed().into()),
            b'L' | b'l' => Self::Integer(fields.u64()?.cast_signed()),
            b'B' => Self::Unsigned(fields.bits()?.into()),
            b'u' => Self::Unsigned(fields.u16()?.into()),
            b'i' => Self::Unsigned(fields.u32()?),
            b'f' => Self::Float(f32::from_bits(fields.u32()?).into()),
            b'd' => Self::Float(f64::from_bits(fields.u64()?)),
            b'D' => Self::Decimal {
                scale: fields.bits()?,
                unscaled: fields.u32()?.cast_signed(),
            },
            b'S' => Self::Text(fields.long()?),
            b'x' => Self::Bytes(fields.long()?),
            b'T' => Self::Timestamp(fields.u64()?),
            b'F' => Self::Table(Table(fields.long()?)),
            b'A' => Self::Array(Array(fields.long()?)),
            b'V' => Self::Void,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header frame's payload with `properties`, which begin with their flags.
    fn content(properties: &[u8]) -> Content {
        let payload = [b"\0\x3c\0\0\0\0\0\0\0\0\0\x05", properties].concat();
        Content::read(&payload, true).unwrap()
    }

    fn table(fields: &[u8]) -> Vec<u8> {
        [&u32::try_from(fields.len()).unwrap().to_be_bytes(), fields].concat()
    }

    #[test]
    fn each_property_is_read() {
        let content = content(
            &[
                b"\xff\xf8\x02ct\x02ce".as_slice(),
                &table(b"\x01aV"),
                b"\x02\x05\x03cor\x03rep\x03exp\x02id\0\0\0\0\0\0\0\x09\x04type\x04user\x03app",
            ]
            .concat(),
        );
        assert_eq!(content.body_size, 5);
        let properties = content.properties();
        assert_eq!(
            properties.headers.unwrap().collect::<Vec<_>>(),
            [(b"a".as_slice(), Value::Void)]
        );
        assert_eq!(
            Properties {
                headers: None,
                ..properties
            },
            Properties {
                content_type: Some(b"ct"),
                content_encoding: Some(b"ce"),
                headers: None,
                delivery_mode: Some(2),
                priority: Some(5),
                correlation_id: Some(b"cor"),
                reply_to: Some(b"rep"),
                expiration: Some(b"exp"),
                message_id: Some(b"id"),
                timestamp: Some(9),
                kind: Some(b"type"),
                user_id: Some(b"user"),
                app_id: Some(b"app"),
            }
        );
    }

    #[test]
    fn some_properties_and_more_flags() {
        assert_eq!(content(b"\0\0").properties(), Properties::default());
        let content = content(b"\x00\x81\0\0\x02id");
        assert_eq!(content.properties().message_id, Some(b"id".as_slice()));
    }

    #[test]
    fn each_type_of_field_is_read() {
        let fields: [(&[u8], Value<'_>); 20] = [
            (b"t\x01", Value::Boolean(true)),
            (b"b\xff", Value::Integer(-1)),
            (b"B\xff", Value::Unsigned(255)),
            (b"s\xff\xfe", Value::Integer(-2)),
            (b"U\xff\xfe", Value::Integer(-2)),
            (b"u\xff\xfe", Value::Unsigned(65534)),
            (b"I\xff\xff\xff\xfd", Value::Integer(-3)),
            (b"i\xff\xff\xff\xfd", Value::Unsigned(u32::MAX - 2)),
            (b"L\0\0\0\0\0\0\0\x07", Value::Integer(7)),
            (b"l\xff\xff\xff\xff\xff\xff\xff\xff", Value::Integer(-1)),
            (b"f\x3f\x80\0\0", Value::Float(1.0)),
            (b"d\x3f\xf0\0\0\0\0\0\0", Value::Float(1.0)),
            (
                b"D\x02\0\0\x01\x3a",
                Value::Decimal {
                    scale: 2,
                    unscaled: 314,
                },
            ),
            (b"S\0\0\0\x02ab", Value::Text(b"ab")),
            (b"x\0\0\0\x02\0\xff", Value::Bytes(b"\0\xff")),
            (b"T\0\0\0\0\0\0\0\x09", Value::Timestamp(9)),
            (b"F\0\0\0\x03\x01aV", Value::Table(Table(b"\x01aV"))),
            (b"A\0\0\0\x03VVV", Value::Array(Array(b"VVV"))),
            (b"V", Value::Void),
            (b"S\0\0\0\0", Value::Text(b"")),
        ];
        let bytes: Vec<u8> = fields
            .iter()
            .flat_map(|(value, _)| [b"\x01k".as_slice(), value].concat())
            .collect();
        let read: Vec<_> = Table(&bytes).map(|(_, value)| value).collect();
        assert_eq!(read, fields.map(|(_, value)| value));
        assert_eq!(Array(b"VVV").count(), 3);
    }

    #[test]
    fn lengths_that_lie_end_what_is_read() {
        let header = |fields: &[u8]| content(&[b"\x20\x80".as_slice(), &table(fields), b"\x02id"].concat());
        let read = header(b"\x0btraceparentS\0\0\0\x0200\x01aS\xff\xff\xff\xff");
        assert_eq!(read.header("traceparent"), Some(b"00".as_slice()));
        assert_eq!(read.header("a"), None);
        assert_eq!(read.properties().message_id, Some(b"id".as_slice()));
        // The table itself is longer than all that is there.
        let read = content(b"\x20\x80\xff\xff\xff\xff\x01aS\0\0\0\x01b\x02id");
        assert_eq!(read.header("a"), Some(b"b".as_slice()));
        assert_eq!(read.properties().message_id, None);
        // A type that there is not.
        assert_eq!(Table(b"\x01aZ\x01bV").count(), 0);
        assert!(Content::read(b"\0\x3c\0\0\0\0\0\0\0\0\0", true).is_none());
        assert!(Content::read(b"\0\x0a\0\0\0\0\0\0\0\0\0\0\0\0", true).is_none());
    }
}
