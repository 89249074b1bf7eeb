//! The IO thread allocates nothing in the steady state. A global allocator counts the allocations
//! of the thread of lane 0 during a hundred thousand requests: in complete and in broken frames,
//! accepted and refused, over rings that fill up.
//!
//! One test per process, because the allocator belongs to the process, and so does the name of the
//! thread.

mod support;

use std::time::Duration;

use slipring_ingest::io::Counter;
use slipring_ingest::wire::frames::{Mode, Status};
use slipring_test_support::{Draw, wait_until, within};

use support::client::{Address, Client};
use support::service::Service;
use support::{score, vector};

const DIM: usize = 16;
const CLIENTS: u64 = 4;
const REQUESTS: u32 = 100_000;
/// Requests in flight per client: more than the ring holds.
const BURST: u32 = 40;

/// Sends `requests` requests in bursts. Each burst is written in two pieces, so that a frame breaks
/// in it. Every fifth request is refused.
fn converse(client: &mut Client, draw: &mut Draw, requests: u32) {
    let mut bytes = Vec::new();
    for _ in 0..requests / BURST {
        bytes.clear();
        for id in 0..BURST {
            let mut values = vector(DIM, id).repeat(1 + (id % 8) as usize);
            if id % 5 == 0 {
                values[3] = f32::NAN;
            }
            bytes.extend(client.request(id.into(), &values));
        }
        let (first, second) = bytes.split_at(draw.below(bytes.len() as u64) as usize);
        client.send_bytes(first);
        std::thread::yield_now();
        client.send_bytes(second);
        for id in 0..BURST {
            let answer = client.answer();
            if id % 5 == 0 {
                assert!([None, Some(Status::NotFinite)].contains(&answer.status), "{answer:?}");
            } else {
                assert_eq!(answer.scores, vec![score(DIM, id); 1 + (id % 8) as usize]);
            }
        }
    }
}

/// Runs all clients side by side, each with `requests` requests.
fn converse_all(clients: &mut [Client], requests: u32) {
    std::thread::scope(|scope| {
        for (seed, client) in (0..).zip(clients) {
            scope.spawn(move || converse(client, &mut Draw::new(seed), requests));
        }
    });
}

#[test]
fn the_io_thread_allocates_nothing_in_the_steady_state() {
    within(Duration::from_secs(120), || {
        // An output of 188 KiB is larger than every other buffer.
        let mut service = Service::start(
            DIM as u32,
            "--max-vectors 8 --slots 32 --pool 64KiB --wait backoff --in-flight 3000 \
            --segment-bytes 1MiB",
        );
        wait_until("one thread is lane-0", || counting::watch("lane-0"));
        let address =
            |number: u64| if number.is_multiple_of(2) { service.tcp() } else { service.unix() };
        let client = |number: u64| {
            let mode = if number < CLIENTS / 2 { Mode::Count } else { Mode::Header };
            Client::new(&address(number), mode, DIM as u32)
        };
        let mut clients: Vec<Client> = (0..CLIENTS).map(client).collect();
        // Buffers are allocated when they are first needed, and reused from then on.
        converse_all(&mut clients, 8_000);
        take_all_buffers(&mut clients, &service.tcp());
        assert!(counting::allocations() > 0, "the counter doesn't count");
        counting::reset();
        converse_all(&mut clients, REQUESTS / CLIENTS as u32);
        assert_eq!(counting::allocations(), 0, "the IO thread allocated");
        counting::stop();
        drop(clients);
        let totals = service.stop();
        let (_, classes) = &totals.classes[0];
        assert_eq!(classes.0.direct.gets, 0, "{totals}");
        assert!(classes.0.hit_rate() > 0.99, "{totals}");
        let counts = totals.counts;
        assert!(counts[Counter::Requests] > u64::from(REQUESTS), "{counts}");
        assert!(
            counts[Counter::CopiedBytes] > 0
                && counts[Counter::UncopiedBytes] > 0
                && counts[Counter::Stalls] > 0,
            "{counts}"
        );
    });
}

/// Lets every client have an unfinished frame at the same time, so that all carry buffers are used.
fn take_all_buffers(clients: &mut [Client], address: &Address) {
    let requests: Vec<Vec<u8>> =
        clients.iter().map(|client| client.request(0, &vector(DIM, 0))).collect();
    for (client, request) in clients.iter_mut().zip(&requests) {
        client.send_bytes(&request[..5]);
    }
    // An answer to another client comes from a later round.
    let mut other = Client::count(address, DIM as u32);
    for _ in 0..20 {
        other.send(0, &vector(DIM, 1));
        assert!(other.answer().is_ok());
    }
    drop(other);
    for (client, request) in clients.iter_mut().zip(&requests) {
        client.send_bytes(&request[5..]);
        let mut answers = Vec::new();
        wait_until("the frame is answered", || {
            answers.extend(client.take_answers());
            !answers.is_empty()
        });
    }
}

/// A global allocator that counts the allocations of one thread.
mod counting {
    #![allow(unsafe_code)]

    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::Cell;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

    use rustix::thread::{RawPid, gettid};

    /// The thread that is watched: its id in the kernel, 0 for none.
    static WATCHED: AtomicI32 = AtomicI32::new(0);
    static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

    thread_local! {
        /// This thread's id, once it has been read. It has no destructor and is initialised at
        /// compile time, so that reading it never allocates.
        static NUMBER: Cell<RawPid> = const { Cell::new(0) };
    }

    struct Counting;

    #[global_allocator]
    static COUNTING: Counting = Counting;

    fn count() {
        let watched = WATCHED.load(Ordering::Relaxed);
        if watched == 0 {
            return;
        }
        let mut number = NUMBER.get();
        if number == 0 {
            number = gettid().as_raw_nonzero().get();
            NUMBER.set(number);
        }
        if number == watched {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
    }

    // SAFETY: I90. Each call goes to the system's allocator unchanged.
    unsafe impl GlobalAlloc for Counting {
        // SAFETY: I90. The caller's promises are the system allocator's conditions.
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            count();
            // SAFETY: I90. The arguments are passed on unchanged.
            unsafe { System.alloc(layout) }
        }

        // SAFETY: I90. The caller's promises are the system allocator's conditions.
        unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
            // SAFETY: I90. The arguments are passed on unchanged.
            unsafe { System.dealloc(ptr, layout) }
        }

        // SAFETY: I90. The caller's promises are the system allocator's conditions.
        unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
            count();
            // SAFETY: I90. The arguments are passed on unchanged.
            unsafe { System.realloc(ptr, layout, new_size) }
        }
    }

    /// From now on counts the allocations of the thread of this name. Returns false unless exactly
    /// one thread has the name; a new thread has its parent's name at first.
    pub fn watch(name: &str) -> bool {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
        let named = |task: &PathBuf| {
            std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name)
        };
        let found: Vec<PathBuf> = tasks.filter(named).collect();
        let [only] = found.as_slice() else { return false };
        let number = only
            .file_name()
            .and_then(|number| number.to_str())
            .and_then(|number| number.parse().ok());
        WATCHED.store(number.expect("a thread's number"), Ordering::Relaxed);
        true
    }

    pub fn stop() {
        WATCHED.store(0, Ordering::Relaxed);
    }

    pub fn reset() {
        ALLOCATIONS.store(0, Ordering::Relaxed);
    }

    pub fn allocations() -> u64 {
        ALLOCATIONS.load(Ordering::Relaxed)
    }
}
