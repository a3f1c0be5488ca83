//! Who may: every cell of the table, over every way in.

use std::io::{BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use super::support::daemon::{one_service, program};
use super::support::http::{self, Answer, exchange};
use super::support::server::{closed_port, free_port};
use super::support::{Daemon, Directory, PATIENCE};

/// `sessiond token`: the line for the accounts file, and the token.
fn token(arguments: &[&str]) -> (String, String) {
    let output = program().arg("token").args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let token = text(output.stderr);
    let token = token.strip_suffix('\n').unwrap();
    assert!(
        token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{token}"
    );
    (text(output.stdout), token.to_owned())
}

/// A daemon with accounts, and the tokens of a reader and of an administrator.
pub struct WithAccounts {
    pub daemon: Daemon,
    directory: Directory,
    pub reader: String,
    pub administrator: String,
}

impl WithAccounts {
    pub fn start(more: &str) -> Self {
        Self::before(closed_port(), more)
    }

    /// Before a server.
    pub fn before(server: SocketAddr, more: &str) -> Self {
        let directory = Directory::new();
        let (reader_line, reader) = token(&["reader"]);
        let (administrator_line, administrator) = token(&["--role", "admin", "administrator"]);
        assert!(
            reader_line.starts_with("reader:basic:")
                && administrator_line.starts_with("administrator:admin:")
        );
        let accounts = directory.file(
            "accounts",
            format!("# who\n{reader_line}{administrator_line}"),
        );
        let config = format!(
            "admin_accounts={}\n{more}{}",
            accounts.display(),
            one_service(server)
        );
        Self {
            daemon: Daemon::start(&config),
            directory,
            reader,
            administrator,
        }
    }

    fn ask(&self, method: &str, target: &str, authorization: &str) -> Answer {
        let field = if authorization.is_empty() {
            String::new()
        } else {
            format!("Authorization: {authorization}\r\n")
        };
        http::request(self.daemon.admin(), method, target, &field)
    }
}

/// Like `curl -u NAME:TOKEN`.
pub fn basic(name: &str, token: &str) -> String {
    let bytes = format!("{name}:{token}").into_bytes();
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = "Basic ".to_owned();
    for three in bytes.chunks(3) {
        let bits = three
            .iter()
            .fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte))
            << (8 * (3 - three.len()));
        for place in 0..4 {
            let is_there = place <= three.len();
            text.push(if is_there {
                char::from(digits[bits >> (18 - 6 * place) & 63])
            } else {
                '='
            });
        }
    }
    text
}

#[test]
fn over_loopback_without_accounts_everybody_may_read_and_nobody_write() {
    let daemon = Daemon::start(&one_service(closed_port()));
    for field in [
        "",
        "Authorization: Basic YWRtaW46bWFyaWFkYg==\r\n",
        "Authorization: nonsense\r\n",
    ] {
        for method in ["GET", "HEAD", "OPTIONS"] {
            assert!(http::request(daemon.admin(), method, "/v1/sessions", field).status < 300);
        }
        // The refusal comes before the path is looked at.
        for method in ["DELETE", "PUT"] {
            for path in [
                "/v1/sessions/1",
                "/v1/sessions",
                "/nowhere",
                "/%ff",
                "/v1?x=1",
            ] {
                let answer = http::request(daemon.admin(), method, path, field);
                assert_eq!(answer.status, 403, "{method} {path}");
                assert_eq!(
                    answer.detail(),
                    "over TCP this needs an account with the role admin (admin_accounts), or use the unix socket (admin_socket)"
                );
            }
        }
    }
}

