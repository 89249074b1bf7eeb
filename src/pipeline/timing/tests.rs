//! Latencies against a list of flush times, and the time of a thread under clocks of every kind.

use proptest::prelude::*;

use super::*;
use slipring_test_support::random_runs;

const SLOTS: i64 = 8;

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { random_runs().cases.min(4) } else { 300 }, ..random_runs() })]

    /// Random flushes and releases over many laps, against a list with the flush time of every
    /// event. Two stages: the lane waits for the slower.
    #[test]
    fn every_event_is_recorded_once_with_the_time_of_its_flush(steps in prop::collection::vec((0usize..3, 1i64..=SLOTS), 1..200)) {
        let (timing, mut timers) = Timing::new(Clock::start(), SLOTS as usize, 2);
        let (mut flushed_at, mut flushes, mut now_ns) = (Vec::new(), 0, 0);
        let mut released = [NONE; 2];
        let mut expected = [Recorder::new(), Recorder::new()];
        for (actor, events) in steps {
            now_ns += 100;
            let published = flushed_at.len() as i64 - 1;
            if actor == 2 {
                let last = (published + events).min(released[0].min(released[1]) + SLOTS);
                if last > published {
                    timing.note_flush_at(flushes, last, now_ns);
                    flushes += 1;
                    flushed_at.resize(last as usize + 1, now_ns);
                }
                continue;
            }
            let through = (released[actor] + events).min(published);
            if through > released[actor] {
                for at_ns in &flushed_at[(released[actor] + 1) as usize..=through as usize] {
                    expected[actor].record(now_ns - at_ns, 1);
                }
                timers[actor].note_release_at(&timing, through, now_ns);
                released[actor] = through;
            }
        }
        for ((latencies, _), expected) in timing.stages().iter().zip(&expected) {
            prop_assert_eq!(latencies.histogram(), expected.latencies().histogram());
        }
    }
}

const END_NS: u64 = 3050;

fn thread() -> ThreadClock {
    ThreadClock::new(Clock::of(|| END_NS))
}

fn spent(time: &ThreadTime, now_ns: u64) -> [u64; 3] {
    StageActivity::ALL.map(|activity| time.spent_by(activity, || now_ns).as_nanos() as u64)
}

#[test]
fn a_clock_that_jumps_wraps_no_sum() {
    let mut thread = thread();
    let time = thread.time();
    for ns in [5, u64::MAX, 7, NS_MAX + 1, u64::MAX - 3] {
        for activity in StageActivity::ALL {
            thread.begin_at(activity, ns);
            let sum: u64 = spent(&time, ns.wrapping_sub(9)).iter().sum();
            assert!(sum <= NS_MAX, "{sum} by a clock that reads {ns}");
        }
    }
}

#[test]
fn what_goes_on_counts_up_to_now() {
    let mut thread = thread();
    let time = thread.time();
    assert_eq!((spent(&time, 500), time.is_running(), time.has_run()), ([0, 0, 0], false, false));
    thread.begin_at(StageActivity::Idle, 1000);
    assert_eq!((spent(&time, 1300), time.is_running()), ([0, 300, 0], true));
    thread.begin_at(StageActivity::Busy, 1400);
    thread.begin_at(StageActivity::Busy, 1500);
    assert_eq!(spent(&time, 2000), [600, 400, 0]);
    thread.begin_at(StageActivity::Retry, 2100);
    thread.begin_at(StageActivity::Busy, 3000);
    drop(thread);
    assert_eq!(
        (spent(&time, 9000), time.is_running(), time.has_run()),
        ([750, 400, 900], false, true)
    );
}

#[test]
fn a_look_beside_the_thread_counts_no_span_twice() {
    let clock = Clock::start();
    let mut thread = ThreadClock::new(clock);
    let time = thread.time();
    let switches = if cfg!(miri) { 50 } else { 20_000 };
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for activity in StageActivity::ALL.into_iter().cycle().take(switches) {
                thread.begin(activity);
            }
        });
        let mut before = Duration::ZERO;
        loop {
            let is_over = !time.is_running() && before > Duration::ZERO;
            let all = StageActivity::ALL.map(|activity| time.spent(activity)).iter().sum();
            assert!(
                all >= before && all <= Duration::from_nanos(clock.now_ns()),
                "{before:?}, {all:?}"
            );
            before = all;
            if is_over {
                break;
            }
        }
    });
}

#[test]
fn time_never_goes_back() {
    let mut thread = thread();
    let time = thread.time();
    thread.begin_at(StageActivity::Busy, 1000);
    assert_eq!(spent(&time, 2000), [1000, 0, 0]);
    // The last batch ended before the reader's look. Then a clock that goes back.
    thread.begin_at(StageActivity::Idle, 1800);
    assert_eq!(spent(&time, 2300), [1000, 300, 0]);
    thread.begin_at(StageActivity::Busy, 1700);
    assert_eq!(spent(&time, 1900), [1000, 300, 0]);
    thread.begin(StageActivity::Idle);
    assert_eq!(spent(&time, 0), [1000 + END_NS - 2300, 300, 0]);
}

/// The thread changes its activity between a reader's look at the activity and its look at the
/// clock.
#[test]
fn a_reader_that_is_late_counts_no_span_twice() {
    let mut thread = thread();
    let time = thread.time();
    thread.begin_at(StageActivity::Busy, 1000);
    let late = |thread: &mut ThreadClock| {
        thread.begin_at(StageActivity::Idle, 1100);
        9000
    };
    assert_eq!(time.spent_by(StageActivity::Busy, || late(&mut thread)).as_nanos(), 100);
    assert_eq!(spent(&time, 9000), [100, 7900, 0]);
    // Another reader in between.
    let other = || {
        assert_eq!(spent(&time, 9100), [100, 8000, 0]);
        9200
    };
    assert_eq!(time.spent_by(StageActivity::Idle, other).as_nanos(), 8000);
    assert_eq!(spent(&time, 9200), [100, 8100, 0]);
}
