//! The part of the GVariant text format that unit properties need: booleans, integers (with an optional type word),
//! strings and arrays of strings.

use crate::step::cgroup::UnitValue;

/// Reads one value; `None` when it is outside that part.
pub(crate) fn parse(text: &str) -> Option<UnitValue> {
    let text = text.trim();
    match text {
        "true" => return Some(UnitValue::Bool(true)),
        "false" => return Some(UnitValue::Bool(false)),
        _ => {}
    }
    if text.starts_with('[') {
        return strings(text).map(UnitValue::Strings);
    }
    if text.starts_with(['\'', '"']) {
        let (value, rest) = string(text)?;
        return rest.trim().is_empty().then_some(UnitValue::String(value));
    }
    match text.split_once(char::is_whitespace) {
        Some(("uint64", number)) => number.trim().parse().ok().map(UnitValue::U64),
        Some(("uint32", number)) => number.trim().parse().ok().map(UnitValue::U32),
        Some(("int64", number)) => number.trim().parse().ok().map(UnitValue::I64),
        Some(("int32", number)) => number.trim().parse().ok().map(UnitValue::I32),
        Some(("boolean", value)) => value.trim().parse().ok().map(UnitValue::Bool),
        Some(("string", value)) => parse(value).filter(|value| matches!(value, UnitValue::String(_))),
        Some(_) => None,
        // An untyped integer is an int32 (GVariant text format, "Numbers").
        None => text.parse().ok().map(UnitValue::I32),
    }
}

/// A number of seconds as microseconds.
pub(crate) fn microseconds(text: &str) -> Option<UnitValue> {
    let seconds = match parse(text) {
        Some(UnitValue::I32(seconds)) => u64::try_from(seconds).ok()?,
        Some(UnitValue::U32(seconds)) => u64::from(seconds),
        Some(UnitValue::I64(seconds)) => u64::try_from(seconds).ok()?,
        Some(UnitValue::U64(seconds)) => seconds,
        None => return fraction(text),
        Some(_) => return None,
    };
    seconds.checked_mul(1_000_000).map(UnitValue::U64)
}

/// `1.5`, without going through floating point.
fn fraction(text: &str) -> Option<UnitValue> {
    let (whole, part) = text.trim().split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) {
        return None;
    }
    let part: String = part.chars().chain(std::iter::repeat('0')).take(6).collect();
    let whole: u64 = whole.parse().ok()?;
    whole.checked_mul(1_000_000)?.checked_add(part.parse().ok()?).map(UnitValue::U64)
}

fn strings(text: &str) -> Option<Vec<String>> {
    let mut rest = text.strip_prefix('[')?.trim_start();
    let mut list = Vec::new();
    while !rest.starts_with(']') {
        let (value, tail) = string(rest)?;
        list.push(value);
        rest = tail.trim_start();
        match rest.strip_prefix(',') {
            Some(tail) => rest = tail.trim_start(),
            None if rest.starts_with(']') => {}
            None => return None,
        }
    }
    (rest == "]").then_some(list)
}

/// A quoted string and what follows it.
fn string(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let mut value = String::new();
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => value.push(match letters.next()?.1 {
                'n' => '\n',
                't' => '\t',
                other => other,
            }),
            _ if letter == quote => return Some((value, &text[at + quote.len_utf8()..])),
            _ => value.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_typed() {
        assert_eq!(parse("true"), Some(UnitValue::Bool(true)));
        assert_eq!(parse("7"), Some(UnitValue::I32(7)));
        assert_eq!(parse("uint64 7"), Some(UnitValue::U64(7)));
        assert_eq!(parse("'it\\'s'"), Some(UnitValue::String("it's".into())));
        assert_eq!(parse("['a', \"b\"]"), Some(UnitValue::Strings(vec!["a".into(), "b".into()])));
        for bad in ["", "x", "'a", "['a'", "['a' 'b']", "uint64 -1", "(1, 2)", "'a' b"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn seconds_become_microseconds() {
        assert_eq!(microseconds("1.5"), Some(UnitValue::U64(1_500_000)));
        assert_eq!(microseconds("uint32 3"), Some(UnitValue::U64(3_000_000)));
        assert_eq!(microseconds("-1"), None);
    }
}
