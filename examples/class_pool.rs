//! A class pool: one thread gets buffers, another drops them, and the statistics show how they were
//! served.
//!
//!     cargo run --example class_pool

use std::error::Error;
use std::sync::mpsc::channel;
use std::thread;

use slipring::class::{ClassOptions, ClassPool, PooledBuf};

const MESSAGES: usize = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    // The wire table: 2, 4, 8, 16, 32 and 64 KiB.
    let pool = ClassPool::new(&ClassOptions::default())?;
    let (sender, receiver) = channel::<PooledBuf>();
    let reader = thread::spawn(move || {
        let mut bytes = 0;
        for buf in receiver {
            assert!(buf.iter().all(|&byte| byte == buf.len() as u8));
            bytes += buf.len();
            // `buf` is dropped here, into this thread's bin. A full bin passes half of its buffers
            // to the class's store, where the other thread finds them.
        }
        bytes
    });
    let mut sent = 0;
    for message in 0..MESSAGES {
        let mut buf = pool.get(1 + message * 7 % 5000)?;
        let byte = buf.len() as u8;
        buf.fill(byte);
        sent += buf.len();
        sender.send(buf)?;
    }
    drop(sender);
    assert_eq!(reader.join().expect("the reader ends"), sent);

    let stats = pool.stats();
    println!("{stats}");
    assert_eq!(stats.classes.iter().map(|class| class.gets).sum::<u64>(), MESSAGES as u64);
    assert!(stats.classes.iter().all(|class| class.in_use == 0), "all were returned");
    assert_eq!(stats.direct.gets, 0, "none was too large for a class");
    Ok(())
}

#[test]
fn it_runs() {
    main().unwrap();
}
