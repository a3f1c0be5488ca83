//! An answer, from its parts to its bytes.
//!
//! The head is written here and not by tiny_http, whose writer cannot send
//! `Connection: close` and gives a 204 a length (RFC 9110, section 8.6,
//! forbids it); and the door answers what never reaches tiny_http.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use httpdate::HttpDate;

use super::refusal::Refusal;
use crate::jsonapi::{ErrorObject, Layout};

/// What a request gets.
#[derive(Debug)]
pub(super) struct Reply {
    status: (u16, &'static str),
    allow: Option<&'static str>,
    /// The document; a 204 has none.
    body: Option<String>,
}

impl Reply {
    /// 200 with a document.
    pub(super) fn document(body: String) -> Self {
        Self {
            status: (200, "OK"),
            allow: None,
            body: Some(body),
        }
    }

    /// 204, for OPTIONS.
    pub(super) fn options(allow: &'static str) -> Self {
        Self {
            status: (204, "No Content"),
            allow: Some(allow),
            body: None,
        }
    }

    /// An error document.
    pub(super) fn refuse(refusal: &Refusal, layout: Layout) -> Self {
        let (status, title) = refusal.status();
        let error = ErrorObject {
            status,
            title,
            detail: &refusal.detail(),
            parameter: refusal.parameter(),
        };
        let allow = match refusal {
            Refusal::MethodNotAllowed { allow, .. } => Some(*allow),
            _ => None,
        };
        Self {
            status: (status, title),
            allow,
            body: Some(error.document(layout)),
        }
    }

    /// The answer as it goes to the client; to a HEAD goes the head alone.
    pub(super) fn into_bytes(self, now: SystemTime, keep_alive: bool, head_alone: bool) -> Vec<u8> {
        let body = self.body.as_deref().unwrap_or_default();
        let mut text = String::with_capacity(HEAD_ESTIMATE + body.len());
        let (status, reason) = self.status;
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "HTTP/1.1 {status} {reason}\r\nServer: sessiond\r\nDate: {}\r\n",
            http_date(now)
        );
        text.push_str("Cache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\n");
        if self.body.is_some() {
            let _ = write!(
                text,
                "Content-Type: application/vnd.api+json\r\nContent-Length: {}\r\n",
                body.len()
            );
        }
        if let Some(allow) = self.allow {
            let _ = write!(text, "Allow: {allow}\r\n");
        }
        if !keep_alive {
            text.push_str("Connection: close\r\n");
        }
        text.push_str("\r\n");
        if !head_alone {
            text.push_str(body);
        }
        text.into_bytes()
    }
}

/// Room for the longest head there is.
const HEAD_ESTIMATE: usize = 320;

/// A time in the form that HTTP prefers (RFC 9110, section 5.6.7).
pub(super) fn http_date(time: SystemTime) -> HttpDate {
    HttpDate::from(clamp(time))
}

/// A time in the form of C's `asctime`: `Wed May 17 10:06:35 2017`, in UTC, a
/// day below ten padded with a space.
pub(super) fn asctime(time: SystemTime) -> String {
    // `Wed, 17 May 2017 10:06:35 GMT` has the same parts in another order.
    let date = http_date(time).to_string();
    let day = date[5..7].trim_start_matches('0');
    format!(
        "{} {} {day:>2} {} {}",
        &date[..3],
        &date[8..11],
        &date[17..25],
        &date[12..16]
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
    fn a_head_alone_has_the_length_of_the_body_that_is_not_there() {
        let bytes =
            Reply::document("{}\n".to_owned()).into_bytes(SystemTime::UNIX_EPOCH, true, true);
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("\r\nContent-Length: 3\r\n"));
        assert!(text.contains("\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"));
        assert!(text.ends_with("\r\n\r\n"));
    }

    #[test]
    fn no_head_is_longer_than_the_room_for_it() {
        let refusal = Refusal::MethodNotAllowed {
            method: String::new(),
            allow: "GET, HEAD, OPTIONS, DELETE, PUT",
        };
        let bytes =
            Reply::refuse(&refusal, Layout::Compact).into_bytes(SystemTime::now(), false, true);
        assert!(bytes.len() <= HEAD_ESTIMATE, "{}", bytes.len());
    }
}
