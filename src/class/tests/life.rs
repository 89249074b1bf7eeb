//! Getting, dropping, moving to other threads; the ends of pools and threads.

use std::thread;

use super::small;
use crate::class::{AtLimit, ClassOptions, ClassPool, ClassTable, GetError, Limit, PooledBuf};

#[test]
fn a_buffer_has_its_length_and_its_class() {
    let pool = ClassPool::new(&ClassOptions::default()).unwrap();
    for (len, capacity) in
        [(0, 2048), (1, 2048), (2048, 2048), (2049, 4096), (65536, 65536), (65537, 65537)]
    {
        let mut buf = pool.get(len).unwrap();
        assert_eq!((buf.len(), buf.capacity(), buf.is_direct()), (len, capacity, len > 65536));
        assert!(buf.as_ptr().addr().is_multiple_of(64));
        buf.fill(0xa5);
        buf.set_len(capacity).unwrap();
        buf.fill(0x5a);
        let refused = buf.set_len(capacity + 1).unwrap_err();
        assert_eq!(
            (refused.asked_bytes, refused.capacity_bytes, buf.len()),
            (capacity + 1, capacity, capacity)
        );
        buf.truncate(len / 2);
        assert_eq!(buf.len(), len / 2);
    }
}

#[test]
fn bytes_are_added_as_far_as_they_fit() {
    let mut buf = small(1, AtLimit::Refuse).get(0).unwrap();
    assert!(buf.is_empty());
    buf.extend_from_slice(b"one").unwrap();
    buf.extend_from_slice(&[7; 61]).unwrap();
    assert!(buf.extend_from_slice(b"x").is_err() && buf.len() == 64);
    assert_eq!(&buf[..4], b"one\x07");
}

#[test]
fn lengths_that_no_allocation_has_are_errors() {
    let pool = small(1, AtLimit::Wait);
    let largest_bytes = crate::class::memory::DIRECT_BYTES_MAX;
    for asked_bytes in [usize::MAX, isize::MAX as usize, largest_bytes + 1] {
        assert_eq!(pool.get(asked_bytes).unwrap_err(), GetError::TooLarge { asked_bytes });
    }
    if !cfg!(miri) {
        for asked_bytes in [1 << 62, largest_bytes] {
            let error = pool.try_get(asked_bytes).unwrap_err();
            assert_eq!(error, GetError::OutOfMemory { asked_bytes });
        }
    }
    assert_eq!(pool.stats().direct.gets, 0);
}

#[test]
fn a_buffer_that_is_dropped_is_the_next_one() {
    let pool = small(10, AtLimit::Wait);
    let first = pool.get(64).unwrap();
    let at = first.as_ptr();
    drop(first);
    let again = pool.get(1).unwrap();
    assert_eq!(again.as_ptr(), at);
    let class = pool.stats().classes[0];
    assert_eq!(
        (class.gets, class.hits, class.misses, class.puts, class.in_use, class.resident),
        (2, 1, 1, 1, 1, 1)
    );
    assert_eq!((class.reused_bytes, class.allocated_bytes, class.hit_rate()), (64, 64, 0.5));
}

#[test]
fn direct_buffers_are_counted_apart() {
    let pool = small(1, AtLimit::Wait);
    let large = pool.get(5000).unwrap();
    assert!(large.is_direct() && large.iter().all(|&byte| byte == 0));
    let direct = pool.stats().direct;
    assert_eq!((direct.gets, direct.puts, direct.bytes, direct.in_use), (1, 0, 5000, 1));
    drop(large);
    assert_eq!((pool.stats().direct.puts, pool.stats().direct.in_use), (1, 0));
    assert_eq!(pool.stats().hit_rate(), 0.0);
}

