//! Local files: read with `pread` straight into the buffer, on a thread of the runtime that may
//! block.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use slipring::class::PooledBuf;
use tokio::task;

use crate::error::Cause;

/// Bytes that are read before the next check whether the download was dropped.
const STEP_BYTES: usize = 8 << 20;

/// Tells the reading thread that the download was dropped.
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Fills `into` with the file's bytes, from its start on. A file that changes under the reader is
/// an error.
pub(crate) async fn read(file: File, into: PooledBuf) -> Result<PooledBuf, Cause> {
    let wanted = Wanted(Arc::new(AtomicBool::new(true)));
    let still = Arc::clone(&wanted.0);
    let reading = task::spawn_blocking(move || fill(&file, into, &still));
    match reading.await {
        Ok(read) => read,
        Err(panicked) if panicked.is_panic() => std::panic::resume_unwind(panicked.into_panic()),
        Err(_) => Err(Cause::Cancelled),
    }
}

/// An error if a file without a size has bytes: files that the system generates when they are read
/// have no size.
pub(crate) fn check_empty(file: &File) -> Result<(), Cause> {
    match file.read_at(&mut [0], 0).map_err(Cause::Read)? {
        0 => Ok(()),
        _ => Err(Cause::Changed { field: "size", before: "0".to_owned(), now: "more".to_owned() }),
    }
}

fn fill(file: &File, mut into: PooledBuf, wanted: &AtomicBool) -> Result<PooledBuf, Cause> {
    let before = stamp(file).map_err(Cause::Read)?;
    let (size, mut at) = (into.len(), 0);
    for step in into.chunks_mut(STEP_BYTES) {
        if !wanted.load(Ordering::Relaxed) {
            return Err(Cause::Cancelled);
        }
        match file.read_exact_at(step, at as u64) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let now = stamp(file).map_err(Cause::Read)?;
                return Err(Cause::Changed {
                    field: "size",
                    before: size.to_string(),
                    now: now.0.to_string(),
                });
            }
            ended => ended.map_err(Cause::Read)?,
        }
        at += step.len();
    }
    let now = stamp(file).map_err(Cause::Read)?;
    if now != before || now.0 != size as u64 {
        return Err(Cause::Changed {
            field: "size or time",
            before: format!("{size} bytes, {:?}", before.1),
            now: format!("{} bytes, {:?}", now.0, now.1),
        });
    }
    Ok(into)
}

/// A file that is read part by part. If it changes meanwhile, that is an error in the end.
pub(crate) struct FileParts {
    file: File,
    size: u64,
    time: SystemTime,
}

impl FileParts {
    pub(crate) fn new(file: File, size: u64) -> Result<Self, Cause> {
        let (_, time) = stamp(&file).map_err(Cause::Read)?;
        let parts = Self { file, size, time };
        parts.check()?;
        Ok(parts)
    }

    /// Fills `into` with the bytes from `offset` on.
    pub(crate) async fn read(
        parts: &Arc<Self>,
        offset: u64,
        mut into: PooledBuf,
    ) -> Result<PooledBuf, Cause> {
        let parts = Arc::clone(parts);
        let reading =
            task::spawn_blocking(move || match parts.file.read_exact_at(&mut into, offset) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    parts.check()?;
                    Err(Cause::Read(error))
                }
                ended => ended.map(|()| into).map_err(Cause::Read),
            });
        match reading.await {
            Ok(read) => read,
            Err(panicked) if panicked.is_panic() => {
                std::panic::resume_unwind(panicked.into_panic())
            }
            Err(_) => Err(Cause::Cancelled),
        }
    }

    /// An error if the file has changed.
    pub(crate) fn check(&self) -> Result<(), Cause> {
        let (size, time) = stamp(&self.file).map_err(Cause::Read)?;
        if (size, time) == (self.size, self.time) {
            return Ok(());
        }
        Err(Cause::Changed {
            field: "size or time",
            before: format!("{} bytes, {:?}", self.size, self.time),
            now: format!("{size} bytes, {time:?}"),
        })
    }
}

fn stamp(file: &File) -> io::Result<(u64, SystemTime)> {
    let meta = file.metadata()?;
    Ok((meta.len(), meta.modified()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipring::class::{ClassOptions, ClassPool};
    use std::io::Write;

    fn buffer(len: usize) -> PooledBuf {
        ClassPool::new(&ClassOptions::default()).unwrap().get(len).unwrap()
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn a_file_is_read_from_its_start_wherever_it_stands() {
        let read = fill(&file(b"all of it"), buffer(9), &AtomicBool::new(true)).unwrap();
        assert_eq!(&read[..], b"all of it");
    }

    #[test]
    fn a_file_that_shrank_or_grew_is_no_object() {
        let wanted = AtomicBool::new(true);
        assert!(matches!(
            fill(&file(b"less"), buffer(9), &wanted),
            Err(Cause::Changed { field: "size", .. })
        ));
        assert!(matches!(
            fill(&file(b"more of it"), buffer(9), &wanted),
            Err(Cause::Changed { .. })
        ));
    }

    #[test]
    fn a_file_without_a_size_is_not_empty_for_that() {
        assert!(check_empty(&file(b"")).is_ok());
        assert!(matches!(
            check_empty(&File::open("/proc/self/stat").unwrap()),
            Err(Cause::Changed { .. })
        ));
    }

    #[test]
    fn a_dropped_download_stops_reading() {
        let wanted = Wanted(Arc::new(AtomicBool::new(true)));
        let still = Arc::clone(&wanted.0);
        drop(wanted);
        assert!(matches!(fill(&file(b"all of it"), buffer(9), &still), Err(Cause::Cancelled)));
    }
}
