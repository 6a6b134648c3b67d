//! Protocol Buffers, as little of them as criu's messages need: varints and length-delimited fields.
//!
//! See <https://protobuf.dev/programming-guides/encoding/>. Five messages do not pay for a code generator.

/// Wire types.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// A message under construction: each method appends one field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// The encoded message.
    #[must_use]
    pub fn bytes(self) -> Vec<u8> {
        self.0
    }

    /// An integer or enum. Negative numbers take ten bytes, as the encoding wants.
    pub fn int(&mut self, field: u32, value: i64) -> &mut Self {
        self.tag(field, VARINT).varint(value.cast_unsigned())
    }

    /// A `bool`, written only when true: every one of criu's is false by default.
    pub fn flag(&mut self, field: u32, value: bool) -> &mut Self {
        if value {
            self.int(field, 1);
        }
        self
    }

    /// A string.
    pub fn text(&mut self, field: u32, value: &str) -> &mut Self {
        self.delimited(field, value.as_bytes())
    }

    /// A message in this message.
    pub fn message(&mut self, field: u32, value: &Self) -> &mut Self {
        self.delimited(field, &value.0)
    }

    fn delimited(&mut self, field: u32, value: &[u8]) -> &mut Self {
        self.tag(field, BYTES).varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    fn tag(&mut self, field: u32, kind: u64) -> &mut Self {
        self.varint(u64::from(field) << 3 | kind)
    }

    fn varint(&mut self, mut value: u64) -> &mut Self {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }
}

/// The value of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Integers, enums and booleans.
    Number(u64),
    /// Strings and messages.
    Bytes(&'a [u8]),
}

impl Value<'_> {
    /// As `int32`: the low half, as the encoding says.
    #[must_use]
    pub fn int(self) -> i32 {
        match self {
            Self::Number(number) => (number as u32).cast_signed(),
            Self::Bytes(_) => 0,
        }
    }

    /// As `bool`.
    #[must_use]
    pub fn flag(self) -> bool {
        self.int() != 0
    }

    /// As a string; what is not UTF-8 is shown as such.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Number(_) => String::new(),
        }
    }
}

/// The message breaks the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message from criu")]
pub struct Malformed;

/// The fields of a message in their order.
///
/// # Errors
/// [`Malformed`]
pub fn fields(mut bytes: &[u8]) -> Result<Vec<(u32, Value<'_>)>, Malformed> {
    let mut list = Vec::new();
    while !bytes.is_empty() {
        let tag = take_varint(&mut bytes)?;
        let field = u32::try_from(tag >> 3).ok().ok_or(Malformed)?;
        let value = match tag & 7 {
            VARINT => Value::Number(take_varint(&mut bytes)?),
            BYTES => {
                let length = usize::try_from(take_varint(&mut bytes)?).ok().ok_or(Malformed)?;
                Value::Bytes(take(&mut bytes, length)?)
            }
            FIXED64 => Value::Bytes(take(&mut bytes, 8)?),
            FIXED32 => Value::Bytes(take(&mut bytes, 4)?),
            _ => return Err(Malformed),
        };
        list.push((field, value));
    }
    Ok(list)
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], Malformed> {
    let (head, tail) = bytes.split_at_checked(length).ok_or(Malformed)?;
    *bytes = tail;
    Ok(head)
}

fn take_varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_encodings_description() {
        // The two examples of the description: field 1 = 150; field 2 = "testing".
        let mut message = Writer::default();
        message.int(1, 150).text(2, "testing").flag(3, false).flag(4, true);
        let expected = b"\x08\x96\x01\x12\x07testing\x20\x01";
        assert_eq!(message.bytes(), expected);
    }

    #[test]
    fn what_is_written_is_read() {
        let mut inner = Writer::default();
        inner.int(1, -1).int(1000, i64::from(i32::MAX));
        let mut outer = Writer::default();
        outer.message(7, &inner).text(8, "äß");
        let bytes = outer.bytes();
        let read = fields(&bytes).unwrap();
        let [(7, Value::Bytes(inner)), (8, text)] = read[..] else { panic!("{read:?}") };
        let inner = fields(inner).unwrap();
        assert_eq!(inner.iter().map(|(n, v)| (*n, v.int())).collect::<Vec<_>>(), [(1, -1), (1000, i32::MAX)]);
        assert_eq!(text.text(), "äß");
    }

    #[test]
    fn broken_messages_are_refused() {
        for broken in [&b"\x08"[..], b"\x12\x05abc", b"\x0b", &[0x80; 11], b"\x09\x01"] {
            assert_eq!(fields(broken), Err(Malformed), "{broken:?}");
        }
    }

    #[test]
    fn unknown_fixed_fields_are_passed_over() {
        let read = fields(b"\x0d\x01\x02\x03\x04\x10\x05").unwrap();
        assert_eq!(read[1], (2, Value::Number(5)));
    }
}
