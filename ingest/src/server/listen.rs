//! Binding: one TCP listener a lane on one port, one Unix listener for all.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use super::error::ServeError;
use crate::io::Listener;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// What a service listens on; the Unix socket's file goes with it.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) tcp: Option<SocketAddr>,
    pub(super) unix: Option<PathBuf>,
    /// One list a lane.
    lanes: Vec<Vec<Listener>>,
}

impl Listeners {
    pub(super) fn bind(tcp: Option<&str>, unix: Option<&Path>, lanes: usize) -> Result<Self, ServeError> {
        let mut all = Self { tcp: None, unix: None, lanes: (0..lanes).map(|_| Vec::new()).collect() };
        if let Some(address) = tcp {
            let listeners = bind_tcp(address, lanes)?;
            all.tcp = listeners.first().and_then(|listener| listener.local_addr().ok());
            all.lanes.iter_mut().zip(listeners).for_each(|(lane, listener)| lane.push(Listener::Tcp(listener)));
        }
        if let Some(path) = unix {
            let listener = bind_unix(path)?;
            all.unix = Some(path.to_owned());
            for lane in &mut all.lanes {
                let share = listener
                    .try_clone()
                    .map_err(|error| ServeError::io("--unix", &error, "raise the descriptor limit"))?;
                lane.push(Listener::Unix(share));
            }
        }
        Ok(all)
    }

    /// Each lane's listeners, once.
    pub(super) fn take_lanes(&mut self) -> Vec<Vec<Listener>> {
        std::mem::take(&mut self.lanes)
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        if let Some(path) = &self.unix {
            // It may be gone already.
            let _gone = std::fs::remove_file(path);
        }
    }
}

fn bind_tcp(address: &str, lanes: usize) -> Result<Vec<TcpListener>, ServeError> {
    let resolved = address.to_socket_addrs().ok().and_then(|mut found| found.next());
    let Some(wish) = resolved else {
        return Err(ServeError::Option(format!(
            "--listen {address}: no such address; say HOST:PORT, 127.0.0.1:9900 for one"
        )));
    };
    // SO_REUSEPORT would let a second service take half of the connections without an error: a plain bind tells first.
    let probe = TcpListener::bind(wish).map_err(|error| {
        ServeError::io(format_args!("--listen {address}"), &error, "choose another port, or stop who has it")
    })?;
    let failed = |error: io::Error| ServeError::io(format_args!("--listen {address}"), &error, "choose another port");
    let taken = probe.local_addr().map_err(failed)?;
    if lanes == 1 {
        probe.set_nonblocking(true).map_err(failed)?;
        return Ok(vec![probe]);
    }
    drop(probe);
    (0..lanes).map(|_| bind_shared(taken).map_err(failed)).collect()
}

/// One of several listeners on a port: the kernel spreads connections over them.
fn bind_shared(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

fn bind_unix(path: &Path) -> Result<UnixListener, ServeError> {
    let shown = path.display();
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(ServeError::Refused(format!(
                "--unix {shown}: there is a file that isn't a socket; choose another path"
            )));
        }
        if UnixStream::connect(path).is_ok() {
            return Err(ServeError::Refused(format!(
                "--unix {shown}: another service listens there; choose another path, or stop it"
            )));
        }
        // Nobody answers: it was left by a service that was killed.
        std::fs::remove_file(path)
            .map_err(|error| ServeError::io(format_args!("--unix {shown}: a stale socket"), &error, "remove it"))?;
    }
    let listener = UnixListener::bind(path)
        .map_err(|error| ServeError::io(format_args!("--unix {shown}"), &error, "choose a path that can be written"))?;
    listener
        .set_nonblocking(true)
        .map_err(|error| ServeError::io(format_args!("--unix {shown}"), &error, "choose another path"))?;
    Ok(listener)
}
