//! The crowd: clients of every kind, each doing what it likes, again and again.
//!
//! They are killed, refused and cut off all the time, so an error is nothing
//! special. But what comes back must be what was said, as far as it comes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::bank::{self, Bank};
use super::pause;
use super::rest::Tally;
use crate::support::random::Random;
use crate::support::uninterrupted::ReadOn;
use crate::support::{Daemon, PATIENCE};

/// The longest pause between two visits of a client.
const PAUSE: usize = 1500;

/// Where clients go.
pub struct Places {
    pub steady: SocketAddr,
    echo: SocketAddr,
    bank: SocketAddr,
    proxied: SocketAddr,
    gone: SocketAddr,
}

impl Places {
    pub fn of(daemon: &Daemon) -> Self {
        let listener = |name: &str| daemon.listener(&format!("{name}-listener"));
        Self {
            steady: listener("steady"),
            echo: listener("echo"),
            bank: listener("bank"),
            proxied: listener("proxied"),
            gone: listener("gone"),
        }
    }
}

type Visit = fn(&Places, &mut Random) -> io::Result<()>;

/// What a client may do.
pub const VISITS: [(&str, Visit); 16] = [
    ("echo", echo),
    ("echo, half-closed", echo_half_closed),
    ("echo, reset", echo_reset),
    ("echo, slow reader", echo_slowly),
    ("echo, never reads", echo_unread),
    ("echo, idle", echo_idle),
    ("comes and goes", come_and_go),
    ("bank", bank),
    ("bank, reset", bank_reset),
    ("bank, half-closed", bank_half_closed),
    ("bank, slow reader", bank_slowly),
    ("bank, cut login", bank_cut),
    ("bank, broken login", bank_broken),
    ("PROXY header", proxied),
    ("PROXY header, broken", proxied_broken),
    ("nobody there", gone),
];

/// Visits until it is over.
pub fn run(places: &Places, tally: &Tally, seed: u64, over: &AtomicBool) {
    let mut random = Random::new(seed);
    // They do not come all at once.
    pause(milliseconds(&mut random, PAUSE));
    while !over.load(Relaxed) {
        let (name, visit) = VISITS[random.below(VISITS.len())];
        let went_well = visit(places, &mut random).is_ok();
        tally.visit(name, went_well);
        pause(milliseconds(&mut random, PAUSE));
    }
}

pub fn milliseconds(random: &mut Random, most: usize) -> Duration {
    Duration::from_millis(random.below(most) as u64)
}

/// A connection, with a deadline for everything.
pub fn reach(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Breaks a connection off.
pub fn reset(stream: &TcpStream) -> io::Result<()> {
    // Nothing lingers, so the end is a reset (socket(7)).
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO))?;
    Ok(())
}

/// Bytes of which each can be told from its place.
fn pattern(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

/// Reads what was said, which must be the same.
fn hear(stream: &mut TcpStream, said: &[u8]) -> io::Result<()> {
    let mut at = 0;
    let mut bytes = vec![0; 16 * 1024];
    while at < said.len() {
        let wanted = bytes.len().min(said.len() - at);
        let length = stream.read_on(&mut bytes[..wanted])?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        assert!(
            said[at..].starts_with(&bytes[..length]),
            "other bytes than were said, at {at}"
        );
        at += length;
    }
    Ok(())
}

fn echo(places: &Places, random: &mut Random) -> io::Result<()> {
    let mut stream = reach(places.echo)?;
    for _ in 0..=random.below(5) {
        let said = pattern(1 + random.below(20_000));
        stream.write_all(&said)?;
        hear(&mut stream, &said)?;
    }
    Ok(())
}

fn echo_half_closed(places: &Places, random: &mut Random) -> io::Result<()> {
    let mut stream = reach(places.echo)?;
    let said = pattern(1 + random.below(50_000));
    stream.write_all(&said)?;
    stream.shutdown(Shutdown::Write)?;
    hear(&mut stream, &said)?;
    match stream.read_on(&mut [0])? {
        0 => Ok(()),
        _ => panic!("more than was said"),
    }
}

fn echo_reset(places: &Places, random: &mut Random) -> io::Result<()> {
    let mut stream = reach(places.echo)?;
    let said = pattern(1 + random.below(50_000));
    stream.write_all(&said)?;
    hear(&mut stream, &said[..random.below(said.len())])?;
    reset(&stream)
}

/// Takes what it said in small parts and in no hurry.
fn echo_slowly(places: &Places, random: &mut Random) -> io::Result<()> {
    let mut stream = reach(places.echo)?;
    let said = pattern(2_000_000);
    let mut writer = stream.try_clone()?;
    let written = said.clone();
    // It may be cut off while it says it.
    let writing = std::thread::spawn(move || writer.write_all(&written));
    let heard = (|| {
        for part in said.chunks(200_000) {
            pause(milliseconds(random, 100));
            hear(&mut stream, part)?;
        }
        Ok(())
    })();
    // Whatever it has not heard it will not hear any more.
    let _ = stream.shutdown(Shutdown::Both);
    let _ = writing.join();
    heard
}

/// Says as much as goes, reads nothing of it, and leaves.
fn echo_unread(places: &Places, random: &mut Random) -> io::Result<()> {
    let mut stream = reach(places.echo)?;
    stream.set_nonblocking(true)?;
    let said = pattern(64 * 1024);
    for _ in 0..100 {
        match stream.write(&said) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                pause(Duration::from_millis(5));
            }
            Err(error) => return Err(error),
        }
    }
    pause(milliseconds(random, 500));
    Ok(())
}