#[test]
fn over_tcp_with_accounts_a_token_decides() {
    let with = WithAccounts::start("");
    let (reader, administrator) = (with.reader.as_str(), with.administrator.as_str());
    for (shown, reads, writes) in [
        (String::new(), 401, 401),
        (format!("Bearer {reader}"), 200, 403),
        (format!("Bearer {administrator}"), 200, 405),
        (basic("reader", reader), 200, 403),
        (basic("administrator", administrator), 200, 405),
        (basic("reader", administrator), 401, 401),
        (basic("", administrator), 401, 401),
        (basic("admin", "mariadb"), 401, 401),
        ("Bearer ".to_owned(), 401, 401),
        ("Bearer".to_owned(), 401, 401),
        ("Basic".to_owned(), 401, 401),
        ("Basic *".to_owned(), 401, 401),
        (format!("Bearer {}", "0".repeat(32)), 401, 401),
        (format!("Bearer {}", &administrator[..31]), 401, 401),
        (format!("Bearer {administrator}0"), 401, 401),
        (
            format!("Bearer {}", administrator.to_uppercase() + "A"),
            401,
            401,
        ),
        (administrator.to_owned(), 401, 401),
        (format!("Bearer {}", "a".repeat(7000)), 401, 401),
        (format!("Bearer {}", "a".repeat(17_000)), 431, 431),
    ] {
        for (method, path, status) in [
            ("GET", "/v1/sessions", reads),
            ("GET", "/nowhere", if reads == 200 { 404 } else { reads }),
            ("DELETE", "/v1/services", writes),
            ("PUT", "/v1/sessions", writes),
            (
                "DELETE",
                "/nowhere",
                if writes == 405 { 404 } else { writes },
            ),
        ] {
            let answer = with.ask(method, path, &shown);
            assert_eq!(answer.status, status, "{method} {path} with {shown}");
            let challenges = answer.head.matches("\r\nWWW-Authenticate: ").count();
            assert_eq!(challenges, if status == 401 { 2 } else { 0 });
        }
    }
    let answer = with.ask("DELETE", "/v1/sessions/1", &format!("Bearer {reader}"));
    assert_eq!(answer.detail(), "this needs an account with the role admin");
}

#[test]
fn refused_logins_are_logged_with_the_peer_and_at_most_ten_a_second() {
    let with = WithAccounts::start("");
    for _ in 0..200 {
        assert_eq!(with.ask("GET", "/v1", "Bearer wrong").status, 401);
    }
    with.daemon.process.line("a refused login", |line| {
        line.contains("admin login refused: wrong name or token, from 127.0.0.1:")
            .then_some(())
    });
    let refused = with
        .daemon
        .process
        .log()
        .iter()
        .filter(|line| line.contains("login refused"))
        .count();
    // The two hundred may take longer than one second on a busy machine.
    assert!((1..=50).contains(&refused), "{refused}");
}

/// One request over the unix socket.
fn ask_unix(path: &Path, method: &str, target: &str) -> Answer {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = BufReader::new(stream);
    write!(
        stream.get_mut(),
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )
    .unwrap();
    Answer::read(&mut stream, method == "HEAD")
}

#[test]
fn over_the_unix_socket_everything_is_allowed_to_whom_its_mode_lets_in() {
    let directory = Directory::new();
    let path = directory.path().join("admin.sock");
    let more = format!("admin_socket={}\n", path.display());
    let with = WithAccounts::start(&more);
    let metadata = std::fs::metadata(&path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    for _ in 0..100 {
        assert_eq!(ask_unix(&path, "GET", "/v1/sessions/1").status, 200);
    }
    assert_eq!(
        ask_unix(&path, "GET", "/v1/sessions/1")
            .document()
            .text("/links/self"),
        "http://localhost/v1/sessions/1"
    );
    assert_eq!(ask_unix(&path, "DELETE", "/v1/sessions/9").status, 404);
    assert_eq!(ask_unix(&path, "PUT", "/nowhere").status, 404);
    // Over TCP the same daemon asks for a token.
    assert_eq!(with.ask("GET", "/v1", "").status, 401);
    let mut daemon = with.daemon;
    daemon.process.signal("TERM");
    assert!(daemon.process.wait().success());
    assert!(!path.exists());
}

#[test]
fn the_unix_socket_has_the_mode_the_owner_and_the_group_of_the_configuration() {
    let directory = Directory::new();
    let own = std::fs::metadata(directory.path()).unwrap();
    let path = directory.path().join("admin.sock");
    // Only root can give a socket to somebody else.
    let (owner, group) = if own.uid() == 0 {
        (1, 2)
    } else {
        (own.uid(), own.gid())
    };
    let _daemon = Daemon::start(&format!(
        "admin_socket={}\nadmin_socket_mode=0640\nadmin_socket_owner={owner}\nadmin_socket_group={group}\n",
        path.display()
    ));
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o640);
    assert_eq!((metadata.uid(), metadata.gid()), (owner, group));
}

