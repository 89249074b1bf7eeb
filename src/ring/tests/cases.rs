//! Single cases: an empty pool, a full one, a wrap, too large, misaligned, held, and dropped before
//! its slices.

use slipring_test_support::is_filled;

use super::super::{CastError, Full, PoolSlice, RingError, RingOptions, RingPool};
use super::{CHUNK, MAX, tiny};
use crate::region::Pages;
use crate::ring::window::Blocked;

#[test]
fn padding_at_a_wrap_is_never_lost() {
    // If the padding at a wrap is never reclaimed, a pool with mixed sizes runs out for ever.
    let mut pool = tiny(4, 4, 1);
    for round in 0..if cfg!(miri) { 100 } else { 10_000usize } {
        let bytes = vec![round as u8; 700 + (round * 577) % 1300];
        let slice = pool.copy_in(&bytes).expect("everything before was released");
        assert_eq!(&slice[..], &bytes[..]);
        let pushed = pool.push(slice).unwrap();
        pool.release(pushed.sequence());
    }
    assert!(pool.stats().tail_waste_bytes > 0);
}

#[test]
fn a_small_pool_holds_the_payloads_that_its_bytes_are() {
    // Four payloads, and a fifth that is allocated before the oldest is dropped. Each is half a
    // chunk, and its stride would alias.
    let bytes = 8 * 4096;
    let pool =
        RingOptions { bytes, max_slice_bytes: 4096, pages: Pages::Small, ..RingOptions::default() };
    let mut pool = RingPool::new(&pool).unwrap();
    let all: Vec<_> = std::iter::from_fn(|| pool.copy_in(&[1; 4096]).ok()).collect();
    assert_eq!(all.len(), 8);
    drop(all);
    let mut entries = [const { None }; 4];
    for op in 0..1000 {
        let slice =
            pool.copy_in(&[op as u8; 4096]).unwrap_or_else(|full| panic!("operation {op}: {full}"));
        assert!(entries[op % 4].replace(slice).is_none_or(|old| is_filled(&old, (op - 4) as u8)));
    }
}

#[test]
fn a_dropped_grant_gives_everything_back() {
    let mut pool = tiny(2, 2, 1);
    let first = pool.reserve(100).unwrap().as_ptr();
    for _ in 0..1000 {
        assert_eq!(pool.reserve(MAX).unwrap().as_ptr(), first);
        assert_eq!(pool.reserve_rest(1).unwrap().len(), CHUNK);
    }
    let token = pool.reserve(MAX).unwrap().into_token();
    drop(token);
    assert_eq!(pool.reserve(1).unwrap().as_ptr(), first, "the newest token's bytes are reclaimed");
}

#[test]
fn an_old_token_gives_back_with_its_chunk() {
    let mut pool = tiny(2, 2, 1);
    let token = pool.reserve(1000).unwrap().into_token();
    let newer = pool.copy_in(&[1; 64]).unwrap();
    drop(token);
    assert_eq!(pool.stats().tail_waste_bytes, 1024);
    drop(newer);
    let mut got = Vec::new();
    while let Ok(slice) = pool.copy_in(&[2; 1000]) {
        got.push(slice);
    }
    assert!(got.len() >= 4 + 2, "both chunks came back: {}", got.len());
}

#[test]
fn a_token_may_be_dropped_while_a_grant_exists() {
    let mut pool = tiny(2, 2, 1);
    let token = pool.reserve(256).unwrap().into_token();
    let first = token.as_ptr();
    let mut grant = pool.reserve(64).unwrap();
    drop(token);
    grant.fill(5);
    let slice = grant.commit_all();
    assert_eq!(slice.as_ptr(), first.wrapping_add(256), "the grant stays where it is");
    let next = pool.reserve(64).unwrap();
    assert_eq!(next.as_ptr(), first.wrapping_add(320), "the token's bytes are waste now");
    drop(next);
    assert_eq!(pool.stats().tail_waste_bytes, 256);
    let token = pool.reserve(256).unwrap().into_token();
    let grant = pool.reserve(64).unwrap();
    drop(token);
    drop(grant);
    assert_eq!(
        pool.reserve(64).unwrap().as_ptr(),
        first.wrapping_add(320),
        "nothing was handed out after them here"
    );
    assert!(slice.iter().all(|&byte| byte == 5));
}

