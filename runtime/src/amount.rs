//! Amounts as people write them: `64M`, `5s`, `1m30s`.

use std::time::Duration;

/// Why a text is no amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?}: expected {expected}")]
pub struct InvalidAmount {
    found: String,
    expected: &'static str,
}

/// Bytes, with an optional K, M, G or T (powers of 1024; `64MiB`, `64mb` and `64m` are the same); -1 is "no limit".
///
/// # Errors
/// `InvalidAmount`
pub fn bytes(text: &str) -> Result<i64, InvalidAmount> {
    let invalid =
        || InvalidAmount { found: text.to_owned(), expected: "bytes, or a number with K, M, G or T" };
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches("ib").trim_end_matches('b');
    let (digits, shift) = match digits.char_indices().next_back() {
        Some((end, 'k')) => (&digits[..end], 10),
        Some((end, 'm')) => (&digits[..end], 20),
        Some((end, 'g')) => (&digits[..end], 30),
        Some((end, 't')) => (&digits[..end], 40),
        _ => (digits, 0),
    };
    let number: i64 = digits.parse().ok().ok_or_else(invalid)?;
    if number == -1 && shift == 0 {
        return Ok(-1);
    }
    if number < 0 {
        return Err(invalid());
    }
    number.checked_mul(1 << shift).ok_or_else(invalid)
}

/// A duration as Go writes it: `5s`, `500ms`, `1m30s`; a bare number is seconds.
///
/// # Errors
/// `InvalidAmount`
pub fn duration(text: &str) -> Result<Duration, InvalidAmount> {
    let invalid =
        || InvalidAmount { found: text.to_owned(), expected: "a duration such as 5s, 500ms or 1m30s" };
    let mut rest = text.trim();
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let seconds = match unit {
            "" | "s" => 1.0,
            "ms" => 0.001,
            "us" | "µs" => 0.000_001,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(invalid()),
        };
        let number: f64 = number.parse().ok().ok_or_else(invalid)?;
        total += number * seconds;
        rest = tail;
    }
    Duration::try_from_secs_f64(total).ok().filter(|time| !time.is_zero()).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_knows_units() {
        let cases = [("64M", 67_108_864), ("64MiB", 67_108_864), ("1g", 1 << 30), ("4096", 4096), ("-1", -1)];
        for (text, value) in cases {
            assert_eq!(bytes(text), Ok(value), "{text}");
        }
        for text in ["", "M", "-2", "-1k", "1.5G", "99999999T"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn duration_knows_go_spelling() {
        let cases = [("5s", 5000), ("500ms", 500), ("1m30s", 90_000), ("2", 2000), ("1.5s", 1500)];
        for (text, millis) in cases {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "0s", "5 parsecs", "s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
