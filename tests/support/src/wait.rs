//! Waiting with a limit: a hang is a failed test that says where, not a test run that never ends.

use std::fmt::Debug;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// The longest wait of a test, in place of `seconds`. `scripts/twins`, whose hangs are on purpose,
/// sets `SLIPRING_HURRY`: then it is a sixth, and at least 5 seconds.
pub const fn patience(seconds: u64) -> Duration {
    let hurried = if seconds < 30 { 5 } else { seconds / 6 };
    Duration::from_secs(if option_env!("SLIPRING_HURRY").is_some() { hurried } else { seconds })
}

/// Waits until `ready` returns true, and fails after half a minute.
#[track_caller]
pub fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let patience = patience(30);
    let until = Instant::now() + patience;
    while !ready() {
        assert!(Instant::now() < until, "{what}: not within {patience:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Runs `test` on a thread of its own and fails if it hasn't returned in time.
pub fn within(patience: Duration, test: impl FnOnce() + Send + 'static) {
    let (done, wait) = channel();
    let thread = thread::spawn(move || {
        test();
        let _gone = done.send(());
    });
    match wait.recv_timeout(patience) {
        Err(RecvTimeoutError::Timeout) => panic!("hangs: not over after {patience:?}"),
        // It returned, or panicked and dropped its sender.
        Ok(()) | Err(RecvTimeoutError::Disconnected) => {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls a future on this thread until it is ready, and parks the thread in between.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

/// A watchdog over a long run: without progress for a minute it prints the last snapshot of the run
/// and aborts the process.
pub struct Watch<S> {
    steps: AtomicU64,
    is_over: AtomicBool,
    snapshot: Mutex<Option<S>>,
}

impl<S: Debug + Send + 'static> Watch<S> {
    /// Starts the watchdog. `name` is the name of the run.
    pub fn start(name: String) -> (Arc<Self>, JoinHandle<()>) {
        let (steps, is_over, snapshot) =
            (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(None));
        let watch = Arc::new(Self { steps, is_over, snapshot });
        let dog = Arc::clone(&watch);
        (watch, thread::spawn(move || dog.guard(&name)))
    }

    /// Reports progress.
    pub fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// Replaces the snapshot.
    pub fn saw(&self, snapshot: S) {
        *self.snapshot.lock().expect("no thread panics while it holds the lock") = Some(snapshot);
    }

    /// Ends the watchdog; the run is over.
    pub fn end(&self, dog: JoinHandle<()>) {
        self.is_over.store(true, Ordering::Relaxed);
        dog.thread().unpark();
        dog.join().expect("the watchdog ends");
    }

    fn guard(&self, name: &str) {
        let (mut steps, mut since) = (0, Instant::now());
        while !self.is_over.load(Ordering::Relaxed) {
            thread::park_timeout(Duration::from_secs(1));
            let now = self.steps.load(Ordering::Relaxed);
            if now != steps {
                (steps, since) = (now, Instant::now());
            } else if since.elapsed() > patience(60) {
                let snapshot = self.snapshot.lock();
                eprintln!("{name} hangs after {steps} steps; its last snapshot: {snapshot:#?}");
                std::process::abort();
            }
        }
    }
}
