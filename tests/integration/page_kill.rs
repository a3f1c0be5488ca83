//! The kill button of the status page: who has it, what it asks, and that
//! nobody presses it from afar.

use std::io::Read;
use std::net::TcpStream;

use super::access::{WithAccounts, basic};
use super::page::{LIVE, assert_content, until_ids};
use super::page_look::{pictures, violations};
use super::support::browser::Browser;
use super::support::http;
use super::support::{PATIENCE, Server};

/// The address of the page with a login, which the browser uses when it is asked for one.
fn page(with: &WithAccounts, name: &str, token: &str) -> String {
    format!("http://{name}:{token}@{}/", with.daemon.admin())
}

fn connect(with: &WithAccounts) -> TcpStream {
    let client = TcpStream::connect(with.daemon.listener("listener")).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

/// Reads until the end of the stream.
fn is_ended(mut client: TcpStream) -> bool {
    client.read_to_end(&mut Vec::new()).is_ok()
}

#[test]
fn an_administrator_kills_by_keyboard_when_the_question_is_answered() {
    let (server, _) = Server::new().echo();
    let with = WithAccounts::before(server, "");
    let (one, other) = (connect(&with), connect(&with));
    let browser = Browser::start();
    browser.open(&page(&with, "administrator", &with.administrator));
    until_ids(&browser, "2,3");
    browser.until(LIVE);
    assert!(
        browser
            .text("document.querySelector('#facts').textContent")
            .ends_with(", administrator")
    );

    let open = "document.querySelector('dialog').open";
    let focused = "document.activeElement.ariaLabel ?? document.activeElement.textContent";
    browser.run("document.querySelector('#sessions td button').focus()");
    assert_eq!(browser.text(focused), "Kill session 2");
    browser.press("\u{e007}");
    browser.until(open);
    assert_eq!(
        browser.text("document.querySelector('#question').textContent"),
        "Kill session 2?"
    );
    let about = browser.text("document.querySelector('#about').textContent");
    let port = one.local_addr().unwrap().port();
    assert!(
        about.starts_with(&format!("A client from 127.0.0.1:{port}, for ")),
        "{about}"
    );
    assert!(
        about.ends_with(" on service with server. Its connections are closed at once."),
        "{about}"
    );
    assert_eq!(violations(&browser), Vec::<String>::new());
    browser.keep_picture(&pictures().join("question.png"));
    // Who presses Enter without a look, or Escape, has done nothing.
    assert_eq!(browser.text(focused), "Cancel");
    browser.press("\u{e007}");
    browser.until(&format!("!{open}"));
    browser.press("\u{e007}");
    browser.until(open);
    browser.press("\u{e00c}");
    browser.until(&format!("!{open}"));
    assert_eq!(browser.text(focused), "Kill session 2");

    browser.press("\u{e007}");
    browser.until(open);
    browser.press("\u{e004}\u{e007}");
    assert!(is_ended(one));
    until_ids(&browser, "3");
    browser.until("document.querySelector('#said').textContent === 'Session 2 is killed.'");
    // Who stood on the row stands on the next one.
    browser.until(&format!("({focused}) === 'Kill session 3'"));
    drop(other);
    assert_content(&browser);
}

#[test]
fn who_may_not_kill_has_no_button_for_it() {
    let (server, _) = Server::new().echo();
    let with = WithAccounts::before(server, "");
    let _client = connect(&with);
    let browser = Browser::start();
    let buttons = "document.querySelectorAll('#sessions td button').length";
    browser.open(&page(&with, "reader", &with.reader));
    until_ids(&browser, "2");
    browser.until(LIVE);
    assert_eq!(browser.text(buttons), "0");
    assert!(
        browser
            .text("document.querySelector('#facts').textContent")
            .ends_with(", read only")
    );
    assert_content(&browser);
}

#[test]
fn the_question_is_about_the_session_that_was_shown() {
    let (server, _) = Server::new().echo();
    let with = WithAccounts::before(server, "");
    let client = connect(&with);
    let browser = Browser::start();
    browser.open(&page(&with, "administrator", &with.administrator));
    until_ids(&browser, "2");
    browser.click("#sessions td button");
    browser.until("document.querySelector('dialog').open");
    drop(client);
    until_ids(&browser, "");
    browser.click("#kill");
    browser.until("document.querySelector('#said').textContent === 'Session 2 had ended already.'");
    assert_content(&browser);
}

#[test]
fn a_page_of_another_site_cannot_kill_with_the_login_of_this_one() {
    let (server, _) = Server::new().echo();
    let with = WithAccounts::before(server, "");
    let _client = connect(&with);
    let other = Server::new();
    let elsewhere = other.address();
    other.say(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 22\r\n\r\n<!DOCTYPE html><p>mine");
    let browser = Browser::start();
    browser.open(&page(&with, "administrator", &with.administrator));
    until_ids(&browser, "2");
    browser.open(&format!("http://{elsewhere}/"));
    let admin = with.daemon.admin();
    for request in [
        format!(
            "fetch('http://{admin}/v1/sessions/2', {{ method: 'DELETE', credentials: 'include' }})"
        ),
        format!("fetch('http://{admin}/v1/sessions', {{ credentials: 'include' }})"),
    ] {
        let got = browser.run_until_done(&format!(
            "{request}.then(() => done('an answer'), error => done(error.name))"
        ));
        assert_eq!(got, "TypeError", "{request}");
    }
    // Nor can it show the page in one of its own.
    browser.run(&format!("const frame = document.createElement('iframe'); frame.src = 'http://{admin}/'; document.body.append(frame)"));
    browser.until("performance.getEntriesByType('resource').length > 0");

    // And where a browser says so itself, the server does nothing.
    let login = basic("administrator", &with.administrator);
    let kill = |site: &str| {
        let fields = format!("Authorization: {login}\r\nSec-Fetch-Site: {site}\r\n");
        http::request(admin, "DELETE", "/v1/sessions/2", &fields)
    };
    for site in ["cross-site", "same-site", "nonsense"] {
        let refused = kill(site);
        assert_eq!(refused.status, 403);
        assert_eq!(
            refused.detail(),
            "a page of another site asks for this (Sec-Fetch-Site)"
        );
    }
    assert_eq!(kill("same-origin").status, 204);

    // Nor is anything held open for it; its reader may follow a link.
    for (destination, status) in [("image", 403), ("iframe", 403), ("document", 200)] {
        let fields = format!(
            "Authorization: {login}\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: {destination}\r\n"
        );
        let answer = http::request(admin, "GET", "/v1/sessions", &fields);
        assert_eq!(answer.status, status, "{destination}");
    }
}
