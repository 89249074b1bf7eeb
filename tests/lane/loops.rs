//! The loop that README shows, with stages that fail. It ends whichever stage fails, on whichever
//! thread, and under every policy.
//!
//! The lines of the loop below are those of README; the first test compares them.

use std::time::Duration;

use slipring::pipeline::{
    Lane, LaneSpec, Outcome, PanicPolicy, Refused, SpawnError, StageSpec, View,
};
use slipring::ring::RingOptions;

const EVENTS: u64 = 10_000;

// From here to the end of the function the lines are README's.
fn publish(lane: &mut Lane<u64>) -> Result<(), Refused> {
    for request in 0..10_000u64 {
        // Full: a server stops reading its sockets here, and its clients wait. An error if a stage
        // has failed, or hangs.
        lane.wait_for_room(512, Duration::from_secs(10))?;
        let mut claim = lane.claim(512)?; // A slot, and bytes to receive into.
        claim
            .chunks_exact_mut(4)
            .for_each(|component| component.copy_from_slice(&(request as f32).to_ne_bytes()));
        claim.publish(request);
        lane.poll(); // Inline stages, and memory that all stages are done with.
    }
    Ok(())
}

#[test]
fn the_loop_is_the_one_that_readme_shows() {
    let of = |text: &str| {
        let start = text.find("    for request in 0..10_000u64 {").expect("a loop over requests");
        let end = start + text[start..].find("\n    }\n").expect("its end");
        text[start..end].to_owned()
    };
    assert_eq!(of(include_str!("../../README.md")), of(include_str!("loops.rs")));
}

/// Runs the loop over a lane of 64 slots with three stages in three layers. At event 100 the stage
/// `failing` does what `ends` does.
fn run(inline: bool, failing: usize, policy: PanicPolicy, ends: fn() -> Outcome) {
    let pool = RingOptions { bytes: 1 << 20, max_slice_bytes: 512, ..RingOptions::default() };
    let stage = if inline { StageSpec::inline } else { StageSpec::thread };
    let names = ["first", "second", "third"];
    let spec = names
        .iter()
        .fold(LaneSpec::new(pool, 64), |spec, name| spec.layer([stage(name)]))
        .on_panic(policy);
    let mut started = spec.start::<u64>().expect("a small lane");
    let mut threads = Vec::new();
    for (index, stage) in started.stages.into_iter().enumerate() {
        let handler = move |view: View<'_, u64>| {
            if index == failing && *view.meta() == 100 { ends() } else { Outcome::Done }
        };
        match stage.spawn(handler) {
            Ok(thread) => threads.push(thread),
            Err(SpawnError::Placement(back)) => {
                started.lane.attach(back.0, handler).expect("it is inline")
            }
            Err(error) => panic!("{error}"),
        }
    }
    let ended = publish(&mut started.lane);
    let report = started.lane.close(Duration::from_secs(60));
    let expected =
        if policy == PanicPolicy::Poison { Err(Refused::Poisoned(failing as u32)) } else { Ok(()) };
    assert_eq!(ended, expected, "{policy:?}, stage {failing}");
    assert_eq!(
        report.failure.map(|failure| (failure.index as usize, failure.sequence)),
        Some((failing, 100))
    );
    assert_eq!((report.stages[failing].processed, report.late), (100, Vec::new()));
    let others = report
        .stages
        .iter()
        .filter(|stage| stage.stage != names[failing])
        .map(|stage| stage.processed);
    if policy == PanicPolicy::Detach {
        assert!(others.into_iter().all(|processed| processed == EVENTS));
    }
    threads.into_iter().for_each(|thread| drop(thread.join()));
}

#[test]
fn the_loop_ends_after_a_stage_failed() {
    for policy in [PanicPolicy::Poison, PanicPolicy::Detach] {
        for failing in 0..3 {
            for inline in [true, false] {
                run(inline, failing, policy, || Outcome::Fail("by design".to_owned()));
            }
        }
    }
}

#[test]
fn the_loop_ends_after_a_stage_panicked() {
    for inline in [true, false] {
        run(inline, 1, PanicPolicy::Poison, || panic!("by design"));
    }
}
