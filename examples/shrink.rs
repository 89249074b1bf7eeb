//! Warm-up before the first request, and shrinking after the last: how much memory is resident, and
//! when it is returned to the system.
//!
//!     cargo run --example shrink

use std::error::Error;
use std::time::{Duration, Instant};

use slipring::class::{ClassOptions, ClassPool, ClassTable};

fn main() -> Result<(), Box<dyn Error>> {
    let options = ClassOptions {
        table: ClassTable::new(&[4 << 10, 64 << 10])?,
        shrink_after: Some(Duration::from_millis(20)),
        ..ClassOptions::default()
    };
    let pool = ClassPool::new(&options)?;
    let resident = || pool.stats().classes.iter().map(|class| class.resident_bytes).sum::<u64>();
    assert_eq!(resident(), 0, "a new pool holds nothing");

    let report = pool.warm_up(100)?;
    println!("{report}");
    assert_eq!(resident(), (100 * (4 + 64)) << 10);
    let buf = pool.get(60_000)?;
    assert_eq!(
        (pool.stats().classes[1].hits, pool.stats().classes[1].misses),
        (1, 0),
        "no page fault to come"
    );

    // This starts a thread that checks now and then. Without it, call `pool.tick(Instant::now())`
    // yourself.
    let ticker = pool.ticker(Duration::from_millis(5))?;
    let until = Instant::now() + Duration::from_secs(30);
    while resident() > 64 << 10 {
        assert!(Instant::now() < until, "{} bytes are still resident", resident());
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(ticker);
    assert_eq!(buf.len(), 60_000, "what is in use stays");
    println!("{} bytes are left: the buffer in use", resident());
    Ok(())
}

#[test]
fn it_runs() {
    main().unwrap();
}
