//! Which columns there are, and how a value of the API becomes a cell of one.

use miniserde::json::Value;

use super::{Collection, Lifetime, document, text};

/// One column.
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Where its value is in a row.
    pointer: &'static str,
    form: Form,
    /// What the API calls it in `sort`; empty where it cannot sort by it.
    pub(super) sort: &'static str,
    /// To how many cells it may be cut; 0 where it may not.
    pub(super) least: usize,
    /// The higher, the sooner it is left out where there is no room.
    pub(super) rank: u8,
}

/// How a value is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As it stands.
    Text,
    /// A session's state, in one word.
    State,
    /// A number.
    Count,
    /// A number of bytes.
    Bytes,
    /// A number of seconds.
    Seconds,
    /// Whom a relationship leads to.
    Names,
    /// An address and port, or a unix socket.
    Endpoint,
}

impl Column {
    const fn new(
        title: &'static str,
        pointer: &'static str,
        form: Form,
        least: usize,
        rank: u8,
    ) -> Self {
        Self {
            title,
            pointer,
            form,
            sort: "",
            least,
            rank,
        }
    }

    const fn sorted(mut self, sort: &'static str) -> Self {
        self.sort = sort;
        self
    }

    /// Whether its cells are numbers, which stand to the right, and of which the
    /// greatest ones come first.
    pub(super) fn is_number(&self) -> bool {
        matches!(self.form, Form::Count | Form::Bytes | Form::Seconds)
    }

    /// How wide it is with nothing in it. Numbers have room for those to come, so that
    /// columns do not move while they grow.
    pub(super) fn usual_width(&self) -> usize {
        let usual = match self.form {
            Form::Bytes => 4,
            Form::Seconds => 6,
            _ => 0,
        };
        self.title.len().max(usual)
    }

    /// What it shows of a row.
    pub(super) fn cell(&self, row: &Value) -> String {
        let cell = document::find(row, self.pointer).map(|value| match self.form {
            Form::Text => text::clean(&document::plain(value)),
            Form::State => state(&document::plain(value)),
            Form::Count => document::plain(value),
            Form::Bytes => bytes(document::tenths(value) / 10),
            Form::Seconds => seconds(document::tenths(value)),
            Form::Names => names(value),
            Form::Endpoint => endpoint(value),
        });
        cell.filter(|cell| !cell.is_empty())
            .unwrap_or_else(|| "-".to_owned())
    }

    /// The escape sequence of a cell's colour, where it has one.
    pub(super) fn colour(&self, cell: &str) -> &'static str {
        let is_state = self.pointer == STATE;
        match cell {
            _ if !is_state => "",
            _ if cell.starts_with("Down") => "\x1b[31m",
            "Running" | "Started" | "ready" | "listener" | "closed" => "",
            // What somebody has set, and what does not last.
            _ => "\x1b[33m",
        }
    }
}

const STATE: &str = "/attributes/state";
const SERVICE: &str = "/relationships/services/data/0/id";
const SERVER: &str = "/attributes/connections/0/server";
const CONNECTIONS: &str = "/attributes/statistics/connections";
const TOTAL: &str = "/attributes/statistics/total_connections";
const FROM_CLIENTS: &str = "/attributes/statistics/bytes_from_clients";
const TO_CLIENTS: &str = "/attributes/statistics/bytes_to_clients";

const ID: Column = Column::new("ID", "/id", Form::Text, 0, 0).sorted("id");
const USER: Column = Column::new("USER", "/attributes/user", Form::Text, 8, 1).sorted("user");
const CLIENT: Column =
    Column::new("CLIENT", "/attributes/remote", Form::Text, 9, 2).sorted("remote");
const ON_SERVICE: Column = Column::new("SERVICE", SERVICE, Form::Text, 8, 4);
const ON_SERVER: Column =
    Column::new("SERVER", SERVER, Form::Text, 7, 6).sorted("connections/0/server");
