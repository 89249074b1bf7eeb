//! What the race tests of lanes share: payloads that tell of themselves, and the loop of an IO
//! thread that sleeps when it is full.

use std::time::{Duration, Instant};

use slipring::pipeline::{Lane, PushRefusal, Refused};
use slipring_test_support::{payload_len, write_payload};

/// A sleep of the IO thread that lasts this long was one without a wake-up: stages never take so
/// long for one event.
const LOST: Duration = Duration::from_secs(50);

/// Reserves, writes and stages the payload of that number, under it: as a slice, or, every third,
/// into its slot at once.
pub fn offer(lane: &mut Lane<u64>, number: u64) -> Result<(), Refused> {
    if number.is_multiple_of(3) {
        let mut claim = lane.claim(payload_len(number))?;
        write_payload(&mut claim, number);
        claim.push(number);
        return Ok(());
    }
    let mut grant = lane.reserve(payload_len(number))?;
    write_payload(&mut grant, number);
    let slice = grant.commit_all();
    lane.push(slice, number).map(drop).map_err(|refused| match refused.why {
        PushRefusal::Refused(refused) => refused,
        _ => unreachable!("the slice is this lane's"),
    })
}

/// Offers payloads 0 to `events` to an empty lane, flushed in groups of `group()`, until every
/// stage is done with all of them. Refused, or with nothing left to offer, the thread polls what
/// there is; `other` does what else it can and says whether that was anything; and if there was
/// nothing the thread sleeps until it is woken.
pub fn feed(
    lane: &mut Lane<u64>,
    events: u64,
    mut group: impl FnMut() -> u64,
    mut other: impl FnMut(&Lane<u64>, Option<Refused>) -> bool,
) {
    let slots = lane.free_slots();
    let mut settle = |lane: &mut Lane<u64>, why| {
        assert_eq!(lane.failure(), None, "a stage has failed");
        lane.flush();
        let polled = !lane.poll().is_idle();
        if !other(lane, why) && !polled {
            sleep(lane);
        }
    };
    let (mut number, mut left) = (0, group());
    while number < events {
        match offer(lane, number) {
            Ok(()) => (number, left) = (number + 1, left - 1),
            Err(full) => settle(lane, Some(full)),
        }
        if left == 0 {
            lane.flush();
            left = group();
        }
    }
    while lane.free_slots() < slots {
        settle(lane, None);
    }
}

/// Sleeps until there is room. Waking up by the clock is a failure: somebody forgot this thread.
fn sleep(lane: &mut Lane<u64>) {
    let start = Instant::now();
    lane.wait(true, LOST);
    assert!(start.elapsed() < LOST, "nobody woke the full IO thread: {:#?}", lane.stats());
}
