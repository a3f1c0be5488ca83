//! The status page, in a real browser: what it shows, and what it does.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sessiond::registry::{CloseReason, Login, Session, SessionId};

use super::support::browser::Browser;
use super::support::daemon::{one_service, program};
use super::support::library::Library;
use super::support::process::Process;
use super::support::server::{closed_port, free_port};
use super::support::{Daemon, Directory, Server, until};

/// Opens the page of a library, with one request of its tables behind it.
pub fn open(browser: &Browser, library: &Library) {
    browser.open(&format!("http://{}/", library.address));
    browser.until(LIVE);
}

/// It has shown everything once, and the server has answered since.
pub const LIVE: &str = "document.querySelector('#state').textContent === 'Live'";

/// The texts of a column of the sessions, by its number.
pub fn column(number: usize) -> String {
    format!(
        "Array.from(document.querySelectorAll('#sessions tbody tr'), row => row.cells[{number}].textContent).join()"
    )
}

/// Waits until the rows of the sessions have these ids.
pub fn until_ids(browser: &Browser, ids: &str) {
    browser.until(&format!("{} === '{ids}'", column(0)));
}

/// Waits until the page has been renewed twice from now on.
fn until_renewed(browser: &Browser) {
    let count = "performance.getEntriesByType('resource').filter(one => one.name.includes('/v1/listeners')).length";
    browser.run("performance.setResourceTimingBufferSize(100000)");
    let before = browser.text(count);
    browser.until(&format!("{count} >= {before} + 2"));
}