#[test]
fn a_direct_buffer_needs_no_pool() {
    for len in [0, 1, 64, 100_000] {
        let mut buf = PooledBuf::direct(len).unwrap();
        assert_eq!((buf.len(), buf.capacity(), buf.is_direct()), (len, len, true));
        assert!(buf.as_ptr().addr().is_multiple_of(64) && buf.iter().all(|&byte| byte == 0));
        buf.fill(0xa5);
        assert!(buf.set_len(len + 1).is_err());
        thread::spawn(move || drop(buf)).join().unwrap();
    }
    let again = PooledBuf::direct(100_000).unwrap();
    assert!(again.iter().all(|&byte| byte == 0), "bytes of an earlier buffer were found");
    let asked_bytes = usize::MAX;
    assert_eq!(PooledBuf::direct(asked_bytes).unwrap_err(), GetError::TooLarge { asked_bytes });
    if !cfg!(miri) {
        let asked_bytes = 1 << 62;
        let refused = PooledBuf::direct(asked_bytes).unwrap_err();
        assert_eq!(refused, GetError::OutOfMemory { asked_bytes });
    }
}

#[test]
fn counters_are_reset_and_gauges_stay() {
    let pool = small(10, AtLimit::Wait);
    let (_kept, gone) = (pool.get(64).unwrap(), pool.get(64).unwrap());
    drop(gone);
    pool.reset_stats();
    let class = pool.stats().classes[0];
    assert_eq!(
        (class.gets, class.puts, class.misses, class.in_use, class.resident),
        (0, 0, 0, 1, 2)
    );
    drop(pool.get(3).unwrap());
    let class = pool.stats().classes[0];
    assert_eq!(
        (class.gets, class.hits, class.puts, class.reused_bytes, class.in_use),
        (1, 1, 1, 64, 1)
    );
    assert!(
        pool.stats().to_string().contains("hit rate of all gets 100.000 %"),
        "{}",
        pool.stats()
    );
}

#[test]
fn a_pool_that_is_dropped_leaves_its_buffers_valid() {
    let pool = small(10, AtLimit::Wait);
    let mut bufs: Vec<PooledBuf> = [4096, 9000, 1, 64].map(|len| pool.get(len).unwrap()).into();
    drop(pool.get(64).unwrap());
    let shared = std::sync::Arc::downgrade(pool.shared());
    let clone = pool.clone();
    drop(pool);
    drop(clone.get(5).unwrap());
    drop(clone);
    bufs.iter_mut().for_each(|buf| buf.fill(9));
    assert!(shared.upgrade().is_some());
    let last = bufs.pop().unwrap();
    drop(bufs);
    assert!(shared.upgrade().is_some() && last.iter().all(|&byte| byte == 9));
    drop(last);
    assert!(shared.upgrade().is_none(), "the pool is freed with its last buffer");
}

#[test]
fn many_pools_on_one_thread() {
    let pools: Vec<ClassPool> = (0..9).map(|_| small(10, AtLimit::Wait)).collect();
    for round in 0..3_u8 {
        let mut bufs: Vec<PooledBuf> = pools.iter().map(|pool| pool.get(64).unwrap()).collect();
        bufs.iter_mut().enumerate().for_each(|(index, buf)| buf.fill(round ^ index as u8));
        assert!(
            bufs.iter()
                .enumerate()
                .all(|(index, buf)| buf.iter().all(|&byte| byte == round ^ index as u8))
        );
    }
    assert!(
        pools.iter().all(|pool| pool.stats().classes[0].resident == 1),
        "each found what it had dropped"
    );
    // Each was in its bin, although another pool's bins were used in between.
    assert!(
        pools.iter().all(|pool| pool.shared().classes[0].store.view().counts.warm == 0),
        "a bin was passed over"
    );
    drop(pools);
    let _next = small(10, AtLimit::Wait).get(64).unwrap();
}

#[test]
fn a_thread_that_ends_leaves_its_bin() {
    let pool = small(3, AtLimit::Refuse);
    let theirs = pool.clone();
    thread::spawn(move || drop([theirs.get(64).unwrap(), theirs.get(64).unwrap()])).join().unwrap();
    let class = pool.stats().classes[0];
    assert_eq!(
        (class.gets, class.puts, class.in_use, class.resident),
        (2, 2, 0, 2),
        "its counts stay"
    );
    let all = [pool.get(64).unwrap(), pool.get(64).unwrap(), pool.get(64).unwrap()];
    assert_eq!(pool.stats().classes[0].misses, 3, "two were the ended thread's, and are found");
    drop(all);
}

