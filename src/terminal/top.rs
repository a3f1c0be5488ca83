//! `top`: sessions as they come and go.
//!
//! One loop waits for keys, signals and answers. What is asked is asked by a
//! thread of its own, one request at a time, so that a program that hangs does
//! not keep anybody from leaving; and it is one page of the list that is asked
//! for, sorted over there, so that 10,000 sessions cost no more than a
//! screenful. The loop goes on when the program is restarted.

use std::io::{self, IsTerminal, Write, stdin, stdout};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};
use signal_hook::low_level::pipe::register;

use miniserde::json;

use super::columns::{self, TOP};
use super::document;
use super::failure::Failure;
use super::frame::{self, Frame};
use super::http::Client;
use super::keys::{Key, Keys};
use super::list::table;
use super::screen::{Screen, Size};
use super::table::Table;
use super::target::Target;
use super::{Filter, Look, Selection};
use crate::lock::lock;
use crate::thread::start_thread;

/// What comes first where nobody says it: who is busy.
const SORT: &str = "-io_activity";

/// After so long without an answer the screen says so.
const SLOW: Duration = Duration::from_secs(2);

/// Listeners have sessions, too; what they have not is a protocol.
const CLIENTS: &str = "protocol=ne(\"\")";

pub(super) fn top(
    client: Client,
    selection: &Selection,
    interval: Duration,
    look: Look,
) -> Result<(), Failure> {
    if !stdin().is_terminal() || !stdout().is_terminal() {
        return Err(Failure::NoScreen(
            "top needs a terminal; without one, use sessiond list",
        ));
    }
    if !look.escapes {
        return Err(Failure::NoScreen(
            "top needs a terminal that can move its cursor, and TERM names none; use sessiond list",
        ));
    }
    let mut top = Top::new(client, selection, look.colour);
    // What is wrong from the beginning is said where it stays to be read.
    let first = glance(&top.client, &top.target())?;
    top.see(first);
    let bells = Bells::hang().map_err(Failure::Terminal)?;
    let mut screen = Screen::take().map_err(Failure::Terminal)?;
    watch(&mut top, &bells, &mut screen, interval).map_err(Failure::Terminal)
}

/// Shows what there is, and waits for what changes it.
fn watch(top: &mut Top, bells: &Bells, screen: &mut Screen, interval: Duration) -> io::Result<()> {
    let mut keys = Keys::default();
    let mut next = Instant::now() + interval;
    loop {
        screen.draw(top.lines())?;
        let now = Instant::now();
        let wake = match &top.asked {
            Some(_) => now + SLOW / 2,
            None => next,
        };
        let rung = bells.wait(wake.saturating_duration_since(now))?;
        if rung.end {
            return Ok(());
        }
        if rung.signal {
            top.size = Screen::size();
            screen.take_again()?;
            next = Instant::now();
        }
        if rung.key {
            let mut bytes = [0; 64];
            let count = match rustix::io::read(stdin(), &mut bytes) {
                // The terminal is gone.
                Ok(0) | Err(Errno::IO) => return Ok(()),
                Ok(count) => count,
                Err(Errno::INTR | Errno::AGAIN) => 0,
                Err(error) => return Err(error.into()),
            };
            for key in keys.read(&bytes[..count]) {
                match key {
                    Key::Quit => return Ok(()),
                    Key::Suspend => screen.suspend()?,
                    Key::Redraw => screen.take_again()?,
                    key => top.follow(key),
                }
                next = Instant::now();
            }
        }
        if top.hear() {
            next = Instant::now();
        }
        if top.asked.is_none() && Instant::now() >= next {
            top.ask(&bells.answer)?;
            next = Instant::now() + interval;
        }
    }
}

/// What was seen at one look.
struct Glance {
    table: Table,
    total: u64,
    /// Bytes of all services, from clients and to clients.
    traffic: (u64, u64),
    at: Instant,
}

