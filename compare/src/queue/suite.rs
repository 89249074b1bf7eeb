//! The suite that every contender of `queue` runs at a small size. Two defective contenders must
//! not pass it.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::case::{Case, cases};
use super::contender::{Arrival, Inlet, Outlet, Queue};
use super::harness::{Setting, runner};
use super::run::{QUICK, contenders};
use crate::measure::{Rounds, measure};
use crate::threads::{Cpus, Reader, Tally};

const ROUNDS: Rounds = Rounds { repeats: 2, ops: 2000, verified_ops: 200 };

/// On a machine of one CPU both threads share it: slow, and as correct.
fn placed(case: Case) -> Setting {
    Setting { case, cpus: Cpus::pick().unwrap_or_else(|_| Cpus::one()) }
}

type ChannelEnds = (SyncSender<Vec<u8>>, Receiver<Vec<u8>>);

/// A queue that loses or changes a message: the defects that the checks exist for.
struct Wrong<const LOSES: bool> {
    ends: Mutex<Option<ChannelEnds>>,
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
        let (sender, receiver) = self.ends.lock().unwrap().take().expect("they are made once");
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
            // Messages after a lost one are never counted, and must not be waited for.
            if !holds {
                return Ok(());
            }
        }
        Ok(())
    }
}

#[test]
fn every_message_goes_through_every_contender() {
    let contenders = contenders();
    // A queue that is always full, and lengths that aren't those of a class.
    let tight =
        [8, 16, 24].map(|message_bytes| Case { message_bytes: 8 * message_bytes, messages: 2 });
    for case in cases(false).into_iter().chain(tight) {
        let timings = measure(&placed(case), &contenders, &ROUNDS);
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
fn a_lost_message_and_a_changed_one_are_caught() {
    let case = cases(true)[0];
    for (what, runner) in [("lost", runner::<Wrong<true>>()), ("changed", runner::<Wrong<false>>())]
    {
        for verified_ops in [0, 500] {
            let failure = measure(&placed(case), &[runner], &Rounds { verified_ops, ..ROUNDS })
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
