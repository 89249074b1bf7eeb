//! Signals: SIGINT and SIGTERM end a command, and SIGXFSZ doesn't.
#![forbid(unsafe_code)]

use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};

/// A flag that the first SIGINT or SIGTERM sets. A second one ends the process immediately with
/// this exit code.
pub(crate) fn flag_on_signals(exit_code: i32) -> io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register_conditional_shutdown(signal, exit_code, Arc::clone(&flag))?;
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

/// A thread's wait for SIGINT or SIGTERM.
#[derive(Debug)]
pub(crate) struct SignalWait {
    receiver: UnixStream,
    sender: UnixStream,
}

impl SignalWait {
    /// The first signal ends the wait. A second one ends the process immediately with this exit
    /// code.
    pub(crate) fn new(exit_code: i32) -> io::Result<SignalWait> {
        let (receiver, sender) = UnixStream::pair()?;
        flag_on_signals(exit_code)?;
        for signal in [SIGTERM, SIGINT] {
            signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
        }
        Ok(SignalWait { receiver, sender })
    }

    /// A stream that ends the wait, as a signal does, when a byte is written to it.
    pub(crate) fn sender(&self) -> io::Result<UnixStream> {
        self.sender.try_clone()
    }

    /// Blocks until a signal comes.
    pub(crate) fn wait(mut self) {
        let interrupted = |error: io::Error| error.kind() == ErrorKind::Interrupted;
        while self.receiver.read(&mut [0]).is_err_and(interrupted) {}
    }
}

/// Handles the signal that would kill the process when a file reaches the size limit. Writing then
/// fails with an error, which can be reported or waited on.
pub(crate) fn survive_file_limits() -> io::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::default()).map(drop)
}
