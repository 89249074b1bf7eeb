//! The naive model of a pool: a list of protected ranges with what was written to them, compared
//! over random operations.
//!
//! After every operation each protected range must still contain its bytes, so nothing overlaps and
//! nothing is reused early. At the end, when everything is dropped, the whole pool must be free
//! again. Sizes are tiny, so the pool wraps and fills up all the time.

use proptest::prelude::*;
use slipring_test_support::{is_filled, looks_after, random_runs};

use super::super::{Full, PoolSlice, Pushed, Received, Retained, RingPool, Token};
use super::{CHUNK, MAX, tiny};

#[derive(Debug)]
pub(in crate::ring) enum Op {
    Alloc { len: usize, commit: usize },
    Leak { len: usize },
    MakeToken { len: usize },
    CommitToken { pick: usize, n: usize },
    DropToken { pick: usize },
    Receive { len: usize, n: usize, cuts: Vec<(usize, usize)>, is_held: bool },
    CutHeld { pick: usize, len: usize },
    DropSlice { pick: usize },
    Push { pick: usize },
    PushGrant { len: usize, n: usize },
    KeepNewest { slots: u32 },
    Release { ahead: i64 },
    Retain { pick: usize },
    CloneRetained { pick: usize },
    DropRetained { pick: usize },
}

/// An operation from three random numbers. With a strategy per operation, proptest would need more
/// time than the pool.
pub(in crate::ring) fn op((what, one, two): (u8, u16, u16)) -> Op {
    let (one, pick) = (usize::from(one), usize::from(two));
    let len = match one % 8 {
        0..4 => one / 8 % 300,
        4..6 => 1 + one / 8 % MAX,
        6 => MAX,
        _ => MAX + 1 + one / 8 % 4,
    };
    match what % 40 {
        0..9 => Op::Alloc { len, commit: pick },
        9 => Op::Leak { len },
        10..12 => Op::MakeToken { len },
        12..14 => Op::CommitToken { pick: one, n: pick },
        14 => Op::DropToken { pick },
        15..18 => {
            let cuts = (0..pick % 5).map(|cut| ((pick >> cut) % 20, (pick >> cut) % 200)).collect();
            Op::Receive { len, n: pick, cuts, is_held: one % 2 == 0 }
        }
        18..20 => Op::CutHeld { pick, len: one % 100 },
        20..25 => Op::DropSlice { pick },
        25..29 => Op::Push { pick },
        29..31 => Op::PushGrant { len, n: pick },
        // A bound is rare, so that in most runs unreleased sequences fill the pool.
        31 => Op::KeepNewest { slots: if one % 4 == 0 { pick as u32 % 12 } else { u32::MAX } },
        32..35 => Op::Release { ahead: (pick % 12) as i64 },
        35 => Op::Retain { pick },
        36 => Op::CloneRetained { pick },
        _ => Op::DropRetained { pick },
    }
}

/// The pool, and everything that protects a range in it, each with the byte that fills the range.
pub(in crate::ring) struct Model {
    pub(in crate::ring) pool: RingPool,
    applied: usize,
    tag: u8,
    slices: Vec<(PoolSlice, u8)>,
    tokens: Vec<(Token, u8)>,
    received: Vec<(Received, u8)>,
    pushed: Vec<(Pushed, u8)>,
    /// The last sequence released by a call.
    released_by_call: i64,
    /// The number of newest sequences that are protected.
    newest: i64,
    last: i64,
    retained: Vec<(Retained, u8)>,
}

fn pick<T>(from: &mut Vec<T>, pick: usize) -> Option<T> {
    (!from.is_empty()).then(|| from.swap_remove(pick % from.len()))
}

impl Model {
    fn new(chunks: usize, window: usize) -> Self {
        Self::over(tiny(chunks, window, 2.min(chunks as u32 - 1)))
    }

    pub(in crate::ring) fn over(pool: RingPool) -> Self {
        let (slices, tokens, received, pushed, retained) = Default::default();
        Self {
            pool,
            applied: 0,
            tag: 0,
            slices,
            tokens,
            received,
            pushed,
            released_by_call: -1,
            newest: i64::MAX,
            last: -1,
            retained,
        }
    }

    fn next_tag(&mut self) -> u8 {
        self.tag = self.tag.wrapping_add(1);
        self.tag
    }

