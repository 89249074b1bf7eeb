//! Refusals by a full, poisoned or closed lane, and by the specification. No slice is lost by a
//! refusal.

use super::{
    Outcome, Polled, PushRefusal, StageSpec, by_hand, done, polled, publish, push_number,
    tiny_pool, tiny_spec,
};
use crate::machine::PinPolicy;
use crate::pipeline::policy::StagePlacement;
use crate::pipeline::{LaneError, LaneSpec, Reclaim, Refused, SpawnError, Wait};
use crate::ring::{Full, RingError, RingOptions};

#[test]
fn a_full_ring_is_known_by_the_lanes_own_count() {
    let (mut lane, [mut stage]) = by_hand(|spec| spec, ["a"]);
    for number in 0..8 {
        push_number(&mut lane, number).unwrap();
    }
    assert_eq!(lane.free_slots(), 0);
    // None was published before. The refusal publishes them, because otherwise a caller that only
    // polls would wait for ever.
    assert_eq!(polled(&mut stage), Polled::Idle);
    let slice = lane.reserve(5).unwrap().commit_all();
    let refused = lane.push(slice, 77).unwrap_err();
    assert_eq!((refused.why, refused.meta), (PushRefusal::Refused(Refused::Ring { slots: 8 }), 77));
    let refused_empty = lane.push_empty(78).unwrap_err();
    assert!(refused_empty.slice.is_none() && refused_empty.meta == 78);
    assert_eq!((lane.stats().refused_ring, lane.flush()), (2, 0));
    assert_eq!(polled(&mut stage), Polled::Advanced(8));
    let slice = refused.slice.expect("it is returned");
    assert_eq!(lane.push(slice, 8).unwrap(), 8, "pushing looks at the reclaimer by itself");
}

#[test]
fn a_full_pool_publishes_what_holds_it() {
    let layers = vec![vec![StageSpec::inline("a")]];
    let mut started = tiny_spec(64, layers).start::<u64>().unwrap();
    let mut stage = started.stages.remove("a").unwrap();
    let mut count = 0;
    let full = loop {
        match started.lane.reserve(1000) {
            Ok(grant) => {
                let slice = grant.commit_all();
                started.lane.push(slice, 0).unwrap();
                count += 1;
            }
            Err(full) => break full,
        }
    };
    assert_eq!((full, count), (Refused::Pool(Full::Pool { asked_bytes: 1000, chunks: 8 }), 8 * 4));
    assert_eq!(stage.poll(100, |_| Outcome::Done), Ok(Polled::Advanced(32)));
    assert_eq!(
        started.lane.reserve(1025).unwrap_err(),
        Refused::Pool(Full::TooLarge { asked_bytes: 1025, max_slice_bytes: 1024 })
    );
    assert!(started.lane.reserve(1000).is_ok() && started.lane.reserve_rest(1).is_ok());
    let stats = started.lane.stats().pool;
    assert_eq!((stats.refused_pool, stats.refused_too_large), (1, 1));
}

#[test]
fn a_closed_lane_accepts_nothing() {
    let (mut lane, [mut stage]) = by_hand(|spec| spec, ["a"]);
    push_number(&mut lane, 0).unwrap();
    let early = lane.reserve(5).unwrap().commit_all();
    lane.begin_close();
    lane.begin_close();
    assert_eq!(lane.reserve(1).unwrap_err(), Refused::Closed);
    assert_eq!(lane.reserve_rest(1).unwrap_err(), Refused::Closed);
    let refused = lane.push(early, 1).unwrap_err();
    assert_eq!(
        (refused.why, lane.push_empty(1).unwrap_err().why),
        (PushRefusal::Refused(Refused::Closed), refused.why)
    );
    assert_eq!(refused.slice.unwrap().len(), 5);
    assert_eq!((polled(&mut stage), polled(&mut stage)), (Polled::Advanced(1), Polled::Ended));
    assert!(lane.close(std::time::Duration::ZERO).is_drained());
}

#[test]
fn a_slice_of_another_lane_comes_back() {
    let (mut one, [_a]) = by_hand(|spec| spec, ["a"]);
    let (mut two, [mut b]) = by_hand(|spec| spec, ["b"]);
    let slice = one.reserve(3).unwrap().commit_all();
    let refused = two.push(slice, 4).unwrap_err();
    assert_eq!((refused.why, refused.meta), (PushRefusal::Foreign, 4));
    assert_eq!((two.flush(), polled(&mut b)), (0, Polled::Idle));
    one.push(refused.slice.expect("it is returned"), 0).unwrap();
    assert_eq!(one.flush(), 1);
    // A pool that was dropped isn't mistaken for a newer one at the same address.
    let orphan = one.reserve(3).unwrap().commit_all();
    drop(one);
    let (mut three, [_c]) = by_hand(|spec| spec, ["c"]);
    assert_eq!(three.push(orphan, 0).unwrap_err().why, PushRefusal::Foreign);
}

#[test]
fn handles_of_the_wrong_placement_or_lane_come_back() {
    let (mut one, [a]) = by_hand(|spec| spec, ["a"]);
    let (mut two, _b) = by_hand(|spec| spec, ["b"]);
    let a = two.attach(a, done).unwrap_err().0;
    let Err(SpawnError::Placement(back)) = a.spawn(done) else {
        panic!("an inline stage got a thread")
    };
    one.attach(back.0, done).unwrap();
    let mut started = tiny_spec(8, vec![vec![StageSpec::thread("t")]]).start::<u64>().unwrap();
    let thread = started.stages.remove("t").unwrap();
    assert!(started.stages.remove("t").is_none());
    let thread = started.lane.attach(thread, done).unwrap_err().0;
    publish(&mut one, 0..3);
    assert_eq!(one.poll().processed, 3);
    drop(started.lane);
    assert_eq!(thread.run(done).error, None);
}

