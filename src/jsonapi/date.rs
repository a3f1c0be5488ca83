//! Dates in the expressions of filters, in the forms that people have at hand:
//! that of documents (asctime), RFC 3339, and that of HTTP.

use std::time::{Duration, SystemTime};

use crate::time::asctime;

const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";

/// The longest date that is read; RFC 3339 allows any number of decimals.
const MAX_LENGTH: usize = 40;

/// The time that a text names, where it is a date.
pub(super) fn parse(text: &str) -> Option<SystemTime> {
    if text.len() > MAX_LENGTH || !text.is_ascii() {
        return None;
    }
    // The forms of HTTP include that of asctime, which says UTC there. Documents
    // have it for the daemon's own clock.
    parse_asctime(text)
        .or_else(|| parse_rfc3339(text))
        .or_else(|| httpdate::parse_http_date(text).ok())
}

/// The whole second of a time: what documents show of it.
pub(super) fn whole_second(time: SystemTime) -> SystemTime {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs()),
        // Documents show no time before.
        Err(_) => SystemTime::UNIX_EPOCH,
    }
}

/// A date as documents show it. Which time that is follows from how times are
/// shown, in whichever zone.
fn parse_asctime(text: &str) -> Option<SystemTime> {
    let shown = civil_of_asctime(text)?;
    let mut guess = shown;
    // The first try finds the zone's offset, the second the one that holds then.
    for _ in 0..2 {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(guess);
        let off = i64::try_from(civil_of_asctime(&asctime(time))?).ok()?;
        guess = guess.checked_add_signed(i64::try_from(shown).ok()? - off)?;
    }
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(guess))
}

/// The seconds from 1970 on to a date like `Wed May 17 10:06:35 2017`, as if it were UTC.
fn civil_of_asctime(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let has = |places: &[usize], byte| places.iter().all(|place| bytes[*place] == byte);
    if bytes.len() != 24 || !has(&[3, 7, 10, 19], b' ') || !has(&[13, 16], b':') {
        return None;
    }
    let day = number(text[8..10].trim_start())?;
    let year = number(&text[20..])?;
    seconds(year, month(&text[4..7])?, day, &text[11..19])
}

/// The time of a date like `2017-05-17T10:06:35.042Z` (RFC 3339, section 5.6).
fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    let bytes = text.as_bytes();
    let has = |places: &[usize], byte| places.iter().all(|place| bytes[*place] == byte);
    if bytes.len() < 20 || !has(&[4, 7], b'-') || !has(&[13, 16], b':') {
        return None;
    }
    if !matches!(bytes[10], b'T' | b't' | b' ') {
        return None;
    }
    let (year, month, day) = (
        number(&text[..4])?,
        number(&text[5..7])?,
        number(&text[8..10])?,
    );
    let seconds = seconds(year, month, day, &text[11..19])?;
    let mut rest = &text[19..];
    let mut nanoseconds = 0;
    if let Some(decimals) = rest.strip_prefix('.') {
        let length = decimals.bytes().take_while(u8::is_ascii_digit).count();
        let (decimals, after) = decimals.split_at(length);
        // What is below a nanosecond is cut off.
        let first: String = decimals
            .chars()
            .chain("000000000".chars())
            .take(9)
            .collect();
        nanoseconds = if decimals.is_empty() {
            return None;
        } else {
            first.parse().ok()?
        };
        rest = after;
    }
    let seconds = i64::try_from(seconds).ok()? - offset(rest)?;
    let seconds = Duration::from_secs(u64::try_from(seconds).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(seconds + Duration::from_nanos(nanoseconds))
}

/// The seconds that a zone is ahead of UTC: `Z`, or `+02:00`. A `+` of an address
/// is a space when it arrives.
fn offset(text: &str) -> Option<i64> {
    let sign = match text.chars().next()? {
        'Z' | 'z' => return (text.len() == 1).then_some(0),
        '+' | ' ' => 1,
        '-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text[1..].split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let seconds = i64::try_from(60 * (60 * hours + minutes)).ok()?;
    (hours < 24 && minutes < 60).then_some(sign * seconds)
}

fn month(name: &str) -> Option<u64> {
    let at = MONTHS.find(name).filter(|at| at % 3 == 0)?;
    Some(at as u64 / 3 + 1)
}

fn number(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// The seconds from 1970 on to a day and a time like `10:06:35`.
fn seconds(year: u64, month: u64, day: u64, time: &str) -> Option<u64> {
    let (hour, minute, second) = (
        number(&time[..2])?,
        number(&time[3..5])?,
        number(&time[6..])?,
    );
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = match month {
        2 => 28 + u64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    // A leap second is the one after it, as the system's clock has it.
    if !(1970..=9999).contains(&year)
        || !(1..=length).contains(&day)
        || (hour, minute, second) > (23, 59, 60)
        || minute > 59
        || second > 60
    {
        return None;
    }
    // March is the first month, so that a leap day is the last day of a year.
    let (years, months) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * years + years / 4 - years / 100 + years / 400 + (153 * months + 2) / 5 + day;
    // The first of January 1970 is that many days after the first of March of the year 0.
    let days = days.checked_sub(719_469)?;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{http_date, rfc3339};

    fn at(milliseconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds)
    }

    #[test]
    fn all_forms_of_a_time_are_that_time() {
        for seconds in [
            0,
            86_399,
            951_782_400,
            951_868_800,
            1_495_015_595,
            1_709_164_800,
            4_107_542_399,
            253_402_300_798,
        ] {
            let time = at(1000 * seconds);
            assert_eq!(parse(&asctime(time)), Some(time), "{}", asctime(time));
            let date = http_date(time).to_string();
            assert_eq!(parse(&date), Some(time), "{date}");
            let with_milliseconds = at(1000 * seconds + 42);
            let date = rfc3339(with_milliseconds);
            assert_eq!(parse(&date), Some(with_milliseconds), "{date}");
        }
    }

    #[test]
    fn rfc_3339_has_zones_and_any_number_of_decimals() {
        let time = at(1_495_015_595_500);
        for text in [
            "2017-05-17T10:06:35.5Z",
            "2017-05-17t10:06:35.50000000000z",
            "2017-05-17 12:06:35.5+02:00",
            "2017-05-17T12:06:35.5 02:00",
            "2017-05-17T04:36:35.5-05:30",
        ] {
            assert_eq!(parse(text), Some(time), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_dates() {
        for text in [
            "",
            "now",
            "2017-05-17",
            "2017-05-17T10:06:35",
            "2017-05-17T10:06:35.Z",
            "2017-02-29T00:00:00Z",
            "2017-13-01T00:00:00Z",
            "2017-00-01T00:00:00Z",
            "2017-05-17T24:00:00Z",
            "2017-05-17T10:60:00Z",
            "2017-05-17T10:06:35+2:00",
            "2017-05-17T10:06:35+24:00",
            "1969-12-31T23:59:59Z",
            "Wed May 17 10:06:35 17",
            "Wed Foo 17 10:06:35 2017",
            "Wed May 32 10:06:35 2017",
            "Wed May 17 10:06:3x 2017",
            "Wed anF 17 10:06:35 2017",
            "äed May 17 10:06:35 2017",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