/// Looks once.
fn glance(client: &Client, target: &str) -> Result<Glance, Failure> {
    let not_json = |_| client.garbled("something that is not JSON");
    let page = client.get(target)?;
    let table = table(client, &TOP, &page)?;
    let page: json::Value = json::from_str(&page).map_err(not_json)?;
    let services = client.get("/v1/services?fields%5Bservices%5D=statistics")?;
    let mut traffic = (0_u64, 0_u64);
    let services = document::rows(&services);
    for row in services.ok_or_else(|| client.garbled("something that is no list"))? {
        let row = json::from_str(row).map_err(not_json)?;
        let bytes = |name: &str| {
            let pointer = format!("/attributes/statistics/{name}");
            document::count(&row, &pointer).unwrap_or_default()
        };
        traffic.0 = traffic.0.saturating_add(bytes("bytes_from_clients"));
        traffic.1 = traffic.1.saturating_add(bytes("bytes_to_clients"));
    }
    Ok(Glance {
        table,
        total: document::count(&page, "/meta/total").unwrap_or_default(),
        traffic,
        at: Instant::now(),
    })
}

/// A request on its way.
struct Asked {
    target: String,
    at: Instant,
    answer: Arc<Mutex<Option<Result<Glance, Failure>>>>,
}

struct Top {
    client: Client,
    place: String,
    filters: Vec<Filter>,
    sort: String,
    page: usize,
    size: Size,
    colour: bool,
    seen: Option<Glance>,
    rates: Option<(u64, u64)>,
    trouble: Option<String>,
    asked: Option<Asked>,
}

impl Top {
    fn new(client: Client, selection: &Selection, colour: bool) -> Self {
        let mut filters = selection.filters.clone();
        filters.extend(Filter::parse(CLIENTS));
        let sort = selection.sort.as_deref().unwrap_or(SORT);
        Self {
            place: client.place.to_string(),
            client,
            filters,
            sort: sort.to_owned(),
            page: 0,
            size: Screen::size(),
            colour,
            seen: None,
            rates: None,
            trouble: None,
            asked: None,
        }
    }

    /// What is to be asked now.
    fn target(&self) -> String {
        let mut target = Target::new("sessions", None);
        target.add("fields[sessions]", &columns::fields(&TOP));
        for filter in &self.filters {
            target.filter(filter);
        }
        // Equal ones keep their places.
        target.add("sort", &format!("{},id", self.sort));
        target.add("page[size]", &frame::rows(self.size).to_string());
        target.add("page[number]", &self.page.to_string());
        target.as_str().to_owned()
    }

    fn ask(&mut self, bell: &Bell) -> io::Result<()> {
        let target = self.target();
        let answer = Arc::new(Mutex::new(None));
        let (client, place, asked) = (self.client.clone(), Arc::clone(&answer), target.clone());
        let mut bell = bell.cord.try_clone()?;
        start_thread("ask", move || {
            let seen = glance(&client, &asked);
            *lock(&place) = Some(seen);
            // Nobody hears it when the program ends.
            let _ = bell.write_all(b"!");
        })?;
        self.asked = Some(Asked {
            target,
            at: Instant::now(),
            answer,
        });
        Ok(())
    }

    /// Takes an answer, if there is one; whether it is to be asked again at once.
    fn hear(&mut self) -> bool {
        let Some(asked) = &self.asked else {
            return false;
        };
        let Some(answer) = lock(&asked.answer).take() else {
            let waited = asked.at.elapsed();
            if waited >= SLOW {
                let seconds = waited.as_secs();
                self.trouble = Some(format!("no answer for {seconds} s from {}", self.place));
            }
            return false;
        };
        // Somebody may have wished for something else meanwhile.
        let is_wished = asked.target == self.target();
        self.asked = None;
        match answer {
            Err(failure) => {
                self.trouble = Some(failure.in_short());
                return false;
            }
            Ok(seen) if is_wished => self.see(seen),
            Ok(_) => return true,
        }
        let last = self.pages() - 1;
        let is_past_the_end = self.page > last;
        self.page = self.page.min(last);
        is_past_the_end
    }

    fn see(&mut self, seen: Glance) {
        let before = self.seen.as_ref();
        self.rates = before.and_then(|before| {
            let milliseconds = seen.at.duration_since(before.at).as_millis();
            let milliseconds = u64::try_from(milliseconds).unwrap_or(u64::MAX).max(1);
            // They begin again when the program is restarted.
            let from = seen.traffic.0.checked_sub(before.traffic.0)?;
            let to = seen.traffic.1.checked_sub(before.traffic.1)?;
            let rate = |bytes: u64| bytes.saturating_mul(1000) / milliseconds;
            Some((rate(from), rate(to)))
        });
        self.trouble = None;
        self.seen = Some(seen);
    }

    fn total(&self) -> u64 {
        self.seen.as_ref().map_or(0, |seen| seen.total)
    }