/// The field that an error names.
fn field(spec: LaneSpec) -> String {
    match spec.start::<u64>() {
        Err(LaneError::Option { field, .. }) => field.to_owned(),
        Err(LaneError::Pool(RingError::Option { field, .. })) => format!("pool {field}"),
        other => panic!("{:?}", other.map(drop)),
    }
}

#[test]
fn a_specification_that_does_not_fit_names_its_field() {
    let one = || vec![vec![StageSpec::inline("a")]];
    for slots in [0, 1, 3, 6, usize::MAX, 1 << 25] {
        assert_eq!(field(tiny_spec(slots, one())), "slots");
    }
    assert_eq!(field(tiny_spec(2, vec![])), "layers");
    assert_eq!(field(tiny_spec(2, vec![vec![StageSpec::inline("a")], vec![]])), "layers");
    assert_eq!(
        field(tiny_spec(2, vec![vec![StageSpec::inline("a")], vec![StageSpec::thread("a")]])),
        "name"
    );
    assert_eq!(field(tiny_spec(2, vec![vec![StageSpec::inline("a").batch(0)]])), "batch");
    let pool = RingOptions { bytes: 4096, ..tiny_pool() };
    assert_eq!(field(LaneSpec::new(pool, 2).layer([StageSpec::inline("a")])), "pool bytes");
}

#[test]
fn a_pool_smaller_than_the_ring_is_refused_on_overwrite() {
    let spec =
        |slots, reclaim| tiny_spec(slots, vec![vec![StageSpec::inline("a")]]).reclaim(reclaim);
    let error = spec(32, Reclaim::OnOverwrite).start::<u64>().map(drop).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("`pool.bytes` is 32768")
            && text.contains("32 slots")
            && text.contains("1 KiB"),
        "{text}"
    );
    assert!(
        spec(8, Reclaim::OnOverwrite).start::<u64>().is_ok(),
        "eight slots fit beside two pinned chunks"
    );
    assert!(
        spec(32, Reclaim::OnConsume).start::<u64>().is_ok(),
        "on consume there is no such relation"
    );
}

#[test]
fn two_spinning_threads_on_one_cpu_are_downgraded() {
    let cpu = crate::machine::CpuMask::read().cpus().first().copied().unwrap_or(0);
    let spin = |name| StageSpec::thread(name).cpu(cpu).wait(Wait::Spin);
    let started = tiny_spec(4, vec![vec![spin("first"), spin("second")]]).start::<u64>().unwrap();
    let waits: Vec<Wait> = started.lane.ring.shared.stages.iter().map(|stage| stage.wait).collect();
    assert_eq!(waits, [Wait::Spin, Wait::Backoff]);
    assert!(
        started.report.downgrades.iter().any(|text| text.contains("`second`")),
        "{:?}",
        started.report.downgrades
    );
    assert_eq!(
        started.lane.ring.shared.stages[0].placement,
        StagePlacement::Thread { cpu: Some(cpu) }
    );
    // The lane's own thread counts as well.
    let spec = tiny_spec(
        4,
        vec![(0..64).map(|n| StageSpec::thread(&n.to_string()).wait(Wait::Spin)).collect()],
    );
    let report = spec.wait(Wait::Spin).start::<u64>().unwrap().report;
    let cpus = crate::machine::CpuMask::read().cpus().len().max(1);
    assert_eq!(report.downgrades.len(), 64 - (cpus - 1).min(64));
}

#[test]
fn a_stage_on_the_lanes_cpu_never_spins() {
    let cpu = crate::machine::CpuMask::read().cpus().first().copied().unwrap_or(0);
    let park = |name| StageSpec::thread(name).wait(Wait::Park);
    let stages = vec![vec![park("there").cpu(cpu), park("anywhere")]];
    let started = tiny_spec(4, stages).cpu(cpu, PinPolicy::Prefer).start::<u64>().unwrap();
    let sleeps_at_once: Vec<bool> =
        started.lane.ring.shared.stages.iter().map(|stage| stage.idle().pass()).collect();
    assert_eq!(sleeps_at_once, [true, false]);
}

#[test]
fn a_name_that_no_thread_can_have_is_refused() {
    let layers = vec![vec![StageSpec::thread("no\0good")]];
    let Err(LaneError::Option { field, .. }) = tiny_spec(8, layers).start::<u64>() else {
        panic!("it was accepted")
    };
    assert_eq!(field, "name");
}

#[test]
fn a_column_of_nothing_is_refused() {
    let spec = tiny_spec(8, vec![vec![StageSpec::inline("a")]]);
    let Err(LaneError::Option { field, .. }) = spec.column::<()>("a", 1 << 60) else {
        panic!("it was accepted")
    };
    assert_eq!(field, "column");
}

/// The thread is pinned before the pool is mapped, and unpinned if that fails.
#[cfg(not(miri))]
#[test]
fn a_lane_that_doesnt_start_leaves_its_thread_where_it_was() {
    let allowed = || std::fs::read_to_string("/proc/thread-self/status").expect("Linux has it");
    let mask =
        || allowed().lines().find(|line| line.starts_with("Cpus_allowed_list")).map(str::to_owned);
    let before = mask();
    let cpu = crate::machine::CpuMask::read().cpus()[0];
    let pool = RingOptions { bytes: 1 << 45, ..tiny_pool() };
    let spec = LaneSpec::new(pool, 8).layer([StageSpec::inline("a")]).cpu(cpu, PinPolicy::Prefer);
    assert!(spec.start::<u64>().is_err(), "32 TiB");
    assert_eq!(mask(), before);
}
