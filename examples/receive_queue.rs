//! A receive queue between two threads: messages move in and out without a copy. It is closed with
//! an error, which comes after what is queued.
//!
//!     cargo run --example receive_queue

use std::error::Error;
use std::thread;

use slipring::class::{ClassOptions, ClassPool};
use slipring::queue::{QueueOptions, queue};

const MESSAGES: u32 = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    // The pool belongs to a connection, and each of its streams has a queue. Both bounds apply: a
    // full queue makes the sender wait.
    let pool = ClassPool::new(&ClassOptions::default())?;
    let (mut enqueuer, mut dequeuer) =
        queue(&pool, QueueOptions { messages: 64, bytes: 256 << 10 })?;
    let closer = enqueuer.closer();

    let reader = thread::spawn(move || {
        let (mut next, mut held) = (0, Vec::new());
        let error = loop {
            match dequeuer.dequeue() {
                Ok(Some(message)) => {
                    assert_eq!(message[..4], u32::to_be_bytes(next), "in order, and once");
                    next += 1;
                    // The slot is free already, so a message may be held. When it is dropped, its
                    // buffer returns to the pool.
                    if next % 1000 == 0 {
                        held.push(message);
                    }
                }
                Ok(None) => unreachable!("the queue isn't closed cleanly"),
                Err(closed) => break closed,
            }
        };
        (next, held.len(), error.to_string())
    });

    for number in 0..MESSAGES {
        let mut buf = pool.get(100 + number as usize % 3000)?;
        buf[..4].copy_from_slice(&number.to_be_bytes());
        enqueuer.enqueue(buf)?;
    }
    closer.close_with("the peer reset the stream");
    let (read, held, error) = reader.join().expect("the reader ends");
    assert_eq!((read, held), (MESSAGES, 10), "what was queued came before the error");
    assert_eq!(error, "the queue was closed: the peer reset the stream");

    println!("{:?}\n{}", closer.stats(), pool.stats());
    assert_eq!(closer.stats().queued_messages, 0);
    assert!(pool.stats().classes.iter().all(|class| class.in_use == 0), "all were returned");
    Ok(())
}

#[test]
fn it_runs() {
    main().unwrap();
}