    fn pages(&self) -> usize {
        let total = usize::try_from(self.total()).unwrap_or(usize::MAX);
        total.div_ceil(frame::rows(self.size)).max(1)
    }

    /// Follows a key.
    fn follow(&mut self, key: Key) {
        let last = self.pages() - 1;
        match key {
            Key::SortLeft => self.sort_by(|places, now| places.into_iter().rfind(|it| *it < now)),
            Key::SortRight => self.sort_by(|places, now| places.into_iter().find(|it| *it > now)),
            Key::Reverse => {
                self.sort = match self.sort.strip_prefix('-') {
                    Some(key) => key.to_owned(),
                    None => format!("-{}", self.sort),
                };
                self.page = 0;
            }
            Key::NextPage => self.page = (self.page + 1).min(last),
            Key::PreviousPage => self.page = self.page.min(last).saturating_sub(1),
            Key::FirstPage => self.page = 0,
            Key::LastPage => self.page = last,
            Key::Quit | Key::Suspend | Key::Redraw => {}
        }
    }

    /// Sorts by another column, where there is one: of numbers the greatest come first.
    fn sort_by(&mut self, choose: impl FnOnce(Vec<usize>, usize) -> Option<usize>) {
        let places = (0..TOP.len()).filter(|place| !TOP[*place].sort.is_empty());
        let key = self.sort.trim_start_matches('-');
        let now = TOP.iter().position(|column| column.sort == key);
        if let Some(place) = choose(places.collect(), now.unwrap_or(0)) {
            let sign = if TOP[place].is_number() { "-" } else { "" };
            self.sort = format!("{sign}{}", TOP[place].sort);
            self.page = 0;
        }
    }

    fn lines(&self) -> Vec<String> {
        let Some(seen) = &self.seen else {
            return Vec::new();
        };
        Frame {
            size: self.size,
            colour: self.colour,
            table: &seen.table,
            total: seen.total,
            page: self.page,
            pages: self.pages(),
            sort: &self.sort,
            rates: self.rates,
            place: &self.place,
            trouble: self.trouble.as_deref(),
        }
        .lines()
    }
}

/// A bell that a signal or another thread rings, and that poll(2) hears.
struct Bell {
    cord: UnixStream,
    sound: UnixStream,
}

impl Bell {
    /// A bell that rings at signals.
    fn of(signals: &[i32]) -> io::Result<Self> {
        let (cord, sound) = UnixStream::pair()?;
        sound.set_nonblocking(true)?;
        for signal in signals {
            register(*signal, cord.try_clone()?)?;
        }
        Ok(Self { cord, sound })
    }
}

/// What has happened.
struct Rung {
    key: bool,
    signal: bool,
    end: bool,
}

struct Bells {
    /// The terminal may be another one.
    signal: Bell,
    /// Somebody wants the end.
    end: Bell,
    /// There is an answer.
    answer: Bell,
}

impl Bells {
    fn hang() -> io::Result<Self> {
        Ok(Self {
            signal: Bell::of(&[SIGWINCH, SIGCONT])?,
            end: Bell::of(&[SIGINT, SIGTERM, SIGHUP, SIGQUIT])?,
            answer: Bell::of(&[])?,
        })
    }

    /// Waits until something happens, or for so long.
    fn wait(&self, most: Duration) -> io::Result<Rung> {
        let stdin = stdin();
        let bells = [&self.signal, &self.end, &self.answer];
        let mut polled = [
            PollFd::new(&stdin, PollFlags::IN),
            PollFd::new(&bells[0].sound, PollFlags::IN),
            PollFd::new(&bells[1].sound, PollFlags::IN),
            PollFd::new(&bells[2].sound, PollFlags::IN),
        ];
        let timeout = Timespec::try_from(most).ok();
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) => {}
            // What has interrupted it has rung a bell.
            Err(Errno::INTR) => return self.wait(Duration::ZERO),
            Err(error) => return Err(error.into()),
        }
        let [key, rung @ ..] = polled.map(|polled| !polled.revents().is_empty());
        // One that rings now is heard the next time.
        for (bell, _) in bells.iter().zip(rung).filter(|(_, has_rung)| *has_rung) {
            while matches!(rustix::io::read(&bell.sound, &mut [0; 64]), Ok(1..)) {}
        }
        let [signal, end, _] = rung;
        Ok(Rung { key, signal, end })
    }
}
