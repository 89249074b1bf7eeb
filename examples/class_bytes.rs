//! A pooled buffer as `Bytes`: slices share it without a copy, and dropping the last one returns it
//! to the pool.
//!
//!     cargo run --features slipring/bytes --example class_bytes

use std::error::Error;

use bytes::Bytes;
use slipring::class::{ClassOptions, ClassPool};

fn main() -> Result<(), Box<dyn Error>> {
    let pool = ClassPool::new(&ClassOptions::default())?;
    let mut buf = pool.get(64)?;
    buf.truncate(0);
    buf.extend_from_slice(b"GET /vectors HTTP/1.1\r\nhost: here\r\n\r\n")?;
    let at = buf.as_ptr();

    let request: Bytes = buf.into_bytes();
    let line = request.slice(..21);
    let path = line.slice(4..12);
    assert_eq!(
        (&path[..], path.as_ptr()),
        (&b"/vectors"[..], at.wrapping_add(4)),
        "no byte has moved"
    );

    drop((request, line));
    assert_eq!(pool.stats().classes[0].in_use, 1, "the path holds the buffer");
    std::thread::spawn(move || drop(path)).join().expect("the thread ends");
    assert_eq!(pool.stats().classes[0].in_use, 0, "the last slice returned it");
    println!("{}", pool.stats());
    Ok(())
}

#[test]
fn it_runs() {
    main().unwrap();
}