#[test]
fn only_hosts_that_name_this_server_are_answered() {
    let daemon = Daemon::start("admin_hostnames=gateway.example, box\n");
    let ask = |fields: &str| {
        let request = format!("GET /v1 HTTP/1.1\r\n{fields}Connection: close\r\n\r\n");
        let answer = exchange(daemon.admin(), request.as_bytes());
        Answer::read(&mut answer.as_bytes(), false)
    };
    for host in [
        "localhost",
        "LOCALHOST:1",
        "127.0.0.1:8989",
        "127.3.2.1",
        "[::1]",
        "[::1]:4009",
        "gateway.example:80",
        "Box",
    ] {
        let answer = ask(&format!("Host: {host}\r\n"));
        assert_eq!(answer.status, 200, "{host}");
        assert_eq!(
            answer.document().text("/links/self"),
            format!("http://{host}/v1")
        );
    }
    for host in [
        "evil.example",
        "evil.example:8989",
        "localhost.evil.example",
        "192.0.2.1",
        "[::2]:80",
        "a:b",
        "[::1",
        "::1",
    ] {
        let answer = ask(&format!("Host: {host}\r\n"));
        let expected = if host == "::1" { 200 } else { 421 };
        assert_eq!(answer.status, expected, "{host}");
        if expected == 421 {
            assert!(
                answer
                    .detail()
                    .starts_with(&format!("{host} is not a name of this server")),
                "{}",
                answer.detail()
            );
        }
    }
    for fields in [
        "",
        "Host:\r\n",
        "Host: localhost\r\nHost: localhost\r\n",
        "Host: a b\r\n",
        "Host: a/b\r\n",
        "Host: a@b\r\n",
    ] {
        assert_eq!(ask(fields).status, 400, "{fields}");
    }
}

#[test]
fn over_the_unix_socket_any_host_is_taken_and_links_have_one_that_can_be_one() {
    let daemon = Daemon::start_controlled("", "");
    let path = daemon.directory().path().join("admin.sock");
    let ask = |fields: &str, target: &str| {
        let mut stream = BufReader::new(UnixStream::connect(&path).unwrap());
        stream.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET {target} HTTP/1.1\r\n{fields}\r\n");
        stream.get_mut().write_all(request.as_bytes()).unwrap();
        Answer::read(&mut stream, false)
    };
    let own = format!("localhost:{}", daemon.admin().port());
    let encoded = path.display().to_string().replace('/', "%2F");
    for (host, in_links) in [
        ("localhost", "localhost"),
        ("docker", "docker"),
        ("http", "http"),
        ("v1", "v1"),
        ("evil.example:80", "evil.example:80"),
        (&encoded, &encoded),
        ("", &own),
        ("/run/admin.sock", &own),
        ("a b\"c", &own),
        ("\u{e9}", &own),
        ("[::1", &own),
    ] {
        let answer = ask(&format!("Host: {host}\r\n"), "/v1");
        assert_eq!(answer.status, 200, "{host}");
        assert_eq!(
            answer.document().text("/links/self"),
            format!("http://{in_links}/v1"),
            "{host}"
        );
    }
    assert_eq!(
        ask("Host:\r\n", "http://docker/v1")
            .document()
            .text("/links/self"),
        "http://docker/v1"
    );
    assert_eq!(ask("", "/v1").status, 400);
    assert_eq!(ask("Host: a\r\nHost: a\r\n", "/v1").status, 400);
}

