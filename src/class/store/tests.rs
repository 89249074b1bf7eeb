//! The store on one thread, against counts; the line of those who wait, and what becomes of moved
//! blocks.

use std::sync::{Arc, Weak};

use proptest::prelude::*;
use slipring_test_support::random_runs;

use super::{After, Batch, Block, Store, Taken, Waiter};
use crate::class::block::fake;

fn store(resident_max: usize, cold: usize) -> Store<()> {
    let store = Store::new(resident_max, Weak::new());
    assert!(store.add_cold((1..=cold).map(fake).collect()).woken.is_empty());
    store
}

fn take(store: &Store<()>) -> Option<Block> {
    match store.take(0, &mut Batch::new()) {
        Taken::Block(block) => Some(block),
        Taken::NoMemory | Taken::AtLimit => None,
    }
}

fn waiter() -> Arc<Waiter> {
    Arc::new(Waiter::task())
}

#[test]
fn an_empty_store_says_why() {
    let store = store(2, 1);
    let mut batch = Batch::new();
    let Taken::Block(first) = store.take(9, &mut batch) else { panic!("there is one") };
    assert_eq!((store.take(0, &mut batch), batch.len()), (Taken::NoMemory, 0));
    assert!(store.add_cold(vec![fake(2), fake(3)]).woken.is_empty());
    let second = take(&store).unwrap();
    assert_eq!(
        store.take(0, &mut batch),
        Taken::AtLimit,
        "a third has no room, though there is a block"
    );
    let _ = store.put([first, second].into_iter(), 2);
    let Taken::Block(_) = store.take(9, &mut batch) else { panic!("they came back") };
    assert_eq!((batch.len(), store.room(), store.resident()), (1, 0, 2));
}

#[test]
fn who_waits_comes_before_who_comes() {
    let store = store(1, 1);
    let block = take(&store).unwrap();
    let (first, second) = (waiter(), waiter());
    assert!(
        store.enqueue(&first).is_none() && store.enqueue(&second).is_none() && store.is_hungry()
    );
    let After { woken, is_sated, .. } = store.put([block].into_iter(), 1);
    assert!(woken.len() == 1 && Arc::ptr_eq(&woken[0], &first) && !is_sated);
    let block = first.take().unwrap();
    assert_eq!(take(&store), None);
    let (granted, _) = store.cancel(&second);
    assert!(granted.is_none() && !store.is_hungry());
    let _ = store.put([block].into_iter(), 1);
    assert!(take(&store).is_some());
}

#[test]
fn what_is_given_back_serves_who_waits() {
    let store = store(1, 3);
    let block = take(&store).unwrap();
    let _ = store.put([block].into_iter(), 1);
    let (moved, neighbours) = store.move_out_idle(5, 128);
    assert_eq!(
        (moved.len(), neighbours.len()),
        (1, 1),
        "the next one in the page; the third lies behind"
    );
    let waiting = waiter();
    assert!(store.enqueue(&waiting).is_none(), "the block is moving, and counts");
    let After { woken, is_sated, .. } = store.move_in(moved, Vec::new(), neighbours);
    assert!(woken.len() == 1 && is_sated && waiting.take().is_some());
    assert_eq!(store.view().counts.cold, 2, "it came without pages");
}

#[test]
fn idle_is_what_nobody_needed() {
    let store = store(9, 4);
    let mut taken: Vec<Block> = std::iter::from_fn(|| take(&store)).collect();
    let last = taken.split_off(1);
    let _ = store.put(last.into_iter(), 3);
    assert_eq!(store.idle(), 0);
    let again = take(&store).unwrap();
    let _ = store.put([again].into_iter(), 1);
    assert_eq!(store.idle(), 2, "one of three was needed");
    assert_eq!(store.idle(), 3);
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Take(usize),
    Put(usize),
    Add,
    Wait,
    Cancel(usize),
    Idle(usize),
    Warm(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0_usize..4).prop_map(Op::Take),
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
    fn woken(&mut self, after: After<()>) {
        for waiter in after.woken {
            assert!(Arc::ptr_eq(&self.waiting.remove(0), &waiter), "served out of order");
            self.away.extend(waiter.take());
        }
        assert!(!after.is_sated || self.waiting.is_empty());
    }

    fn apply(&mut self, store: &Store<()>, op: Op) {
        match op {
            Op::Take(more) => {
                let mut batch = Batch::new();
                if let Taken::Block(block) = store.take(more, &mut batch) {
                    assert!(self.waiting.is_empty() && batch.len() <= more);
                    self.away.push(block);
                    self.away.extend(batch);
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
                let (granted, after) = store.cancel(&gone);
                assert!(granted.is_none(), "it was never served");
                self.woken(after);
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

    /// The store's own check holds after each operation; here it is that nobody has what another
    /// has, and that nobody waits for what is there.
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
            prop_assert!(model.waiting.is_empty() || view.resident == model.away.len(), "somebody waits beside a free block");
        }
    }
}
