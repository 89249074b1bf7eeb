//! A bound on memory, and the three things that a get may do at the bound: wait, be refused, or
//! allocate.
//!
//!     cargo run --example bounded_pool

use std::error::Error;
use std::thread;
use std::time::Duration;

use slipring::class::{AtLimit, ClassOptions, ClassPool, ClassTable, GetError, Limit};

fn pool(at_limit: AtLimit) -> Result<ClassPool, Box<dyn Error>> {
    let table = ClassTable::new(&[4 << 10, 64 << 10])?;
    Ok(ClassPool::new(&ClassOptions {
        table,
        limit: Limit::buffers(2),
        at_limit,
        ..ClassOptions::default()
    })?)
}

fn main() -> Result<(), Box<dyn Error>> {
    // Wait, the default: in order of arrival; without a time limit, with one, or not at all.
    let waiting = pool(AtLimit::Wait)?;
    let (one, two) = (waiting.get(4000)?, waiting.get(4000)?);
    let timed_out = waiting.get_timeout(4000, Duration::from_millis(10));
    assert!(matches!(timed_out, Err(GetError::TimedOut { buffers_max: 2, .. })));
    assert!(matches!(waiting.try_get(4000), Err(GetError::Exhausted { .. })));
    let other_class = waiting.try_get(50_000)?;
    assert_eq!(other_class.capacity(), 64 << 10, "each class has its own bound");
    let dropper = thread::spawn(move || {
        thread::sleep(Duration::from_millis(10));
        drop(one);
    });
    let three = waiting.get(4000)?;
    dropper.join().expect("the thread ends");
    assert_eq!(waiting.stats().classes[0].waits, 2);
    println!("wait: the third buffer came when one of the two was returned");
    drop((two, three));

    // Refuse: the error names the class, its bound and the fix.
    let refusing = pool(AtLimit::Refuse)?;
    let _held = (refusing.get(1)?, refusing.get(1)?);
    let refused = refusing.get(1).expect_err("both are in use");
    println!("refuse: as intended, the third buffer was refused: {refused}");
    assert_eq!(refusing.stats().classes[0].refusals, 1);

    // Fresh: beyond the bound, buffers come from the system's allocator and are counted.
    let fresh = pool(AtLimit::Fresh)?;
    let held = [fresh.get(1)?, fresh.get(1)?, fresh.get(1)?];
    assert_eq!(held.map(|buf| buf.is_direct()), [false, false, true]);
    assert_eq!(fresh.stats().direct.in_use, 0, "freed, not kept");
    println!("fresh: the third buffer came from the system's allocator, and was freed");
    Ok(())
}

#[test]
fn it_runs() {
    main().unwrap();
}
