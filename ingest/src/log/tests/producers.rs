//! The table of producers against a model that forgets nothing, and its file.

use std::collections::{HashMap, HashSet};

use super::super::producer_file::{decode, encode};
use super::super::*;
use super::random::Random;

const LIMITS: ProducerLimits = ProducerLimits { producers: 3, requests: 4, window_ns: 100 };

fn request(sequence: u64, row: u64) -> KnownRequest {
    KnownRequest { sequence, row, rows: 2, lane: 0 }
}

fn decide(table: &mut ProducerTable, producer: u64, sequence: u64, now: u64) -> ProducerVerdict {
    table.decide(producer, request(sequence, 10 * (sequence % 1000)), now, |_| false)
}

#[test]
fn each_case_of_a_window() {
    use ProducerVerdict::{Fresh, Repeat, Unknown};
    let mut table = ProducerTable::new(LIMITS);
    assert_eq!(decide(&mut table, 7, 2, 0), Unknown, "a new producer begins with 1");
    assert_eq!(decide(&mut table, 7, 0, 0), Unknown, "0 is no sequence");
    for sequence in [1, 2, 5] {
        assert_eq!(decide(&mut table, 7, sequence, 0), Fresh);
    }
    assert_eq!(decide(&mut table, 7, 3, 0), Fresh, "it was refused before, and 5 was not");
    assert_eq!(decide(&mut table, 7, 3, 0), Repeat(request(3, 30)));
    let other = KnownRequest { rows: 3, ..request(3, 99) };
    assert_eq!(table.decide(7, other, 0, |_| false), Unknown, "another request of that number");
    assert_eq!(decide(&mut table, 7, 6, 0), Fresh, "the fifth: the first one falls out");
    assert_eq!(decide(&mut table, 7, 1, 0), Unknown);
    assert_eq!(decide(&mut table, 7, 2, 0), Repeat(request(2, 20)));
    assert_eq!(decide(&mut table, 7, u64::MAX, 0), Fresh);
    assert_eq!(decide(&mut table, 7, 2, 0), Unknown);
    assert_eq!(table.decide(7, request(3, 77), 0, |known| known.row == 30), Fresh, "it was lost");
    assert_eq!(decide(&mut table, 7, 3, 0), Repeat(request(3, 77)));
}

#[test]
fn a_full_table_forgets_only_who_was_silent_for_the_window() {
    use ProducerVerdict::{Fresh, Repeat, Unknown};
    let mut table = ProducerTable::new(LIMITS);
    for producer in 1..=3 {
        assert_eq!(decide(&mut table, producer, 1, producer), Fresh);
    }
    assert_eq!(decide(&mut table, 4, 1, 100), Unknown, "nobody may be forgotten yet");
    assert_eq!(decide(&mut table, 1, 1, 100), Repeat(request(1, 10)), "a repeat is heard too");
    assert_eq!(decide(&mut table, 4, 1, 102), Fresh, "2 is forgotten");
    assert_eq!(decide(&mut table, 2, 2, 102), Unknown);
    assert_eq!((decide(&mut table, 1, 2, 102), table.len()), (Fresh, 3));
    // A request that is refused for another cause begins a producer as well.
    table.begin(9, 1, 300);
    assert_eq!(decide(&mut table, 9, 2, 300), Fresh);
}

/// What the model knows of a producer: all that was ever accepted.
#[derive(Default)]
struct Model {
    stored: HashMap<(u64, u64), KnownRequest>,
    forgotten: HashSet<u64>,
}

#[test]
fn nothing_is_fresh_twice_and_what_is_remembered_is_right() {
    for seed in 1..200 {
        let mut random = Random(seed);
        let (mut table, mut model) = (ProducerTable::new(LIMITS), Model::default());
        let (mut now, mut repeats, mut fresh) = (0, 0, 0);
        for row in 0..400_u64 {
            now += random.below(30) as u64;
            let producer = 1 + random.below(5) as u64;
            let sequence = 1 + random.below(12) as u64;
            if random.below(20) == 0 {
                let rows = row.saturating_sub(6)..row;
                table.forget_rows(0, &rows);
                let is_kept = |known: &KnownRequest| !rows.contains(&known.row);
                model.stored.retain(|_, known| is_kept(known));
            }
            if random.below(30) == 0 {
                table = decode(&encode(&table), LIMITS).unwrap();
                let mut other = ProducerTable::new(LIMITS);
                other.absorb(&table, |_| true, now);
                table = other;
            }
            let asked = KnownRequest { sequence, row, rows: 1, lane: 0 };
            let stored = model.stored.get(&(producer, sequence)).copied();
            match table.decide(producer, asked, now, |_| false) {
                ProducerVerdict::Fresh => {
                    // Only 1 begins a producer anew that was forgotten.
                    let is_anew = sequence == 1 && model.forgotten.contains(&producer);
                    assert!(stored.is_none() || is_anew, "seed {seed}: {producer} {sequence}");
                    if is_anew {
                        model.stored.retain(|(id, _), _| *id != producer);
                        model.forgotten.remove(&producer);
                    }
                    model.stored.insert((producer, sequence), asked);
                    fresh += 1;
                }
                ProducerVerdict::Repeat(known) => {
                    assert_eq!(Some(known), stored, "seed {seed}: {producer} {sequence}");
                    repeats += 1;
                }
                ProducerVerdict::Unknown => {}
            }
            let is_known = |id: u64| table.windows().iter().any(|(known, _)| *known == id);
            model.forgotten.extend((1..=5).filter(|id| !is_known(*id)));
            assert!(table.len() <= LIMITS.producers);
        }
        assert!(fresh > 10 && repeats > 10, "seed {seed}: {fresh} fresh, {repeats} repeats");
    }
}

#[test]
fn a_file_that_is_damaged_anywhere_is_no_table() {
    let mut table = ProducerTable::new(LIMITS);
    for (producer, sequence) in [(7, 1), (7, 2), (8, 1), (7, 3), (7, 4), (7, 5)] {
        table.decide(producer, request(sequence, sequence), 0, |_| false);
    }
    let bytes = encode(&table);
    assert_eq!(table.file_bytes(), bytes.len() as u64);
    let read = decode(&bytes, LIMITS).unwrap();
    let content = |table: &ProducerTable| {
        let windows = table.windows();
        let pair = |(id, w): &(u64, &producers::ProducerWindow)| (*id, w.floor, w.known.clone());
        let mut all: Vec<_> = windows.iter().map(pair).collect();
        all.sort_unstable_by_key(|(id, ..)| *id);
        all
    };
    assert_eq!(content(&read), content(&table));
    assert!(decode(&[], LIMITS).is_none());
    for at in 0..bytes.len() {
        assert!(decode(&bytes[..at], LIMITS).is_none(), "cut at {at}");
        let mut other = bytes.clone();
        other[at] ^= 4;
        assert!(decode(&other, LIMITS).is_none(), "byte {at}");
    }
    assert!(decode(&[&bytes[..], &[0; 8]].concat(), LIMITS).is_none());
}