/// The browser has nothing to complain of.
pub fn assert_content(browser: &Browser) {
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// A client's session, with a login.
pub fn open_as(library: &Library, user: &str, remote: &str, ago: u64, bytes: u64) -> Arc<Session> {
    let session = library.open(0, Some(remote), Duration::from_secs(ago));
    library.connect(&session, 0, bytes);
    let login = Login {
        user: user.to_owned(),
        database: Some("shop".to_owned()),
        attributes: Vec::new(),
    };
    session.set_login(Some(login), SystemTime::now());
    session
}

#[test]
fn rows_appear_and_go_as_clients_do() {
    let (server, _) = Server::new().echo();
    let daemon = Daemon::start(&one_service(server));
    let browser = Browser::start();
    browser.open(&format!("http://{}/", daemon.admin()));
    browser.until("document.querySelector('#sessions p').textContent === 'There are no sessions.'");
    let connect = || TcpStream::connect(daemon.listener("listener")).unwrap();
    let (one, other) = (connect(), connect());
    until_ids(&browser, "2,3");
    let port = one.local_addr().unwrap().port();
    browser.until(&format!(
        "document.querySelector('#sessions tbody tr').textContent.startsWith('2127.0.0.1:{port}serviceserverready')"
    ));
    // The service, the server and the listener are there, too; and the chart's last value.
    for (table, begins) in [
        ("services", "serviceStarted22"),
        ("servers", "serverRunning"),
        ("listeners", "listenerRunningserviceTCP127.0.0.1:"),
    ] {
        browser.until(&format!(
            "document.querySelector('#{table} tbody').textContent.startsWith('{begins}')"
        ));
    }
    browser.until("document.querySelector('#count b').textContent === '2'");
    browser.until("/^The last ten minutes: sessions now 2, lowest 0, highest 2$/.test(document.querySelector('#count svg').ariaLabel)");
    drop(one);
    until_ids(&browser, "3");
    browser.click("#sessions label select option[value=closed]");
    until_ids(&browser, "2");
    assert!(browser.text(&column(6)).starts_with("client closed"));
    browser.click("#sessions label select option[value=any]");
    until_ids(&browser, "3,2");
    drop(other);
    assert_content(&browser);
}

#[test]
fn rows_are_sorted_filtered_and_paged() {
    let library = Library::start();
    for number in 0..60_u64 {
        let user = if number % 2 == 0 { "app" } else { "reports" };
        let remote = format!("192.0.2.1:{}", 40_000 + number);
        open_as(&library, user, &remote, 100 - number, (number * 37) % 60);
    }
    let browser = Browser::start();
    open(&browser, &library);
    let ids = |range: std::ops::RangeInclusive<u32>| {
        let ids: Vec<String> = range.map(|id| id.to_string()).collect();
        ids.join(",")
    };
    let sorted = |label: &str| {
        browser.text(&format!(
            "Array.from(document.querySelectorAll('#sessions thead th')).find(cell => cell.textContent === '{label}').ariaSort"
        ))
    };
    until_ids(&browser, &ids(1..=50));
    assert_eq!(sorted("ID"), "ascending");
    assert_eq!(
        browser.text("document.querySelector('#sessions nav span').textContent"),
        "1–50 of 60"
    );
    browser.click("#sessions nav button:nth-of-type(3)");
    until_ids(&browser, &ids(51..=60));
    assert_eq!(
        browser.text("document.querySelector('#sessions nav span').textContent"),
        "51–60 of 60"
    );
    browser.click("#sessions nav label option:nth-of-type(1)");
    until_ids(&browser, &ids(1..=25));

    browser.click("#sessions thead th:last-of-type button");
    browser.until(&format!("{}.startsWith('118 B,116 B,114 B')", column(10)));
    assert_eq!(
        (sorted("Sent"), sorted("ID")),
        ("descending".to_owned(), "null".to_owned())
    );
    browser.click("#sessions thead th:last-of-type button");
    browser.until(&format!("{}.startsWith('0 B,2 B,4 B')", column(10)));

    browser.type_into("#sessions input", "rep");
    browser.until(&format!("/^(reports,){{24}}reports$/.test({})", column(1)));
    assert_eq!(
        browser.text("document.querySelector('#sessions h2').textContent"),
        "Sessions 30"
    );
    browser.until("document.querySelector('#said').textContent === 'Sessions 30'");
    for (typed, words) in [("=rep", "Nothing passes the filter."), ("!app", "")] {
        browser.run("document.querySelector('#sessions input').value = ''");
        browser.type_into("#sessions input", typed);
        browser.until(&format!(
            "document.querySelector('#sessions p').textContent === '{words}'"
        ));
    }
    browser.click("#sessions form option[value=id]");
    browser.until(
        "document.querySelector('#sessions p').textContent === '!app is not a number.'.slice(1)",
    );
    browser.run("document.querySelector('#sessions input').value = ''");
    browser.type_into("#sessions input", "58");
    browser.until(&format!(
        "{}.split(',').sort().join() === '58,59,60'",
        column(0)
    ));

    // The other tables can do that, too.
    browser.type_into("#services input", "Re");
    browser.until("document.querySelector('#services tbody').rows.length === 1");
    browser.click("#servers thead th button");
    browser.click("#servers thead th button");
    browser.until("document.querySelector('#servers tbody th').textContent === 'db2'");
    assert_content(&browser);
    drop(browser);
    library.stop();
}

#[test]
fn what_users_call_themselves_stays_text() {
    let library = Library::start();
    let name = "<img src=x onerror=document.title='pwned'>";
    let session = open_as(&library, name, "192.0.2.1:1", 5, 1);
    let login = Login {
        user: name.to_owned(),
        database: Some("<b>\"'&amp;\u{202e}</b>".to_owned()),
        attributes: Vec::new(),
    };
    session.set_login(Some(login), SystemTime::now());
    let browser = Browser::start();
    open(&browser, &library);
    browser.until(&format!("{} === \"{name}\"", column(1)));
    assert_eq!(
        browser.text(
            "document.querySelectorAll('img, main b:not(figure *), tbody *:not(tr, th, td)').length"
        ),
        "0"
    );
    // It can be looked for, quotes and all.
    browser.type_into("#sessions input", &format!("={name}"));
    browser.until("document.querySelector('#said').textContent === 'Sessions 1'");
    until_renewed(&browser);
    assert!(!browser.text("document.title").contains("pwned"));
    // Nor does the browser let anybody make an element out of text.
    let made = browser.run("try { document.body.innerHTML = '<i>'; return 'made' } catch (error) { return error.name }");
    assert_eq!(made, "TypeError");
    drop(browser);
    library.stop();
}

#[test]
fn the_page_says_when_the_server_does_not_answer_and_goes_on_when_it_does() {
    let directory = Directory::new();
    let port = free_port().port();
    let text = format!(
        "[maxscale]\nadmin_port={port}\n{}",
        one_service(closed_port())
    );
    let path = directory.file("sessiond.cnf", text);
    let start = || {
        let process = Process::start(
            program()
                .arg("--config")
                .arg(&path)
                .env("TMPDIR", directory.path()),
        );
        process.line("the admin server", |line| {
            line.contains("admin server: listening").then_some(())
        });
        process
    };
    let mut process = start();
    let browser = Browser::start();
    browser.open(&format!("http://127.0.0.1:{port}/"));
    browser.until(LIVE);
    assert_content(&browser);
    process.signal("TERM");
    process.wait();
    browser.until("document.querySelector('#state').textContent === 'No answer'");
    browser.until("document.querySelector('#alarm').textContent.startsWith('The server has not answered since ')");
    // What was there can still be read.
    assert_eq!(
        browser.text("document.querySelector('#services tbody th').textContent"),
        "service"
    );
    let _again = start();
    browser.until(LIVE);
    browser.until("document.querySelector('#alarm').textContent === '' && document.querySelector('#said').textContent === 'The server answers again.'");
    // The line of the chart has a gap there.
    browser
        .until("document.querySelector('#count path').getAttribute('d').match(/M/g).length === 2");
    for complaint in browser.complaints() {
        assert!(complaint.contains("net::ERR_"), "{complaint}");
    }
}

#[test]
fn the_readers_place_is_kept_while_rows_come_and_go() {
    let library = Library::start();
    for number in 0..40 {
        open_as(&library, "app", "192.0.2.1:1", 100 - number, 5);
    }
    let browser = Browser::start();
    open(&browser, &library);
    until_ids(
        &browser,
        &(1..41)
            .map(|id| id.to_string())
            .collect::<Vec<_>>()
            .join(","),
    );
    browser.run("document.querySelector('#sessions thead button').focus(); window.scrollTo(0, 400);\
        getSelection().selectAllChildren(document.querySelector('#sessions tbody tr:nth-child(20)').cells[1]);\
        window.row = getSelection().anchorNode");
    let place = "[scrollY, getSelection().toString(), document.querySelector('#sessions tbody').contains(window.row), document.activeElement.textContent].join()";
    let before = browser.text(place);
    assert!(before.ends_with(",app,true,ID"), "{before}");
    for number in 0..5 {
        open_as(&library, "late", "192.0.2.1:1", number, 5);
    }
    let last = library.ids("/v1/sessions").pop().unwrap();
    browser.until(&format!("{}.endsWith(',{last}')", column(0)));
    until_renewed(&browser);
    assert_eq!(browser.text(place), before);

    // What is being typed stays, and so does where.
    browser.type_into("#sessions input", "app");
    browser.run("document.querySelector('#sessions input').setSelectionRange(1, 2)");
    until_renewed(&browser);
    assert_eq!(
        browser.text("[document.activeElement.value, document.activeElement.selectionStart, document.activeElement.selectionEnd].join()"),
        "app,1,2"
    );
    // Nothing changes while the page pauses.
    browser.click("#pause");
    let gone = library
        .registry
        .sessions
        .snapshot()
        .into_iter()
        .find(|session| session.client().is_some())
        .unwrap();
    library.registry.sessions.close(
        gone.id(),
        CloseReason::ServerLost,
        SystemTime::now(),
        Instant::now(),
    );
    browser.until("document.querySelector('#state').textContent === 'Paused'");
    let rows = browser.text(&column(0));
    let turns = "performance.getEntriesByType('resource').filter(one => one.name.endsWith('=statistics')).length";
    let before = browser.text(turns);
    browser.until(&format!("{turns} >= {before} + 2"));
    assert_eq!(browser.text(&column(0)), rows);
    browser.click("#pause");
    browser.until(&format!("{} !== '{rows}'", column(0)));
    assert_content(&browser);
    drop(browser);
    library.stop();
}

#[test]
fn with_ten_thousand_sessions_it_is_as_quick_and_as_short() {
    let library = Library::with_sessions(10_000);
    let browser = Browser::start();
    open(&browser, &library);
    browser.until("document.querySelector('#sessions nav span').textContent === '1–50 of 10,000'");
    assert_eq!(
        browser.text("document.querySelectorAll('tbody tr').length"),
        "56"
    );
    browser.click("#sessions nav button:nth-of-type(4)");
    browser.until(
        "document.querySelector('#sessions nav span').textContent === '9,951–10,000 of 10,000'",
    );
    browser.click("#sessions nav label option:nth-of-type(4)");
    browser.until("document.querySelector('#sessions tbody').rows.length === 250");
    browser.click("#sessions thead th:nth-of-type(9) button");
    browser.until(
        "document.querySelector('#sessions thead th:nth-of-type(9)').ariaSort === 'descending'",
    );
    until_renewed(&browser);
    // No task of the page keeps a key waiting, while it is renewed once or twice.
    let longest = || {
        let longest = browser.run_until_done(
            "let most = 0, last = performance.now(), end = last + 3000;\
             const tick = () => { const now = performance.now(); most = Math.max(most, now - last); last = now;\
             if (now < end) setTimeout(tick); else done(most) }; tick()",
        );
        longest.as_f64().unwrap()
    };
    // Other programs may, so the best of a few times counts.
    assert!((0..3).any(|_| longest() < 1000.0), "{}", longest());
    assert_content(&browser);
    drop(browser);
    library.stop();
}

#[test]
fn a_browser_gets_the_page_and_everybody_else_the_document() {
    let library = Library::start();
    let html = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n";
    let page = library.request("GET", "/", html);
    assert_eq!(
        (page.status, page.field("Content-Type")),
        (200, Some("text/html; charset=utf-8"))
    );
    assert!(page.body.starts_with("<!DOCTYPE html>"));
    for accept in [
        "",
        "Accept: */*\r\n",
        "Accept: application/json, text/html;q=0.9\r\n",
    ] {
        let document = library.request("GET", "/", accept);
        assert_eq!(
            (document.status, document.field("Vary")),
            (200, Some("Accept")),
            "{accept}"
        );
        assert_eq!(document.document().text("/meta/name"), "sessiond");
    }
    // Elsewhere, a browser gets what there is.
    assert_eq!(
        library
            .request("GET", "/v1", html)
            .document()
            .text("/meta/role"),
        "basic"
    );

    let mut length = 0;
    for (path, media_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/page.css", "text/css; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/page.svg", "image/svg+xml"),
    ] {
        let whole = library.request("GET", path, html);
        assert_eq!(whole.field("Content-Type"), Some(media_type), "{path}");
        let policy = whole.field("Content-Security-Policy").unwrap();
        for part in [
            "default-src 'none'; ",
            "; frame-ancestors 'none'; ",
            "; require-trusted-types-for 'script'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'));
        assert_eq!(whole.field("Referrer-Policy"), Some("no-referrer"));
        assert_eq!(whole.field("X-Content-Type-Options"), Some("nosniff"));
        assert_eq!(whole.field("Vary"), Some("Accept"));
        length += whole.body.len();
        let head = library.request("HEAD", path, html);
        assert_eq!(
            (head.status, head.field("Content-Length")),
            (200, whole.field("Content-Length"))
        );
        let again = format!("{html}If-None-Match: {}\r\n", whole.field("ETag").unwrap());
        assert_eq!(library.request("GET", path, &again).status, 304);
        assert_eq!(library.request("PUT", path, html).status, 403);
        assert_eq!(
            library.request("POST", path, html).field("Allow"),
            Some("GET, HEAD, OPTIONS")
        );
        assert_eq!(
            library.request("GET", &format!("{path}?x=1"), html).status,
            400
        );
    }
    assert!(length < 20_000, "{length}");
    until("a page without a query", || {
        (library.request("GET", "/?", html).status == 200).then_some(())
    });
    library.stop();
}

#[test]
fn closed_sessions_stand_in_the_order_in_which_they_ended_the_latest_first() {
    let library = Library::start();
    for number in 0..4 {
        open_as(
            &library,
            "app",
            &format!("192.0.2.1:{}", 40_000 + number),
            100,
            0,
        );
    }
    // All within the second that is shown.
    for (id, milliseconds) in [("2", 100), ("4", 200), ("1", 300), ("3", 400)] {
        let id = SessionId::parse(id).unwrap();
        let closed = UNIX_EPOCH + Duration::from_millis(1_500_000_000_000 + milliseconds);
        let sessions = &library.registry.sessions;
        assert!(sessions.close(id, CloseReason::ClientClosed, closed, Instant::now()));
    }
    let browser = Browser::start();
    browser.open(&format!("http://{}/", library.address));
    browser.until("document.querySelector('#sessions p').textContent === 'There are no sessions.'");
    browser.click("#sessions label select option[value=closed]");
    until_ids(&browser, "3,1,4,2");
    browser.click("#sessions thead th:first-of-type button");
    until_ids(&browser, "4,3,2,1");
    library.stop();
}
