//! D-Bus marshalling, as far as systemd's methods need it: little-endian, aligned values (D-Bus specification,
//! "Marshaling (Wire Format)").

use caisson_plan::step::cgroup::UnitValue;

/// A value to be sent as a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// A value from the plan.
    Unit(&'a UnitValue),
    /// `b`
    Bool(bool),
    /// `s`
    Text(&'a str),
    /// `au`
    Numbers(&'a [u32]),
}

/// Bytes being written; alignment counts from the beginning, which messages keep at a multiple of eight.
#[derive(Debug, Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn align(&mut self, to: usize) -> &mut Self {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
        self
    }

    pub(crate) fn byte(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.align(4).0.extend(value.to_le_bytes());
        self
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.align(8).0.extend(value.to_le_bytes());
        self
    }

    pub(crate) fn bool(&mut self, value: bool) -> &mut Self {
        self.u32(u32::from(value))
    }

    /// `s` and `o`: length, text, a zero that does not count. D-Bus has no zero within a text: it ends there.
    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        let clean = value.split('\0').next().unwrap_or_default();
        self.u32(length(clean.len())).0.extend(clean.bytes());
        self.byte(0)
    }

    /// `g`: the length is one byte.
    pub(crate) fn signature(&mut self, value: &str) -> &mut Self {
        self.byte(length(value.len()).to_le_bytes()[0]).0.extend(value.bytes());
        self.byte(0)
    }

    /// `a…`: the byte length, which counts from the first element: the padding before it does not count.
    pub(crate) fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Self)) -> &mut Self {
        self.u32(0);
        let at = self.0.len() - 4;
        self.align(alignment);
        let begin = self.0.len();
        elements(self);
        let bytes = length(self.0.len() - begin);
        self.0[at..at + 4].copy_from_slice(&bytes.to_le_bytes());
        self
    }

    /// `(sv)`: an element of a property list.
    pub(crate) fn property(&mut self, name: &str, value: &Value<'_>) -> &mut Self {
        self.align(8).text(name).variant(value)
    }

    fn variant(&mut self, value: &Value<'_>) -> &mut Self {
        match value {
            Value::Unit(value) => self.unit_value(value),
            Value::Bool(value) => self.signature("b").bool(*value),
            Value::Text(value) => self.signature("s").text(value),
            Value::Numbers(values) => self.signature("au").array(4, |w| {
                for value in *values {
                    w.u32(*value);
                }
            }),
        }
    }

    fn unit_value(&mut self, value: &UnitValue) -> &mut Self {
        match value {
            UnitValue::Bool(value) => self.signature("b").bool(*value),
            UnitValue::String(value) => self.signature("s").text(value),
            UnitValue::Strings(values) => self.signature("as").array(4, |w| {
                for value in values {
                    w.text(value);
                }
            }),
            UnitValue::U64(value) => self.signature("t").u64(*value),
            UnitValue::U32(value) => self.signature("u").u32(*value),
            UnitValue::I32(value) => self.signature("i").u32(value.cast_unsigned()),
            UnitValue::I64(value) => self.signature("x").u64(value.cast_unsigned()),
            UnitValue::Bytes(value) => self.signature("ay").array(1, |w| w.0.extend(value)),
            UnitValue::Pairs(values) => self.signature("a(ss)").array(8, |w| {
                for (first, second) in values {
                    w.align(8).text(first).text(second);
                }
            }),
            UnitValue::Weights(values) => self.signature("a(st)").array(8, |w| {
                for (first, second) in values {
                    w.align(8).text(first).u64(*second);
                }
            }),
        }
    }
}

/// Lengths are 32 bits wide. No message comes near; one that did would be refused by the bus for its true size.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Bytes being read; every method is `None` at the end or when the bytes are not what they should be.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.align(4);
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        let length = self.u32()? as usize;
        let text = self.take(length)?;
        self.take(1)?;
        std::str::from_utf8(text).ok()
    }

    pub(crate) fn signature(&mut self) -> Option<&'a str> {
        let length = self.byte()? as usize;
        let text = self.take(length)?;
        self.take(1)?;
        std::str::from_utf8(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marshalled(value: &UnitValue) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.property("P", &Value::Unit(value));
        writer.0
    }

    #[test]
    fn numbers_are_aligned_after_their_signature() {
        // "P", then signature "t", then padding to 16, then the number.
        let expected = b"\x01\0\0\0P\0\x01t\0\0\0\0\0\0\0\0\x08\x07\x06\x05\x04\x03\x02\x01";
        assert_eq!(marshalled(&UnitValue::U64(0x0102_0304_0506_0708)), expected);
        assert_eq!(marshalled(&UnitValue::U32(5)), b"\x01\0\0\0P\0\x01u\0\0\0\0\x05\0\0\0");
        assert_eq!(marshalled(&UnitValue::I32(-2)), b"\x01\0\0\0P\0\x01i\0\0\0\0\xfe\xff\xff\xff");
        assert_eq!(marshalled(&UnitValue::Bool(true)), b"\x01\0\0\0P\0\x01b\0\0\0\0\x01\0\0\0");
        assert_eq!(marshalled(&UnitValue::I64(-1))[16..], [0xff; 8]);
    }

    #[test]
    fn texts_and_arrays_have_lengths() {
        assert_eq!(marshalled(&UnitValue::String("ab".into())), b"\x01\0\0\0P\0\x01s\0\0\0\0\x02\0\0\0ab\0");
        assert_eq!(
            marshalled(&UnitValue::Bytes(vec![1, 255])),
            b"\x01\0\0\0P\0\x02ay\0\0\0\x02\0\0\0\x01\xff"
        );
        assert_eq!(
            marshalled(&UnitValue::Strings(vec!["a".into(), "b".into()])),
            b"\x01\0\0\0P\0\x02as\0\0\0\x0e\0\0\0\x01\0\0\0a\0\0\0\x01\0\0\0b\0"
        );
    }

    #[test]
    fn the_padding_before_a_struct_is_not_counted() {
        // Signature a(ss) ends at 14; length at 16..20; padding to 24, then 4+2+2(pad)+4+2 bytes.
        let bytes = marshalled(&UnitValue::Pairs(vec![("a".into(), "r".into())]));
        assert_eq!(bytes, b"\x01\0\0\0P\0\x05a(ss)\0\0\0\0\x0e\0\0\0\0\0\0\0\x01\0\0\0a\0\0\0\x01\0\0\0r\0");
        let bytes = marshalled(&UnitValue::Weights(vec![("a".into(), 3)]));
        assert_eq!(
            bytes,
            b"\x01\0\0\0P\0\x05a(st)\0\0\0\0\x10\0\0\0\0\0\0\0\x01\0\0\0a\0\0\0\x03\0\0\0\0\0\0\0"
        );
        // An empty array of structs still has its padding.
        assert_eq!(marshalled(&UnitValue::Pairs(vec![])), b"\x01\0\0\0P\0\x05a(ss)\0\0\0\0\0\0\0\0\0\0\0\0");
    }

    #[test]
    fn a_zero_cannot_smuggle_a_second_text() {
        let mut writer = Writer::default();
        writer.text("a\0b");
        assert_eq!(writer.0, b"\x01\0\0\0a\0");
    }

    #[test]
    fn reading_stops_at_the_end() {
        let mut reader = Reader::new(b"\x02\0\0\0hi\0\0\x07\0\0\0\xff\0\0\0");
        assert_eq!(reader.text(), Some("hi"));
        assert_eq!(reader.u32(), Some(7));
        assert_eq!(reader.text(), None);
    }
}