/// A destructor of thread-local data, which may run after the thread's bins are gone.
#[test]
fn a_thread_gets_and_drops_buffers_while_it_ends() {
    struct AtEnd(ClassPool, Option<PooledBuf>);
    impl Drop for AtEnd {
        fn drop(&mut self) {
            drop((self.0.get(64).unwrap(), self.1.take()));
        }
    }
    thread_local! { static AT_END: std::cell::RefCell<Option<AtEnd>> = const { std::cell::RefCell::new(None) }; }
    let pool = small(3, AtLimit::Wait);
    for uses_pool_first in [true, false] {
        let theirs = pool.clone();
        thread::spawn(move || {
            let early = uses_pool_first.then(|| theirs.get(64).unwrap());
            AT_END.set(Some(AtEnd(theirs.clone(), early)));
            drop(theirs.get(64).unwrap());
        })
        .join()
        .unwrap();
    }
    assert_eq!(pool.stats().classes[0].in_use, 0);
}

#[test]
fn a_panic_gives_its_buffers_back() {
    let pool = small(1, AtLimit::Refuse);
    let theirs = pool.clone();
    let ended = thread::spawn(move || {
        let _buf = theirs.get(64).unwrap();
        panic!("with a buffer");
    })
    .join();
    assert!(ended.is_err());
    drop(pool.get(64).unwrap());
}

/// One thread gets, another drops: dropped buffers come back, and no more are made than are between
/// the two threads.
#[test]
fn what_another_thread_drops_comes_back() {
    let rounds = if cfg!(miri) { 100 } else { 20_000 };
    let pool = ClassPool::new(&ClassOptions {
        table: ClassTable::new(&[64]).unwrap(),
        ..ClassOptions::default()
    })
    .unwrap();
    let (to_consumer, from_producer) = std::sync::mpsc::sync_channel::<PooledBuf>(8);
    let consumer = thread::spawn(move || {
        for (index, buf) in from_producer.iter().enumerate() {
            assert_eq!(buf[..8], (index as u64).to_le_bytes());
        }
    });
    for index in 0..rounds {
        let mut buf = pool.get(8).unwrap();
        buf.copy_from_slice(&(index as u64).to_le_bytes());
        to_consumer.send(buf).unwrap();
    }
    drop(to_consumer);
    consumer.join().unwrap();
    let class = pool.stats().classes[0];
    assert_eq!((class.in_use, class.puts), (0, rounds as u64));
    // Two bins, what is between the threads, and half a bin in transit.
    assert!(class.resident <= 2 * 32 + 8 + 2 + 16, "{class:?}");
}

/// Every byte of the capacity, not only the payload: the next owner may lengthen it.
#[test]
fn zero_on_return_zeroes_the_whole_capacity() {
    let table = ClassTable::new(&[64, 4160]).unwrap();
    let pool =
        ClassPool::new(&ClassOptions { table, zero_on_return: true, ..ClassOptions::default() })
            .unwrap();
    for capacity in [64, 4160] {
        let mut buf = pool.get(capacity).unwrap();
        buf.fill(0xff);
        buf.truncate(1);
        let at = buf.as_ptr();
        drop(buf);
        let again = pool.get(capacity).unwrap();
        assert_eq!(again.as_ptr(), at);
        assert!(again[..] == vec![0; capacity], "the last byte is {}", again[capacity - 1]);
    }
    let mut direct = pool.get(5000).unwrap();
    direct.fill(1);
    drop(direct);
}

/// In a pool that doesn't zero on return: the whole buffer, and no other one.
#[test]
fn zero_on_drop_zeroes_the_whole_capacity_of_this_buffer() {
    let pool = ClassPool::new(&ClassOptions {
        table: ClassTable::new(&[64, 4160]).unwrap(),
        ..Default::default()
    });
    let pool = pool.unwrap();
    for capacity in [64, 4160] {
        let filled = |byte| {
            let mut buf = pool.get(capacity).unwrap();
            buf.fill(byte);
            buf
        };
        let mut buf = filled(0xff);
        assert_eq!((buf.capacity(), buf.len()), (capacity, capacity));
        buf.zero_on_drop();
        buf.zero_on_drop();
        assert_eq!(
            (buf.capacity(), buf.len(), buf.is_direct()),
            (capacity, capacity, false),
            "nothing else changes"
        );
        assert!(buf.iter().all(|&byte| byte == 0xff), "it isn't dropped yet");
        buf.truncate(1);
        let at = buf.as_ptr();
        drop(buf);
        let again = pool.get(capacity).unwrap();
        assert_eq!(again.as_ptr(), at);
        assert!(again[..] == vec![0; capacity], "the last byte is {}", again[capacity - 1]);
        // The next owner hasn't asked for zeroing.
        drop(again);
        drop(filled(0xee));
        let unasked = pool.get(capacity).unwrap();
        assert!(unasked.as_ptr() == at && unasked[..] == vec![0xee; capacity]);
    }
}