    pub(in crate::ring) fn apply(&mut self, op: Op) {
        match op {
            Op::Alloc { len, commit } => self.alloc(len, commit),
            Op::Leak { len } => {
                if let Ok(mut grant) = self.pool.reserve(len) {
                    grant.fill(0xEE);
                    let _leaked = std::mem::ManuallyDrop::new(grant);
                }
            }
            Op::MakeToken { len } => {
                let tag = self.next_tag();
                if let Ok(grant) = self.pool.reserve(len) {
                    let mut token = grant.into_token();
                    token.fill(tag);
                    self.tokens.push((token, tag));
                }
            }
            Op::CommitToken { pick: at, n } => {
                if let Some((token, tag)) = pick(&mut self.tokens, at) {
                    let n = n % (token.len() + 1);
                    self.slices.push((token.commit(n).expect("it fits"), tag));
                }
            }
            Op::DropToken { pick: at } => drop(pick(&mut self.tokens, at)),
            Op::Receive { len, n, cuts, is_held } => self.receive(len, n, &cuts, is_held),
            Op::CutHeld { pick: at, len } => {
                if !self.received.is_empty() {
                    let at = at % self.received.len();
                    let (received, tag) = &mut self.received[at];
                    match received.cut(0, len) {
                        Ok(slice) => self.slices.push((slice, *tag)),
                        Err(_) => drop(self.received.swap_remove(at)),
                    }
                }
            }
            Op::DropSlice { pick: at } => drop(pick(&mut self.slices, at)),
            Op::Push { pick: at } => {
                if let Some((slice, tag)) = pick(&mut self.slices, at) {
                    let pushed = self.pool.push(slice).expect("its own pool");
                    self.note_pushed(pushed, tag);
                }
            }
            Op::PushGrant { len, n } => self.push_grant(len, n),
            Op::KeepNewest { slots } => self.keep_newest(slots),
            Op::Release { ahead } => self.release(ahead),
            Op::Retain { pick: at } => {
                if !self.slices.is_empty() {
                    let (slice, tag) = &self.slices[at % self.slices.len()];
                    self.retained.extend(slice.retain().ok().map(|handle| (handle, *tag)));
                }
            }
            Op::CloneRetained { pick: at } => {
                if !self.retained.is_empty() {
                    let copy = self.retained[at % self.retained.len()].clone();
                    self.retained.push(copy);
                }
            }
            Op::DropRetained { pick: at } => drop(pick(&mut self.retained, at)),
        }
        self.applied += 1;
        if looks_after(self.applied) {
            self.check();
        }
    }

    fn push_grant(&mut self, len: usize, n: usize) {
        let tag = self.next_tag();
        let Ok(mut grant) = self.pool.reserve(len) else { return };
        grant.truncate(n);
        assert_eq!(grant.len(), len.min(n));
        grant.fill(tag);
        let pushed = grant.push();
        self.note_pushed(pushed, tag);
    }

    fn keep_newest(&mut self, slots: u32) {
        self.released_by_call = self.released();
        self.newest = i64::from(slots);
        self.pool.keep_newest(slots);
        self.forget_released();
    }

    fn release(&mut self, ahead: i64) {
        let through = self.released() + ahead;
        self.released_by_call = self.released_by_call.max(through.min(self.last));
        self.pool.release(through);
        self.forget_released();
    }

    /// The last released sequence, by the model's own count.
    fn released(&self) -> i64 {
        self.released_by_call.max(self.last - self.newest)
    }

    fn note_pushed(&mut self, pushed: Pushed, tag: u8) {
        assert_eq!(pushed.sequence(), self.last + 1);
        self.last += 1;
        self.pushed.push((pushed, tag));
        self.forget_released();
    }

    fn forget_released(&mut self) {
        let released = self.released();
        assert_eq!(self.pool.stats().released, released);
        let (pool, shown) = (&self.pool, |pushed: &Pushed| pushed.sequence() > released);
        assert!(self.pushed.iter().all(|(pushed, _)| pool.view(pushed).is_some() == shown(pushed)));
        self.pushed.retain(|(pushed, _)| shown(pushed));
    }

