//! Signals: those that would end a process end a command in order, and SIGXFSZ doesn't. SIGPIPE is
//! ignored by the Rust runtime. What reports a fault (SIGSEGV, SIGABRT and their like) is left
//! alone.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{
    SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM,
    SIGXCPU, SIGXFSZ,
};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

/// Every signal that ends a process by default, can be caught, and reports no fault.
const ENDING: [i32; 11] = [
    SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGXCPU,
];

/// The signals of [`ENDING`]. SIGHUP stays ignored where nohup has ignored it.
fn ending() -> impl Iterator<Item = i32> {
    let ignored = ignored();
    ENDING.into_iter().filter(move |signal| *signal != SIGHUP || ignored & (1 << (SIGHUP - 1)) == 0)
}

/// The signals that this process ignores, one bit each; none where that can't be read.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// A flag that the first of these signals sets. A second one ends the process immediately with
/// this exit code.
pub(crate) fn flag_on_signals(exit_code: i32) -> io::Result<Arc<AtomicBool>> {
    flag_on(ending(), exit_code)
}

fn flag_on(signals: impl Iterator<Item = i32>, exit_code: i32) -> io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in signals {
        signal_hook::flag::register_conditional_shutdown(signal, exit_code, Arc::clone(&flag))?;
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

/// Asks a service to seal its segments.
pub(crate) const SEAL: i32 = SIGUSR1;

/// A thread's wait for a signal that ends the process.
#[derive(Debug)]
pub(crate) struct SignalWait {
    delivery: SignalDelivery<UnixStream, SignalOnly>,
    end: SignalEnd,
    has_signal: Arc<AtomicBool>,
    /// The signal that asks for something and ends nothing.
    asking: Option<i32>,
}

/// Ends a thread's wait as a signal does.
#[derive(Clone, Debug)]
pub(crate) struct SignalEnd {
    sender: Arc<UnixStream>,
    is_over: Arc<AtomicBool>,
}

impl SignalEnd {
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        // A full stream has woken the thread already.
        let _full = (&*self.sender).write(b"x");
    }
}

impl SignalWait {
    /// The first signal ends the wait. A second one ends the process immediately with this exit
    /// code. One signal may ask for something instead, see [`SignalWait::wait`].
    pub(crate) fn new(exit_code: i32, asking: Option<i32>) -> io::Result<SignalWait> {
        let (receiver, sender) = UnixStream::pair()?;
        let has_signal = flag_on(ending().filter(|signal| Some(*signal) != asking), exit_code)?;
        // One pair of descriptors for all signals.
        let to = sender.try_clone()?;
        let delivery = SignalDelivery::with_pipe(receiver, to, SignalOnly, ending())?;
        let end = SignalEnd { sender: Arc::new(sender), is_over: Arc::default() };
        Ok(SignalWait { delivery, end, has_signal, asking })
    }

    /// What ends the wait, as a signal does.
    pub(crate) fn end(&self) -> SignalEnd {
        self.end.clone()
    }

    /// Blocks until a signal ends it. Calls `on_ask` for each that asks for something.
    pub(crate) fn wait(mut self, mut on_ask: impl FnMut()) {
        let is_over = |flags: [&AtomicBool; 2]| flags.iter().any(|f| f.load(Ordering::Acquire));
        while !is_over([&self.end.is_over, &self.has_signal]) {
            // A signal or an end that comes before this read has left a byte.
            let _interrupted = self.delivery.get_read_mut().read(&mut [0]);
            if self.delivery.pending().any(|signal| Some(signal) == self.asking) {
                on_ask();
            }
        }
    }
}

/// Handles the signal that would kill the process when a file reaches the size limit. Writing then
/// fails with an error, which can be reported or waited on.
pub(crate) fn survive_file_limits() -> io::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::default()).map(drop)
}