const IDLE: Column = Column::new("IDLE", "/attributes/idle", Form::Seconds, 0, 3).sorted("idle");
const ALIVE: Column =
    Column::new("ALIVE", "/attributes/seconds_alive", Form::Seconds, 0, 8).sorted("seconds_alive");
const IN: Column = Column::new("IN", "/attributes/bytes_from_client", Form::Bytes, 0, 7)
    .sorted("bytes_from_client");
const OUT: Column =
    Column::new("OUT", "/attributes/bytes_to_client", Form::Bytes, 0, 7).sorted("bytes_to_client");

static OPEN: [Column; 10] = [
    ID,
    Column::new("STATE", STATE, Form::State, 0, 5),
    USER,
    CLIENT,
    ON_SERVICE,
    ON_SERVER,
    IDLE,
    ALIVE,
    IN,
    OUT,
];

static CLOSED: [Column; 10] = [
    ID,
    Column::new("STATE", STATE, Form::State, 0, 5),
    USER,
    CLIENT,
    ON_SERVICE,
    ALIVE,
    IN,
    OUT,
    Column::new("REASON", "/attributes/close_reason", Form::Text, 0, 3),
    Column::new("CLOSED", "/attributes/closed", Form::Text, 0, 6),
];

/// Those of `top`.
pub(super) static TOP: [Column; 10] = [
    ID,
    USER,
    CLIENT,
    ON_SERVICE,
    ON_SERVER,
    Column::new("IO", "/attributes/io_activity", Form::Count, 0, 5).sorted("io_activity"),
    IDLE,
    ALIVE,
    IN,
    OUT,
];

static SERVICES: [Column; 7] = [
    Column::new("NAME", "/id", Form::Text, 8, 0),
    Column::new("STATE", STATE, Form::Text, 0, 1),
    Column::new("SESSIONS", CONNECTIONS, Form::Count, 0, 2),
    Column::new("TOTAL", TOTAL, Form::Count, 0, 4),
    Column::new("IN", FROM_CLIENTS, Form::Bytes, 0, 5),
    Column::new("OUT", TO_CLIENTS, Form::Bytes, 0, 5),
    Column::new("SERVERS", "/relationships/servers/data", Form::Names, 8, 3),
];

static SERVERS: [Column; 10] = [
    Column::new("NAME", "/id", Form::Text, 8, 0),
    Column::new("ADDRESS", "/attributes/parameters", Form::Endpoint, 12, 3),
    Column::new("STATE", STATE, Form::Text, 16, 1),
    Column::new("SESSIONS", CONNECTIONS, Form::Count, 0, 2),
    Column::new("TOTAL", TOTAL, Form::Count, 0, 5),
    Column::new("IN", FROM_CLIENTS, Form::Bytes, 0, 6),
    Column::new("OUT", TO_CLIENTS, Form::Bytes, 0, 6),
    Column::new("VERSION", "/attributes/version_string", Form::Text, 8, 7),
    // Since when it is in its state, and why where it is down.
    Column::new("SINCE", "/attributes/triggered_at", Form::Text, 0, 8),
    Column::new("REASON", "/attributes/down_reason", Form::Text, 12, 4),
];

static LISTENERS: [Column; 5] = [
    Column::new("NAME", "/id", Form::Text, 8, 0),
    Column::new("STATE", STATE, Form::Text, 0, 1),
    Column::new("ADDRESS", "/attributes/parameters", Form::Endpoint, 12, 2),
    Column::new(
        "PROTOCOL",
        "/attributes/parameters/protocol",
        Form::Text,
        0,
        4,
    ),
    Column::new("SERVICE", SERVICE, Form::Text, 8, 3),
];

/// The columns of a list.
pub(super) fn of(collection: Collection, lifetime: Lifetime) -> &'static [Column] {
    match (collection, lifetime) {
        (Collection::Sessions, Lifetime::Open) => &OPEN,
        (Collection::Sessions, _) => &CLOSED,
        (Collection::Services, _) => &SERVICES,
        (Collection::Servers, _) => &SERVERS,
        (Collection::Listeners, _) => &LISTENERS,
    }
}

