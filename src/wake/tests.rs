//! The clock's part of sleeping, which loom doesn't model: the second look once a second, and the end of a time. And what is kept of a task.

use std::cell::Cell;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::{ASLEEP, Barrier, Sleeper, Slept};

/// Sleeps on a sleeper that `wake` is given once it has seen work by the clock alone.
fn sleep_past_the_clock(wake: impl Fn(&Arc<Sleeper>)) -> Slept {
    let (sleeper, looks) = (Arc::new(Sleeper::new()), Cell::new(0));
    sleeper.sleep(Barrier::choose(), ASLEEP, None, || {
        looks.set(looks.get() + 1);
        // The first look comes before the sleep, the second after a second.
        if looks.get() == 2 {
            wake(&sleeper);
        }
        looks.get() > 1
    })
}

#[test]
fn a_wake_up_that_is_on_the_way_is_not_lost() {
    let slept = sleep_past_the_clock(|sleeper| {
        let sleeper = Arc::clone(sleeper);
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            sleeper.wake_if(ASLEEP);
        });
    });
    assert_eq!(slept, Slept::Woken);
}

#[test]
fn a_wake_up_that_never_comes_is_lost() {
    assert_eq!(sleep_past_the_clock(|_| ()), Slept::Lost);
}

#[test]
fn a_time_ends_and_leaves_nobody_asleep() {
    let sleeper = Sleeper::new();
    let until = Instant::now() + Duration::from_millis(5);
    assert_eq!(sleeper.sleep(Barrier::choose(), ASLEEP, Some(until), || false), Slept::TimedOut);
    assert!(Instant::now() >= until && !sleeper.word.is_asleep());
}

struct Task;

impl Wake for Task {
    fn wake(self: Arc<Self>) {}
}

/// A waker keeps its task alive: one that isn't waited for any more must not.
#[test]
fn nothing_is_kept_of_a_task_that_was_woken_or_forgotten() {
    let (sleeper, task) = (Sleeper::new(), Arc::new(Task));
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
    let sleeper = Sleeper::new();
    sleeper.word.leave(Barrier::choose());
    sleeper.wake();
    assert!(sleeper.word.is_gone() && !sleeper.word.is_asleep() && sleeper.word.is_at_least(ASLEEP));
}
