//! How the status page looks: pictures of it, and what a checker of accessibility
//! finds.

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use sessiond::registry::CloseReason;

use super::page::{assert_content, open, open_as};
use super::support::browser::Browser;
use super::support::library::Library;
use super::support::until;

/// Has time pass a hundred times as fast for the pages that are opened from now on.
fn hurry(browser: &Browser) {
    let script = "const real = performance.now.bind(performance), began = real(), wait = setTimeout;\
        performance.now = () => began + 100 * (real() - began);\
        window.setTimeout = (what, pause, ...more) => wait(what, pause / 100, ...more);";
    browser.devtools(
        "Page.addScriptToEvaluateOnNewDocument",
        &serde_json::json!({"source": script}),
    );
}

/// Has clients come, send and go until the charts are full, ten minutes from now.
fn fill_charts(browser: &Browser, library: &Library) {
    let mut clients = Vec::new();
    let mut turn = 0_u64;
    let end = browser.text("performance.now() + 600000");
    let first =
        "Number(/^M([0-9.]+) /.exec(document.querySelector('#count path').getAttribute('d'))[1])";
    // A sample that is ten minutes old leaves at the left end.
    until("a chart that is full", || {
        turn += 1;
        let wave = (turn * 13 % 40) + (turn / 7 * 17 % 30);
        let client = open_as(library, "batch", "192.0.2.77:4711", 0, 90_000 * wave);
        clients.push(client);
        while clients.len() as u64 > wave {
            let id = clients.remove(0).id();
            let (time, now) = (SystemTime::now(), Instant::now());
            library
                .registry
                .sessions
                .close(id, CloseReason::ClientClosed, time, now);
        }
        let is_full = format!("return performance.now() > {end} && {first} < 100");
        (browser.run(&is_full) == true).then_some(())
    });
    let points = browser
        .text("document.querySelector('#count path').getAttribute('d').match(/[ML]/g).length");
    assert!((2..=302).contains(&points.parse().unwrap()), "{points}");
}

/// Where pictures go, for people to look at.
pub fn pictures() -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/page");
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// What axe-core finds wrong.
pub fn violations(browser: &Browser) -> Vec<String> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("target/axe/node_modules/axe-core/axe.min.js");
    let source = std::fs::read_to_string(path).expect("axe-core; `make test` installs it");
    browser.run(&source);
    let found = browser.run_until_done(
        "axe.run().then(result => done(result.violations.map(one => `${one.id}: ${one.nodes.map(node => node.html)}`)), error => done([String(error)]))",
    );
    let found = found.as_array().unwrap().iter();
    found.map(ToString::to_string).collect()
}

#[test]
fn everybody_can_read_it_in_light_and_dark_and_on_a_phone() {
    let library = Library::start();
    for number in 0..60_u64 {
        let user = ["app", "reports", "backup", "alice"][usize::try_from(number % 4).unwrap()];
        let remote = format!("192.0.2.{}:{}", number % 40 + 1, 40_000 + number);
        open_as(
            &library,
            user,
            &remote,
            7 * (60 - number) * (60 - number),
            1_234 * number * number,
        );
    }
    let gone = open_as(&library, "backup", "192.0.2.9:4711", 90, 77_000);
    library.registry.sessions.close(
        gone.id(),
        CloseReason::Killed,
        SystemTime::now(),
        Instant::now(),
    );
    let browser = Browser::start();
    hurry(&browser);
    open(&browser, &library);
    fill_charts(&browser, &library);
    for (dark, name) in [(false, "light.png"), (true, "dark.png")] {
        browser.set_dark(dark);
        browser.keep_picture(&pictures().join(name));
    }
    for dark in [true, false] {
        browser.set_dark(dark);
        assert_eq!(violations(&browser), Vec::<String>::new(), "dark: {dark}");
    }
    browser.set_screen(390, 844, 2);
    fill_charts(&browser, &library);
    browser.keep_picture(&pictures().join("phone.png"));
    browser.run("document.querySelector('#sessions').scrollIntoView()");
    browser.keep_picture(&pictures().join("phone-sessions.png"));
    assert_eq!(violations(&browser), Vec::<String>::new(), "phone");
    // Tables are wider than a phone; the page is not.
    assert_eq!(browser.text("document.documentElement.scrollWidth"), "390");
    assert_content(&browser);
    drop(browser);
    library.stop();
}
