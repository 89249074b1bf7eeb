//! Signals: those that would end a process end a command in order, and SIGXFSZ doesn't. SIGPIPE is
//! ignored by the Rust runtime. What reports a fault is left alone (SIGSEGV, SIGBUS, SIGILL,
//! SIGFPE, SIGABRT, SIGTRAP, SIGSYS), and so are the two below [`libc::SIGRTMIN`] that the C
//! library keeps for itself.
#![forbid(unsafe_code)]

use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use libc::{
    SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGPWR, SIGQUIT, SIGRTMAX, SIGRTMIN, SIGSTKFLT,
    SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ,
};
use signal_hook::flag;
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

/// Every signal that ends a process by default, can be caught, and reports no fault; besides the
/// real-time signals.
const ENDING: [i32; 13] = [
    SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGXCPU,
    SIGPWR, SIGSTKFLT,
];

/// Those that somebody means for this process, whatever the program that started it ignores: a
/// shell ignores SIGINT and SIGQUIT for what it starts in the background.
const MEANT: [i32; 3] = [SIGTERM, SIGINT, SIGQUIT];

/// Those that the kernel sends again and again: beyond a limit of CPU time, and when a timer runs
/// out. Their second one means no more than the first.
const REPEATED: [i32; 4] = [SIGXCPU, SIGALRM, SIGVTALRM, SIGPROF];

/// The signals of [`ENDING`] and the real-time signals, without those that stay ignored.
fn ending() -> Vec<i32> {
    let ignored = ignored();
    let is_left = |signal: &i32| !MEANT.contains(signal) && ignored & (1 << (signal - 1)) != 0;
    ENDING.into_iter().chain(SIGRTMIN()..=SIGRTMAX()).filter(|signal| !is_left(signal)).collect()
}

/// The signals that this process ignores, one bit each; none where that can't be read.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// What the signals do that end a command. The order makes sure that none is lost: a signal sets
/// `came` as soon as it no longer ends the process by default, and everything else comes after.
#[derive(Debug)]
struct EndSignals {
    signals: Vec<i32>,
    came: Arc<AtomicBool>,
}

impl EndSignals {
    /// The first of the signals sets `came`. A second one ends the process immediately with this
    /// exit code. `registered` is called after each step with the signal that it was for.
    fn register(exit_code: i32, mut registered: impl FnMut(i32)) -> io::Result<EndSignals> {
        let (mut signals, came) = (ending(), Arc::new(AtomicBool::new(false)));
        let mut refused = Ok(());
        signals.retain(|signal| match flag::register(*signal, Arc::clone(&came)) {
            Ok(_) => {
                registered(*signal);
                true
            }
            // What runs this process keeps the signal for itself, as valgrind does with one.
            Err(error) if *signal >= SIGRTMIN() && error.kind() == ErrorKind::InvalidInput => false,
            Err(error) => {
                refused = Err(error);
                false
            }
        });
        refused?;
        let is_second = Arc::new(AtomicBool::new(false));
        for signal in &signals {
            if !REPEATED.contains(signal) {
                let second = Arc::clone(&is_second);
                flag::register_conditional_shutdown(*signal, exit_code, second)?;
                registered(*signal);
            }
            flag::register(*signal, Arc::clone(&is_second))?;
            registered(*signal);
        }
        // One that came before the last loop had reached it.
        if came.load(Ordering::SeqCst) {
            is_second.store(true, Ordering::SeqCst);
        }
        Ok(EndSignals { signals, came })
    }
}

/// A flag that the first of these signals sets. A second one ends the process immediately with
/// this exit code.
pub(crate) fn flag_on_signals(exit_code: i32) -> io::Result<Arc<AtomicBool>> {
    Ok(EndSignals::register(exit_code, drop)?.came)
}

/// A thread's wait for a signal that ends the process.
#[derive(Debug)]
pub(crate) struct SignalWait {
    /// Set by a signal that came before it could write to the pipe.
    came: Arc<AtomicBool>,
    delivery: SignalDelivery<UnixStream, SignalOnly>,
    sender: UnixStream,
}

impl SignalWait {
    /// The first signal ends the wait, also if it comes before the wait begins. A second one ends
    /// the process immediately with this exit code.
    pub(crate) fn new(exit_code: i32) -> io::Result<SignalWait> {
        SignalWait::register(exit_code, drop)
    }

