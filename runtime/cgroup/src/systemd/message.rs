//! D-Bus messages: a method call out, a reply, an error or a signal in.

use super::wire::{Reader, Writer};

/// Larger messages are refused: systemd's are some hundred bytes.
pub(crate) const LARGEST: usize = 1 << 20;
/// The part of the header that has the lengths.
pub(crate) const FIXED: usize = 16;

const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

// Codes of header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// Where a method is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Method {
    pub(crate) destination: &'static str,
    pub(crate) path: &'static str,
    pub(crate) interface: &'static str,
    pub(crate) name: &'static str,
    /// The types of its arguments.
    pub(crate) signature: &'static str,
}

/// The bytes of a method call.
pub(crate) fn call(serial: u32, method: &Method, body: &[u8]) -> Vec<u8> {
    let mut message = Writer::default();
    // Little-endian, no flags, protocol version 1.
    message.byte(b'l').byte(CALL).byte(0).byte(1);
    message.u32(u32::try_from(body.len()).unwrap_or(u32::MAX)).u32(serial);
    message.array(8, |w| {
        field(w, PATH, "o", method.path);
        field(w, DESTINATION, "s", method.destination);
        field(w, INTERFACE, "s", method.interface);
        field(w, MEMBER, "s", method.name);
        if !method.signature.is_empty() {
            w.align(8).byte(SIGNATURE).signature("g").signature(method.signature);
        }
    });
    message.align(8).0.extend(body);
    message.0
}

fn field(writer: &mut Writer, code: u8, kind: &str, value: &str) {
    writer.align(8).byte(code).signature(kind).text(value);
}

/// A message that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    Return {
        serial: u32,
        body: Vec<u8>,
    },
    Error {
        serial: u32,
        name: String,
        text: String,
    },
    Signal {
        interface: String,
        member: String,
        body: Vec<u8>,
    },
    /// A call to us, or a type of a later protocol: of no concern.
    Other,
}

/// The length of a whole message, from its first 16 bytes; `None` when it is none, or too large.
pub(crate) fn length(fixed: &[u8; FIXED]) -> Option<usize> {
    if fixed[0] != b'l' || fixed[3] != 1 {
        return None;
    }
    let mut reader = Reader::new(&fixed[4..]);
    let (body, _serial, fields) = (reader.u32()?, reader.u32()?, reader.u32()?);
    let header = FIXED.checked_add(fields as usize)?.checked_next_multiple_of(8)?;
    header.checked_add(body as usize).filter(|length| *length <= LARGEST)
}

#[derive(Default)]
struct Fields<'a> {
    interface: &'a str,
    member: &'a str,
    error: &'a str,
    signature: &'a str,
    reply: u32,
}

/// Takes a whole message apart; `None` when it is malformed.
pub(crate) fn parse(bytes: &[u8]) -> Option<Incoming> {
    let fixed: &[u8; FIXED] = bytes.get(..FIXED)?.try_into().ok()?;
    if length(fixed)? != bytes.len() {
        return None;
    }
    let mut reader = Reader::new(bytes);
    reader.u32()?;
    let body = reader.u32()? as usize;
    reader.u32()?;
    let end = reader.u32()? as usize + FIXED;
    let mut fields = Fields::default();
    while reader.position() < end {
        read_field(&mut reader, &mut fields)?;
    }
    let body = bytes[bytes.len() - body..].to_vec();
    Some(match bytes[1] {
        RETURN => Incoming::Return { serial: fields.reply, body },
        ERROR => {
            let text = if fields.signature.starts_with('s') { Reader::new(&body).text() } else { None };
            let text = text.unwrap_or_default().to_owned();
            Incoming::Error { serial: fields.reply, name: fields.error.to_owned(), text }
        }
        SIGNAL => {
            let (interface, member) = (fields.interface.to_owned(), fields.member.to_owned());
            Incoming::Signal { interface, member, body }
        }
        _ => Incoming::Other,
    })
}

fn read_field<'a>(reader: &mut Reader<'a>, fields: &mut Fields<'a>) -> Option<()> {
    reader.align(8);
    let code = reader.byte()?;
    match reader.signature()? {
        "u" => {
            let value = reader.u32()?;
            if code == REPLY_SERIAL {
                fields.reply = value;
            }
        }
        "s" | "o" => {
            let value = reader.text()?;
            match code {
                INTERFACE => fields.interface = value,
                MEMBER => fields.member = value,
                ERROR_NAME => fields.error = value,
                _ => {}
            }
        }
        "g" => fields.signature = reader.signature()?,
        // Fields have these types only; the specification wants others refused.
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const HELLO: Method = Method {
        destination: "org.freedesktop.DBus",
        path: "/org/freedesktop/DBus",
        interface: "org.freedesktop.DBus",
        name: "Hello",
        signature: "",
    };

    #[test]
    fn hello_is_what_every_client_sends_first() {
        let expected: &[u8] = b"l\x01\0\x01\0\0\0\0\x01\0\0\0\x6e\0\0\0\
            \x01\x01o\0\x15\0\0\0/org/freedesktop/DBus\0\0\0\
            \x06\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0\
            \x02\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0\
            \x03\x01s\0\x05\0\0\0Hello\0\0\0";
        let message = call(1, &HELLO, &[]);
        assert_eq!(message, expected);
    }

    /// What a bus would send; only the fields the client looks at.
    pub(crate) fn incoming(kind: u8, reply: u32, names: [&str; 3], signature: &str, body: &[u8]) -> Vec<u8> {
        let mut message = Writer::default();
        message.byte(b'l').byte(kind).byte(1).byte(1);
        message.u32(body.len().try_into().unwrap()).u32(77);
        message.array(8, |w| {
            if reply != 0 {
                w.align(8).byte(REPLY_SERIAL).signature("u").u32(reply);
            }
            for (code, name) in [INTERFACE, MEMBER, ERROR_NAME].iter().zip(names) {
                if !name.is_empty() {
                    field(w, *code, "s", name);
                }
            }
            w.align(8).byte(SIGNATURE).signature("g").signature(signature);
        });
        message.align(8).0.extend(body);
        message.0
    }

    #[test]
    fn replies_errors_and_signals_are_told_apart() {
        let mut body = Writer::default();
        body.text("no such unit");
        let error = incoming(ERROR, 3, ["", "", "org.x.NoSuchUnit"], "s", &body.0);
        let (name, text) = ("org.x.NoSuchUnit".to_owned(), "no such unit".to_owned());
        assert_eq!(parse(&error), Some(Incoming::Error { serial: 3, name, text }));
        let reply = incoming(RETURN, 4, ["", "", ""], "s", &body.0);
        assert_eq!(parse(&reply), Some(Incoming::Return { serial: 4, body: body.0.clone() }));
        let signal = incoming(SIGNAL, 0, ["i", "m", ""], "s", &body.0);
        let (interface, member) = ("i".to_owned(), "m".to_owned());
        assert_eq!(parse(&signal), Some(Incoming::Signal { interface, member, body: body.0 }));
    }

    #[test]
    fn cut_and_wild_messages_are_refused() {
        let whole = incoming(SIGNAL, 0, ["i", "m", ""], "", &[]);
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), None, "{length}");
        }
        let mut wild = whole.clone();
        wild[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(length(wild[..FIXED].try_into().unwrap()), None);
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] = 0xff;
            // No panic; what comes out does not matter.
            parse(&broken);
        }
    }
}
