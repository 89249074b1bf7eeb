//! What is measured: the length of messages, and how many may be queued.

use crate::measure::Rounds;
use crate::payload::Size;

/// Messages that may be queued, in every case.
const MESSAGES: usize = 256;

/// The most bytes that one repeat may copy, and that the verified pass may copy: large messages get
/// fewer operations, so that no repeat takes much longer than the others.
const COPIED_BYTES_MAX: usize = 4 << 30;
const VERIFIED_BYTES_MAX: usize = 64 << 20;

/// One case: `queue-32KiB`.
#[derive(Clone, Copy)]
pub struct Case {
    /// A multiple of 8, at least two words.
    pub message_bytes: usize,
    pub messages: usize,
}

impl Case {
    pub fn name(&self) -> String {
        format!("queue-{}", Size(self.message_bytes))
    }

    /// How much of the rounds this case gets.
    pub fn rounds(&self, rounds: &Rounds) -> Rounds {
        let within = |ops: u64, bytes: usize| ops.min((bytes / self.message_bytes) as u64);
        Rounds {
            repeats: rounds.repeats,
            ops: within(rounds.ops, COPIED_BYTES_MAX),
            verified_ops: within(rounds.verified_ops, VERIFIED_BYTES_MAX),
        }
    }
}

/// The cases of a run; the quick ones first.
pub fn cases(quick: bool) -> Vec<Case> {
    let lengths: &[usize] = if quick { &[512, 32 << 10] } else { &[512, 32 << 10, 4 << 10, 64] };
    lengths.iter().map(|&message_bytes| Case { message_bytes, messages: MESSAGES }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_others_rely_on() {
        let names = |quick| cases(quick).iter().map(Case::name).collect::<Vec<_>>();
        assert_eq!(names(true), ["queue-512B", "queue-32KiB"]);
        assert_eq!(names(false), ["queue-512B", "queue-32KiB", "queue-4KiB", "queue-64B"]);
    }

    #[test]
    fn long_messages_get_fewer_operations() {
        let rounds = Rounds { repeats: 3, ops: 1_000_000, verified_ops: 10_000 };
        let of = |case: &Case| (case.rounds(&rounds).ops, case.rounds(&rounds).verified_ops);
        assert_eq!(
            cases(true).iter().map(of).collect::<Vec<_>>(),
            [(1_000_000, 10_000), (128 << 10, 2048)]
        );
    }
}
