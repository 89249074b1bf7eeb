//! Sends a range of a file to a socket by the kernel alone: from the page cache, without a copy
//! into this process.
//!
//! The standard library's `io::copy` reads and writes 8 KiB at a time here, because a change of the
//! file would change bytes that are on their way. The bench's files don't change.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::net::TcpStream;
use std::ops::Range;
use std::os::fd::AsRawFd;

/// Sends all of the range, or fails.
pub fn send(file: &File, bytes: Range<u64>, socket: &TcpStream) -> io::Result<()> {
    let end = bytes.end.min(i64::MAX.unsigned_abs());
    let mut at = bytes.start.min(end).cast_signed();
    while at.unsigned_abs() < end {
        let left = usize::try_from(end - at.unsigned_abs()).unwrap_or(usize::MAX);
        // SAFETY: I143. Both descriptors are open while they are borrowed, and the position is a
        // local of this function.
        let sent =
            unsafe { libc::sendfile(socket.as_raw_fd(), file.as_raw_fd(), &raw mut at, left) };
        match sent {
            0 => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the file became shorter",
                ));
            }
            1.. => {}
            _ => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::{env, fs, process, thread};

    #[test]
    fn the_range_arrives_and_a_file_that_ends_before_is_an_error() {
        let path = env::temp_dir().join(format!("slipring-sendfile-{}", process::id()));
        let content: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
        File::create(&path).unwrap().write_all(&content).unwrap();
        let (file, listener) =
            (File::open(&path).unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        fs::remove_file(&path).unwrap();
        let address = listener.local_addr().unwrap();
        let reader = thread::spawn(move || {
            let mut got = Vec::new();
            TcpStream::connect(address).unwrap().read_to_end(&mut got).unwrap();
            got
        });
        let (socket, _) = listener.accept().unwrap();
        send(&file, 7..7, &socket).unwrap();
        send(&file, 7..2_900_000, &socket).unwrap();
        let error = send(&file, 2_999_999..3_000_001, &socket).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        drop(socket);
        let got = reader.join().unwrap();
        assert!(
            got[..2_899_993] == content[7..2_900_000] && got[2_899_993..] == content[2_999_999..]
        );
    }
}
