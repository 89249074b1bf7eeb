//! Slices that move into the events of a disruptor: the IO thread allocates and publishes, the ring
//! wraps, and the same thread drops the old slice when it overwrites its event. A lane does the
//! same by count. `slipring::ring` ("Overwriting releases") compares the two.
//!
//!     cargo run --example raii_ring

use std::error::Error;
use std::thread;

use slipring::pipeline::{Idle, Polled, PublishRefusal, SliceReader, SliceRing, Wait};
use slipring::ring::RingOptions;

const REQUESTS: u64 = 100_000;
const SLOTS: usize = 1024;
const DIM: usize = 128;

fn main() -> Result<(), Box<dyn Error>> {
    // The pool has room for a ring of the largest requests, 8 vectors each: no slice is dropped
    // before the ring wraps.
    let pool = RingOptions {
        bytes: 16 << 20,
        max_slice_bytes: 8 * DIM * size_of::<f32>(),
        ..RingOptions::default()
    };
    let (mut ring, readers) = SliceRing::<u64>::new(&pool, SLOTS, 2)?;
    let threads: Vec<_> =
        readers.into_iter().map(|reader| thread::spawn(move || sum(reader))).collect();

    let mut idle = Idle::new(Wait::default());
    for request in 0..REQUESTS {
        let vectors = 1 + request as usize % 8;
        let mut grant = ring.reserve(vectors * DIM * size_of::<f32>())?;
        grant[..4].copy_from_slice(&(vectors as f32).to_ne_bytes());
        let mut slice = grant.commit_all();
        // The slice moves into the event. The slice of `SLOTS` requests ago is dropped on this
        // thread. A full ring hands the new slice back.
        while let Err(refused) = ring.publish(slice, request) {
            match refused.why {
                PublishRefusal::Full { .. } => idle.pass(),
                _ => return Err(refused.into()),
            };
            slice = refused.slice;
        }
        idle.reset();
    }
    assert_eq!((ring.published(), ring.slices_in_events()), (REQUESTS, SLOTS as u64));
    println!("{:?}", ring.stats());
    // The last slices are dropped here, while readers may still read their bytes: the region stays
    // mapped for them.
    drop(ring);
    for thread in threads {
        assert_eq!(thread.join().expect("a reader ends"), (1..=8).sum::<u64>() * REQUESTS / 8);
    }
    Ok(())
}

/// Reads the first component of every request in place.
fn sum(mut reader: SliceReader<u64>) -> u64 {
    let (mut sum, mut idle) = (0, Idle::new(Wait::default()));
    loop {
        let polled = reader.poll(64, |view| {
            let first = view.rows(DIM).expect("whole vectors").iter().next().expect("at least one");
            assert_eq!(view.sequence() as u64, *view.meta());
            sum += first[0] as u64;
        });
        match polled {
            Polled::Ended => return sum,
            Polled::Idle => {
                idle.pass();
            }
            _ => idle.reset(),
        }
    }
}

#[test]
fn it_runs() {
    main().unwrap();
}