#[test]
fn a_request_of_a_page_of_another_origin_is_refused() {
    let daemon = Daemon::start_controlled("", "");
    let address = daemon.admin();
    let own = format!("http://{address}");
    let own_tls = format!("https://{address}");
    for (origin, status) in [
        (&own[..], 200),
        (&own_tls, 200),
        ("null", 403),
        ("http://evil.example", 403),
        ("http://127.0.0.1", 403),
        ("http://localhost:8989", 403),
        ("", 403),
    ] {
        let fields = format!("Origin: {origin}\r\n");
        let answer = http::request(address, "GET", "/v1", &fields);
        assert_eq!(answer.status, status, "{origin}");
        if status == 403 {
            assert!(answer.detail().contains("(Origin: "), "{answer:?}");
        }
    }
    // Over the unix socket, too, where a page may come through something that leads there.
    let of = |origin: &str, target: &str| {
        let fields = format!("Origin: {origin}\r\n");
        daemon.act_with("DELETE", target, &fields).status
    };
    assert_eq!(of("http://localhost", "/v1/sessions/999"), 404);
    assert_eq!(of("http://evil.example", "/v1/sessions/999"), 403);
    assert_eq!(of("null", "/v1/sessions/999"), 403);
}

#[test]
fn the_accounts_are_read_again_on_sighup_and_stay_where_that_fails() {
    let with = WithAccounts::start("");
    let path = with.directory.path().join("accounts");
    let (line, fresh) = token(&["fresh"]);
    let old = format!("Bearer {}", with.reader);
    let new = format!("Bearer {fresh}");
    let reload = |text: &str, word: &str| {
        std::fs::write(&path, text).unwrap();
        with.daemon.process.signal("HUP");
        with.daemon
            .process
            .line(word, |line| line.contains(word).then_some(()));
    };
    assert_eq!(with.ask("GET", "/v1", &new).status, 401);

    reload("nonsense\n", "the configuration stays as it was");
    assert!(
        with.daemon
            .process
            .log()
            .iter()
            .any(|line| line.contains("accounts:1: an account is NAME:ROLE:SHA256"))
    );
    assert_eq!(with.ask("GET", "/v1", &old).status, 200);

    reload(&line, "the configuration is read again");
    assert_eq!(with.ask("GET", "/v1", &new).status, 200);
    assert_eq!(with.ask("GET", "/v1", &old).status, 401);

    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
    reload("", "the configuration stays as it was");
    assert_eq!(with.ask("GET", "/v1", &new).status, 200);
}

#[test]
fn a_reload_puts_new_accounts_in_force_before_a_new_listener_leads_to_them() {
    let directory = Directory::new();
    let (old_line, old) = token(&["old"]);
    let (new_line, new) = token(&["new"]);
    let accounts = directory.file("accounts", old_line);
    let maxscale = format!("admin_accounts={}\n", accounts.display());
    let daemon = Daemon::start_controlled(&maxscale, "");
    std::fs::write(&accounts, new_line).unwrap();
    let place = free_port();
    let sections = one_service(daemon.admin())
        .replace("[listener]", "[console]")
        .replace("port=0\n", &format!("port={}\n", place.port()));
    assert!(daemon.reload(&maxscale, &sections));

    // The log has things in the order in which they happen.
    let log = daemon.process.log();
    let line = |words: &str| log.iter().position(|line| line.contains(words)).unwrap();
    assert!(
        line("are read again") < line("listener console: listening on"),
        "{log:#?}"
    );
    let ask = |token: &str| {
        let field = format!("Authorization: Bearer {token}\r\n");
        http::request(place, "GET", "/v1", &field).status
    };
    assert_eq!((ask(&old), ask(&new)), (401, 200));
}

#[test]
fn sighup_without_accounts_ends_nothing() {
    let daemon = Daemon::start("");
    daemon.process.signal("HUP");
    assert_eq!(daemon.request("GET", "/v1").status, 200);
}

fn started(directory: &Directory, text: &str, arguments: &[&str]) -> Output {
    let config = directory.file("sessiond.cnf", text);
    let mut command = program();
    command
        .args(arguments)
        .arg("--config")
        .arg(config)
        .env("TMPDIR", directory.path());
    command.output().unwrap()
}