#[test]
fn tokens_give_back_in_every_order() {
    // Three in a row. One range is remembered until the pool allocates again, and grows by its
    // neighbours. So only one case makes waste: the first token is dropped while the range of the
    // last one is remembered.
    for (order, waste) in [
        ([0, 1, 2], 0),
        ([0, 2, 1], 64),
        ([1, 0, 2], 0),
        ([1, 2, 0], 0),
        ([2, 0, 1], 64),
        ([2, 1, 0], 0),
    ] {
        let mut pool = tiny(2, 2, 1);
        let first = pool.reserve(1).unwrap().as_ptr();
        let mut tokens: Vec<_> =
            (1..=3).map(|i| Some(pool.reserve(i * 64).unwrap().into_token())).collect();
        order.iter().for_each(|&at| drop(tokens[at].take()));
        assert_eq!(pool.stats().tail_waste_bytes, waste, "{order:?}");
        assert_eq!(
            pool.reserve(1).unwrap().as_ptr(),
            first.wrapping_add(waste as usize),
            "{order:?}"
        );
        // With an allocation in between, only the newest is reclaimed immediately.
        let mut tokens: Vec<_> =
            (1..=3).map(|i| Some(pool.reserve(i * 64).unwrap().into_token())).collect();
        drop(tokens[0].take());
        let full = pool.reserve(MAX + 1).unwrap_err();
        assert_eq!(
            full,
            Full::TooLarge { asked_bytes: MAX + 1, max_slice_bytes: MAX },
            "a length above the limit is refused before the returned range is looked at"
        );
        assert!(pool.reserve(1).is_ok());
        assert_eq!(pool.stats().tail_waste_bytes, waste + 64);
    }
}

#[test]
fn what_was_given_back_outlives_a_full_pool() {
    let mut pool = tiny(2, 2, 1);
    let held: Vec<_> = std::iter::from_fn(|| pool.copy_in(&[1; 1024]).ok()).take(7).collect();
    let token = pool.reserve(960).unwrap().into_token();
    let first = token.as_ptr();
    drop(token);
    assert!(pool.reserve(1025).is_err(), "three slices and nothing else are in this chunk");
    assert_eq!(pool.stats().tail_waste_bytes, 0);
    assert_eq!(pool.reserve(1024).unwrap().as_ptr(), first);
    drop(held);
}

#[test]
fn slices_dropped_out_of_order_never_free_memory_of_another() {
    let mut pool = tiny(3, 3, 1);
    let old = pool.copy_in(&[7; 512]).unwrap();
    for round in 0..200u8 {
        drop(pool.copy_in(&[round; 1024]).expect("two chunks are free"));
        assert!(is_filled(&old, 7));
    }
    let (one, two) = (pool_slice(&mut pool, 1), pool_slice(&mut pool, 2));
    let (first, second) = (pool.push(one).unwrap(), pool.push(two).unwrap());
    pool.release(first.sequence());
    assert!(pool.view(&first).is_none() && pool.view(&second).is_some());
}

fn pool_slice(pool: &mut RingPool, byte: u8) -> PoolSlice {
    pool.copy_in(&[byte; 16]).unwrap()
}

#[test]
fn full_says_so_and_recovers() {
    let mut pool = tiny(2, 2, 1);
    let held: Vec<_> = std::iter::from_fn(|| pool.copy_in(&[1; 1024]).ok()).collect();
    assert_eq!(held.len(), 2 * 4);
    assert_eq!(pool.reserve(1024).unwrap_err(), Full::Pool { asked_bytes: 1024, chunks: 2 });
    assert_eq!(
        pool.reserve(MAX + 1).unwrap_err(),
        Full::TooLarge { asked_bytes: MAX + 1, max_slice_bytes: MAX }
    );
    assert_eq!(
        pool.reserve(usize::MAX).unwrap_err(),
        Full::TooLarge { asked_bytes: usize::MAX, max_slice_bytes: MAX }
    );
    let stats = pool.stats();
    assert_eq!(
        (stats.refused_pool, stats.refused_too_large, stats.blocked_by_owner),
        (2, 2, 2),
        "one refusal ended the list, one was asked for"
    );
    drop(held);
    assert!(pool.reserve(1024).is_ok());
}

