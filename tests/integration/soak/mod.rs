//! Two minutes of everything at once, and nothing is left of it: `make soak`.
//!
//! A crowd of clients comes, asks, goes and breaks; admin clients ask, act and
//! misbehave; the configuration is read again and again. From time to time all
//! of them go home, and what the program has in use then must be what it had in
//! the beginning. One client stays from the beginning to the end, and notices nothing.
//! Behind the crowd come those that need [`patience`], for 80 seconds more.
//!
//! It is no part of `make test`: two minutes are long, and what it finds has been
//! looked for by other tests before.

mod bank;
mod clients;
mod operators;
mod patience;
mod rest;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use super::support::http::{self, connect};
use super::support::mariadb::MariaDb;
use super::support::prometheus::Metrics;
use super::support::server::{closed_port, free_port};
use super::support::{Daemon, Server, until};
use clients::Places;
use rest::{Rest, Tally};

/// How many clients there are at a time.
const CLIENTS: usize = 500;

/// How many of those are admin clients that ask or act, and how many that misbehave.
const OPERATORS: usize = 12;
const VANDALS: usize = 12;

/// Into how many rounds the time is divided. After each of them all go home.
const ROUNDS: u32 = 4;

/// How long the rounds take together, unless `SOAK_SECONDS` says something else.
const SECONDS: u64 = 120;

/// How long a thread of a client needs its stack to be.
const STACK: usize = 256 * 1024;

/// How often the configuration is read again.
const RELOAD: Duration = Duration::from_millis(700);

/// How often the client that stays, and an honest admin client, ask something.
const STEADY: Duration = Duration::from_millis(100);

/// The configuration: a service that sends everything back, one of a real
/// database, one whose clients come with PROXY headers, one whose server is
/// gone, and one for the client that stays.
fn sections(echo: &str, database: &str, sending: &str, restarting: &str) -> String {
    let gone = closed_port().port();
    let server = |name: &str, address: &str| {
        let (host, port) = address.rsplit_once(':').unwrap();
        format!("[{name}]\ntype=server\naddress={host}\nport={port}\n")
    };
    let service = |name: &str, server: &str, more: &str| {
        format!(
            "[{name}]\ntype=service\nservers={server}\n\
             [{name}-listener]\ntype=listener\nservice={name}\naddress=127.0.0.1\nport=0\n{more}\n"
        )
    };
    [
        server("echo-server", echo),
        server("bank-server", database),
        server("gone-server", &format!("127.0.0.1:{gone}")),
        server("sending-server", sending),
        server("restarting-server", restarting),
        service("steady", "echo-server", "protocol=TCP"),
        service("echo", "echo-server", "protocol=TCP"),
        service("bank", "bank-server", "protocol=MariaDBClient"),
        service(
            "proxied",
            "echo-server",
            "protocol=TCP\nproxy_protocol_networks=127.0.0.0/8",
        ),
        service("gone", "gone-server", "protocol=PostgreSQLClient"),
        service("sending", "sending-server", "protocol=TCP"),
        service("restarting", "restarting-server", "protocol=TCP"),
    ]
    .concat()
}

/// What the other configuration says otherwise: limits, and one more service.
fn changed(sections: &str) -> String {
    let with_limits = sections
        .replace(
            "[bank]\ntype=service\n",
            "[bank]\ntype=service\nconnection_timeout=1s\n",
        )
        .replace(
            "[echo]\ntype=service\n",
            "[echo]\ntype=service\nmax_connections=150\n",
        )
        .replace(
            "[gone]\ntype=service\n",
            "[gone]\ntype=service\nconnect_timeout=500ms\n",
        );
    format!(
        "log_sessions=true\nadmin_history=500\n{with_limits}\
         [more-server]\ntype=server\naddress=localhost\nport={}\n\
         [more]\ntype=service\nservers=more-server,echo-server\n\
         [more-listener]\ntype=listener\nservice=more\nprotocol=TCP\naddress=127.0.0.1\nport=0\n",
        closed_port().port()
    )
}

fn duration() -> Duration {
    let seconds = std::env::var("SOAK_SECONDS").ok();
    let seconds = seconds.map(|text| text.parse().expect("SOAK_SECONDS is a number of seconds"));
    Duration::from_secs(seconds.unwrap_or(SECONDS))
}