    fn register(exit_code: i32, mut registered: impl FnMut(i32)) -> io::Result<SignalWait> {
        let (receiver, sender) = UnixStream::pair()?;
        let EndSignals { signals, came } = EndSignals::register(exit_code, &mut registered)?;
        // One pair of descriptors for all signals.
        let (to, all) = (sender.try_clone()?, signals.iter());
        let delivery = SignalDelivery::with_pipe(receiver, to, SignalOnly, all)?;
        signals.into_iter().for_each(registered);
        Ok(SignalWait { came, delivery, sender })
    }

    /// A stream that ends the wait, as a signal does, when a byte is written to it.
    pub(crate) fn sender(&self) -> io::Result<UnixStream> {
        self.sender.try_clone()
    }

    /// Blocks until a signal comes.
    pub(crate) fn wait(mut self) {
        let interrupted = |error: io::Error| error.kind() == ErrorKind::Interrupted;
        while !self.came.load(Ordering::SeqCst)
            && self.delivery.get_read_mut().read(&mut [0]).is_err_and(interrupted)
        {}
    }
}

/// Handles the signal that would kill the process when a file reaches the size limit. Writing then
/// fails with an error, which can be reported or waited on.
pub(crate) fn survive_file_limits() -> io::Result<()> {
    flag::register(SIGXFSZ, Arc::default()).map(drop)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    use signal_hook::low_level::raise;

    use super::*;

    const AT: &str = "SLIPRING_TEST_SIGNAL_AT";
    /// Exit codes of the child: the wait went on; a second signal changed nothing; all steps are
    /// over.
    const LOST: i32 = 70;
    const SECOND: i32 = 71;
    const OVER: i32 = 72;
    const ENDED: i32 = 73;

    /// Raises a signal after one step of the registration, waits, and raises another one.
    fn child(at: usize) -> ! {
        let (mut step, mut raised) = (0, None);
        let waits = SignalWait::register(ENDED, |signal| {
            if step == at {
                raise(signal).unwrap();
                raised = Some(signal);
            }
            step += 1;
        });
        let waits = waits.unwrap();
        let Some(signal) = raised else { std::process::exit(OVER) };
        let (done, ended) = channel();
        thread::spawn(move || {
            waits.wait();
            done.send(()).unwrap();
        });
        if ended.recv_timeout(Duration::from_secs(5)).is_err() {
            std::process::exit(LOST);
        }
        // The kernel repeats some, which changes nothing.
        if REPEATED.contains(&signal) {
            raise(signal).unwrap();
        }
        raise(SIGTERM).unwrap();
        std::process::exit(SECOND);
    }

    /// Between two steps of the registration a signal can come as at any other time: it must end
    /// the wait, and the next one must count as the second.
    #[test]
    fn a_signal_during_the_registration_is_not_lost() {
        if let Ok(at) = std::env::var(AT) {
            child(at.parse().unwrap());
        }
        for step in 0.. {
            let code = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "signals::tests::a_signal_during_the_registration_is_not_lost"])
                .env(AT, step.to_string())
                .stdout(Stdio::null())
                .status()
                .unwrap()
                .code();
            if code == Some(OVER) {
                assert!(step > 4 * ENDING.len(), "only {step} steps");
                break;
            }
            assert_eq!(code, Some(ENDED), "step {step}");
        }
    }

    #[test]
    fn what_ends_a_process_is_in_the_list() {
        let (named, ignored) = (ending(), ignored());
        for signal in 1..=SIGRTMAX() {
            let ends = match signal {
                libc::SIGKILL | libc::SIGSTOP => false,
                libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE | libc::SIGABRT => false,
                libc::SIGTRAP | libc::SIGSYS => false,
                libc::SIGPIPE | SIGXFSZ => false,
                libc::SIGCHLD | libc::SIGCONT | libc::SIGURG | libc::SIGWINCH => false,
                libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => false,
                _ if (32..SIGRTMIN()).contains(&signal) => false,
                _ => MEANT.contains(&signal) || ignored & (1 << (signal - 1)) == 0,
            };
            assert_eq!(named.contains(&signal), ends, "signal {signal}");
        }
    }
}
