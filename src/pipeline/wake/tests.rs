//! The clock's part of sleeping, which loom doesn't model: the second look once a second.

use std::cell::Cell;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::{ASLEEP, Barrier, Party};

/// Sleeps on a party that `wake` is given once the sleeper has seen work by the clock alone.
fn sleep_past_the_clock(wake: impl Fn(&Arc<Party>)) -> bool {
    let (party, looks) = (Arc::new(Party::thread()), Cell::new(0));
    party.sleep(Barrier::choose(), ASLEEP, || {
        looks.set(looks.get() + 1);
        // The first look comes before the sleep, the second after a second.
        if looks.get() == 2 {
            wake(&party);
        }
        looks.get() > 1
    })
}

#[test]
fn a_wake_up_that_is_on_the_way_is_not_lost() {
    let woken = sleep_past_the_clock(|party| {
        let party = Arc::clone(party);
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            party.wake_if(ASLEEP);
        });
    });
    assert!(woken);
}

#[test]
fn a_wake_up_that_never_comes_is_lost() {
    assert!(!sleep_past_the_clock(|_| ()));
}
