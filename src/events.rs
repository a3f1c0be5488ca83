//! What happens to sessions, one line of JSON each: for the log, and for those
//! who follow `GET /v1/sessions/events`.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::journal::SESSIONS;
use crate::jsonapi::{Emit, Layout, Writer, key};
use crate::registry::{Attachment, Event, Events, Happening, Snapshot};
use crate::time::rfc3339;

/// Tells the log of all that happens, for as long as what is returned lives.
#[must_use]
pub fn log_all(events: &Arc<Events>) -> Attachment {
    events.attach(Arc::new(|event: &Event<'_>| {
        log::info!(target: SESSIONS, "{}", line(event).trim_end());
    }))
}

/// The line of an event, with its end.
pub fn line(event: &Event<'_>) -> String {
    let session = event.session;
    let word = match event.happening {
        Happening::Open => "open",
        Happening::Login => "login",
        Happening::LoginRefused => "login_refused",
        Happening::Close => "close",
    };
    let mut out = begin(word, event.time);
    out.member(key!("id"), &session.id().to_string());
    out.member(key!("service"), session.service().name());
    out.member(key!("listener"), session.listener().name());
    if let Some(client) = session.client() {
        // Of a session that is closed, the clocks stand still.
        let seen = client.snapshot(Instant::now());
        if let Some(remote) = seen.remote {
            out.member(key!("remote"), &remote.ip().to_string());
            out.member_number(key!("port"), remote.port().into());
        }
        match event.happening {
            Happening::Open => {}
            Happening::Login => write_login(&mut out, &seen),
            Happening::LoginRefused => {
                write_login(&mut out, &seen);
                if let Some(error) = &seen.login_error {
                    out.member(key!("code"), &error.code);
                    out.member(key!("message"), &error.message);
                }
            }
            Happening::Close => {
                write_login(&mut out, &seen);
                out.member_number(key!("bytes_from_client"), client.traffic().from_clients());
                out.member_number(key!("bytes_to_client"), client.traffic().to_clients());
                out.key(key!("duration"));
                out.tenths(tenths(seen.alive));
            }
        }
    }
    if let Some(ending) = session.ending() {
        out.member(key!("reason"), ending.reason.as_str());
    }
    end(out)
}

/// The line of something that has happened to no session.
pub fn notice(word: &str, detail: Option<&str>) -> String {
    let mut out = begin(word, SystemTime::now());
    if let Some(detail) = detail {
        out.member(key!("detail"), detail);
    }
    end(out)
}

fn begin(word: &str, time: SystemTime) -> Writer {
    let mut out = Writer::new(Layout::Compact);
    out.begin_object();
    out.member(key!("time"), &rfc3339(time));
    out.member(key!("event"), word);
    out
}

fn end(mut out: Writer) -> String {
    out.end_object();
    out.finish_text()
}

/// Who has logged in, and where the client is connected to, as far as that is known.
fn write_login(out: &mut Writer, seen: &Snapshot) {
    if let Some(login) = &seen.login {
        out.member(key!("user"), &login.user);
    }
    if let Some(connection) = seen.connections.last() {
        out.member(key!("server"), connection.server.name());
    }
}

fn tenths(duration: std::time::Duration) -> u64 {
    duration.as_secs() * 10 + u64::from(duration.subsec_millis() / 100)
}
