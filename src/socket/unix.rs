//! Unix sockets that listen: made with their permissions, in a directory that
//! others may write to, or reachable for this process alone.
//!
//! The hard thing is that a path is no socket. Others who may write to the
//! directory can put something else under the name at any moment between two
//! calls. So nothing is changed by its path: the file is made with its mode, and
//! given to its owner by a descriptor of what was looked at.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, chownat, fchmod, fstat, open};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, bind, connect, shutdown,
    socket_with,
};
use rustix::process::{geteuid, umask};

use super::{BACKLOG, FLAGS};

/// Who may connect to a unix socket.
pub struct Permissions {
    /// As chmod(2) takes it.
    pub mode: u32,
    /// A user's number; without one, whoever runs the program.
    pub owner: Option<u32>,
    /// A group's number; without one, that of the program.
    pub group: Option<u32>,
}

impl Permissions {
    /// Everybody may, as with the sockets of database servers.
    pub const EVERYBODY: Self = Self {
        mode: 0o777,
        owner: None,
        group: None,
    };
}

/// Listens at a path, with permissions that hold before anybody can connect. A
/// socket that nobody listens on any more is replaced.
pub(super) fn listen(path: &Path, permissions: &Permissions) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
    let mode = Mode::from_raw_mode(permissions.mode);
    match bind_with_mode(&fd, &address, mode) {
        Err(Errno::ADDRINUSE) if !is_socket(path) => {
            return Err(io::Error::other("something that is not a socket is there"));
        }
        Err(Errno::ADDRINUSE) if is_abandoned(&address) => {
            fs::remove_file(path)?;
            bind_with_mode(&fd, &address, mode)?;
        }
        result => result?,
    }
    let given = if permissions.owner.is_some() || permissions.group.is_some() {
        give(path, permissions)
    } else {
        Ok(())
    };
    let listens = given.and_then(|()| Ok(rustix::net::listen(&fd, BACKLOG)?));
    if listens.is_err() {
        remove(path);
    }
    listens.map(|()| fd)
}

/// Removes the socket at a path, and nothing else that others have put there.
pub(super) fn remove(path: &Path) {
    if is_socket(path) {
        // It fails where the path has gone already, which is as well.
        let _ = fs::remove_file(path);
    }
}

/// Binds a unix socket so that its file has a mode from the beginning.
///
/// bind(2) gives the file the mode of the descriptor, less the umask. The umask is
/// the whole process's: files that other threads create in these microseconds need
/// a mode of their own. One thread at a time does this here, the one that starts the
/// program and then the relay's. Were there two at once, a file could still get no
/// more than its mode.
fn bind_with_mode(fd: &OwnedFd, address: &SocketAddrUnix, mode: Mode) -> Result<(), Errno> {
    fchmod(fd, mode)?;
    let before = umask(Mode::empty());
    let bound = bind(fd, address);
    umask(before);
    bound
}

/// Gives the file of our socket, on which nothing listens yet, to a user and a
/// group. What others may have put in its place stays theirs: a link, a file, or a
/// socket that cannot be ours.
fn give(path: &Path, permissions: &Permissions) -> io::Result<()> {
    // The descriptor stands for the file, whatever happens to the path.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = open(path, flags, Mode::empty())?;
    let found = fstat(&file)?;
    let is_ours = FileType::from_raw_mode(found.st_mode) == FileType::Socket
        && found.st_uid == geteuid().as_raw()
        && found.st_nlink == 1;
    if !is_ours {
        return Err(io::Error::other(
            "another process has put something else in the place of the socket",
        ));
    }
    let owner = permissions.owner.map(Uid::from_raw);
    let group = permissions.group.map(Gid::from_raw);
    Ok(chownat(&file, "", owner, group, AtFlags::EMPTY_PATH)?)
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

fn is_abandoned(address: &SocketAddrUnix) -> bool {
    let probe = || {
        let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
        connect(&fd, address)
    };
    probe() == Err(Errno::CONNREFUSED)
}

/// A unix listener whose queue holds one connection, and our end of that. No
/// process can add another one: the listener is shut down for reading, so the
/// kernel refuses to connect to it, hands out what is queued, and answers further
/// accepts with EINVAL. The listener blocks, our end does not.
pub fn listener_of_one() -> io::Result<(UnixListener, UnixStream)> {
    for _ in 0..NAME_TRIES {
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        let name = format!("sessiond-{:032x}", u128::from_be_bytes(random));
        let address = SocketAddrUnix::new_abstract_name(name.as_bytes())?;
        let flags = SocketFlags::CLOEXEC;
        let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        bind(&listener, &address)?;
        // A backlog of 0 is a queue of one connection.
        rustix::net::listen(&listener, 0)?;
        if let Some(stream) = only_connection(&listener, &address)? {
            return Ok((listener.into(), stream.into()));
        }
    }
    Err(io::Error::other(
        "other processes connect to each abstract unix socket before we can",
    ))
}

/// How many names are tried. A name is unknown until it is bound, so that another
/// process has some microseconds to connect to it first.
const NAME_TRIES: u32 = 1000;

/// Connects to a listener with a queue of one, and closes it to others. `None`
/// where the queue was full, and so holds the connection of another process.
fn only_connection(listener: &OwnedFd, address: &SocketAddrUnix) -> Result<Option<OwnedFd>, Errno> {
    let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
    match connect(&stream, address) {
        Err(Errno::AGAIN) => return Ok(None),
        result => result?,
    }
    shutdown(listener, Shutdown::Both)?;
    Ok(Some(stream))
}

#[cfg(test)]
mod tests {
    use rustix::net::{getsockname, listen};

    use super::super::{read, write};
    use super::*;

    #[test]
    fn a_listener_of_one_has_our_connection_and_refuses_others() {
        let (listener, ours) = listener_of_one().unwrap();
        let address = SocketAddrUnix::try_from(getsockname(&listener).unwrap()).unwrap();
        let other = || {
            let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
            connect(&fd, &address)
        };
        assert_eq!(other(), Err(Errno::CONNREFUSED));
        let (accepted, _) = listener.accept().unwrap();
        write(&ours, b"x").unwrap();
        assert_eq!(read(&accepted, &mut [0]), Ok(1));
        assert_eq!(other(), Err(Errno::CONNREFUSED));
        let end = listener.accept().unwrap_err();
        assert_eq!(Errno::from_io_error(&end), Some(Errno::INVAL));
    }

    #[test]
    fn a_listener_that_another_process_has_connected_to_is_not_used() {
        let address = SocketAddrUnix::new_abstract_name(b"sessiond-test-of-a-full-queue").unwrap();
        let stream = |flags| socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
        let listener = stream(SocketFlags::CLOEXEC).unwrap();
        bind(&listener, &address).unwrap();
        listen(&listener, 0).unwrap();
        let others = stream(FLAGS).unwrap();
        connect(&others, &address).unwrap();
        assert!(only_connection(&listener, &address).unwrap().is_none());
        // Not even one that is closed meanwhile.
        drop(others);
        assert!(only_connection(&listener, &address).unwrap().is_none());
    }
}