/// By a panic on another thread, at a limit where the buffer goes through the store.
#[test]
fn zero_on_drop_holds_wherever_the_buffer_is_dropped() {
    let table = ClassTable::new(&[64]).unwrap();
    let pool = ClassPool::new(&ClassOptions {
        table,
        limit: Limit::buffers(1),
        ..ClassOptions::default()
    })
    .unwrap();
    let mut buf = pool.get(64).unwrap();
    buf.fill(0xff);
    buf.zero_on_drop();
    let ended = thread::spawn(move || {
        let _buf = buf;
        panic!("with a buffer");
    });
    assert!(ended.join().is_err());
    assert!(pool.get(64).unwrap()[..] == [0; 64]);
}

#[test]
fn the_plain_function_zeroes_a_buffer_of_any_pool() {
    let pool = small(1, AtLimit::Refuse);
    let mut buf = pool.get(64).unwrap();
    buf.fill(0xff);
    crate::class::put_zeroed(buf);
    assert!(pool.get(64).unwrap()[..] == [0; 64], "it is back in its own pool");
    let mut large = crate::class::get(70_000).unwrap();
    large.fill(1);
    crate::class::put_zeroed(large);
}

#[test]
fn the_process_has_a_pool() {
    let buf = crate::class::get(5).unwrap();
    assert!(crate::class::default_pool().stats().classes[0].in_use >= 1);
    assert!(crate::class::stats().classes[0].gets >= 1);
    drop(buf);
    crate::class::reset_stats();
}

#[cfg(feature = "bytes")]
#[test]
fn bytes_keep_the_promise_to_zero() {
    let pool = small(1, AtLimit::Refuse);
    let mut buf = pool.get(64).unwrap();
    buf.fill(0xff);
    buf.truncate(10);
    buf.zero_on_drop();
    let bytes = buf.into_bytes();
    let slice = bytes.slice(3..6);
    drop(bytes);
    assert_eq!(slice[..], [0xff; 3], "a slice of it is alive");
    drop(slice);
    assert!(pool.get(64).unwrap()[..] == [0; 64]);
}

#[cfg(feature = "bytes")]
#[test]
fn bytes_return_the_buffer_with_the_last_of_them() {
    let pool = small(1, AtLimit::Refuse);
    let mut buf = pool.get(10).unwrap();
    buf.copy_from_slice(b"0123456789");
    let at = buf.as_ptr();
    let bytes = buf.into_bytes();
    let (slice, clone) = (bytes.slice(3..6), bytes.clone());
    assert_eq!(
        (slice.as_ptr(), &slice[..]),
        (at.wrapping_add(3), &b"345"[..]),
        "nothing was copied"
    );
    drop((bytes, clone));
    assert!(pool.try_get(10).is_err(), "a slice of it is alive");
    let (send, receive) = std::sync::mpsc::channel();
    send.send(slice).unwrap();
    thread::spawn(move || drop(receive.recv().unwrap())).join().unwrap();
    assert_eq!(pool.try_get(10).unwrap().as_ptr(), at);
}

/// Objects that are got one after the other reuse one buffer, and count the reuse.
#[test]
fn a_hundred_objects_use_one_buffer() {
    let pool =
        ClassPool::new(&ClassOptions { table: ClassTable::object(), ..ClassOptions::default() })
            .unwrap();
    for object in 0..100_u8 {
        let mut buf = pool.get(33 << 20).unwrap();
        assert_eq!(buf.capacity(), 64 << 20);
        buf[32 << 20] = object;
    }
    let class = pool.stats().classes[3];
    assert_eq!((class.gets, class.hits, class.resident), (100, 99, 1));
    assert_eq!(class.reused_bytes, 99 * (64 << 20));
}
