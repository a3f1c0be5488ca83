//! Admin clients: those who ask, those who act, and those who want to do harm.
//!
//! The door may show anybody out when others come, so a connection that ends is
//! nothing special to them. What they are answered must be something they can be.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::clients::{milliseconds, reach, reset};
use super::pause;
use super::rest::Tally;
use crate::support::http::Answer;
use crate::support::random::Random;
use crate::support::uninterrupted::ReadOn;
use crate::support::{Daemon, until};

/// The longest pause between two requests.
const PAUSE: usize = 200;

/// What is asked. Each may be told that others are at it already.
const QUESTIONS: [&str; 16] = [
    "/v1",
    "/metrics",
    "/v1/sessions",
    "/v1/sessions?pretty&sort=-idle,id",
    "/v1/sessions?state=any",
    "/v1/sessions?state=closed&page[size]=20&page[number]=3",
    "/v1/sessions?filter[attributes.user]=eq(\"root\")",
    "/v1/sessions?filter[attributes.idle]=gt(1)&fields[sessions]=remote,idle",
    "/v1/sessions?rdns=true",
    "/v1/services",
    "/v1/servers?pretty",
    "/v1/listeners",
    "/v1/servers/bank-server?wait=300ms",
    "/v1/sessions/1?wait=100ms",
    "/v1/openapi.json",
    "/v1/sessions/events",
];

/// What is done, and by which method.
const DEEDS: [(&str, &str); 12] = [
    (
        "DELETE",
        "/v1/sessions?filter[attributes.idle]=gt(2)&filter=/relationships/services/data/0/id=\"echo\"",
    ),
    (
        "DELETE",
        "/v1/sessions?filter=/relationships/services/data/0/id=\"proxied\"&ttl=200ms",
    ),
    (
        "DELETE",
        "/v1/sessions?filter[attributes.bytes_to_client]=gt(500000)&filter=/relationships/services/data/0/id=\"bank\"&dry_run",
    ),
    ("PUT", "/v1/listeners/echo-listener/stop"),
    ("PUT", "/v1/listeners/echo-listener/start"),
    ("PUT", "/v1/services/bank/stop?force=yes"),
    ("PUT", "/v1/services/bank/start"),
    ("PUT", "/v1/servers/bank-server/set?state=drain"),
    ("PUT", "/v1/servers/bank-server/clear?state=drain"),
    ("PUT", "/v1/servers/bank-server/set?state=maintenance"),
    ("PUT", "/v1/servers/bank-server/clear?state=maintenance"),
    ("PUT", "/v1/services/more/stop"),
];

/// Asks and acts until it is over.
pub fn operate(daemon: &Daemon, tally: &Tally, seed: u64, over: &AtomicBool) {
    let mut random = Random::new(seed);
    while !over.load(Relaxed) {
        match random.below(10) {
            0 => act(daemon, tally, &mut random),
            1 => kill_one(daemon, tally, &mut random),
            _ => {
                let went_well = ask(daemon, &mut random).is_ok();
                tally.visit("admin: asks", went_well);
            }
        }
        pause(milliseconds(&mut random, PAUSE));
    }
}

/// Everything is open again.
pub fn tidy_up(daemon: &Daemon) {
    for (method, target) in DEEDS {
        if target.contains("/start") || target.contains("/clear") {
            until(target, || {
                (daemon.act(method, target).status == 204).then_some(())
            });
        }
    }
}

fn act(daemon: &Daemon, tally: &Tally, random: &mut Random) {
    let (method, target) = DEEDS[random.below(DEEDS.len())];
    let answer = daemon.act(method, target);
    // The other configuration has one service more; and while nobody listens on a
    // port, the system may give it to somebody who connects.
    let may_be = [200, 204, 404, 409, 503];
    assert!(
        may_be.contains(&answer.status),
        "{method} {target}: {answer:?}"
    );
    tally.visit("admin: acts", answer.status != 503);
    if target.contains("/stop") || target.contains("/set") {
        pause(milliseconds(random, 200));
        let back = target
            .replace("/stop?force=yes", "/start")
            .replace("/stop", "/start");
        let back = daemon.act("PUT", &back.replace("/set", "/clear"));
        assert!(may_be.contains(&back.status), "{back:?}");
    }
}

/// Kills one of the sessions that there are, with or without time to go.
fn kill_one(daemon: &Daemon, tally: &Tally, random: &mut Random) {
    let list = daemon.act(
        "GET",
        "/v1/sessions?fields[sessions]=listener&filter=/attributes/listener=\"bank-listener\"",
    );
    if list.status != 200 {
        return;
    }
    let all = list.document().elements("/data");
    if all.is_empty() {
        return;
    }
    let id = all[random.below(all.len())].text("/id");
    let ttl = random.pick(&["", "?ttl=50ms", "?ttl=1h"]);
    let answer = daemon.act("DELETE", &format!("/v1/sessions/{id}{ttl}"));
    assert!([204, 403, 404].contains(&answer.status), "{answer:?}");
    tally.visit("admin: kills", answer.status == 204);
}