    fn alloc(&mut self, len: usize, commit: usize) {
        let tag = self.next_tag();
        match self.pool.reserve(len) {
            Ok(mut grant) => {
                assert!(len <= MAX && grant.len() == len);
                assert_eq!(grant.as_ptr() as usize % 64, 0, "slices start on lines");
                grant.fill(tag);
                let slice = grant.commit(commit % (len + 1)).expect("no more than was reserved");
                self.slices.push((slice, tag));
            }
            Err(Full::TooLarge { asked_bytes, max_slice_bytes }) => {
                assert!(asked_bytes == len && max_slice_bytes == MAX && len > MAX)
            }
            Err(Full::Pool { .. }) => self.check_full(),
        }
    }

    fn receive(&mut self, len: usize, n: usize, cuts: &[(usize, usize)], is_held: bool) {
        let tag = self.next_tag();
        let Ok(mut grant) = self.pool.reserve_rest(len) else { return };
        assert!(grant.len() >= len);
        grant.fill(tag);
        let n = n % (grant.len() + 1);
        let mut received = grant.received(n).expect("no more than was reserved");
        for &(skip, len) in cuts {
            if let Ok(slice) = received.cut(skip, len) {
                self.slices.push((slice, tag));
            }
        }
        if is_held {
            self.received.push((received, tag));
        }
    }

    /// Every protected range contains its bytes, and no two overlap.
    fn check(&self) {
        let slices = self.slices.iter().map(|(slice, tag)| (&slice[..], *tag));
        let tokens = self.tokens.iter().map(|(token, tag)| (&token[..], *tag));
        let received = self.received.iter().map(|(received, tag)| (&received[..], *tag));
        let pushed = self
            .pushed
            .iter()
            .map(|(pushed, tag)| (self.pool.view(pushed).expect("not released"), *tag));
        let owned: Vec<_> = slices.chain(tokens).chain(received).chain(pushed).collect();
        let retained = self.retained.iter().map(|(handle, tag)| (&handle[..], *tag));
        for (bytes, tag) in owned.iter().copied().chain(retained) {
            assert!(is_filled(bytes, tag), "a protected range was overwritten");
        }
        let mut ranges: Vec<_> = owned
            .iter()
            .filter(|(b, _)| !b.is_empty())
            .map(|(b, _)| (b.as_ptr() as usize, b.len()))
            .collect();
        ranges.sort_unstable();
        for pair in ranges.windows(2) {
            assert!(pair[0].0 + pair[0].1 <= pair[1].0, "protected ranges overlap: {pair:?}");
        }
        let stats = self.pool.stats();
        assert!(
            stats.in_use_bytes <= stats.pool_bytes && stats.high_water_bytes <= stats.pool_bytes
        );
        assert!(stats.pinned_chunks <= 2);
    }

    /// The pool may report that it is full only if something blocks every chunk.
    fn check_full(&self) {
        let stats = self.pool.stats();
        let blocked = stats.blocked_by_sequence + stats.blocked_by_owner + stats.blocked_by_pins;
        assert_eq!(
            blocked as usize * CHUNK,
            stats.pool_bytes,
            "full, but not every chunk is blocked: {stats:?}"
        );
    }

    /// When everything is dropped or released, the whole pool can be reserved again.
    fn release_all(mut self) {
        let Self { slices, tokens, received, retained, .. } = &mut self;
        slices.clear();
        tokens.clear();
        received.clear();
        retained.clear();
        self.pool.release(i64::MAX);
        self.pushed.clear();
        // Slices of 1024 bytes: four per chunk, except in the current one.
        let mut got = Vec::new();
        while let Ok(grant) = self.pool.reserve(1000) {
            got.push(grant.commit_all());
        }
        let stats = self.pool.stats();
        assert!(
            got.len() >= (stats.pool_bytes / CHUNK - 1) * 4,
            "only {} slices after recovery: {stats:?}",
            got.len()
        );
    }
}

proptest! {
    #![proptest_config(random_runs())]

    #[test]
    fn the_pool_agrees_with_the_naive_model(
        chunks in 2usize..9,
        window in 2usize..9,
        ops in proptest::collection::vec(
            any::<(u8, u16, u16)>(),
            1..if cfg!(miri) { 60 } else { 300 },
        ),
    ) {
        let mut model = Model::new(chunks, window);
        for numbers in ops {
            model.apply(op(numbers));
        }
        model.release_all();
    }
}
