//! Random operations on one thread against a model: which buffers hold which bytes, and what the
//! counters must be.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use slipring_test_support::{looks_after, random_runs};

use crate::class::threads::empty_bins;
use crate::class::{AtLimit, ClassOptions, ClassPool, ClassTable, GetError, Limit, PooledBuf};

const SIZES: [usize; 3] = [64, 192, 4096];

#[derive(Clone, Copy, Debug)]
enum Op {
    Get(usize),
    Drop(usize),
    Lengthen(usize),
    Tick,
    WarmUp(usize),
    EmptyBins(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0_usize..5000).prop_map(Op::Get),
        8 => any::<usize>().prop_map(Op::Drop),
        1 => any::<usize>().prop_map(Op::Lengthen),
        1 => Just(Op::Tick),
        1 => (0_usize..6).prop_map(Op::WarmUp),
        1 => (0_usize..3).prop_map(Op::EmptyBins),
    ]
}

/// A buffer, and the byte that fills it.
struct Owned(PooledBuf, u8);

struct Run {
    pool: ClassPool,
    limit: usize,
    owned: Vec<Owned>,
    stamp: u8,
    now: Instant,
    gets: [u64; 3],
}

impl Run {
    fn new(limit: usize, cache_bytes: usize) -> Self {
        let table = ClassTable::new(&SIZES).unwrap();
        let limit_of = Limit::buffers(limit);
        let options = ClassOptions {
            table,
            limit: limit_of,
            at_limit: AtLimit::Refuse,
            cache_bytes,
            ..ClassOptions::default()
        };
        let pool = ClassPool::new(&options).unwrap();
        Self { pool, limit, owned: Vec::new(), stamp: 0, now: Instant::now(), gets: [0; 3] }
    }

    fn in_use(&self, class: usize) -> usize {
        self.owned.iter().filter(|Owned(buf, _)| buf.capacity() == SIZES[class]).count()
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Get(len) => self.get(len),
            Op::Drop(index) if !self.owned.is_empty() => {
                let index = index % self.owned.len();
                drop(self.owned.swap_remove(index));
            }
            Op::Lengthen(index) if !self.owned.is_empty() => {
                let index = index % self.owned.len();
                let Owned(buf, stamp) = &mut self.owned[index];
                buf.set_len(buf.capacity()).unwrap();
                buf.fill(*stamp);
            }
            Op::Drop(_) | Op::Lengthen(_) => {}
            Op::Tick => {
                self.now += Duration::from_secs(7);
                self.pool.tick(self.now);
            }
            Op::WarmUp(count) => {
                let report = self.pool.warm_up(count).unwrap();
                for class in report.classes {
                    assert!(class.resident >= count.min(self.limit));
                }
            }
            Op::EmptyBins(class) => {
                let shared = self.pool.shared();
                empty_bins(shared, &shared.classes[class], |_| true);
            }
        }
    }

    fn get(&mut self, len: usize) {
        let class = SIZES.iter().position(|&bytes| bytes >= len);
        match (self.pool.get(len), class) {
            (Ok(mut buf), _) => {
                assert_eq!(buf.len(), len);
                assert_eq!(buf.capacity(), class.map_or(len, |class| SIZES[class]));
                self.stamp = self.stamp.wrapping_add(1);
                buf.fill(self.stamp);
                class.into_iter().for_each(|class| self.gets[class] += 1);
                self.owned.push(Owned(buf, self.stamp));
            }
            (Err(GetError::Exhausted { .. }), Some(class)) => {
                assert_eq!(self.in_use(class), self.limit)
            }
            (refused, class) => panic!("{refused:?} of {class:?}"),
        }
    }

    fn check(&self) {
        for Owned(buf, stamp) in &self.owned {
            assert!(buf[..] == vec![*stamp; buf.len()], "a buffer in use was written");
        }
        let stats = self.pool.stats();
        for (class, stats) in stats.classes.iter().enumerate() {
            assert_eq!(stats.in_use, self.in_use(class) as u64);
            assert_eq!((stats.gets, stats.gets - stats.puts), (self.gets[class], stats.in_use));
            assert_eq!(stats.hits + stats.misses, stats.gets);
            assert!(stats.in_use <= stats.resident && stats.resident <= self.limit as u64);
        }
        let direct = self.owned.iter().filter(|Owned(buf, _)| buf.is_direct()).count();
        assert_eq!(stats.direct.in_use, direct as u64);
    }
}

proptest! {
    #![proptest_config(random_runs())]

    #[test]
    fn as_the_model_says(
        limit in 1_usize..6,
        cache_bytes in prop_oneof![Just(0), Just(128), Just(8192), Just(1 << 20)],
        ops in prop::collection::vec(op(), 1..if cfg!(miri) { 40 } else { 300 }),
    ) {
        let mut run = Run::new(limit, cache_bytes);
        for (index, op) in ops.into_iter().enumerate() {
            run.apply(op);
            if looks_after(index) {
                run.check();
            }
        }
        run.check();
    }
}
