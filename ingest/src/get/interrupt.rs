//! Interruptions: SIGINT and SIGTERM as a cancellation token.

use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use tokio_util::sync::CancellationToken;

/// A token that the first SIGINT or SIGTERM cancels. A second one ends the process at once, with
/// code 130, leaving work unfinished.
///
/// # Errors
/// The system refuses the handler or the thread.
pub fn cancel_on_signals() -> io::Result<CancellationToken> {
    let (mut told, tell) = UnixStream::pair()?;
    let again = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&again))?;
        signal_hook::flag::register(signal, Arc::clone(&again))?;
        signal_hook::low_level::pipe::register(signal, tell.try_clone()?)?;
    }
    let token = CancellationToken::new();
    let cancel = token.clone();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        while told.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::Interrupted) {}
        cancel.cancel();
    })?;
    Ok(token)
}
