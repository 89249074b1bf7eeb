//! [`PartSink`]: where a stream's parts go.

use std::future::Future;
use std::io;

use object_store::ObjectMeta;
use slipring::class::PooledBuf;

/// Takes the parts of one object: see
/// [`RangeEngine::download_into`](crate::RangeEngine::download_into).
///
/// Calls may overlap, and parts come in any order. Together they are the whole object, each byte
/// once, with one exception: an object that comes in one answer and that nothing names (neither
/// ETag, version nor time) comes from its start again if the answer breaks off. An error ends the
/// download with [`Cause::Sink`](crate::Cause::Sink); it isn't retried.
pub trait PartSink: Sync {
    /// The object's size and its other metadata, before the first part. The first request is in
    /// flight meanwhile, so this should not take long.
    fn begin(&self, meta: &ObjectMeta) -> impl Future<Output = io::Result<()>> + Send {
        let _ = meta;
        async { Ok(()) }
    }

    /// A part: `bytes` belong at `offset`, in bytes. It should have dropped them when it returns:
    /// only until then they count as one of the engine's buffers. It may wait for the part before
    /// this one, which arrives without this one's end.
    fn put(&self, offset: u64, bytes: PooledBuf) -> impl Future<Output = io::Result<()>> + Send;
}
