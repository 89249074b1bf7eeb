//! A store on one thread, against counts: the order of its waiters, and what becomes of blocks that
//! were moved out.

use std::sync::{Arc, Weak};

use proptest::prelude::*;
use slipring_test_support::random_runs;

use super::{Block, Blocks, FromStore, Store, Unlocked, Waiter};
use crate::class::memory::fake;

fn store(resident_max: usize, cold: usize) -> Store<()> {
    let store = Store::new(resident_max, Weak::new());
    assert!(store.add_cold((1..=cold).map(fake).collect()).to_wake.is_empty());
    store
}

fn get(store: &Store<()>) -> Option<Block> {
    match store.get(0, &mut Blocks::new()) {
        FromStore::Block(block) => Some(block),
        FromStore::NoMemory | FromStore::AtLimit => None,
    }
}

fn waiter() -> Arc<Waiter> {
    Arc::new(Waiter::task())
}

#[test]
fn an_empty_store_says_why() {
    let store = store(2, 1);
    let mut blocks = Blocks::new();
    let FromStore::Block(first) = store.get(9, &mut blocks) else { panic!("there is one") };
    assert_eq!((store.get(0, &mut blocks), blocks.len()), (FromStore::NoMemory, 0));
    assert!(store.add_cold(vec![fake(2), fake(3)]).to_wake.is_empty());
    let second = get(&store).unwrap();
    assert_eq!(
        store.get(0, &mut blocks),
        FromStore::AtLimit,
        "a third has no room, though there is a block"
    );
    let _ = store.put([first, second].into_iter(), 2);
    let FromStore::Block(_) = store.get(9, &mut blocks) else { panic!("they came back") };
    assert_eq!((blocks.len(), store.room(), store.resident()), (1, 0, 2));
}

#[test]
fn waiters_are_served_before_a_getter() {
    let store = store(1, 1);
    let block = get(&store).unwrap();
    let (first, second) = (waiter(), waiter());
    assert!(
        store.enqueue(&first).is_none() && store.enqueue(&second).is_none() && store.has_waiters()
    );
    let Unlocked { to_wake, no_waiter_left, .. } = store.put([block].into_iter(), 1);
    assert!(to_wake.len() == 1 && Arc::ptr_eq(&to_wake[0], &first) && !no_waiter_left);
    let block = first.take_granted().unwrap();
    assert_eq!(get(&store), None);
    let (granted, _) = store.cancel(&second);
    assert!(granted.is_none() && !store.has_waiters());
    let _ = store.put([block].into_iter(), 1);
    assert!(get(&store).is_some());
}

#[test]
fn a_block_that_is_moved_back_serves_a_waiter() {
    let store = store(1, 3);
    let block = get(&store).unwrap();
    let _ = store.put([block].into_iter(), 1);
    let (moved, neighbours) = store.move_out_idle(5, 128);
    assert_eq!(
        (moved.len(), neighbours.len()),
        (1, 1),
        "the next one in the page, and not the third"
    );
    let waiting = waiter();
    assert!(store.enqueue(&waiting).is_none(), "the block is moving, and counts");
    let Unlocked { to_wake, no_waiter_left, .. } = store.move_in(moved, Vec::new(), neighbours);
    assert!(to_wake.len() == 1 && no_waiter_left && waiting.take_granted().is_some());
    assert_eq!(store.view().counts.cold, 2, "it came without pages");
}

#[test]
fn blocks_are_idle_if_they_were_not_needed() {
    let store = store(9, 4);
    let mut got: Vec<Block> = std::iter::from_fn(|| get(&store)).collect();
    let last = got.split_off(1);
    let _ = store.put(last.into_iter(), 3);
    assert_eq!(store.idle(), 0);
    let again = get(&store).unwrap();
    let _ = store.put([again].into_iter(), 1);
    assert_eq!(store.idle(), 2, "one of three was needed");
    assert_eq!(store.idle(), 3);
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Get(usize),
    Put(usize),
    Add,
    Wait,
    Cancel(usize),
    Idle(usize),
    Warm(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0_usize..4).prop_map(Op::Get),
        6 => (1_usize..4).prop_map(Op::Put),
        1 => Just(Op::Add),
        2 => Just(Op::Wait),
        1 => any::<usize>().prop_map(Op::Cancel),
        1 => (0_usize..5).prop_map(Op::Idle),
        1 => (0_usize..5).prop_map(Op::Warm),
    ]
}

#[derive(Default)]
struct Model {
    made: usize,
    away: Vec<Block>,
    waiting: Vec<Arc<Waiter>>,
}

impl Model {
    fn woken(&mut self, unlocked: Unlocked<()>) {
        for waiter in unlocked.to_wake {
            assert!(Arc::ptr_eq(&self.waiting.remove(0), &waiter), "served out of order");
            self.away.extend(waiter.take_granted());
        }
        assert!(!unlocked.no_waiter_left || self.waiting.is_empty());
    }

    fn apply(&mut self, store: &Store<()>, op: Op) {
        match op {
            Op::Get(more) => {
                let mut blocks = Blocks::new();
                if let FromStore::Block(block) = store.get(more, &mut blocks) {
                    assert!(self.waiting.is_empty() && blocks.len() <= more);
                    self.away.push(block);
                    self.away.extend(blocks);
                }
            }
            Op::Put(count) => {
                let kept = self.away.len().saturating_sub(count);
                let back = self.away.split_off(kept);
                self.woken(store.put(back.into_iter(), 0));
            }
            Op::Add => {
                self.made += 1;
                self.woken(store.add_cold(vec![fake(self.made)]));
            }
            Op::Wait => {
                let waiting = waiter();
                match store.enqueue(&waiting) {
                    Some(block) => self.away.push(block),
                    None => self.waiting.push(waiting),
                }
            }
            Op::Cancel(index) if !self.waiting.is_empty() => {
                let gone = self.waiting.remove(index % self.waiting.len());
                let (granted, unlocked) = store.cancel(&gone);
                assert!(granted.is_none(), "it was never served");
                self.woken(unlocked);
            }
            Op::Cancel(_) => {}
            Op::Idle(count) => {
                let (idle, neighbours) = store.move_out_idle(count, 256);
                self.woken(store.move_in(idle, Vec::new(), neighbours));
            }
            Op::Warm(count) => {
                let moved = store.move_out_cold(count);
                self.woken(store.move_in(Vec::new(), moved, Vec::new()));
            }
        }
    }
}

proptest! {
    #![proptest_config(random_runs())]

    /// The store's own check holds after each operation. This checks that no block has two owners,
    /// and that there is no waiter while a block is available.
    #[test]
    fn as_the_counts_say(resident_max in 1_usize..6, ops in prop::collection::vec(op(), 1..if cfg!(miri) { 60 } else { 150 })) {
        let (store, mut model) = (store(resident_max, 0), Model::default());
        for op in ops {
            model.apply(&store, op);
            let mut addrs: Vec<usize> = model.away.iter().map(Block::addr).collect();
            addrs.sort_unstable();
            addrs.dedup();
            prop_assert_eq!(addrs.len(), model.away.len(), "a block was handed out twice");
            let view = store.view();
            prop_assert!(view.resident <= resident_max && view.resident >= model.away.len());
            prop_assert_eq!(view.waiting, model.waiting.len());
            prop_assert!(model.waiting.is_empty() || view.resident == model.away.len(), "there is a waiter, and a free block");
        }
    }
}
