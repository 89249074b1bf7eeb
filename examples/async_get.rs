//! Tasks wait for buffers on any executor. This one is a few lines over the standard library.
//!
//!     cargo run --example async_get

use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use slipring::class::{ClassOptions, ClassPool, Limit};

/// Wakes a task by waking the thread that runs it.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let (waker, mut future) = (Waker::from(Arc::new(Unpark(thread::current()))), pin!(future));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let pool =
        ClassPool::new(&ClassOptions { limit: Limit::buffers(1), ..ClassOptions::default() })?;
    let held = pool.get(100)?;
    let dropper = thread::spawn(move || {
        thread::sleep(Duration::from_millis(10));
        drop(held);
    });
    let capacity = block_on(async {
        // The only buffer of the class is in use. The task sleeps without blocking a thread of its
        // executor.
        let buf = pool.get_async(200).await?;
        Ok::<_, slipring::class::GetError>(buf.capacity())
    })?;
    dropper.join().expect("the thread ends");
    assert_eq!((capacity, pool.stats().classes[0].in_use), (2 << 10, 0));
    println!("{}", pool.stats());
    Ok(())
}

#[test]
fn it_runs() {
    main().unwrap();
}
