//! What the race tests of lanes share: payloads that tell of themselves, and the loop of an IO thread that sleeps when it is full.

use std::time::{Duration, Instant};

use slipring::pipeline::{Lane, StageRefusal};
use slipring::ring::Full;

/// Bytes of the largest payload.
pub const PAYLOAD_BYTES_MAX: usize = 1000;
/// A sleep of the IO thread that lasts this long was one without a wake-up: stages never take so long for one event.
const LOST: Duration = Duration::from_secs(50);

/// xorshift64*: a stream of numbers from a seed.
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) % bound
    }
}

/// Length and bytes of a payload follow from its number, so that whoever sees it knows what must stand there. Most are
/// small; one of four is up to the maximum.
pub fn payload_len(number: u64) -> usize {
    let mut draw = Draw::new(number);
    let max = if draw.below(4) == 0 { PAYLOAD_BYTES_MAX } else { 120 };
    1 + draw.below(max as u64) as usize
}

fn word(number: u64, at: usize) -> [u8; 8] {
    (number ^ (at as u64) << 48).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes()
}

pub fn write_payload(bytes: &mut [u8], number: u64) {
    for (at, part) in bytes.chunks_mut(8).enumerate() {
        part.copy_from_slice(&word(number, at)[..part.len()]);
    }
}

#[track_caller]
pub fn check_payload(bytes: &[u8], number: u64) {
    assert_eq!(bytes.len(), payload_len(number), "length of payload {number}");
    let right = bytes.chunks(8).enumerate().all(|(at, part)| *part == word(number, at)[..part.len()]);
    assert!(right, "payload {number} isn't what was written");
}

/// Reserves, writes and stages the payload of that number, under it: as a slice, or, every third, into its slot at once.
pub fn offer(lane: &mut Lane<u64>, number: u64) -> Result<(), Full> {
    if number.is_multiple_of(3) {
        let mut claim = lane.claim(payload_len(number))?;
        write_payload(&mut claim, number);
        claim.stage(number);
        return Ok(());
    }
    let mut grant = lane.reserve(payload_len(number))?;
    write_payload(&mut grant, number);
    let slice = grant.commit_all();
    lane.stage(slice, number).map(drop).map_err(|refused| match refused.why {
        StageRefusal::Full(full) => full,
        StageRefusal::Foreign => unreachable!("the slice is this lane's"),
    })
}

/// Offers payloads 0 to `events` to an empty lane, flushed in groups of `group()`, until every stage is done with all of them.
/// Refused, or with nothing left to offer, the thread polls what there is; `other` does what else it can and says whether that
/// was anything; and if there was nothing the thread sleeps until it is woken.
pub fn feed(
    lane: &mut Lane<u64>,
    events: u64,
    mut group: impl FnMut() -> u64,
    mut other: impl FnMut(&Lane<u64>, Option<Full>) -> bool,
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

/// `SLIPRING_EVENTS`, or so many.
pub fn events(default: u64) -> u64 {
    let given = std::env::var("SLIPRING_EVENTS").ok();
    given.map_or(default, |text| text.parse().expect("SLIPRING_EVENTS is a number"))
}