#[test]
#[ignore = "it takes two minutes: make soak"]
fn nothing_is_left_of_two_minutes_of_everything() {
    let (echo, _) = Server::new().echo();
    let mariadb = MariaDb::start_with("bank", &["--max-connections=1000"]);
    let (sending, restarting) = (patience::sending_server(), free_port());
    let sections = sections(
        &echo.to_string(),
        &mariadb.address().to_string(),
        &sending.to_string(),
        &restarting.to_string(),
    );
    let daemon = Daemon::start_controlled("", &sections);
    let places = Places::of(&daemon);
    let tally = Tally::default();
    let staying = connect(places.steady);
    until("the client that stays", || {
        (rest::staying(&daemon) == 1).then_some(())
    });
    // The thread that looks up names of hosts is there for good once it has been needed.
    daemon.get("/v1/sessions?rdns=true");
    let mut rests = vec![Rest::of(&daemon, "in the beginning")];
    let round = duration() / ROUNDS;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        // Whatever goes wrong here, those who wait for the end get it.
        let _end = Flag(&over);
        let staying = scope.spawn(|| stay(staying, &over));
        for number in 1..=ROUNDS {
            run_round(&daemon, &places, &tally, &sections, round, number);
            rests.push(Rest::of(&daemon, &format!("after {:?}", round * number)));
        }
        patience::run(&daemon, restarting, patience::PAUSE.min(duration()));
        over.store(true, Relaxed);
        println!(
            "the client that stayed asked {} times",
            staying.join().unwrap()
        );
    });
    rests.push(Rest::of(&daemon, "at last"));
    println!("{tally}\n{}", rest::table(&rests));
    tally.check();
    rest::check(&rests);
    books_balance(&Metrics::of(&daemon));
    stop(daemon);
}

/// Tells others that it is over when it is dropped, also by a panic.
struct Flag<'a>(&'a AtomicBool);

impl Drop for Flag<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Everything at once, for some time.
fn run_round(
    daemon: &Daemon,
    places: &Places,
    tally: &Tally,
    sections: &str,
    duration: Duration,
    number: u32,
) {
    let over = AtomicBool::new(false);
    let end = Instant::now() + duration;
    thread::scope(|scope| {
        let _end = Flag(&over);
        let seed = |kind: u64, index: usize| u64::from(number) << 32 | kind << 16 | index as u64;
        let over = &over;
        for index in 0..CLIENTS - OPERATORS - VANDALS {
            let seed = seed(0, index);
            spawn(scope, "client", move || {
                clients::run(places, tally, seed, over);
            });
        }
        for index in 0..OPERATORS {
            let seed = seed(1, index);
            spawn(scope, "operator", move || {
                operators::operate(daemon, tally, seed, over);
            });
        }
        for index in 0..VANDALS {
            let seed = seed(2, index);
            spawn(scope, "vandal", move || {
                operators::vandalise(daemon, tally, seed, over);
            });
        }
        spawn(scope, "honest", move || ask_honestly(daemon, tally, over));
        while Instant::now() < end && !over.load(Relaxed) {
            let is_other = tally.count("reload").is_multiple_of(2);
            let other = if is_other {
                changed(sections)
            } else {
                sections.to_owned()
            };
            assert!(daemon.reload("", &other), "{:#?}", daemon.process.log());
            tally.add("reload");
            pause(RELOAD);
        }
        // They go home with the configuration that they came with.
        assert!(daemon.reload("", sections));
    });
    // An operator may have left something stopped or drained.
    operators::tidy_up(daemon);
}

fn spawn<'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    body: impl FnOnce() + Send + 'scope,
) {
    let thread = thread::Builder::new().name(name.into()).stack_size(STACK);
    thread.spawn_scoped(scope, body).unwrap();
}

/// The client that stays: whatever others do, it hears again what it says.
fn stay(mut stream: TcpStream, over: &AtomicBool) -> u64 {
    let mut number: u64 = 0;
    while !over.load(Relaxed) {
        number += 1;
        stream.write_all(&number.to_be_bytes()).unwrap();
        let mut heard = [0; 8];
        stream.read_exact(&mut heard).unwrap();
        assert_eq!(u64::from_be_bytes(heard), number);
        pause(STEADY);
    }
    number
}

/// An honest admin client beside all the others: each of its requests is answered.
fn ask_honestly(daemon: &Daemon, tally: &Tally, over: &AtomicBool) {
    while !over.load(Relaxed) {
        let begin = Instant::now();
        let answer = http::request(daemon.admin(), "GET", "/v1/services/steady", "");
        assert_eq!(answer.status, 200, "{answer:?}");
        tally.note_wait(begin.elapsed());
        pause(STEADY);
    }
}

/// Waits, where there is nothing to wait for but time.
fn pause(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        thread::park_timeout(until.saturating_duration_since(Instant::now()));
    }
}

/// What the program has counted agrees with itself.
fn books_balance(metrics: &Metrics) {
    assert_eq!(
        metrics.sum("sessiond_sessions_opened_total"),
        metrics.sum("sessiond_sessions_closed_total")
    );
    for nothing in [
        "sessiond_sessions",
        "sessiond_server_connections",
        "sessiond_server_drained",
        "sessiond_kept_bytes",
    ] {
        assert_eq!(metrics.sum(nothing), 0, "{nothing}");
    }
    let failed = "sessiond_admin_requests_total{method=\"GET\",code=\"500\"}";
    assert_eq!(metrics.number(failed), 0);
}

/// It ends as it should, and its log has no error but those that clients are to blame for.
fn stop(mut daemon: Daemon) {
    daemon.process.signal("TERM");
    assert_eq!(daemon.process.wait().code(), Some(0));
    let log = daemon.process.log();
    let errors: Vec<&String> = log.iter().filter(|line| line.starts_with("<3>")).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}
