//! Times in the forms that HTTP, documents and logs have for them. All are UTC.

use std::cell::{Ref, RefCell};
use std::time::{Duration, SystemTime};

use httpdate::HttpDate;

/// A time in the form that HTTP prefers (RFC 9110, section 5.6.7).
pub fn http_date(time: SystemTime) -> HttpDate {
    HttpDate::from(clamp(time))
}

/// The form of [`http_date`] for times that are asked for again and again: that of
/// now, and that of what rarely changes.
#[derive(Debug, Default)]
pub struct HttpDates {
    /// The seconds that were asked for lately, from 1970 on, by their last three
    /// bits, and their forms.
    lately: [(u64, String); 8],
}

impl HttpDates {
    /// A time in the form of [`http_date`].
    pub fn of(&mut self, time: SystemTime) -> &str {
        let since = clamp(time).duration_since(SystemTime::UNIX_EPOCH);
        let second = since.unwrap_or_default().as_secs();
        let (last, form) = &mut self.lately[(second % 8) as usize];
        if *last != second || form.is_empty() {
            (*last, *form) = (second, http_date(time).to_string());
        }
        form
    }
}

/// A time in the form of C's `asctime`: `Wed May 17 10:06:35 2017`, a day below
/// ten padded with a space.
pub fn asctime(time: SystemTime) -> String {
    // `Wed, 17 May 2017 10:06:35 GMT` has the same parts in another order.
    let date = http_date(time).to_string();
    let (day, padding) = match date[5..7].strip_prefix('0') {
        Some(day) => (day, " "),
        None => (&date[5..7], ""),
    };
    let mut asctime = String::with_capacity(date.len());
    asctime.extend([&date[..3], " ", &date[8..12], padding, day]);
    asctime.extend([" ", &date[17..26], &date[12..16]]);
    asctime
}

/// The form of `asctime` for many times, which are often of the same second.
#[derive(Clone, Debug, Default)]
pub struct LastAsctime {
    /// The last second that was asked for, from 1970 on, and its form.
    last: RefCell<(Option<u64>, String)>,
}

impl LastAsctime {
    /// A time in the form of [`asctime`].
    pub fn of(&self, time: SystemTime) -> Ref<'_, str> {
        let second = clamp(time).duration_since(SystemTime::UNIX_EPOCH);
        let second = second.map(|since| since.as_secs()).ok();
        if self.last.borrow().0 != second {
            *self.last.borrow_mut() = (second, asctime(time));
        }
        Ref::map(self.last.borrow(), |last| last.1.as_str())
    }
}

/// A time in the form of RFC 3339, with milliseconds: `2017-05-17T10:06:35.042Z`.
pub fn rfc3339(time: SystemTime) -> String {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let time = clamp(time);
    let date = http_date(time).to_string();
    let month = MONTHS.find(&date[8..11]).unwrap_or_default() / 3 + 1;
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let milliseconds = since.unwrap_or_default().subsec_millis();
    format!(
        "{}-{month:02}-{}T{}.{milliseconds:03}Z",
        &date[12..16],
        &date[5..7],
        &date[17..25]
    )
}

/// Appliances boot with clocks before 1970, and four digits end with 9999.
fn clamp(time: SystemTime) -> SystemTime {
    const LAST_SECOND_OF_9999: Duration = Duration::from_secs(253_402_300_799);
    time.clamp(
        SystemTime::UNIX_EPOCH,
        SystemTime::UNIX_EPOCH + LAST_SECOND_OF_9999,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asctime_pads_the_day_and_clamps_what_a_clock_without_battery_says() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(asctime(at(1_495_015_595)), "Wed May 17 10:06:35 2017");
        assert_eq!(asctime(at(784_111_777)), "Sun Nov  6 08:49:37 1994");
        assert_eq!(
            asctime(SystemTime::UNIX_EPOCH - Duration::from_secs(1)),
            "Thu Jan  1 00:00:00 1970"
        );
        assert_eq!(asctime(at(400_000_000_000)), "Fri Dec 31 23:59:59 9999");
    }

    #[test]
    fn many_times_have_each_their_own_form() {
        let last = LastAsctime::default();
        for milliseconds in [0, 999, 1000, 0, 86_400_000] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds);
            assert_eq!(*last.of(time), *asctime(time));
        }
    }

    #[test]
    fn what_was_asked_for_lately_is_not_taken_for_another_time() {
        let mut dates = HttpDates::default();
        // A day is a multiple of eight seconds, too.
        for seconds in [0, 8, 0, 7, 15, 86_400, 0, 1_495_015_595, 1_495_015_603] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1000 * seconds + 999);
            assert_eq!(dates.of(time), http_date(time).to_string());
        }
    }

    #[test]
    fn rfc3339_has_milliseconds() {
        let at = |milliseconds| SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds);
        assert_eq!(rfc3339(at(1_495_015_595_042)), "2017-05-17T10:06:35.042Z");
        assert_eq!(rfc3339(at(784_111_777_999)), "1994-11-06T08:49:37.999Z");
    }
}
