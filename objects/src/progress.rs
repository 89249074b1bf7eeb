//! Whether an answer moves that isn't there yet: a body without a length is read to its end inside
//! of its request, and may take longer than `request_timeout` as any other body may.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// A request that received this many bytes before it ended is slow and not broken.
pub(crate) const MOVED_BYTES: u64 = 64 << 10;

tokio::task_local! {
    /// Bytes that the current request has brought before its answer.
    static ARRIVED: AtomicU64;
}

/// Counts bytes of the current request.
pub(crate) fn note(bytes: usize) {
    // Outside of an engine nobody asks.
    let _uncounted = ARRIVED.try_with(|arrived| arrived.fetch_add(bytes as u64, Ordering::Relaxed));
}

/// Waits for the answer until `deadline`, and then for as long as each further `window` brings 64
/// KiB. Returns it with the deadline of its body, or the bytes that arrived.
pub(crate) async fn while_it_moves<T>(
    answer: impl Future<Output = T>,
    mut deadline: Instant,
    window: Duration,
) -> Result<(T, Instant), u64> {
    let arrived = || ARRIVED.with(|arrived| arrived.load(Ordering::Relaxed));
    let waiting = async {
        let (mut answer, mut before) = (pin!(answer), 0);
        loop {
            if let Ok(answer) = timeout_at(deadline, answer.as_mut()).await {
                // A body that is there already still has to be copied.
                let deadline = if arrived() > 0 { Instant::now() + window } else { deadline };
                return Ok((answer, deadline));
            }
            let now = arrived();
            if now - before < MOVED_BYTES {
                return Err(now);
            }
            (before, deadline) = (now, deadline + window);
        }
    };
    ARRIVED.scope(AtomicU64::new(0), waiting).await
}
