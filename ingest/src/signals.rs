//! Signals: those that would end a process end a command in order, and SIGXFSZ doesn't. SIGPIPE is
//! ignored by the Rust runtime. What reports a fault is left alone (SIGSEGV, SIGBUS, SIGILL,
//! SIGFPE, SIGABRT, SIGTRAP, SIGSYS), and so are the two below [`libc::SIGRTMIN`] that the C
//! library keeps for itself.
#![forbid(unsafe_code)]

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use libc::{
    SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGPWR, SIGQUIT, SIGRTMAX, SIGRTMIN, SIGSTKFLT,
    SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ,
};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use signal_hook::low_level::{exit, signal_name};

use crate::notice;

/// Signals within this time after the first one are the same wish to end: `timeout` signals its
/// child and then the child's group, systemd may send SIGHUP after SIGTERM, and a terminal that
/// closes sends SIGHUP twice.
const SECOND_AFTER: Duration = Duration::from_secs(1);

/// Every signal that ends a process by default, can be caught, and reports no fault; besides the
/// real-time signals.
const ENDING: [i32; 13] = [
    SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO,
    SIGXCPU, SIGPWR, SIGSTKFLT,
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

/// Asks a service to seal its segments, and ends nothing.
const SEAL: i32 = SIGUSR1;

/// What a signal says to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// End in order.
    End,
    /// Seal the live segments.
    Seal,
}

/// Calls `first` at the first signal that ends a process, on a thread of its own. A second one,
/// later than [`SECOND_AFTER`], ends the process immediately with this exit code.
pub(crate) fn on_end_signal(
    exit_code: i32,
    first: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let mut first = Some(first);
    let on_wish = move |_| first.take().into_iter().for_each(|first| first());
    watch(register(drop)?, exit_code, SECOND_AFTER, None, on_wish)
}

/// As [`on_end_signal`], for a service: SIGUSR1 is a wish to seal, as often as it comes before the
/// end.
pub(crate) fn on_wishes(
    exit_code: i32,
    on_wish: impl FnMut(Wish) + Send + 'static,
) -> io::Result<()> {
    watch(register(drop)?, exit_code, SECOND_AFTER, Some(SEAL), on_wish)
}

/// Registers all of these signals. From its registration on, a signal no longer ends the process
/// and is kept until it is waited for. `registered` is called after each.
fn register(mut registered: impl FnMut(i32)) -> io::Result<Signals> {
    let signals = Signals::new::<_, i32>([])?;
    for signal in ending() {
        match signals.add_signal(signal) {
            Ok(()) => registered(signal),
            // What runs this process keeps the signal for itself, as valgrind does with one.
            Err(error) if signal >= SIGRTMIN() && error.kind() == ErrorKind::InvalidInput => {}
            Err(error) => return Err(error),
        }
    }
    Ok(signals)
}

fn watch(
    mut signals: Signals,
    exit_code: i32,
    second_after: Duration,
    seal: Option<i32>,
    mut on_wish: impl FnMut(Wish) + Send + 'static,
) -> io::Result<()> {
    let watching = move || {
        // A wait may end without a signal.
        let mut has_ended = false;
        while !has_ended {
            for signal in signals.wait() {
                match seal == Some(signal) {
                    true => on_wish(Wish::Seal),
                    false => has_ended = true,
                }
            }
        }
        on_wish(Wish::End);
        thread::sleep(second_after);
        signals.pending().for_each(drop);
        let counts = |signal: &i32| !REPEATED.contains(signal) && seal != Some(*signal);
        if let Some(signal) = signals.forever().find(counts) {
            notice::error(format_args!(
                "a second signal ({}) ends this process immediately: what it had under way is lost",
                signal_name(signal).map_or_else(|| signal.to_string(), str::to_owned)
            ));
            notice::flush();
            exit(exit_code);
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(watching).map(drop)
}

/// Handles the signal that would kill the process when a file reaches the size limit. Writing then
/// fails with an error, which can be reported or waited on.
pub(crate) fn survive_file_limits() -> io::Result<()> {
    flag::register(SIGXFSZ, Arc::default()).map(drop)
}

#[cfg(test)]
mod tests {
    use std::process::{self, Command, Stdio};
    use std::sync::mpsc::channel;

    use signal_hook::low_level::raise;

    use super::*;

    const AT: &str = "SLIPRING_TEST_SIGNAL_AT";
    const PATIENCE: Duration = Duration::from_secs(20);
    /// Exit codes of the child: the first signal was lost, or the second one, or there is no such
    /// step; and that of the second signal.
    const LOST: i32 = 70;
    const SECOND_LOST: i32 = 71;
    const OVER: i32 = 72;
    const ENDED: i32 = 73;

    /// Raises a signal as soon as it is registered, at this step of the registration, and later
    /// another one.
    fn child(at: usize) -> ! {
        let (mut step, mut raised) = (0, false);
        let signals = register(|signal| {
            if step == at {
                raise(signal).unwrap();
                raised = true;
            }
            step += 1;
        });
        if !raised {
            process::exit(OVER);
        }
        let (done, came) = channel();
        let first = move |_| done.send(()).unwrap();
        watch(signals.unwrap(), ENDED, Duration::from_millis(5), None, first).unwrap();
        if came.recv_timeout(PATIENCE).is_err() {
            process::exit(LOST);
        }
        thread::sleep(Duration::from_millis(20));
        // The kernel repeats these, which ends nothing. The other one may come too early.
        REPEATED.into_iter().for_each(|signal| raise(signal).unwrap());
        for _ in 0..PATIENCE.as_millis() / 20 {
            thread::sleep(Duration::from_millis(20));
            raise(SIGTERM).unwrap();
        }
        process::exit(SECOND_LOST);
    }

    /// While the signals are registered, one can come as at any other time: it is the first, and
    /// the next one counts as the second.
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
                .stderr(Stdio::null())
                .status()
                .unwrap()
                .code();
            if code == Some(OVER) {
                assert!(step > ENDING.len(), "only {step} steps");
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
