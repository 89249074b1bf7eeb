use std::collections::HashSet;

use super::*;
use proptest::prelude::*;

/// Advances that show what a rotation settles on.
const LONG: usize = if cfg!(miri) { 150 } else { 1000 };

/// A model of what blocks each chunk; the rotation may only hand out what it calls free.
#[derive(Default)]
struct Model {
    blocked: Vec<Option<Blocked>>,
}

impl Model {
    fn new(chunks: u32) -> Self {
        Self { blocked: vec![None; chunks as usize] }
    }
    fn ask(&self) -> impl Fn(u32) -> Option<Blocked> + '_ {
        |chunk| self.blocked[chunk as usize]
    }
}

#[test]
fn rotates_oldest_first_inside_the_window() {
    let mut rotation = Rotation::new(100, 4);
    let used: Vec<u32> = (0..40).map(|_| rotation.advance(|_| None).unwrap()).collect();
    assert_eq!(
        used.iter().copied().collect::<HashSet<_>>().len(),
        4,
        "the working set is the window: {used:?}"
    );
    for pair in used[4..].windows(4) {
        assert_eq!(pair.iter().copied().collect::<HashSet<_>>().len(), 4, "oldest first: {used:?}");
    }
}

#[test]
fn a_burst_takes_from_the_reserve_and_gives_back() {
    let mut rotation = Rotation::new(64, 4);
    for _ in 0..63 {
        rotation.advance(|_| Some(Blocked::Sequence)).expect("63 chunks were in reserve");
    }
    assert_eq!(rotation.advance(|_| Some(Blocked::Sequence)), None, "full");
    assert_eq!(rotation.busy_high(), 64);
    let after: HashSet<u32> = (0..LONG).map(|_| rotation.advance(|_| None).unwrap()).collect();
    let tail: HashSet<u32> = (0..LONG).map(|_| rotation.advance(|_| None).unwrap()).collect();
    assert!(tail.len() <= 4, "back to the window: {} then {}", after.len(), tail.len());
}

#[test]
fn a_pinned_chunk_does_not_make_the_rotation_march() {
    let mut rotation = Rotation::new(100, 4);
    for _ in 0..8 {
        rotation.advance(|_| None);
    }
    let pinned = rotation.current();
    let ask = |chunk| (chunk == pinned).then_some(Blocked::Pinned);
    let used: HashSet<u32> = (0..LONG).map(|_| rotation.advance(ask).unwrap()).collect();
    assert!(!used.contains(&pinned));
    assert!(used.len() <= 6, "{} chunks were used", used.len());
    let again: HashSet<u32> = (0..LONG).map(|_| rotation.advance(|_| None).unwrap()).collect();
    assert!(again.len() <= 7);
}

#[test]
fn two_chunks_take_turns_and_one_restarts() {
    let mut rotation = Rotation::new(2, 2);
    assert_eq!(rotation.advance(|_| None), Some(1));
    assert_eq!(rotation.advance(|_| None), Some(0));
    // The other one is stuck: the current one, being free, starts again.
    assert_eq!(rotation.advance(|chunk| (chunk == 1).then_some(Blocked::Owner)), Some(0));
    assert_eq!(rotation.advance(|_| Some(Blocked::Owner)), None);
}

proptest! {
    #![proptest_config(slipring_test_support::random_runs())]

    #[test]
    fn hands_out_only_free_chunks(
        chunks in 2u32..12,
        window in 2usize..12,
        steps in proptest::collection::vec((0u8..4, any::<u32>()), 1..if cfg!(miri) { 50 } else { 200 }),
    ) {
        let mut rotation = Rotation::new(chunks, window.min(chunks as usize));
        let mut model = Model::new(chunks);
        for (what, pick) in steps {
            let before = rotation.current();
            match what {
                // Whatever closes is blocked by its slots at first.
                0 | 1 => match rotation.advance(model.ask()) {
                    Some(next) => {
                        prop_assert_eq!(model.blocked[next as usize], None);
                        model.blocked[before as usize] = Some(match pick % 3 { 0 => Blocked::Owner, 1 => Blocked::Pinned, _ => Blocked::Sequence });
                        if next == before { model.blocked[before as usize] = None; }
                    }
                    None => prop_assert!(model.blocked.iter().all(Option::is_some), "a free chunk was overlooked"),
                },
                2 => model.blocked[(pick % chunks) as usize] = None,
                _ => if pick % 7 == 0 { model.blocked.fill(None) } else { model.blocked[before as usize] = Some(Blocked::Sequence) },
            }
        }
        model.blocked.fill(None);
        prop_assert!(rotation.advance(model.ask()).is_some(), "recovers");
    }
}
