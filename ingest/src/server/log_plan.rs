//! The plan of a service's log: how large its buffers are, and whether its segments can be written.

use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use super::options::{DirectWord, ServeError, ServeOptions, SinkWord};
use super::writer::WriterOptions;
use crate::log::{BufferSizes, CommitTimes, MERGE_BYTES};
use crate::units::RoundedSize;

/// Buffers of a lane: one fills while the other is written.
const BUFFERS: usize = 2;
/// Bytes of the vectors of a buffer (which holds at least one row), and the most rows of one. Small
/// ones keep the thread that writes from taking its neighbours' CPU for long.
const BUFFER_BYTES: usize = 1 << 20;
const BUFFER_ROWS_MAX: usize = 16_384;
/// Bytes of a row besides its vector, while it is in a buffer: sequence, and id and time twice.
const ROW_BESIDE_BYTES: u64 = 40;
/// Bytes of a segment besides its records: its footer, and the list that it is made from.
const SEGMENT_BESIDE_BYTES: u64 = 4 << 20;
/// Bytes of a record besides its rows, and of the blocks that it fills up.
const RECORD_BESIDE_BYTES: u64 = 16 << 10;

fn buffers(options: &ServeOptions) -> BufferSizes {
    let vector_bytes = options.dim as usize * size_of::<f32>();
    let rows = (BUFFER_BYTES / vector_bytes.max(1)).clamp(1, BUFFER_ROWS_MAX);
    BufferSizes { count: BUFFERS, rows }
}

fn record_bytes(options: &ServeOptions) -> u64 {
    let row_bytes = u64::from(options.dim) * 4 + ROW_BESIDE_BYTES;
    buffers(options).rows as u64 * row_bytes + RECORD_BESIDE_BYTES
}

pub(super) fn writer_options(options: &ServeOptions) -> WriterOptions {
    WriterOptions {
        lanes: options.lanes,
        segment_bytes: options.segment_bytes.0,
        buffers: buffers(options),
        times: CommitTimes { interval: options.commit_interval, segment_age: options.segment_age },
        on_disk_error: options.on_disk_error,
        is_direct: options.direct == DirectWord::Yes,
    }
}

/// The memory in which the segments of all lanes are merged.
pub(super) fn merge_bytes(options: &ServeOptions) -> u64 {
    match options.sink {
        SinkWord::Log => MERGE_BYTES,
        SinkWord::Null => 0,
    }
}

/// The memory of one lane's log.
pub(super) fn log_bytes(options: &ServeOptions) -> u64 {
    match options.sink {
        SinkWord::Log => BUFFERS as u64 * record_bytes(options) + SEGMENT_BESIDE_BYTES,
        SinkWord::Null => 0,
    }
}

/// Refuses options with which no segment could be written.
pub(super) fn check_log(options: &ServeOptions) -> Result<(), ServeError> {
    let refuse = |text: String| Err(ServeError::Option(text));
    if options.segment_bytes.0 == 0 {
        return refuse("--segment-bytes is 0: it must be at least 1".to_owned());
    }
    for (flag, time) in
        [("--commit-interval", options.commit_interval), ("--segment-age", options.segment_age)]
    {
        if time < Duration::from_millis(1) {
            return refuse(format!("{flag} is {time:?}: it must be at least 1ms"));
        }
    }
    let needed =
        options.segment_bytes.0.saturating_add(record_bytes(options) + SEGMENT_BESIDE_BYTES);
    match getrlimit(Resource::Fsize).current {
        Some(limit) if options.sink == SinkWord::Log && limit < needed => {
            Err(ServeError::Refused(format!(
                "--segment-bytes {}: a segment may have up to {}, and the limit of file sizes is \
                 {}: raise it (ulimit -f), or lower --segment-bytes",
                options.segment_bytes,
                RoundedSize(needed),
                RoundedSize(limit)
            )))
        }
        _ => Ok(()),
    }
}