/// Stays for a while and has nothing to say.
fn echo_idle(places: &Places, random: &mut Random) -> io::Result<()> {
    let stream = reach(places.echo)?;
    pause(milliseconds(random, 3000));
    stream.shutdown(Shutdown::Both)
}

/// A health check.
fn come_and_go(places: &Places, random: &mut Random) -> io::Result<()> {
    let all = [places.echo, places.bank, places.proxied, places.gone];
    let stream = reach(all[random.below(all.len())])?;
    if random.below(2) == 0 {
        reset(&stream)?;
    }
    Ok(())
}

fn bank(places: &Places, random: &mut Random) -> io::Result<()> {
    let mut bank = Bank::log_in(reach(places.bank)?)?;
    for _ in 0..=random.below(5) {
        let (one, other) = (random.below(1000), random.below(1000));
        let product = bank.value(&format!("SELECT {one} * {other}"))?;
        assert_eq!(product, (one * other).to_string());
        pause(milliseconds(random, 50));
    }
    bank.quit()
}

fn bank_reset(places: &Places, random: &mut Random) -> io::Result<()> {
    let mut bank = Bank::log_in(reach(places.bank)?)?;
    bank.ask("SELECT REPEAT('x', 100000)")?;
    pause(milliseconds(random, 20));
    reset(bank.stream())
}

fn bank_half_closed(places: &Places, _: &mut Random) -> io::Result<()> {
    let mut bank = Bank::log_in(reach(places.bank)?)?;
    bank.ask("SELECT 6 * 7")?;
    bank.stream().shutdown(Shutdown::Write)?;
    assert_eq!(bank.answer()?, "42");
    Ok(())
}

/// Asks for much, and takes its time, or does not take it at all.
fn bank_slowly(places: &Places, random: &mut Random) -> io::Result<()> {
    let mut bank = Bank::log_in(reach(places.bank)?)?;
    bank.ask("SELECT REPEAT('x', 3000000)")?;
    pause(milliseconds(random, 800));
    if random.below(2) == 0 {
        return Ok(());
    }
    let answer = bank.answer()?;
    assert!(answer.len() == 3_000_000 && answer.bytes().all(|byte| byte == b'x'));
    bank.quit()
}

/// Ends anywhere in its login, in one of three ways.
fn bank_cut(places: &Places, random: &mut Random) -> io::Result<()> {
    let mut stream = reach(places.bank)?;
    let login = bank::login();
    stream.write_all(&login[..random.below(login.len())])?;
    pause(milliseconds(random, 300));
    match random.below(3) {
        0 => reset(&stream),
        1 => stream.shutdown(Shutdown::Write),
        _ => Ok(()),
    }
}

/// Says something that is nearly a login.
fn bank_broken(places: &Places, random: &mut Random) -> io::Result<()> {
    let mut stream = reach(places.bank)?;
    let mut login = bank::login();
    for _ in 0..=random.below(4) {
        random.mutate(
            &mut login,
            &[b"\0", b"\xff\xff\xff\0", b"\xfe", b"root"],
            2000,
        );
    }
    stream.write_all(&login)?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    // The server may wait for the rest of what it takes for a packet.
    let _ = stream.read_on(&mut [0; 1000]);
    Ok(())
}

fn proxied(places: &Places, random: &mut Random) -> io::Result<()> {
    let mut stream = reach(places.proxied)?;
    let port = 1 + random.below(60_000);
    let header = format!(
        "PROXY TCP4 192.0.2.{} 192.0.2.1 {port} 80\r\n",
        random.below(256)
    );
    let (one, other) = header.split_at(random.below(header.len()));
    stream.write_all(one.as_bytes())?;
    pause(milliseconds(random, 20));
    stream.write_all(other.as_bytes())?;
    let said = pattern(1 + random.below(5000));
    stream.write_all(&said)?;
    hear(&mut stream, &said)
}

fn proxied_broken(places: &Places, random: &mut Random) -> io::Result<()> {
    let mut stream = reach(places.proxied)?;
    let mut header = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n".to_vec();
    random.mutate(
        &mut header,
        &[b"\r", b"\r\n\r\n\0\r\nQUIT\n", b"PROXY "],
        300,
    );
    stream.write_all(&header)?;
    pause(milliseconds(random, 300));
    Ok(())
}

/// Wants a server that is not there, and is told so or cut off.
fn gone(places: &Places, _: &mut Random) -> io::Result<()> {
    let mut stream = reach(places.gone)?;
    stream.write_all(b"\0\0\0\x08\x04\xd2\x16\x2f")?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    Ok(())
}
