//! A real browser without a window, driven over WebDriver (W3C Recommendation,
//! "WebDriver"): HTTP and JSON to chromedriver.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Condvar, Mutex};

use serde_json::{Value, json};

use super::interactive::Interactive;
use super::{Directory, PATIENCE, until};

pub struct Browser {
    _driver: Interactive,
    address: SocketAddr,
    session: String,
    _profile: Directory,
    _turn: Turn,
}

/// What an element is called in answers (WebDriver, section 12.2).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Nothing that leaves the machine, and nothing that needs one with a screen.
const ARGUMENTS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1280,900",
    "--lang=en",
];

/// How many browsers there are at a time: more of them only wait for each other.
const MOST: usize = 2;

/// How many there are, and that one has gone.
static RUNNING: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// Being one of those.
struct Turn;

impl Turn {
    fn wait() -> Self {
        let (running, gone) = &RUNNING;
        let mut running = gone
            .wait_while(running.lock().unwrap(), |running| *running >= MOST)
            .unwrap();
        *running += 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (running, gone) = &RUNNING;
        *running.lock().unwrap() -= 1;
        gone.notify_one();
    }
}

impl Browser {
    pub fn start() -> Self {
        let turn = Turn::wait();
        // It takes a port of both families, and ends where somebody has that of the second.
        let started = (0..5).find_map(|_| start_driver());
        let (driver, port) = started.expect("chromedriver on a free port");
        let profile = Directory::new();
        let directory = format!("--user-data-dir={}", profile.path().display());
        let mut browser = Self {
            _driver: driver,
            address: SocketAddr::new("127.0.0.1".parse().unwrap(), port),
            session: String::new(),
            _profile: profile,
            _turn: turn,
        };
        let arguments: Vec<&str> = ARGUMENTS.into_iter().chain([directory.as_str()]).collect();
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let started = browser.call("POST", "/session", &capabilities);
        browser.session = format!("/session/{}", started["sessionId"].as_str().unwrap());
        browser
    }

    /// Opens a page.
    pub fn open(&self, url: &str) {
        self.command("/url", &json!({"url": url}));
    }

    /// The value of a function's body.
    pub fn run(&self, script: &str) -> Value {
        self.command("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// The value that a function's body hands to `done`.
    pub fn run_until_done(&self, script: &str) -> Value {
        let script = format!("const done = arguments[0]; {script}");
        self.command("/execute/async", &json!({"script": script, "args": []}))
    }

    /// The text that an expression has.
    pub fn text(&self, expression: &str) -> String {
        let value = self.run(&format!("return String({expression})"));
        value.as_str().unwrap().to_owned()
    }

    /// Waits until an expression is true.
    pub fn until(&self, expression: &str) {
        let script = format!("return Boolean({expression})");
        until(expression, || (self.run(&script) == true).then_some(()));
    }

    /// Clicks on an element as a hand does.
    pub fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.command(&format!("/element/{element}/click"), &json!({}));
    }

    /// Types into an element.
    pub fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.command(&format!("/element/{element}/value"), &json!({"text": text}));
    }

    /// Presses keys, wherever the focus is.
    pub fn press(&self, keys: &str) {
        let steps: Vec<Value> = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key})))
            .collect();
        self.command(
            "/actions",
            &json!({"actions": [{"type": "key", "id": "keys", "actions": steps}]}),
        );
    }

    fn element(&self, selector: &str) -> String {
        let query = json!({"using": "css selector", "value": selector});
        let found = self.command("/element", &query);
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    /// What the browser has to complain of since this was asked last.
    pub fn complaints(&self) -> Vec<String> {
        let entries = self.command("/se/log", &json!({"type": "browser"}));
        let entries = entries.as_array().unwrap().iter();
        entries
            .map(|entry| format!("{}: {}", entry["level"], entry["message"]))
            .collect()
    }

    /// Has it look as in the dark, or not.
    pub fn set_dark(&self, dark: bool) {
        let scheme = if dark { "dark" } else { "light" };
        self.devtools(
            "Emulation.setEmulatedMedia",
            &json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]}),
        );
    }

    /// Gives it a screen of that size, as a phone has.
    pub fn set_screen(&self, width: u32, height: u32, scale: u32) {
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            &json!({"width": width, "height": height, "deviceScaleFactor": scale, "mobile": scale > 1}),
        );
    }

    /// Keeps what it shows in a file.
    pub fn keep_picture(&self, path: &Path) {
        let picture = self.devtools("Page.captureScreenshot", &json!({"format": "png"}));
        let text = picture["data"].as_str().unwrap();
        std::fs::write(path, from_base64(text)).unwrap();
    }

    /// A command of Chromium's own (the DevTools protocol).
    pub fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.command(
            "/goog/cdp/execute",
            &json!({"cmd": command, "params": parameters}),
        )
    }

    fn command(&self, path: &str, body: &Value) -> Value {
        self.call("POST", &format!("{}{path}", self.session), body)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, value) = self
            .ask(method, path, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        assert_eq!(
            status, "200",
            "{method} {path}: {value}; `make test` installs chromium"
        );
        value
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> io::Result<(String, Value)> {
        let body = body.to_string();
        let stream = TcpStream::connect(self.address)?;
        // To start may take longer than anything else, where other tests do so, too.
        stream.set_read_timeout(Some(3 * PATIENCE))?;
        let mut stream = BufReader::new(stream);
        write!(
            stream.get_mut(),
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.address,
            body.len()
        )?;
        let (status, body) = read_answer(&mut stream)?;
        let mut document: Value = serde_json::from_slice(&body)?;
        Ok((status, document["value"].take()))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver leaves the browser behind where it is not told. It may have failed itself.
        let _ = self.ask("DELETE", &self.session, &json!({}));
    }
}

/// Starts chromedriver, on a port that it chooses; `None` where it has ended.
fn start_driver() -> Option<(Interactive, u16)> {
    let mut driver = Interactive::start(Command::new("chromedriver").arg("--port=0"));
    loop {
        let line = driver.hear_unless_ended()?;
        if let Some((_, port)) = line.split_once("successfully on port ") {
            return Some((driver, port.trim_end_matches('.').parse().unwrap()));
        }
    }
}

/// Reads the status and the body of an answer. chromedriver leaves out the
/// blank behind the name of a field.
fn read_answer(stream: &mut impl BufRead) -> io::Result<(String, Vec<u8>)> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut length = 0;
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("Content-Length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((status, body))
}

/// Decodes Base64 (RFC 4648, section 4).
fn from_base64(text: &str) -> Vec<u8> {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut held, mut bytes) = (0_u32, 0, Vec::new());
    for digit in text.bytes().filter(|digit| *digit != b'=') {
        let value = digits.iter().position(|known| *known == digit).unwrap();
        bits = bits << 6 | u32::try_from(value).unwrap();
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).unwrap());
        }
    }
    bytes
}
