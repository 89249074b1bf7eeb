//! What the race tests of lanes share: the loop of an IO thread that pushes payloads and sleeps
//! when the lane is full.

use std::time::{Duration, Instant};

use slipring::pipeline::{Lane, PushRefusal, Refused};
use slipring::region::Pages;
use slipring::ring::RingOptions;
use slipring_test_support::{PAYLOAD_BYTES_MAX, payload_len, write_payload};

/// A sleep of the IO thread that lasts this long had no wake-up: no stage works this long on one
/// event.
const LOST: Duration = Duration::from_secs(50);

/// A pool of `chunks` chunks of 4 KiB, so small that it runs full and each chunk is reused all the
/// time.
pub fn pool(chunks: usize) -> RingOptions {
    RingOptions {
        bytes: chunks * 4096,
        max_slice_bytes: PAYLOAD_BYTES_MAX,
        chunk_bytes: Some(4096),
        window_bytes: Some(2 * 4096),
        pinned_chunks_max: Some(2),
        pages: Pages::Small,
        ..RingOptions::default()
    }
}

/// Reserves memory for the payload of this number, writes it and pushes it. Every third payload
/// goes through a claim, which pushes it from its slot; the others are slices.
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

/// Pushes payloads 0 to `events` into an empty lane and flushes them in groups of `group()`, until
/// every stage has processed all of them.
///
/// When a push is refused, and after the last, the thread polls the lane and calls `other`, which
/// does any other work and returns whether there was some. If neither had work, the thread sleeps
/// until it is woken.
pub fn feed(
    lane: &mut Lane<u64>,
    events: u64,
    mut group: impl FnMut() -> u64,
    mut other: impl FnMut(&Lane<u64>, Option<Refused>) -> bool,
) {
    let slots = lane.free_slots();
    let mut poll_or_sleep = |lane: &mut Lane<u64>, why| {
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
            Err(full) => poll_or_sleep(lane, Some(full)),
        }
        if left == 0 {
            lane.flush();
            left = group();
        }
    }
    while lane.free_slots() < slots {
        poll_or_sleep(lane, None);
    }
}

/// Sleeps until there is room. Waking up by the timeout is a failure: a wake-up was lost.
fn sleep(lane: &mut Lane<u64>) {
    let start = Instant::now();
    lane.wait(true, LOST);
    assert!(
        start.elapsed() < LOST,
        "no stage woke the IO thread of a full lane: {:#?}",
        lane.stats()
    );
}
