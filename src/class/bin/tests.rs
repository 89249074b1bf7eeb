//! A bin on one thread, against a list.

use proptest::prelude::*;
use slipring_test_support::random_runs;

use super::{BIN_SLOTS, Bin, BinCounts, Blocks};
use crate::barrier::Barrier;
use crate::class::memory::{Block, fake};

#[derive(Clone, Copy, Debug)]
enum Op {
    Push,
    Pop,
    Halve,
    Fill(usize),
    Empty,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => Just(Op::Push),
        6 => Just(Op::Pop),
        1 => Just(Op::Halve),
        1 => (0_usize..8).prop_map(Op::Fill),
        1 => Just(Op::Empty),
    ]
}

fn addrs(blocks: impl Iterator<Item = Block>) -> Vec<usize> {
    blocks.map(|block| block.addr()).collect()
}

proptest! {
    #![proptest_config(random_runs())]

    #[test]
    fn as_a_list(kept_max in 0_usize..=BIN_SLOTS, ops in prop::collection::vec(op(), 1..if cfg!(miri) { 100 } else { 200 })) {
        let bin = Bin::new(kept_max as u32, Barrier::choose(), false);
        let (mut list, mut next) = (Vec::new(), 0);
        let (mut gets, mut puts) = (0, 0);
        for op in ops {
            match op {
                Op::Push => {
                    next += 1;
                    let refused = bin.push(fake(next)).map(|block| block.addr());
                    prop_assert_eq!(refused.is_some(), list.len() == kept_max);
                    match refused {
                        Some(addr) => prop_assert_eq!(addr, fake(next).addr()),
                        None => {
                            list.push(fake(next).addr());
                            puts += 1;
                        }
                    }
                }
                Op::Pop => {
                    gets += u64::from(!list.is_empty());
                    prop_assert_eq!(bin.pop().map(|block| block.addr()), list.pop());
                }
                Op::Halve => {
                    let mut out = Blocks::new();
                    bin.halve(&mut out);
                    let mut moved = addrs(out);
                    moved.reverse();
                    let kept = list.split_off(list.len() - list.len() / 2);
                    prop_assert_eq!(moved, std::mem::replace(&mut list, kept));
                }
                Op::Fill(count) => {
                    let mut blocks = Blocks::new();
                    (0..count).for_each(|_| { next += 1; blocks.push(fake(next)) });
                    bin.fill(&mut blocks);
                    let moved = count.min(kept_max - list.len());
                    prop_assert_eq!(blocks.len(), count - moved);
                    list.extend((0..moved).map(|index| fake(next - index).addr()));
                }
                Op::Empty => {
                    let mut out = Vec::new();
                    bin.lock_out();
                    prop_assert!(bin.pop().is_none() && bin.push(fake(1)).is_some(), "the owner is locked out");
                    prop_assert!(bin.empty(&mut out));
                    bin.set_locked_out(false);
                    prop_assert_eq!(addrs(out.into_iter()), std::mem::take(&mut list));
                }
            }
            prop_assert_eq!((bin.held() as usize, bin.counts()), (list.len(), BinCounts { gets, puts }));
        }
    }
}

#[test]
fn a_bin_is_idle_when_its_owner_was() {
    let bin = Bin::new(2, Barrier::choose(), false);
    assert!(!bin.was_idle(), "it holds nothing");
    assert!(bin.push(fake(1)).is_none());
    assert!(!bin.was_idle());
    assert!(bin.was_idle());
    let block = bin.pop().unwrap();
    assert!(bin.push(block).is_none());
    assert!(!bin.was_idle(), "it holds the same, but was used");
}

#[test]
fn a_bin_whose_owner_is_locked_out_at_first_is_not_used() {
    let bin = Bin::new(2, Barrier::choose(), true);
    assert!(bin.push(fake(1)).is_some());
    bin.set_locked_out(false);
    assert!(bin.push(fake(1)).is_none());
}

#[test]
fn an_owner_that_stays_inside_keeps_its_blocks() {
    let bin = Bin::new(2, Barrier::choose(), false);
    assert!(bin.push(fake(1)).is_none() && bin.enter());
    bin.lock_out();
    let mut out = Vec::new();
    assert!(!bin.empty(&mut out) && out.is_empty() && bin.held() == 1);
    bin.leave();
    assert!(bin.empty(&mut out) && out.len() == 1 && bin.held() == 0);
}