/// The fields that columns need, as the API's `fields` takes them.
pub(super) fn fields(columns: &[Column]) -> String {
    let inside = |pointer: &'static str| {
        let attribute = pointer.strip_prefix("/attributes/");
        attribute.or_else(|| pointer.strip_prefix("/relationships/"))
    };
    let fields: Vec<&str> = columns
        .iter()
        .filter_map(|column| inside(column.pointer))
        .collect();
    fields.join(",")
}

/// A state of sessions in one word; any other one as it stands, without spaces.
fn state(words: &str) -> String {
    match words {
        "Session ready for routing" => "ready".to_owned(),
        "Session Allocated" => "connecting".to_owned(),
        "Stopping session" => "stopping".to_owned(),
        "Freed session" => "closed".to_owned(),
        "Listener Session" => "listener".to_owned(),
        "Stopped Listener Session" => "stopped".to_owned(),
        other => text::clean(other).replace(' ', "-"),
    }
}

/// A number of bytes in four cells at most.
pub(super) fn bytes(number: u64) -> String {
    if number < 1000 {
        return number.to_string();
    }
    let (mut tenths, mut parts) = (number, 10);
    let mut unit = ' ';
    for next in "KMGTPE".chars() {
        // 999.5 would be rounded to four digits.
        if tenths < 9_995 && parts == 1 {
            break;
        }
        // Times ten once, on the way to the first unit.
        tenths = tenths / 1024 * parts + (tenths % 1024 * parts + 512) / 1024;
        parts = 1;
        unit = next;
    }
    let mut text = if tenths < 100 {
        document::decimal(tenths)
    } else {
        ((tenths + 5) / 10).to_string()
    };
    text.push(unit);
    text
}

/// A number of tenths of a second in six cells at most, for three years.
fn seconds(tenths: u64) -> String {
    let whole = tenths / 10;
    let (one, unit, other, small) = match whole {
        0..60 => return document::decimal(tenths) + "s",
        60..3600 => (whole / 60, 'm', whole % 60, 's'),
        3600..86400 => (whole / 3600, 'h', whole % 3600 / 60, 'm'),
        _ => (whole / 86400, 'd', whole % 86400 / 3600, 'h'),
    };
    format!("{one}{unit}{other:02}{small}")
}

fn names(value: &Value) -> String {
    let Value::Array(others) = value else {
        return String::new();
    };
    let ids = others
        .iter()
        .filter_map(|other| document::find(other, "/id"));
    let ids: Vec<String> = ids.map(document::plain).collect();
    text::clean(&ids.join(","))
}

fn endpoint(parameters: &Value) -> String {
    let member = |pointer: &str| {
        let value = document::find(parameters, pointer)?;
        Some(text::clean(&document::plain(value)))
    };
    if let Some(socket) = member("/socket") {
        return socket;
    }
    let host = member("/address").unwrap_or_default();
    let port = member("/port").unwrap_or_default();
    let (open, close) = if host.contains(':') {
        ("[", "]")
    } else {
        ("", "")
    };
    [open, &host, close, ":", &port].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_four_cells() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1.0K"),
            (1024, "1.0K"),
            (10_240, "10K"),
            (1_023_000, "999K"),
            (1_023_600, "1.0M"),
            (5_905_580_032, "5.5G"),
            (u64::MAX, "16E"),
        ] {
            assert_eq!(bytes(number), text, "{number}");
        }
    }

    #[test]
    fn seconds_are_said_in_the_unit_that_matters() {
        for (tenths, text) in [
            (0, "0.0s"),
            (32, "3.2s"),
            (599, "59.9s"),
            (600, "1m00s"),
            (35_999, "59m59s"),
            (75_000, "2h05m"),
            (900_000, "1d01h"),
        ] {
            assert_eq!(seconds(tenths), text, "{tenths}");
        }
    }

    #[test]
    fn the_fields_of_columns_are_those_of_the_api() {
        assert_eq!(
            fields(of(Collection::Listeners, Lifetime::Open)),
            "state,parameters,parameters/protocol,services/data/0/id"
        );
    }
}