#[test]
fn retained_handles_pin_and_are_capped() {
    let mut pool = tiny(4, 2, 1);
    let slice = pool.copy_in(&[9; 100]).unwrap();
    let handle = slice.retain().unwrap();
    let pushed = pool.push(slice).unwrap();
    pool.release(pushed.sequence());
    for round in 0..100u8 {
        drop(pool.copy_in(&[round; 2000]).unwrap());
    }
    assert!(is_filled(&handle, 9));
    assert_eq!(pool.stats().pinned_chunks, 1);
    let other = pool.copy_in(&[1; 100]).unwrap();
    assert_eq!(other.retain().unwrap_err().pinned_chunks_max, 1);
    drop(handle);
    assert!(other.retain().is_ok());
}

#[test]
fn the_pool_may_be_dropped_before_its_slices() {
    let mut pool = tiny(2, 2, 1);
    let slice = pool.copy_in(b"still here").unwrap();
    let token = pool.reserve(64).unwrap().into_token();
    let handle = slice.retain().unwrap();
    drop(pool);
    drop(token);
    assert_eq!(&slice[..], b"still here");
    drop(slice);
    let other = std::thread::spawn(move || handle.to_vec()).join().unwrap();
    assert_eq!(other, b"still here");
}

#[test]
fn a_slice_of_another_pool_comes_back() {
    let (mut one, mut two) = (tiny(2, 2, 1), tiny(2, 2, 1));
    let slice = one.copy_in(b"one").unwrap();
    let back = two.push(slice).unwrap_err().0;
    let pushed = one.push(back).unwrap();
    assert_eq!(two.view(&pushed), None, "another pool shows nothing");
    assert_eq!(one.view(&pushed), Some(&b"one"[..]));
}

#[test]
fn a_read_in_flight_pins_its_chunk_until_it_is_reported() {
    let mut pool = tiny(2, 2, 1);
    let flight = pool.reserve(256).unwrap().into_token().submit();
    let id = flight.id();
    assert_eq!(flight.capacity(), 256);
    drop(flight);
    for _ in 0..20 {
        drop(pool.copy_in(&[1; 2048]).unwrap());
    }
    assert_eq!(pool.stats().blocked_by_owner, 1);
    assert!(pool.report_completion(id) && !pool.report_completion(id));
    let again = pool.reserve(256).unwrap().into_token().submit();
    let mut token = again.complete();
    token.fill(3);
    assert!(is_filled(&token.commit(10).unwrap(), 3));
    drop(pool.copy_in(&[1; 2048]));
    assert_eq!(pool.stats().blocked_by_owner, 0);
}

#[test]
fn slices_are_cut_from_a_receive_without_a_copy() {
    let mut pool = tiny(2, 2, 1);
    let mut grant = pool.reserve_rest(16).unwrap();
    let at = grant.as_ptr();
    for (i, byte) in grant.iter_mut().enumerate() {
        *byte = i as u8;
    }
    let mut received = grant.received(40).unwrap();
    let one = received.cut(4, 8).unwrap();
    let two = received.cut(4, 16).unwrap();
    assert_eq!(one.as_ptr(), at.wrapping_add(4));
    assert_eq!((one[0], two[0], received[0]), (4, 16, 32));
    assert_eq!(received.cut(4, 8).unwrap_err().available_bytes, 8);
    assert_eq!(received.cut(usize::MAX, 8).unwrap_err().asked_bytes, usize::MAX);
    drop(received);
    // The bytes of the incomplete frame were reclaimed: the next grant starts on the first line
    // after the last cut.
    assert_eq!(pool.reserve(1).unwrap().as_ptr(), at.wrapping_add(64));
    assert_eq!(two.rows(2).unwrap().len(), 2);
    assert_eq!(two.rows(3).unwrap_err(), CastError::Length { bytes: 16, unit_bytes: 12 });
    assert_eq!(two.rows(0).unwrap_err(), CastError::NoDimension);
}

