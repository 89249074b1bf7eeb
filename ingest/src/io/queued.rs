//! What a socket has accepted and its client's system hasn't: the one call for which no library has
//! a safe function.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd};

/// Bytes that a socket holds for its client: on TCP those that the client's system hasn't
/// acknowledged, and 1 for an end; on a Unix socket about those that the client hasn't read. 0 if
/// the connection is gone.
pub(super) fn queued_bytes(socket: impl AsFd) -> usize {
    let mut bytes: libc::c_int = 0;
    let descriptor = socket.as_fd().as_raw_fd();
    // SAFETY: I60. The descriptor is borrowed, and `bytes` is the integer that the call writes.
    let result = unsafe { libc::ioctl(descriptor, libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { usize::try_from(bytes).unwrap_or(0) } else { 0 }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_was_read_is_not_queued() {
        let (mut ours, mut client) = UnixStream::pair().unwrap();
        assert_eq!(queued_bytes(&ours), 0);
        ours.write_all(&[0; 1000]).unwrap();
        assert!(queued_bytes(&ours) >= 1000);
        client.read_exact(&mut [0; 1000]).unwrap();
        assert_eq!(queued_bytes(&ours), 0);
    }
}
