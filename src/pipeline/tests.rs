//! Tests of lanes, on the real disruptor. Each is named after what it reproduces; sizes are tiny,
//! and threads really park.

mod attached;
mod close;
mod column;
mod dead;
mod fail;
mod flow;
mod held;
mod memory;
mod model;
mod ops;
mod refuse;
mod slice_ring;
mod timing;
mod wake;
mod watch;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use slipring_test_support::is_filled;

use super::shared::LaneShared;
use super::state::StageState;
use super::{
    Lane, LaneSpec, Outcome, Polled, PushRefusal, Refused, Stage, StageSpec, Started, View, Wait,
};
use crate::region::Pages;
use crate::ring::{RingOptions, Sequence};

/// Long enough for anything but a hang; scripts/twins, whose hangs are on purpose, waits less.
const LONG: Duration = slipring_test_support::patience(60);

/// Eight chunks of 4 KiB.
pub(super) fn tiny_pool() -> RingOptions {
    RingOptions {
        bytes: 8 * 4096,
        max_slice_bytes: 1024,
        chunk_bytes: Some(4096),
        window_bytes: Some(4 * 4096),
        pinned_chunks_max: Some(2),
        pages: Pages::Small,
        ..RingOptions::default()
    }
}

pub(super) fn tiny_spec(slots: usize, layers: Vec<Vec<StageSpec>>) -> LaneSpec {
    layers.into_iter().fold(LaneSpec::new(tiny_pool(), slots), LaneSpec::layer)
}

pub(super) fn start(slots: usize, layers: Vec<Vec<StageSpec>>) -> Started<u64> {
    tiny_spec(slots, layers).start().expect("a tiny lane")
}

/// A lane of 8 slots whose stages, one in each layer, are polled by hand.
fn by_hand<const N: usize>(
    spec: impl FnOnce(LaneSpec) -> LaneSpec,
    names: [&str; N],
) -> (Lane<u64>, [Stage<u64>; N]) {
    let layers = names.iter().map(|name| vec![StageSpec::inline(name)]).collect();
    let mut started = spec(tiny_spec(8, layers)).start().expect("a tiny lane");
    let stages = names.map(|name| started.stages.remove(name).expect("it was specified"));
    (started.lane, stages)
}

/// Pushes an event whose length and contents follow from the number. Even numbers are claimed, odd
/// ones are pushed as slices.
fn push_number(lane: &mut Lane<u64>, number: u64) -> Result<Sequence, Refused> {
    let len = 8 + (number as usize * 37) % 900;
    let write = |bytes: &mut [u8]| {
        bytes.fill(number as u8);
        bytes[..8].copy_from_slice(&number.to_le_bytes());
    };
    if number.is_multiple_of(2) {
        let mut claim = lane.claim(len)?;
        write(&mut claim);
        return Ok(claim.push(number));
    }
    let mut grant = lane.reserve(len)?;
    write(&mut grant);
    let slice = grant.commit_all();
    lane.push(slice, number).map_err(|refused| match refused.why {
        PushRefusal::Refused(refused) => refused,
        PushRefusal::Foreign => unreachable!("it is the lane's own slice"),
    })
}

/// Pushes the numbers and publishes them together.
fn publish(lane: &mut Lane<u64>, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        push_number(lane, number).expect("there is room");
    }
    lane.flush();
}

fn assert_holds(bytes: &[u8], number: u64) {
    assert_eq!(bytes[..8], number.to_le_bytes());
    assert!(
        bytes.len() == 8 + (number as usize * 37) % 900 && is_filled(&bytes[8..], number as u8)
    );
}

/// The handler that accepts an event when it is what `push_number` pushed under that sequence.
fn done(view: View<'_, u64>) -> Outcome {
    assert_holds(view.bytes(), *view.meta());
    assert_eq!(view.sequence(), *view.meta() as i64);
    Outcome::Done
}

/// Removes one element, if there is any.
fn remove_any<T>(from: &mut Vec<T>, pick: usize) -> Option<T> {
    (!from.is_empty()).then(|| from.swap_remove(pick % from.len()))
}

fn polled(stage: &mut Stage<u64>) -> Polled {
    stage.poll(100, done).expect("the stage lives")
}

fn parked(name: &str) -> StageSpec {
    StageSpec::thread(name).wait(Wait::Park)
}

fn state<'a>(shared: &'a Arc<LaneShared<u64>>, name: &str) -> &'a StageState {
    shared.stages.iter().find(|stage| stage.name == name).expect("it was specified")
}

/// Waits until the stages' threads sleep. A thread that has announced its sleep looks once more
/// after the barrier, and what it sees there needs no wake-up.
fn await_sleep(shared: &Arc<LaneShared<u64>>, names: &[&str]) {
    let asleep = |name: &&str| state(shared, name).sleeper().expect("it has a thread").is_asleep();
    while !names.iter().all(asleep) {
        thread::yield_now();
    }
    thread::sleep(Duration::from_millis(1));
}

#[track_caller]
fn assert_no_wake_lost(shared: &Arc<LaneShared<u64>>) {
    for stage in &shared.stages {
        assert_eq!(stage.wakes_lost(), 0, "stage `{}` slept through its wake-up", stage.name);
    }
}