#[test]
fn accounts_that_cannot_be_trusted_stop_the_start_and_the_check() {
    let directory = Directory::new();
    let path = directory.path().join("accounts");
    let config = format!(
        "[maxscale]\nadmin_port=0\nadmin_accounts={}\n",
        path.display()
    );
    let refused = |expected: &str| {
        for arguments in [&[][..], &["--check"]] {
            let output = started(&directory, &config, arguments);
            assert_eq!(output.status.code(), Some(2), "{output:?}");
            assert_eq!(
                String::from_utf8(output.stderr).unwrap(),
                format!("{expected}\n")
            );
        }
    };
    let shown = path.display();
    refused(&format!(
        "sessiond: cannot read {shown}: No such file or directory (os error 2)"
    ));
    for mode in [0o666, 0o602, 0o620] {
        directory.file("accounts", "");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        refused(&format!(
            "sessiond: {shown}: others must not be able to write it: chown it to root and chmod it to 0640"
        ));
    }
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    // Only root can make it somebody else's.
    if std::os::unix::fs::chown(&path, Some(1), None).is_ok() {
        refused(&format!(
            "sessiond: {shown}: others must not be able to write it: chown it to root and chmod it to 0640"
        ));
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
    }
    // A pipe that nobody writes to.
    std::fs::remove_file(&path).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg("-m")
            .arg("600")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    refused(&format!(
        "sessiond: cannot read {shown}: it is not a regular file"
    ));
    std::fs::remove_file(&path).unwrap();
    directory.file("accounts", "");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    directory.file("accounts", "ops:admin:123\nops\n");
    refused(&format!(
        "{shown}:1: account ops: the SHA-256 of a token has 64 hexadecimal digits\n\
         {shown}:2: an account is NAME:ROLE:SHA256, as sessiond token prints it"
    ));
}

#[test]
fn on_other_addresses_than_loopback_it_starts_with_accounts_alone() {
    let directory = Directory::new();
    let open = "[maxscale]\nadmin_port=0\nadmin_host=0.0.0.0\n";
    let output = started(&directory, open, &[]);
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.ends_with("admin_host=0.0.0.0 must be a loopback address, or admin_accounts must say who may come\n"), "{message}");

    let with = WithAccounts::start("admin_host=0.0.0.0\n");
    let address = SocketAddr::new("127.0.0.1".parse().unwrap(), with.daemon.admin().port());
    let ask = |host: &str| {
        let fields = format!(
            "Authorization: Bearer {}\r\nConnection: close\r\n",
            with.reader
        );
        let answer = exchange(
            address,
            format!("GET /v1 HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n").as_bytes(),
        );
        Answer::read(&mut answer.as_bytes(), false).status
    };
    assert_eq!(ask("127.0.0.1:8989"), 200);
    assert_eq!(ask("192.0.2.1:8989"), 421);
}

#[test]
fn a_name_or_a_role_that_is_none_makes_no_token() {
    for arguments in [&["a:b"][..], &[""], &["a b"], &["x", "--role", "root"], &[]] {
        let output = program().arg("token").args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(output.stdout, b"");
    }
    assert_ne!(token(&["a"]).1, token(&["a"]).1);
}

#[test]
fn who_follows_with_a_token_that_is_revoked_does_not_go_on() {
    let with = WithAccounts::start("");
    let mut stream = http::connect(with.daemon.admin());
    write!(
        stream,
        "GET /v1/sessions/events HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
        with.reader
    )
    .unwrap();
    let mut head = [0; 15];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    // Where nothing has changed nobody has to come again.
    assert!(with.daemon.reload_as_it_stands());
    let path = with.directory.path().join("accounts");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\nreader:", "\n# reader:")).unwrap();
    let begin = Instant::now();
    assert!(with.daemon.reload_as_it_stands());
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("\r\n\r\n"), "{rest}");
    assert!(begin.elapsed() < Duration::from_secs(15));
}
