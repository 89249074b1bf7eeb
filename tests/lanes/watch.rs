//! A watchdog: a run that stands still ends the process with what it last said of itself.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Without progress for so long, a run hangs. scripts/twins, whose hangs are on purpose, waits
/// less.
pub const HANG: Duration =
    Duration::from_secs(if option_env!("SLIPRING_HURRY").is_some() { 5 } else { 60 });

/// What the watchdog looks at.
pub struct Watch<S> {
    steps: AtomicU64,
    is_over: AtomicBool,
    snapshot: Mutex<Option<S>>,
}

impl<S: Debug + Send + 'static> Watch<S> {
    pub fn start(name: String) -> (Arc<Self>, JoinHandle<()>) {
        let (steps, is_over, snapshot) =
            (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(None));
        let watch = Arc::new(Self { steps, is_over, snapshot });
        let dog = Arc::clone(&watch);
        (watch, thread::spawn(move || dog.bark(&name)))
    }

    pub fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// How it stands.
    pub fn saw(&self, snapshot: S) {
        *self.snapshot.lock().expect("nobody panics with it") = Some(snapshot);
    }

    pub fn end(&self, dog: JoinHandle<()>) {
        self.is_over.store(true, Ordering::Relaxed);
        dog.thread().unpark();
        dog.join().expect("the watchdog ends");
    }

    fn bark(&self, name: &str) {
        let (mut steps, mut since) = (0, Instant::now());
        while !self.is_over.load(Ordering::Relaxed) {
            thread::park_timeout(Duration::from_secs(1));
            let now = self.steps.load(Ordering::Relaxed);
            if now != steps {
                (steps, since) = (now, Instant::now());
            } else if since.elapsed() > HANG {
                eprintln!(
                    "{name} hangs after {steps} steps; before, it was {:#?}",
                    self.snapshot.lock()
                );
                std::process::abort();
            }
        }
    }
}
