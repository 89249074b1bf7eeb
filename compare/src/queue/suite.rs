//! The suite that every contender runs at a small size; and two that must not pass it.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::case::{self, Case};
use super::harness::{Runner, measure};
use super::{Arrival, Inlet, Outlet, QUICK, Queue, contenders};
use crate::harness::Rounds;
use crate::two_threads::{Cpus, Reader, Tally};

const ROUNDS: Rounds = Rounds { repeats: 2, ops: 2000, verified_ops: 200 };

/// On a machine of one CPU both threads share it: slow, and as correct.
fn cpus() -> Cpus {
    Cpus::pick().unwrap_or_else(|_| Cpus::one())
}

type Ends = (SyncSender<Vec<u8>>, Receiver<Vec<u8>>);

/// A queue that loses a message or spoils one: what the checks exist for.
struct Wrong<const LOSES: bool> {
    ends: Mutex<Option<Ends>>,
    case: Case,
}

struct Sending<const LOSES: bool>(SyncSender<Vec<u8>>, usize);

impl<const LOSES: bool> Queue for Wrong<LOSES> {
    const NAME: &'static str = "wrong";

    type Inlet<'a> = Sending<LOSES>;
    type Outlet<'a> = Receiver<Vec<u8>>;

    fn new(case: &Case) -> Result<Self, String> {
        Ok(Self { ends: Mutex::new(Some(sync_channel(case.messages))), case: *case })
    }

    fn ends(&self) -> Result<(Sending<LOSES>, Receiver<Vec<u8>>), String> {
        let (sender, receiver) = self.ends.lock().unwrap().take().expect("they are taken once");
        Ok((Sending(sender, self.case.message_bytes), receiver))
    }
}

impl<const LOSES: bool> Inlet for Sending<LOSES> {
    fn enqueue(
        &mut self,
        number: u64,
        arrival: &impl Arrival,
        _tally: &Tally,
    ) -> Result<(), String> {
        let mut message = vec![0; self.1];
        arrival.write(number, &mut message);
        if number == 100 && LOSES {
            return Ok(());
        }
        if number == 100 {
            *message.last_mut().expect("it has bytes") ^= 1;
        }
        self.0.send(message).map_err(|error| error.to_string())
    }
}

impl Outlet for Receiver<Vec<u8>> {
    fn dequeue_all(self, arrival: &impl Arrival, mut reader: Reader) -> Result<(), String> {
        for message in self {
            let holds = arrival.holds(reader.number(), &message);
            reader.note(holds);
            // What comes after a lost message will never be counted, and nobody should wait for it.
            if !holds {
                return Ok(());
            }
        }
        Ok(())
    }
}

#[test]
fn every_contender_brings_every_message_through() {
    let contenders = contenders();
    // A queue that is full all the time, and lengths that are no class's.
    let tight =
        [8, 16, 24].map(|message_bytes| Case { message_bytes: 8 * message_bytes, messages: 2 });
    for case in case::cases(false).into_iter().chain(tight) {
        let timings = measure(&case, cpus(), &contenders, &ROUNDS);
        let timings = timings.unwrap_or_else(|failure| panic!("{}: {failure}", case.name()));
        assert!(
            contenders
                .iter()
                .map(|runner| runner.name)
                .eq(timings.iter().map(|timing| timing.contender))
        );
        assert!(
            timings
                .iter()
                .all(|timing| timing.ns_per_op.len() == ROUNDS.repeats && timing.min_ns() > 0.0)
        );
    }
}

#[test]
fn a_lost_message_and_a_spoiled_one_are_caught() {
    let case = case::cases(true)[0];
    for (what, runner) in
        [("lost", Runner::of::<Wrong<true>>()), ("spoiled", Runner::of::<Wrong<false>>())]
    {
        for verified_ops in [0, 500] {
            let failure = measure(&case, cpus(), &[runner], &Rounds { verified_ops, ..ROUNDS })
                .err()
                .unwrap_or_default();
            assert!(failure.starts_with("wrong: "), "{what}: {failure}");
        }
    }
}

#[test]
fn names_are_those_that_others_rely_on() {
    let names: Vec<_> = contenders().iter().map(|runner| runner.name).collect();
    assert!(QUICK.iter().all(|name| names.contains(name)), "{names:?}");
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), names.len(), "{names:?}");
    assert!(
        ["tokio", "rtrb", "crossbeam-vec", "slipring-copy"].iter().all(|name| names.contains(name))
    );
}
