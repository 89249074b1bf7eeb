//! Binding: one TCP listener per lane, all on one port, and one Unix listener for all lanes.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
    sockopt,
};

use super::options::{KEEPALIVE_LEAST, ServeError};
use crate::client::check_socket_path;
use crate::io::Listener;

/// The most connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// The listeners of a service. Dropping it removes the Unix socket's file.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) tcp: Option<SocketAddr>,
    pub(super) unix: Option<PathBuf>,
    /// The identity of the Unix socket's file: device and inode.
    unix_file: Option<(u64, u64)>,
    /// One list per lane.
    lanes: Vec<Vec<Listener>>,
}

impl Listeners {
    pub(super) fn bind(
        tcp: Option<&str>,
        unix: Option<&Path>,
        lanes: usize,
        keepalive: Duration,
    ) -> Result<Self, ServeError> {
        let mut all = Self {
            tcp: None,
            unix: None,
            unix_file: None,
            lanes: (0..lanes).map(|_| Vec::new()).collect(),
        };
        if let Some(address) = tcp {
            let listeners = bind_tcp(address, lanes)?;
            for listener in &listeners {
                probe_silent_clients(listener, keepalive)
                    .map_err(|error| ServeError::io("--keepalive", &error, "say --keepalive 0s"))?;
            }
            all.tcp = listeners.first().and_then(|listener| listener.local_addr().ok());
            all.lanes
                .iter_mut()
                .zip(listeners)
                .for_each(|(lane, listener)| lane.push(Listener::Tcp(listener)));
        }
        if let Some(path) = unix {
            let listener = bind_unix(path)?;
            (all.unix, all.unix_file) = (Some(path.to_owned()), file_of(path));
            for lane in &mut all.lanes {
                let share = listener.try_clone().map_err(|error| {
                    ServeError::io("--unix", &error, "raise the descriptor limit")
                })?;
                lane.push(Listener::Unix(share));
            }
        }
        Ok(all)
    }

    /// The listeners of each lane. A second call returns nothing.
    pub(super) fn take_lanes(&mut self) -> Vec<Vec<Listener>> {
        std::mem::take(&mut self.lanes)
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        // The file may already be gone, or belong to another service.
        if let Some(path) = self
            .unix
            .as_ref()
            .filter(|path| self.unix_file.is_some() && file_of(path) == self.unix_file)
        {
            let _gone = std::fs::remove_file(path);
        }
    }
}

/// The address that HOST:PORT names.
///
/// # Errors
/// What is wrong with the text, and what it should be.
pub(super) fn resolve(address: &str) -> Result<SocketAddr, String> {
    const FORM: &str = "say HOST:PORT, like 127.0.0.1:9900 or [::1]:9900";
    let Some((_, port)) = address.rsplit_once(':') else {
        return Err(format!("it has no colon; {FORM}"));
    };
    if port.parse::<u16>().is_err() {
        return Err(format!("its port is {port:?}, and must be from 0 to 65535; {FORM}"));
    }
    let found = address.to_socket_addrs().ok().and_then(|mut found| found.next());
    found.ok_or_else(|| format!("this machine finds no such host; {FORM}"))
}

fn bind_tcp(address: &str, lanes: usize) -> Result<Vec<TcpListener>, ServeError> {
    let asked =
        resolve(address).map_err(|why| ServeError::Option(format!("--listen {address}: {why}")))?;
    // With SO_REUSEPORT a second service could share the port without an error and get half of the
    // connections. A bind without it fails if the port is in use.
    let failed = |error: io::Error| {
        ServeError::io(format_args!("--listen {address}"), &error, bind_fix(&error))
    };
    let probe = TcpListener::bind(asked).map_err(failed)?;
    let bound = probe.local_addr().map_err(failed)?;
    if lanes == 1 {
        probe.set_nonblocking(true).map_err(failed)?;
        // The standard library lets only 128 connections wait.
        listen(&probe, BACKLOG).map_err(|error| failed(error.into()))?;
        return Ok(vec![probe]);
    }
    drop(probe);
    (0..lanes).map(|_| bind_shared(bound).map_err(failed)).collect()
}

/// What to do about an address that can't be bound.
pub(super) fn bind_fix(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "choose another port, or stop the process that has it",
        io::ErrorKind::AddrNotAvailable => {
            "it isn't an address of this machine (`ip address` lists them); 0.0.0.0 is all of them"
        }
        io::ErrorKind::PermissionDenied => {
            "choose a port from 1024 on, or grant CAP_NET_BIND_SERVICE"
        }
        _ if matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE)) => {
            "raise the limit of descriptors (ulimit -n)"
        }
        _ => "choose another address",
    }
}

/// Connections inherit this from their listener: after `keepalive` of silence they are probed, and
/// end when four probes in a row find nobody. Zero: they aren't.
fn probe_silent_clients(listener: &TcpListener, keepalive: Duration) -> io::Result<()> {
    // A quarter of what the kernel accepts may be less than that.
    let seconds = |time: Duration| Duration::from_secs(time.as_secs()).max(KEEPALIVE_LEAST);
    if !keepalive.is_zero() {
        sockopt::set_socket_keepalive(listener, true)?;
        sockopt::set_tcp_keepidle(listener, seconds(keepalive))?;
        sockopt::set_tcp_keepintvl(listener, seconds(keepalive / 4))?;
        sockopt::set_tcp_keepcnt(listener, 4)?;
    }
    Ok(())
}

/// One of several listeners on the same port. The kernel distributes connections over them.
fn bind_shared(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(
        family,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

fn bind_unix(path: &Path) -> Result<UnixListener, ServeError> {
    let shown = path.display();
    check_socket_path(path)
        .map_err(|error| ServeError::Option(format!("--unix {shown}: {error}")))?;
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(ServeError::Refused(format!(
                "--unix {shown}: there is a file that isn't a socket; choose another path"
            )));
        }
        match try_connect(path) {
            // The socket of a service that was killed.
            Err(Errno::CONNREFUSED) => std::fs::remove_file(path).map_err(|error| {
                ServeError::io(format_args!("--unix {shown}: a stale socket"), &error, "remove it")
            })?,
            Err(Errno::NOENT) => {}
            // EAGAIN: too many connections already wait there.
            Ok(()) | Err(Errno::AGAIN) => {
                return Err(ServeError::Refused(format!(
                    "--unix {shown}: another service listens there; choose another path, or stop it"
                )));
            }
            Err(error) => {
                let what = format_args!(
                    "--unix {shown}: there is a socket, and it can't be found out whether a \
                    service listens there"
                );
                return Err(ServeError::io(
                    what,
                    &error.into(),
                    "choose another path, or remove it",
                ));
            }
        }
    }
    let listener = UnixListener::bind(path).map_err(|error| {
        ServeError::io(format_args!("--unix {shown}"), &error, "choose a path that can be written")
    })?;
    listener.set_nonblocking(true).and_then(|()| Ok(listen(&listener, BACKLOG)?)).map_err(
        |error| ServeError::io(format_args!("--unix {shown}"), &error, "choose another path"),
    )?;
    Ok(listener)
}

/// Finds out whether a service listens on a Unix socket. Never waits, even if that service hangs.
fn try_connect(path: &Path) -> Result<(), Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)
}

/// The identity of a file: device and inode.
fn file_of(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}
