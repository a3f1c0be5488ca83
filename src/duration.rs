//! Durations as people write them, in the configuration and in requests.

use std::time::Duration;

/// A year: longer waits are typing mistakes, and their sum with a clock must not overflow.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// `500ms`, `10s`, `2m`, `1h`; a bare number is seconds. Or what would be right.
pub fn parse(text: &str) -> Result<Duration, &'static str> {
    const WRONG: &str = "must be a whole number with ms, s, m or h, such as 10s";
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let milliseconds_each: u64 = match &text[digits.len()..] {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(WRONG),
    };
    // Digits alone: no sign, unlike `str::parse`.
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(WRONG);
    }
    // So many digits that they are no number any more are too many.
    let number = digits.parse().unwrap_or(u64::MAX);
    match number
        .checked_mul(milliseconds_each)
        .map(Duration::from_millis)
    {
        Some(duration) if duration <= LONGEST => Ok(duration),
        _ => Err("must be a year at most"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_with_a_unit_or_of_seconds() {
        for (text, milliseconds) in [
            ("0", 0),
            ("5", 5_000),
            ("500ms", 500),
            ("10s", 10_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(
                parse(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in ["", "s", "5d", "-1", "+1", "1.5s", "5 s", "5S", "ms5", "٣s"] {
            assert!(parse(text).unwrap_err().contains("such as 10s"), "{text}");
        }
        for text in ["9000h", "99999999999999999999", "18446744073709551615h"] {
            assert!(parse(text).unwrap_err().contains("a year"), "{text}");
        }
    }
}
