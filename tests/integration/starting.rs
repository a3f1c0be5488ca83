//! Where the program starts, how it makes its sockets, and what it says where
//! it cannot.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::support::daemon::{one_service, program, program_path};
use super::support::http::request;
use super::support::process::{Process, in_words_of_glibc};
use super::support::server::closed_port;
use super::support::{Daemon, Directory, Server, until};

/// Whether file systems can be mounted in a namespace of their own. If not, the
/// test is left out, and says so.
fn can_mount(test: &str) -> bool {
    let tried = Command::new("unshare")
        .args(["-m", "mount", "-t", "tmpfs", "none", "/mnt"])
        .output();
    let can = tried.is_ok_and(|output| output.status.success());
    if !can {
        eprintln!("skipped: {test}: mount namespaces are not permitted here");
    }
    can
}

/// Puts the program and what it is linked with into a directory that becomes `/`.
fn fill_root(root: &Path) {
    fs::create_dir(root.join("etc")).unwrap();
    fs::copy(program_path(), root.join("sessiond")).unwrap();
    // A static program has nothing to list.
    let listed = Command::new("ldd").arg(program_path()).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for library in listed.split_whitespace() {
        if let Some(relative) = library.strip_prefix('/') {
            let place = root.join(relative);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::copy(library, place).unwrap();
        }
    }
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
}

fn admin_address(process: &Process) -> SocketAddr {
    process.line("the admin server's address", |line| {
        let (_, place) = line.split_once("admin server: listening on ")?;
        place.parse().ok()
    })
}

#[test]
fn it_runs_as_nobody_on_a_read_only_root_without_tmp_proc_or_an_environment() {
    if !can_mount("it_runs_as_nobody_on_a_read_only_root_without_tmp_proc_or_an_environment") {
        return;
    }
    let directory = Directory::new();
    let root = directory.path();
    fill_root(root);
    let sections = one_service(closed_port());
    let text = format!("[maxscale]\nadmin_port=0\n{sections}");
    directory.file("etc/sessiond.cnf", text);
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,ro,bind \"$0\" && \
                  exec env -i \"$(command -v chroot)\" --userspec=65534:65534 --groups= \"$0\" /sessiond";
    let mut command = Command::new("unshare");
    let mut process = Process::start(command.args(["-m", "sh", "-c", script]).arg(root));
    let answer = request(admin_address(&process), "GET", "/v1/listeners", "");
    assert_eq!(answer.status, 200);
    process.signal("TERM");
    assert!(process.wait().success());
}

#[test]
fn the_admin_server_needs_no_directory_and_leaves_nothing_in_any() {
    let directory = Directory::new();
    let config = directory.file("sessiond.cnf", "[maxscale]\nadmin_port=0\n");
    let empty = directory.path().join("tmp");
    fs::create_dir(&empty).unwrap();
    for place in [&empty, Path::new("/nonexistent")] {
        let mut command = program();
        command.arg("--config").arg(&config);
        command
            .env("TMPDIR", place)
            .env("RUNTIME_DIRECTORY", place)
            .current_dir(&empty);
        let mut process = Process::start(&mut command);
        let address = admin_address(&process);
        assert_eq!(request(address, "GET", "/v1", "").status, 200);
        assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
        process.signal("TERM");
        assert!(process.wait().success());
        assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
    }
}

/// The abstract names of a process's unix sockets.
fn abstract_names(process: &Process) -> Vec<String> {
    let links = fs::read_dir(format!("/proc/{}/fd", process.id())).unwrap();
    let own: Vec<String> = links
        .filter_map(|link| {
            let target = fs::read_link(link.ok()?.path()).ok()?;
            let inode = target.to_str()?.strip_prefix("socket:[")?;
            Some(inode.trim_end_matches(']').to_owned())
        })
        .collect();
    let table = fs::read_to_string("/proc/net/unix").unwrap();
    let names = table.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(6);
        let is_own = own
            .iter()
            .any(|inode| Some(&inode[..]) == words.clone().next());
        let name = words.nth(1)?.strip_prefix('@')?;
        is_own.then(|| name.to_owned())
    });
    names.collect()
}

