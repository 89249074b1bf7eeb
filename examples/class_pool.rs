//! A class pool: buffers that are got on one thread and dropped on another, and what became of
//! them.
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
            // `buf` is dropped here: it goes home, half a bin at a time.
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
    assert!(stats.classes.iter().all(|class| class.in_use == 0), "all came back");
    assert_eq!(stats.direct.gets, 0, "none was too large for a class");
    Ok(())
}

#[test]
fn it_runs() {
    main().unwrap();
}
