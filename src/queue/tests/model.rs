//! Both ends against a naive queue, over random operations: order, bounds, how it ends, and that
//! every item is dropped once.

use std::collections::VecDeque;
use std::sync::Arc;

use proptest::prelude::*;
use slipring_test_support::random_runs;

use super::super::dequeue::{Outlet, Popped};
use super::super::enqueue::{Inlet, QueueRefusal, ends_from};
use super::super::ring::{Count, QueueRing, Weigh};
use super::super::{Bound, End, EnqueuerPanicked, QueueStats};

/// A number, its weight, and a share in the count of the items that exist.
struct Item(u32, usize, #[expect(dead_code, reason = "its count is read")] Arc<()>);

impl Weigh for Item {
    fn weight_bytes(&self) -> usize {
        self.1
    }
}

struct Model {
    inlet: Option<Inlet<Item>>,
    outlet: Option<Outlet<Item>>,
    queued: VecDeque<(u32, usize)>,
    messages_max: usize,
    bytes_max: usize,
    ended: bool,
    number: u32,
    existing: Arc<()>,
}

impl Model {
    fn new(messages_max: usize, bytes_max: usize, none: Count) -> Self {
        let (inlet, outlet) = ends_from(messages_max, bytes_max, none);
        let (queued, existing) = (VecDeque::new(), Arc::new(()));
        let (inlet, outlet) = (Some(inlet), Some(outlet));
        Self { inlet, outlet, queued, messages_max, bytes_max, ended: false, number: 0, existing }
    }

    fn bytes(&self) -> usize {
        self.queued.iter().map(|&(_, weight)| weight).sum()
    }

    fn push(&mut self, weight: usize) {
        let bytes = self.bytes();
        let Some(inlet) = &mut self.inlet else { return };
        self.number += 1;
        let item = Item(self.number, weight, Arc::clone(&self.existing));
        let is_full = self.queued.len() == self.messages_max;
        let is_heavy = bytes + weight > self.bytes_max && !self.queued.is_empty();
        match inlet.try_push(item) {
            Ok(()) => {
                assert!(!self.ended && !is_full && !is_heavy, "{weight} more on {bytes}");
                self.queued.push_back((self.number, weight));
            }
            Err(QueueRefusal::Ended(back)) => assert!(self.ended && back.0 == self.number),
            Err(QueueRefusal::Full(back, bound)) => {
                assert!(!self.ended && back.0 == self.number);
                assert_eq!(matches!(bound, Bound::Messages { .. }), is_full, "{bound:?}");
                assert!(is_full || is_heavy, "{bound:?} at {bytes} bytes for {weight}");
            }
        }
    }

    fn pop(&mut self) {
        let Some(outlet) = &mut self.outlet else { return };
        match (outlet.try_pop(), self.queued.pop_front()) {
            (Popped::Item(item), expected) => assert_eq!(Some((item.0, item.1)), expected),
            (Popped::Empty, None) => assert!(!self.ended),
            (Popped::Ended, None) => assert!(self.ended),
            (_, Some(left)) => panic!("{left:?} is queued"),
        }
    }

    fn apply(&mut self, (what, weight): (u8, u8)) {
        match what {
            0..120 => self.push(usize::from(weight % 12)),
            120..240 => self.pop(),
            240..246 => {
                let end = self
                    .outlet
                    .as_ref()
                    .map(|outlet| outlet.shared().close_as(End::Error(Arc::new(EnqueuerPanicked))));
                assert_eq!(end.unwrap_or(!self.ended), !self.ended, "the first end wins");
                self.ended |= end.is_some();
            }
            246..250 => {
                self.inlet = None;
                self.ended = true;
            }
            250..253 => {
                self.outlet = None;
                self.ended = true;
                self.queued.clear();
            }
            _ => (),
        }
        self.check();
    }

    fn check(&self) {
        assert_eq!(
            Arc::strong_count(&self.existing),
            self.queued.len() + 1,
            "as many items exist as are queued"
        );
        let shared =
            self.outlet.as_ref().map(Outlet::shared).or(self.inlet.as_ref().map(Inlet::shared));
        if let Some(shared) = shared {
            let stats = QueueStats::of(&shared.ring);
            assert_eq!(
                (stats.queued_messages, stats.queued_bytes),
                (self.queued.len() as u64, self.bytes() as u64)
            );
            assert!(stats.most_messages <= self.messages_max as u64);
        }
    }
}

/// The ends of a queue leave nothing in it. A ring by itself drops what is left, here in slots at
/// its end and at its start.
#[test]
fn a_ring_drops_what_is_left() {
    let existing = Arc::new(());
    let (mut producer, mut consumer) = QueueRing::ends(3, 100, Count::default());
    for number in 0..4 {
        producer.room(1).expect("there is room");
        producer.put(Item(number, 1, Arc::clone(&existing)));
        if number < 2 {
            assert_eq!(consumer.pop().expect("an item").0, number);
        }
    }
    drop((producer, consumer));
    assert_eq!(Arc::strong_count(&existing), 1);
}

proptest! {
    #![proptest_config(random_runs())]

    #[test]
    fn the_queue_agrees_with_the_naive_model(
        messages in 1usize..6,
        bytes in 1usize..24,
        wraps in any::<bool>(),
        ops in proptest::collection::vec(any::<(u8, u8)>(), 1..if cfg!(miri) { 60 } else { 300 }),
    ) {
        let before_wrap = Count { messages: usize::MAX - 3, bytes: usize::MAX - 20 };
        let none = if wraps { before_wrap } else { Count::default() };
        let mut model = Model::new(messages, bytes, none);
        for op in ops {
            model.apply(op);
        }
        (model.inlet, model.outlet) = (None, None);
        assert_eq!(Arc::strong_count(&model.existing), 1, "what was left is dropped");
    }
}