#[test]
fn no_process_can_connect_to_the_socket_behind_the_admin_server() {
    let daemon = Daemon::start("");
    let names = abstract_names(&daemon.process);
    // Our end has none; that of tiny_http is two descriptors of one socket.
    assert_eq!(names.len(), 1, "{names:?}");
    let address = UnixAddress::from_abstract_name(&names[0]).unwrap();
    let refused = UnixStream::connect_addr(&address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(daemon.request("GET", "/v1").status, 200);
    // The end of tiny_http's accept loop is no line of the log.
    let log = daemon.process.log().join("\n");
    assert!(!log.contains("<3>"), "{log}");
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn unix_sockets_have_their_mode_whatever_the_umask() {
    let (server, _) = Server::new().echo();
    for umask in ["000", "022", "077", "777"] {
        for admin_mode in [0o600, 0o660, 0o666] {
            let directory = Directory::new();
            let admin = directory.path().join("admin.sock");
            let listener = directory.path().join("listener.sock");
            let sections = one_service(server).replace(
                "address=127.0.0.1\nport=0\n",
                &format!("socket={}\n", listener.display()),
            );
            let mut command = Command::new("sh");
            command
                .args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")])
                .arg(program_path());
            let maxscale = format!("admin_socket=SOCKET\nadmin_socket_mode={admin_mode:04o}\n");
            let daemon = Daemon::start_in(directory, &maxscale, &sections, command);
            assert_eq!(mode(&admin), admin_mode, "umask {umask}");
            assert_eq!(mode(&listener), 0o777, "umask {umask}");
            // So has one that is made while it runs, and the umask is as it was.
            daemon.done("PUT", "/v1/listeners/listener/stop");
            daemon.done("PUT", "/v1/listeners/listener/start");
            assert_eq!(mode(&listener), 0o777, "umask {umask}");
            let status = fs::read_to_string(format!("/proc/{}/status", daemon.process.id()));
            let status = status.unwrap();
            assert!(status.contains(&format!("Umask:\t0{umask}\n")), "{status}");
        }
    }
}

#[test]
fn sockets_that_a_killed_process_left_are_replaced_and_those_in_use_are_not() {
    let directory = Directory::new();
    let admin = directory.path().join("admin.sock");
    let listener = directory.path().join("listener.sock");
    let text = format!(
        "[maxscale]\nadmin_port=0\nadmin_socket={}\n{}",
        admin.display(),
        listener_at(&listener)
    );
    let config = directory.file("sessiond.cnf", text);
    let start = || {
        let process = Process::start(program().arg("--config").arg(&config));
        admin_address(&process);
        process
    };
    start().kill();
    assert!(admin.exists() && listener.exists());
    let mut running = start();
    let (status, told) = refused(&mut program(), &config);
    assert!(
        told.ends_with(": Address already in use (os error 98)\n"),
        "{told}"
    );
    assert_eq!(status, Some(1));
    drop(UnixStream::connect(&admin).unwrap());
    drop(UnixStream::connect(&listener).unwrap());
    running.signal("TERM");
    assert!(running.wait().success());
    assert!(!admin.exists() && !listener.exists());
}

/// What a user who may write to the socket's directory puts in its place.
#[derive(Clone, Copy, Debug)]
enum Bait {
    Link,
    File,
}

#[test]
fn what_takes_the_place_of_a_socket_while_it_is_made_keeps_its_mode_and_owner() {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    for bait in [Bait::Link, Bait::File] {
        let directory = Directory::new();
        let path = directory.path().join("admin.sock");
        let victim = directory.file("victim", "secret");
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
        let before = fs::metadata(&victim).unwrap();
        // Only root can give a socket to others.
        let owner = if is_root {
            "admin_socket_owner=1\nadmin_socket_group=1\n"
        } else {
            ""
        };
        let text = format!(
            "[maxscale]\nadmin_port=0\nadmin_socket={}\nadmin_socket_mode=0666\n{owner}",
            path.display()
        );
        let config = directory.file("sessiond.cnf", text);
        // Each call that could change the file by its path waits, so that it comes late.
        let calls = "?chmod,?fchmodat,?chown,?lchown,?fchownat,?open,?openat";
        let mut command = Command::new("strace");
        command
            .args(["-f", "-qq", "-o", "/dev/null", "-e"])
            .arg(format!("inject={calls}:delay_enter=100000"))
            .arg(program_path())
            .arg("--config")
            .arg(config);
        let mut process = Process::start(&mut command);
        until("the socket", || fs::symlink_metadata(&path).ok());
        fs::remove_file(&path).unwrap();
        let seen = match bait {
            Bait::Link => {
                symlink(&victim, &path).unwrap();
                &victim
            }
            Bait::File => {
                fs::rename(&victim, &path).unwrap();
                &path
            }
        };
        let refused = "another process has put something else in the place of the socket";
        let told = |line: &str| {
            let is_over = line.contains(refused) || line.contains("listening on /");
            is_over.then(|| line.contains(refused))
        };
        // Where the socket is given to nobody, what happens to its path is all the same.
        assert_eq!(
            process.line("the end of the start", told),
            is_root,
            "{bait:?}"
        );
        let after = fs::metadata(seen).unwrap();
        assert_eq!(
            (after.mode(), after.uid(), after.gid()),
            (before.mode(), before.uid(), before.gid()),
            "{bait:?}"
        );
        process.kill();
    }
}

/// Starts the program on a configuration, which it must refuse.
fn refused(command: &mut Command, config: &Path) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.arg("--config").arg(config).output().unwrap();
    (
        status.code(),
        in_words_of_glibc(&String::from_utf8(stderr).unwrap()),
    )
}

/// A configuration whose listener has a socket at some path.
fn listener_at(path: &Path) -> String {
    one_service(closed_port()).replace(
        "address=127.0.0.1\nport=0\n",
        &format!("socket={}\n", path.display()),
    )
}

#[test]
fn a_socket_that_cannot_be_made_is_one_line_and_status_1() {
    let directory = Directory::new();
    let at = |name: &str| directory.path().join(name);
    let file = directory.file("file", "");
    let in_use = at("in-use.sock");
    let _other = UnixListener::bind(&in_use).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let elsewhere = SocketAddr::from(([192, 0, 2, 1], 0)).to_string();
    let paths: [(PathBuf, &str); 4] = [
        (
            at("nowhere/a.sock"),
            "No such file or directory (os error 2)",
        ),
        (file.join("a.sock"), "Not a directory (os error 20)"),
        (file.clone(), "something that is not a socket is there"),
        (in_use, "Address already in use (os error 98)"),
    ];
    let mut table = Vec::new();
    for (path, cause) in paths {
        let place = path.display();
        table.push((
            format!("[maxscale]\nadmin_port=0\nadmin_socket={place}\n"),
            format!("cannot listen for admin clients on {place}: {cause}"),
        ));
        table.push((
            format!("[maxscale]\nadmin_port=0\n{}", listener_at(&path)),
            format!("listener listener: cannot listen for clients on {place}: {cause}"),
        ));
    }
    for (place, cause) in [
        (&taken, "Address already in use (os error 98)"),
        (&elsewhere, "Cannot assign requested address (os error 99)"),
    ] {
        let (address, port) = place.rsplit_once(':').unwrap();
        let sections = one_service(closed_port()).replace(
            "address=127.0.0.1\nport=0",
            &format!("address={address}\nport={port}"),
        );
        table.push((
            format!("[maxscale]\nadmin_port=0\n{sections}"),
            format!("listener listener: cannot listen for clients on {place}: {cause}"),
        ));
    }
    for (text, words) in table {
        let config = directory.file("sessiond.cnf", text);
        let (status, told) = refused(&mut program(), &config);
        // musl has other words for it.
        let told = told.replace(
            "Address not available (",
            "Cannot assign requested address (",
        );
        assert_eq!(told, format!("sessiond: {words}\n"));
        assert_eq!(status, Some(1), "{told}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"");
}

#[test]
fn a_directory_that_the_user_may_not_write_is_one_line_and_status_1() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!(
            "skipped: a_directory_that_the_user_may_not_write_is_one_line_and_status_1: it needs root"
        );
        return;
    }
    let directory = Directory::new();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // The user need not be allowed to reach where the program has been built.
    let copy = directory.path().join("sessiond");
    fs::copy(program_path(), &copy).unwrap();
    let place = directory.path().join("a.sock");
    let text = format!("[maxscale]\nadmin_port=0\n{}", listener_at(&place));
    let config = directory.file("sessiond.cnf", text);
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(copy);
    let (status, told) = refused(&mut command, &config);
    assert_eq!(
        told,
        format!(
            "sessiond: listener listener: cannot listen for clients on {}: Permission denied (os error 13)\n",
            place.display()
        )
    );
    assert_eq!(status, Some(1));
}
