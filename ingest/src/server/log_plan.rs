//! The plan of a service's log: how large its buffers are, and whether its segments can be written.

use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use super::options::{AckWord, DirectWord, ServeError, ServeOptions, SinkWord};
use super::writer::WriterOptions;
use crate::io::HELD_ANSWER_BYTES;
use crate::log::{
    BufferSizes, CommitTimes, MERGE_BYTES, ProducerLimits, ProducerTable, RECORD_VECTOR_BYTES_MAX,
    RetentionLimits,
};
use crate::units::{RoundedSize, Size, Time};

/// Buffers of a lane: one fills while the other is written.
const BUFFERS: usize = 2;
/// Bytes of the vectors of a buffer (which holds at least one row), and the most rows of one. Small
/// ones keep the thread that writes from taking its neighbours' CPU for long.
const BUFFER_BYTES: usize = 1 << 20;
const BUFFER_ROWS_MAX: usize = 16_384;
/// The least time that a sealed segment stays.
const RETAIN_LEAST: Duration = Duration::from_secs(1);
/// Bytes of a row besides its vector, while it is in a buffer: sequence, and id and time twice.
const ROW_BESIDE_BYTES: u64 = 40;
/// Bytes of a producer's mark in a buffer, where it is twice.
const MARK_BYTES: u64 = 64;
/// Bytes of a segment besides its records: its footer, and the list that it is made from.
const SEGMENT_BESIDE_BYTES: u64 = 4 << 20;
/// Bytes of a record besides its rows, and of the blocks that it fills up.
const RECORD_BESIDE_BYTES: u64 = 16 << 10;

fn buffers(options: &ServeOptions) -> BufferSizes {
    let vector_bytes = options.dim as usize * size_of::<f32>();
    let rows = (BUFFER_BYTES / vector_bytes.max(1)).clamp(1, BUFFER_ROWS_MAX);
    // A producer's request isn't divided between two records.
    let request = if has_producers(options) { options.max_vectors as usize } else { 1 };
    BufferSizes { count: BUFFERS, rows: rows.max(request) }
}

/// Whether the service knows producers: it needs a log, and a record that holds the largest
/// request.
pub(super) fn has_producers(options: &ServeOptions) -> bool {
    let request_bytes = u64::from(options.max_vectors) * u64::from(options.dim) * 4;
    options.sink == SinkWord::Log && request_bytes <= RECORD_VECTOR_BYTES_MAX as u64
}

/// What a lane remembers of producers.
pub(super) fn producer_limits(options: &ServeOptions) -> ProducerLimits {
    let window_ns = u64::try_from(options.producer_window.as_nanos()).unwrap_or(u64::MAX);
    ProducerLimits { window_ns, ..ProducerLimits::default() }
}

/// The memory of what one lane remembers of producers: once for its answers, once for its log.
pub(super) fn producers_bytes(options: &ServeOptions) -> u64 {
    match has_producers(options) {
        true => 2 * ProducerTable::bytes_max(&producer_limits(options)),
        false => 0,
    }
}

fn record_bytes(options: &ServeOptions) -> u64 {
    let row_bytes = u64::from(options.dim) * 4 + ROW_BESIDE_BYTES;
    let buffers = buffers(options);
    buffers.rows as u64 * row_bytes + buffers.marks() as u64 * MARK_BYTES + RECORD_BESIDE_BYTES
}

pub(super) fn writer_options(options: &ServeOptions) -> WriterOptions {
    WriterOptions {
        lanes: options.lanes,
        segment_bytes: options.segment_bytes.0,
        buffers: buffers(options),
        times: CommitTimes { interval: options.commit_interval, segment_age: options.segment_age },
        producers: producer_limits(options),
        on_disk_error: options.on_disk_error,
        is_direct: options.direct == DirectWord::Yes,
        retention: RetentionLimits {
            bytes: options.retain_bytes.map(|size| size.0),
            age: options.retain_for,
        },
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

/// The memory of what one lane knows about answers that wait for the disk, besides the answers
/// themselves. There are no more of them than rows in the ring and in the log's buffers: those that
/// fill, and those of the round before that are being synced. A queue that grows has room for twice
/// as many.
pub(super) fn held_bytes(options: &ServeOptions) -> u64 {
    let buffered = 2 * BUFFERS as u64 * buffers(options).rows as u64;
    let most = (options.slots as u64).saturating_add(buffered);
    match options.sink {
        SinkWord::Log => most.saturating_mul(2 * HELD_ANSWER_BYTES as u64),
        SinkWord::Null => 0,
    }
}

/// Refuses limits that would remove what has just been sealed.
fn check_retention(options: &ServeOptions) -> Result<(), ServeError> {
    let refuse = |text: String| Err(ServeError::Option(text));
    let ServeOptions { lanes, segment_bytes, .. } = options;
    let least = Size(segment_bytes.0.saturating_mul(u64::from(*lanes)));
    if let Some(most) = options.retain_bytes.filter(|most| *most < least) {
        return refuse(format!(
            "--retain-bytes is {most}: --lanes {lanes} with --segment-bytes {segment_bytes} need \
             {least}; give at least that, or lower --segment-bytes"
        ));
    }
    match options.retain_for {
        Some(time) if time < RETAIN_LEAST => refuse(format!(
            "--retain-for is {}: it must be at least {}",
            Time(time),
            Time(RETAIN_LEAST)
        )),
        _ => Ok(()),
    }
}

/// Refuses options with which no segment could be written, or nothing stored.
pub(super) fn check_log(options: &ServeOptions) -> Result<(), ServeError> {
    let refuse = |text: String| Err(ServeError::Option(text));
    if options.ack == AckWord::Stored && options.sink == SinkWord::Null {
        return refuse(
            "--ack stored with --sink null: nothing is stored then; say --ack received, or name a \
             folder with --data"
                .to_owned(),
        );
    }
    let of_log = [
        ("--data", options.data.is_some()),
        ("--data-mode", options.data_mode.is_some()),
        ("--retain-bytes", options.retain_bytes.is_some()),
        ("--retain-for", options.retain_for.is_some()),
    ];
    let given = of_log.into_iter().find(|(_, is_given)| *is_given);
    if let Some((flag, _)) = given.filter(|_| options.sink == SinkWord::Null) {
        return refuse(format!(
            "{flag} with --sink null: nothing is stored then; leave one of them out"
        ));
    }
    if options.segment_bytes.0 == 0 {
        return refuse("--segment-bytes is 0: it must be at least 1".to_owned());
    }
    for (flag, time) in
        [("--commit-interval", options.commit_interval), ("--segment-age", options.segment_age)]
    {
        if time < Duration::from_millis(1) {
            let time = Time(time);
            return refuse(format!("{flag} is {time}: it must be at least 1ms"));
        }
    }
    check_retention(options)?;
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
