//! What is measured: who drops, on how many threads, how large buffers are, what is written, how
//! many are held.

use super::table;
use crate::case::{SEED, Size};

/// The list of lengths is prime in length, so that a held buffer meets another length on each lap.
const LENGTHS_COUNT: usize = 16381;

/// Bytes that one repeat may write, so that no repeat takes much longer than the others.
const WRITTEN_BYTES_MAX: u64 = 2 << 30;
/// The same for the verified pass.
const VERIFIED_BYTES_MAX: u64 = 128 << 20;

/// One case; its name says all of it: `get-drop-4KiB-2t-held16`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Case {
    pub work: Work,
    pub lengths: Lengths,
    pub written: Written,
    /// Buffers that a thread keeps; 1 is dropped before the next is got.
    pub held: usize,
}

/// Who gets and who drops.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Work {
    /// So many threads, 1 or 2, each what it got itself.
    Own(usize),
    /// One thread gets, another drops.
    Cross,
}

/// How long buffers are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lengths {
    /// Always so many bytes.
    Of(usize),
    /// Every class of the wire table with the same chance, and every length of the class.
    Mixed,
}

/// What an operation writes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Written {
    Nothing,
    /// The number of the operation, in the first 8 bytes.
    Touch8,
    /// All of it, copied from a warm buffer.
    Whole,
}

impl Case {
    const fn own(threads: usize, lengths: Lengths) -> Self {
        Self { work: Work::Own(threads), lengths, written: Written::Touch8, held: 1 }
    }

    const fn cross(lengths: Lengths) -> Self {
        Self { work: Work::Cross, ..Self::own(1, lengths) }
    }

    pub fn name(&self) -> String {
        let length = match self.lengths {
            Lengths::Of(bytes) => Size(bytes).to_string(),
            Lengths::Mixed => "mix".to_owned(),
        };
        let work = match self.work {
            Work::Own(threads) => format!("get-drop-{length}-{threads}t"),
            Work::Cross => format!("cross-drop-{length}"),
        };
        let written = match self.written {
            Written::Nothing => "-untouched",
            Written::Touch8 => "",
            Written::Whole => "-whole",
        };
        let held = if self.held == 1 { String::new() } else { format!("-held{}", self.held) };
        format!("{work}{written}{held}")
    }

    pub fn threads(&self) -> usize {
        match self.work {
            Work::Own(threads) => threads,
            Work::Cross => 2,
        }
    }

    /// The operations of a repeat: a sixteenth across threads, where some allocators take
    /// microseconds, and fewer where whole payloads are written.
    pub fn ops(&self, ops: u64) -> u64 {
        let ops = if self.work == Work::Cross { ops / 16 } else { ops };
        if self.written == Written::Whole {
            ops.min(WRITTEN_BYTES_MAX / self.longest_bytes() as u64)
        } else {
            ops
        }
    }

    /// The operations of the verified pass, in which every byte is written and read twice.
    pub fn verified_ops(&self, ops: u64) -> u64 {
        ops.min(VERIFIED_BYTES_MAX / self.longest_bytes() as u64)
    }

    pub fn longest_bytes(&self) -> usize {
        match self.lengths {
            Lengths::Of(bytes) => bytes,
            Lengths::Mixed => table::LARGEST_BYTES,
        }
    }

    /// The lengths in the order in which they are asked for, used in turn.
    pub fn drawn(&self) -> Vec<u32> {
        let narrow = |bytes: usize| u32::try_from(bytes).expect("lengths are far below 4 GiB");
        let Lengths::Mixed = self.lengths else { return vec![narrow(self.longest_bytes())] };
        let mut state = SEED;
        let mut draw = || {
            // xorshift64: enough to keep a branch predictor from learning the list.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as usize
        };
        let mut length = || {
            let class = draw() % table::BYTES.len();
            let above = if class == 0 { 0 } else { table::BYTES[class - 1] };
            // A payload has room for its number.
            (above + 1 + draw() % (table::BYTES[class] - above)).max(8)
        };
        (0..LENGTHS_COUNT).map(|_| narrow(length())).collect()
    }
}

/// The cases of a run; the quick ones first.
pub fn cases(quick: bool) -> Vec<Case> {
    let (small, large) = (Lengths::Of(4 << 10), Lengths::Of(64 << 10));
    let mut cases = vec![Case::own(1, small), Case::own(2, small), Case::cross(large)];
    if quick {
        return cases;
    }
    for threads in [1, 2] {
        let of_4_kib = Case::own(threads, small);
        cases.extend([
            Case { written: Written::Nothing, ..of_4_kib },
            Case { written: Written::Whole, ..of_4_kib },
            Case { held: 16, ..of_4_kib },
            Case::own(threads, Lengths::Mixed),
            Case { held: 16, ..Case::own(threads, Lengths::Mixed) },
            Case { written: Written::Whole, ..Case::own(threads, large) },
        ]);
    }
    cases.extend([
        Case::cross(small),
        Case::cross(Lengths::Mixed),
        Case { written: Written::Nothing, ..Case::cross(large) },
        Case { written: Written::Whole, ..Case::cross(large) },
    ]);
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_others_rely_on_and_stand_for_one_case_each() {
        let names = |quick| cases(quick).iter().map(Case::name).collect::<Vec<_>>();
        let quick = ["get-drop-4KiB-1t", "get-drop-4KiB-2t", "cross-drop-64KiB"];
        assert_eq!(names(true), quick);
        assert_eq!(names(false)[..3], quick);
        for name in [
            "get-drop-mix-2t-held16",
            "get-drop-64KiB-1t-whole",
            "cross-drop-mix",
            "get-drop-4KiB-1t-untouched",
        ] {
            assert!(names(false).iter().any(|other| other == name), "{name}");
        }
        let mut sorted = names(false);
        let count = sorted.len();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), count);
    }

    #[test]
    fn every_class_is_drawn_alike() {
        let lengths = Case::own(1, Lengths::Mixed).drawn();
        assert!(lengths.iter().all(|&bytes| (8..=table::LARGEST_BYTES as u32).contains(&bytes)));
        for class in 0..table::BYTES.len() {
            let of_class =
                lengths.iter().filter(|&&bytes| table::class_of(bytes as usize) == Some(class));
            let share = of_class.count() * 100 / lengths.len();
            assert!((15..=18).contains(&share), "class {class}: {share} %");
        }
        assert_eq!(Case::own(2, Lengths::Of(4096)).drawn(), [4096]);
    }

    #[test]
    fn large_payloads_get_fewer_operations() {
        let whole = Case { written: Written::Whole, ..Case::own(1, Lengths::Of(64 << 10)) };
        assert_eq!((whole.ops(2_000_000), Case::own(1, Lengths::Mixed).ops(7)), (32 << 10, 7));
        assert_eq!(Case::cross(Lengths::Of(4096)).ops(2000), 125);
        assert_eq!(whole.verified_ops(20_000), 2048);
    }
}