/// Asks one thing or several, over one connection, and reads the answers.
fn ask(daemon: &Daemon, random: &mut Random) -> io::Result<()> {
    let mut stream = BufReader::new(reach(daemon.admin())?);
    for _ in 0..=random.below(3) {
        let question = random.pick(&QUESTIONS);
        let method = random.pick(&["GET", "GET", "GET", "HEAD", "OPTIONS"]);
        let target = question.replace('"', "%22");
        write!(
            stream.get_mut(),
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )?;
        if question.ends_with("/events") && method == "GET" {
            return follow(stream, random);
        }
        // Whoever waits may have to leave for others.
        if stream.fill_buf()?.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let answer = Answer::read(&mut stream, method != "GET");
        let is_fine = matches!(answer.status, 200 | 204 | 404 | 503);
        assert!(is_fine, "{question}: {answer:?}");
        if answer.status == 200 && method == "GET" && *question != *"/metrics" {
            answer.document();
        }
    }
    Ok(())
}

/// Follows events for a while, reading them or not.
fn follow(mut stream: BufReader<TcpStream>, random: &mut Random) -> io::Result<()> {
    let until = Instant::now() + milliseconds(random, 1000);
    let reads = random.below(2) == 0;
    stream
        .get_mut()
        .set_read_timeout(Some(Duration::from_millis(50)))?;
    while Instant::now() < until {
        if reads {
            // There may be nothing new for a while.
            let _ = stream.read_on(&mut [0; 4096]);
        } else {
            pause(Duration::from_millis(50));
        }
    }
    Ok(())
}

type Harm = fn(&mut TcpStream, &mut Random) -> io::Result<()>;

/// What is done to the door.
const HARMS: [(&str, Harm); 9] = [
    ("slow loris", slow_loris),
    ("garbage", garbage),
    ("pipelining", pipeline),
    ("unread list", unread_list),
    ("long head", long_head),
    ("reset after a request", reset_after_request),
    ("body that never comes", body_that_never_comes),
    ("silence", silence),
    ("wait and leave", wait_and_leave),
];

const GET: &str = "GET /v1/sessions?state=any HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Does harm until it is over.
pub fn vandalise(daemon: &Daemon, tally: &Tally, seed: u64, over: &AtomicBool) {
    let mut random = Random::new(seed);
    while !over.load(Relaxed) {
        let (name, harm) = HARMS[random.below(HARMS.len())];
        let went_well = reach(daemon.admin()).and_then(|mut stream| harm(&mut stream, &mut random));
        tally.visit(&format!("door: {name}"), went_well.is_ok());
        pause(milliseconds(&mut random, PAUSE));
    }
}

fn slow_loris(stream: &mut TcpStream, random: &mut Random) -> io::Result<()> {
    for byte in &GET.as_bytes()[..random.below(GET.len())] {
        stream.write_all(&[*byte])?;
        pause(milliseconds(random, 50));
    }
    Ok(())
}

fn garbage(stream: &mut TcpStream, random: &mut Random) -> io::Result<()> {
    let mut request = GET.as_bytes().to_vec();
    for _ in 0..=random.below(10) {
        random.mutate(
            &mut request,
            &[b"\r\n", b"\0", b":", b"Content-Length: 5\r\n"],
            9000,
        );
    }
    stream.write_all(&request)?;
    pause(milliseconds(random, 100));
    Ok(())
}

fn pipeline(stream: &mut TcpStream, random: &mut Random) -> io::Result<()> {
    stream.set_write_timeout(Some(Duration::from_millis(500)))?;
    stream.write_all(GET.repeat(1 + random.below(300)).as_bytes())?;
    pause(milliseconds(random, 500));
    if random.below(2) == 0 {
        return Ok(());
    }
    // Reads some of it.
    let mut bytes = vec![0; 64 * 1024];
    for _ in 0..random.below(100) {
        if stream.read_on(&mut bytes)? == 0 {
            break;
        }
    }
    Ok(())
}

fn unread_list(stream: &mut TcpStream, random: &mut Random) -> io::Result<()> {
    stream.write_all(GET.as_bytes())?;
    pause(milliseconds(random, 1500));
    reset(stream)
}

fn long_head(stream: &mut TcpStream, random: &mut Random) -> io::Result<()> {
    let filler = "a".repeat(random.below(20_000));
    write!(
        stream,
        "GET /{filler} HTTP/1.1\r\nHost: localhost\r\nX: {filler}\r\n\r\n"
    )?;
    stream.read_on(&mut [0; 1000]).map(|_| ())
}

fn reset_after_request(stream: &mut TcpStream, _: &mut Random) -> io::Result<()> {
    stream.write_all(GET.as_bytes())?;
    reset(stream)
}

fn body_that_never_comes(stream: &mut TcpStream, random: &mut Random) -> io::Result<()> {
    stream.write_all(
        b"PUT /v1/servers/x/set HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000\r\n\r\nsome",
    )?;
    pause(milliseconds(random, 1000));
    stream.shutdown(Shutdown::Write)
}

fn silence(stream: &mut TcpStream, random: &mut Random) -> io::Result<()> {
    pause(milliseconds(random, 2000));
    stream.shutdown(Shutdown::Both)
}

fn wait_and_leave(stream: &mut TcpStream, random: &mut Random) -> io::Result<()> {
    stream.write_all(b"GET /v1/sessions/1?wait=60s HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    pause(milliseconds(random, 1000));
    match random.below(2) {
        0 => reset(stream),
        _ => stream.shutdown(Shutdown::Write),
    }
}
