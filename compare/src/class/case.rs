//! What is measured: who drops, on how many threads, how large buffers are, what is written, how
//! many are held. And the classes of the rivals that have any.

use crate::measure::Rounds;
use crate::payload::{Draw, Size, narrow};

/// The wire table, which every rival with classes has: the bytes of each class.
pub const CLASS_BYTES: [usize; 6] = [2 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10];

pub const LARGEST_BYTES: usize = CLASS_BYTES[CLASS_BYTES.len() - 1];

/// The smallest class that holds this many bytes, if one does.
#[inline(always)]
pub fn class_of(bytes: usize) -> Option<usize> {
    // The classes are powers of two, so the number of significant bits above those of the smallest
    // class is the class.
    let class = bytes.saturating_sub(1) >> CLASS_BYTES[0].ilog2();
    let class = (usize::BITS - class.leading_zeros()) as usize;
    (class < CLASS_BYTES.len()).then_some(class)
}

/// One pool per class, made from the bytes of the class.
pub fn each_class<T>(of: impl FnMut(usize) -> T) -> [T; CLASS_BYTES.len()] {
    CLASS_BYTES.map(of)
}

/// A new buffer of a class: initialised, and on pages of its own only if the allocator chooses
/// them.
#[cold]
pub fn fresh(class: usize) -> Box<[u8]> {
    vec![0; CLASS_BYTES[class]].into_boxed_slice()
}

/// The number of drawn lengths is prime, so that a held entry gets another length on each lap.
const LENGTHS_COUNT: usize = 16381;

/// The most bytes that one repeat may write, so that no repeat takes much longer than the others.
const WRITTEN_BYTES_MAX: u64 = 2 << 30;
/// The same for the verified pass.
const VERIFIED_BYTES_MAX: u64 = 128 << 20;

/// One case. Its name describes it completely: `get-drop-4KiB-2t-held16`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Case {
    pub work: Work,
    pub lengths: Lengths,
    pub written: Written,
    /// Buffers that a thread keeps. With 1, each is dropped before the next get.
    pub held: usize,
}

/// Which thread gets and which one drops.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Work {
    /// This many threads, 1 or 2, each drops what it got itself.
    Own(usize),
    /// One thread gets, another drops.
    Cross,
}

/// How long buffers are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lengths {
    /// Always this many bytes.
    Of(usize),
    /// Every class of the wire table equally likely, and every length of the class too.
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

    /// How much of the rounds this case gets.
    pub fn rounds(&self, rounds: &Rounds) -> Rounds {
        let (ops, verified_ops) = (self.ops(rounds.ops), self.verified_ops(rounds.verified_ops));
        Rounds { repeats: rounds.repeats, ops, verified_ops }
    }

    /// The operations of a repeat: a sixteenth across threads, where some allocators take
    /// microseconds, and fewer where whole payloads are written.
    fn ops(&self, ops: u64) -> u64 {
        let ops = if self.work == Work::Cross { ops / 16 } else { ops };
        if self.written == Written::Whole {
            ops.min(WRITTEN_BYTES_MAX / self.longest_bytes() as u64)
        } else {
            ops
        }
    }

    /// The operations of the verified pass, in which every byte is written and read twice.
    fn verified_ops(&self, ops: u64) -> u64 {
        ops.min(VERIFIED_BYTES_MAX / self.longest_bytes() as u64)
    }

    pub fn longest_bytes(&self) -> usize {
        match self.lengths {
            Lengths::Of(bytes) => bytes,
            Lengths::Mixed => LARGEST_BYTES,
        }
    }

    /// The lengths in the order of the gets, used in turn.
    pub fn drawn(&self) -> Vec<u32> {
        let Lengths::Mixed = self.lengths else { return vec![narrow(self.longest_bytes())] };
        let mut draw = Draw::new();
        let mut length = || {
            let class = draw.next() % CLASS_BYTES.len();
            let above = if class == 0 { 0 } else { CLASS_BYTES[class - 1] };
            // A payload has room for its number.
            (above + 1 + draw.next() % (CLASS_BYTES[class] - above)).max(8)
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
    fn names_are_those_that_others_rely_on_and_each_is_one_case() {
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
        assert!(lengths.iter().all(|&bytes| (8..=LARGEST_BYTES as u32).contains(&bytes)));
        for class in 0..CLASS_BYTES.len() {
            let of_class = lengths.iter().filter(|&&bytes| class_of(bytes as usize) == Some(class));
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

    #[test]
    fn the_smallest_class_that_fits() {
        let naive = |bytes| CLASS_BYTES.iter().position(|&class_bytes| bytes <= class_bytes);
        for near in CLASS_BYTES {
            for bytes in near - 1..=near + 1 {
                assert_eq!(class_of(bytes), naive(bytes), "{bytes} B");
            }
        }
        assert_eq!((class_of(0), class_of(1), class_of(usize::MAX)), (Some(0), Some(0), None));
        assert!((0..CLASS_BYTES.len()).all(|class| fresh(class).len() == CLASS_BYTES[class]));
    }
}