#[test]
fn rows_are_walked_by_value_and_by_reference() {
    let mut pool = tiny(2, 2, 1);
    let bytes: Vec<u8> =
        [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0].iter().flat_map(|value| value.to_ne_bytes()).collect();
    let slice = pool.copy_in(&bytes).unwrap();
    let mut seen = Vec::new();
    for row in slice.rows(2).unwrap() {
        seen.push(row);
    }
    assert_eq!(seen, [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
    let rows = slice.rows(3).unwrap();
    for row in &rows {
        assert_eq!(row.len(), 3);
    }
    // `Rows` is a view, so it can be copied.
    let (copy, mut walk) = (rows, rows.iter());
    assert_eq!((walk.len(), walk.next_back(), walk.len()), (2, copy.get(1), 1));
    assert_eq!(copy.into_iter().map(|row| row[0]).collect::<Vec<_>>(), [1.0, 4.0]);
}

#[test]
fn misaligned_bytes_are_no_floats() {
    let mut pool = tiny(2, 2, 1);
    let mut grant = pool.reserve(64).unwrap();
    grant.copy_from_slice(&[0; 64]);
    let mut received = grant.received(64).unwrap();
    let odd = received.cut(1, 8).unwrap();
    assert_eq!(odd.as_f32s().unwrap_err(), CastError::Misaligned { remainder: 1 });
    let short = received.cut(3, 6).unwrap();
    assert_eq!(short.as_f32s().unwrap_err(), CastError::Length { bytes: 6, unit_bytes: 4 });
}

#[test]
fn options_name_the_field_that_does_not_fit() {
    let good = RingOptions {
        bytes: 1 << 20,
        max_slice_bytes: 100,
        pages: Pages::Small,
        ..RingOptions::default()
    };
    let field = |options: RingOptions| match RingPool::new(&options) {
        Err(RingError::Option { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert!(RingPool::new(&good).is_ok());
    assert_eq!(field(RingOptions { bytes: 0, ..good.clone() }), "bytes");
    assert_eq!(field(RingOptions { bytes: 4096, ..good.clone() }), "bytes");
    assert_eq!(field(RingOptions { max_slice_bytes: 0, ..good.clone() }), "max_slice_bytes");
    assert_eq!(
        field(RingOptions { max_slice_bytes: usize::MAX, ..good.clone() }),
        "max_slice_bytes"
    );
    assert_eq!(field(RingOptions { chunk_bytes: Some(5000), ..good.clone() }), "chunk_bytes");
    assert_eq!(field(RingOptions { chunk_bytes: Some(2048), ..good.clone() }), "chunk_bytes");
    assert_eq!(
        field(RingOptions { window_bytes: Some(4096), chunk_bytes: Some(4096), ..good.clone() }),
        "window_bytes"
    );
    assert_eq!(
        field(RingOptions { bytes: 1 << 20, max_slice_bytes: 1 << 20, ..good.clone() }),
        "bytes"
    );
    let pins = |max| RingOptions {
        bytes: 4 * 4096,
        chunk_bytes: Some(4096),
        pinned_chunks_max: Some(max),
        ..good.clone()
    };
    assert_eq!(
        field(pins(4)),
        "pinned_chunks_max",
        "pins alone could fill the pool, and no thread is woken by an unpin"
    );
    assert!(RingPool::new(&pins(3)).is_ok() && RingPool::new(&pins(0)).is_ok());
}

#[test]
fn a_completion_reported_to_the_wrong_pool_releases_nothing() {
    let (mut one, mut two) = (tiny(2, 2, 1), tiny(2, 2, 1));
    let first = one.reserve(64).unwrap().into_token().submit();
    let second = two.reserve(64).unwrap().into_token().submit();
    let (id_one, id_two) = (first.id(), second.id());
    drop((first, second));
    assert!(!two.report_completion(id_one) && !one.report_completion(id_two));
    assert!(one.report_completion(id_one) && two.report_completion(id_two));
}

#[test]
fn an_earlier_sequence_never_shortens_the_protection_of_a_chunk() {
    let pool = tiny(2, 2, 1);
    let chunk = pool.owner.chunk(1);
    chunk.note_sequence(5);
    chunk.note_sequence(3);
    assert_eq!(pool.owner.blocked(1, 5, 4), Some(Blocked::Sequence));
    assert_eq!(pool.owner.blocked(1, 5, 5), None);
}

/// With one number of 64 bits that has the pool's number in its high half, the reads of one pool
/// would reach the numbers of the next pool after 2^32 reads.
#[test]
fn reads_of_two_pools_never_have_the_same_number() {
    let (mut one, mut two) = (tiny(2, 2, 1), tiny(2, 2, 1));
    let second = two.reserve(64).unwrap().into_token().submit();
    let first = one.reserve(64).unwrap().into_token().submit();
    let pools_between = u64::from(second.id().pool.get() - first.id().pool.get());
    one.owner.skip_flights((pools_between << 32) - 1);
    let much_later = one.reserve(64).unwrap().into_token().submit();
    let (id_first, id, id_later) = (first.id(), second.id(), much_later.id());
    drop((first, second, much_later));
    assert!(!one.report_completion(id) && !two.report_completion(id_later));
    assert!(
        two.report_completion(id)
            && one.report_completion(id_later)
            && one.report_completion(id_first)
    );
}

#[test]
fn a_receive_always_has_room() {
    let mut pool = tiny(2, 2, 1);
    let whole = pool.reserve_rest(1).unwrap().commit_all();
    assert_eq!(whole.len(), CHUNK, "the chunk is used up to its last byte");
    // A receive into zero bytes would look like the end of the stream.
    assert_eq!(pool.reserve_rest(0).unwrap().len(), CHUNK);
}

#[test]
fn empty_slices_pin_nothing_and_are_counted() {
    let mut pool = tiny(2, 2, 1);
    let empty = pool.copy_in(&[]).unwrap();
    let handles = [empty.retain().unwrap(), empty.retain().unwrap()];
    assert!(handles[0].clone().is_empty() && pool.stats().pinned_chunks == 0);
    assert_eq!(
        pool.copy_in(&[1; 1024]).unwrap().retain().unwrap().len(),
        1024,
        "the one pin is still free"
    );
    drop(pool);
    drop((handles, empty));
}

#[test]
fn a_receive_may_outlive_its_pool_and_is_cut_further() {
    let mut pool = tiny(2, 2, 1);
    let mut grant = pool.reserve_rest(16).unwrap();
    grant.fill(5);
    let mut received = grant.received(100).unwrap();
    let flight = pool.reserve(64).unwrap().into_token().submit();
    drop(pool);
    let slice = received.cut(10, 50).unwrap();
    drop(received);
    assert_eq!(&slice[..], &[5; 50]);
    drop(slice);
    let mut token = flight.complete();
    token.fill(6);
    assert_eq!(&token.commit(3).unwrap()[..], &[6; 3]);
}

#[test]
fn an_older_token_returns_nothing_that_a_newer_one_holds() {
    let mut pool = tiny(2, 2, 1);
    let first = pool.reserve(100).unwrap().into_token();
    let mut second = pool.reserve(100).unwrap().into_token();
    second.fill(2);
    drop(first);
    let third = pool.copy_in(&[3; 500]).unwrap();
    assert!(is_filled(&second, 2) && is_filled(&third, 3));
    // It is shortened while it isn't the newest: the rest is reclaimed with its chunk.
    let second = second.commit(10).unwrap();
    let fourth = pool.copy_in(&[4; 500]).unwrap();
    assert!(is_filled(&second, 2) && is_filled(&third, 3) && fourth[0] == 4);
}
