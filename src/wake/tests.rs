//! What loom doesn't model of sleeping: the looks once per second, and timeouts. Also, which
//! handles to a task remain.

use std::cell::Cell;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use super::{ASLEEP, Barrier, NAP, Registration, Sleeper, Slept, TASK_NAP, WakeHandle};
use crate::process::ForkLock;
use crate::sync::{AtomicU32, Ordering, current_thread};

/// Sleeps on a sleeper for work that is seen by the clock alone; `wake` gets the sleeper and the
/// number of each look.
fn sleep_past_the_clock(wake: impl Fn(&Sleeper, u32)) -> Slept {
    let (sleeper, looks) = (Sleeper::new(), Cell::new(0));
    sleeper.sleep(Barrier::choose(), ASLEEP, None, || {
        looks.set(looks.get() + 1);
        wake(&sleeper, looks.get());
        // The first look comes before the sleep, and each other one a second after the one before.
        looks.get() > 1
    })
}

/// The waker stored its work before the second look, and clears the word just before the third look
/// returns.
#[test]
fn a_wake_up_that_is_on_the_way_is_not_lost() {
    let slept = sleep_past_the_clock(|sleeper, look| {
        if look == 3 {
            sleeper.wake_if(ASLEEP);
        }
    });
    assert_eq!(slept, Slept::Woken);
}

#[test]
fn a_wake_up_that_never_comes_is_lost() {
    assert_eq!(sleep_past_the_clock(|_, _| ()), Slept::Lost);
}

#[test]
fn a_timeout_leaves_the_word_clear() {
    let sleeper = Sleeper::new();
    let until = Instant::now() + Duration::from_millis(5);
    assert_eq!(sleeper.sleep(Barrier::choose(), ASLEEP, Some(until), || false), Slept::TimedOut);
    assert!(Instant::now() >= until && !sleeper.word.is_asleep());
}

/// Without the barrier a wake-up isn't certain. Here there is none at all.
#[test]
fn a_thread_whose_barrier_is_refused_naps_and_looks_again() {
    let (sleeper, looks) = (Sleeper::new(), Cell::new(0));
    let look = |enough: u32| {
        looks.set(looks.get() + 1);
        looks.get() >= enough
    };
    assert_eq!(sleeper.sleep(Barrier::Refused, ASLEEP, None, || look(4)), Slept::Woken);
    assert_eq!((looks.replace(0), sleeper.word.is_asleep()), (4, false));
    let (start, time) = (Instant::now(), 20 * NAP);
    assert_eq!(
        sleeper.sleep(Barrier::Refused, ASLEEP, Some(start + time), || look(u32::MAX)),
        Slept::TimedOut
    );
    assert!(start.elapsed() >= time && !sleeper.word.is_asleep());
    // One look before the sleep, and one at the end of each nap.
    let naps = start.elapsed().as_micros() / NAP.as_micros();
    assert!(u128::from(looks.get()) <= naps + 3, "{} looks in {naps} ms", looks.get());
}

/// Counts its wake-ups.
#[derive(Default)]
struct Task(AtomicU32);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_task_whose_barrier_is_refused_naps_and_wakes_itself() {
    let (sleeper, task) = (Sleeper::new(), Arc::new(Task::default()));
    let waker = Waker::from(Arc::clone(&task));
    let context = Context::from_waker(&waker);
    for polls in 1..=3 {
        let start = Instant::now();
        assert!(sleeper.poll(Barrier::Refused, ASLEEP, &context, || false), "it has to wait");
        assert!(start.elapsed() >= TASK_NAP, "it would be polled over and over");
        assert_eq!(task.0.load(Ordering::Relaxed), polls);
    }
    // Work that comes in the nap.
    let looks = Cell::new(0);
    let is_second = || looks.replace(looks.get() + 1) == 1;
    assert!(!sleeper.poll(Barrier::Refused, ASLEEP, &context, is_second), "it has something to do");
    assert_eq!((Arc::strong_count(&task), sleeper.word.is_asleep()), (2, false));
}

/// A waker keeps its task alive, so the waker of a task that no longer waits must be dropped.
#[test]
fn nothing_is_kept_of_a_task_that_was_woken_or_forgotten() {
    let (sleeper, task) = (Sleeper::new(), Arc::new(Task::default()));
    let waker = Waker::from(Arc::clone(&task));
    let context = Context::from_waker(&waker);
    for end in [Sleeper::wake, Sleeper::forget] {
        assert!(sleeper.poll(Barrier::choose(), ASLEEP, &context, || false), "it has to wait");
        assert_eq!((Arc::strong_count(&task), sleeper.word.is_asleep()), (3, true));
        end(&sleeper);
        assert_eq!((Arc::strong_count(&task), sleeper.word.is_asleep()), (2, false));
    }
}

#[test]
fn a_word_that_was_left_stays_left() {
    for barrier in [Barrier::choose(), Barrier::Refused] {
        let sleeper = Sleeper::new();
        sleeper.word.leave(barrier);
        sleeper.wake();
        assert!(
            sleeper.word.is_gone() && !sleeper.word.is_asleep() && sleeper.word.is_at_least(ASLEEP)
        );
    }
}

/// As in a child that was forked while a thread, which the child doesn't have, was inside.
#[test]
fn a_forked_child_does_not_wait_for_a_registering_thread() {
    let registration = Registration(ForkLock::forked(None));
    registration.set(Some(WakeHandle::Thread(current_thread())));
    let inside = registration.0.lock().expect("no thread is inside");
    registration.set(None);
    registration.wake();
    assert!(registration.0.lock().is_none() && inside.is_some());
    drop(inside);
    assert!(registration.0.lock().is_some(), "a thread of the child's own lets go of it");
}
