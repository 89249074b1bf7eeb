//! The options of `slipring serve`, and the error with which the service refuses to start.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use slipring::pipeline::{LaneError, Reclaim, SLOTS_MAX, Wait};
use slipring::region::{Numa, Pages, RegionError};
use slipring::ring::RingError;

use crate::io::IoBuffersError;
use crate::sink::{ColumnWord, DataMode};
use crate::stage::Score;
use crate::units::{CpuIds, Size, at_least, figure, parse_duration, whole};
use crate::wire::frames::{AckLevel, VECTORS_MAX};

pub(super) const LANES_MAX: u32 = 256;
pub(super) const CONNECTIONS_MAX: u32 = 1 << 20;
pub(super) const IN_FLIGHT_MAX: u32 = 1 << 16;

/// The kernel's bounds of the time before a silent connection is probed.
pub(super) const KEEPALIVE_LEAST: Duration = Duration::from_secs(1);
pub(super) const KEEPALIVE_MOST: Duration = Duration::from_secs(32_767);

/// What is served and where, with which memory and on which CPUs. Besides its pool, a lane holds at
/// most twice `carry-bytes` for unfinished frames, and `output-bytes` for answers.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeOptions {
    /// TCP address to listen on [default: 127.0.0.1:9900, or none with --unix]
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Path of a Unix socket to listen on
    #[arg(long, value_name = "PATH")]
    pub unix: Option<PathBuf>,
    /// Number of components of every vector, 1 to 65535
    #[arg(long, value_parser = whole(1, VECTORS_MAX))]
    pub dim: u32,
    /// Maximum number of vectors per request, 1 to 65535
    #[arg(long, default_value_t = 64, value_parser = whole(1, VECTORS_MAX))]
    pub max_vectors: u32,
    /// Number of lanes, 1 to 256: each has its own IO thread, memory pool, ring and sink
    #[arg(long, default_value_t = 1, value_parser = whole(1, LANES_MAX))]
    pub lanes: u32,
    /// CPUs for the IO threads, one per lane [default: the first CPUs that the process may use]
    #[arg(long, value_name = "LIST")]
    pub cpus: Option<CpuIds>,
    /// CPUs for the threads of stages and sinks, in turn [default: the other CPUs that the process
    /// may use; if there are none, the CPU of the lane]
    #[arg(long, value_name = "LIST")]
    pub stage_cpus: Option<CpuIds>,
    /// Size of each lane's memory pool
    #[arg(long, default_value = "64MiB", value_name = "SIZE")]
    pub pool: Size,
    /// Part of each pool that is in rotation; the remainder is for bursts [default: 4MiB, or less
    /// if the L3 cache is small]
    #[arg(long, value_name = "SIZE")]
    pub window: Option<Size>,
    /// Number of slots in each lane's ring: a power of two, 2 to 16777216. A request takes one slot
    #[arg(long, default_value_t = 4096, value_parser = whole(2, SLOTS_MAX))]
    pub slots: usize,
    /// Kind of memory pages for the pools: 4k, prefer-thp, prefer-2m, prefer-1g, require-2m,
    /// require-1g
    #[arg(long, default_value = "prefer-thp", value_name = "KIND")]
    pub pages: Pages,
    /// NUMA node for the memory of all lanes: a number, or local for the node of each lane's CPU
    #[arg(long, default_value = "local", value_name = "NODE")]
    pub node: Node,
    /// When the memory of a request is reclaimed: once every stage has processed it (consume), or
    /// once its slot is overwritten (overwrite), for which the pool must hold a full ring of the
    /// largest requests
    #[arg(long, value_enum, default_value_t = ReclaimWord::Consume)]
    pub reclaim: ReclaimWord,
    /// What idle threads do: spin for the lowest latency at the cost of a whole CPU each (spin),
    /// spin and yield, then sleep after about 1 ms (backoff), or spin for 30 us, then sleep (park)
    #[arg(long, value_enum, default_value_t = WaitWord::Backoff)]
    pub wait: WaitWord,
    /// What an idle sink's thread does: the words of --wait
    #[arg(long, value_enum, default_value_t = WaitWord::Park)]
    pub sink_wait: WaitWord,
    /// Where the stages validate and score run: on the IO thread (inline), or each on its own
    /// thread (threads)
    #[arg(long, value_enum, default_value_t = StagesWord::Inline)]
    pub stages: StagesWord,
    /// Score that is answered for each vector: the sum of its components (sum), their dot product
    /// with 1, 2, ... dim (weighted), or zero (none)
    #[arg(long, value_enum, default_value_t = Score::Sum)]
    pub score: Score,
    /// What happens to the vectors: they are written to Arrow segments (log), or only counted
    /// (null)
    #[arg(long, value_enum, default_value_t = SinkWord::Log)]
    pub sink: SinkWord,
    /// Folder for the segments; required unless --sink is null
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// What an answer means to clients that can't say it, in count mode and in version 1 of header
    /// mode: the vectors are received, or stored, which is on the disk (--data)
    #[arg(long, value_enum, default_value_t = AckWord::Received)]
    pub ack: AckWord,
    /// Columns of the segments besides sequence and vector: id, from the requests (header mode
    /// version 2), and time, when a request had arrived
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    pub columns: Vec<ColumnWord>,
    /// Permissions of new files in --data, in octal; folders are also entered by who may read
    /// their files [default: 0640, as far as the umask lets]
    #[arg(long, value_name = "MODE")]
    pub data_mode: Option<DataMode>,
    /// Size at which a segment is completed and the next one is started
    #[arg(long, default_value = "256MiB", value_name = "SIZE")]
    pub segment_bytes: Size,
    /// Age at which a segment is sealed, however small; SIGUSR1 seals now
    #[arg(long, default_value = "10m", value_name = "TIME", value_parser = parse_duration)]
    pub segment_age: Duration,
    /// Bytes of all lanes' sealed segments, beyond which the oldest are removed, but for the newest
    /// of each lane [default: none is removed]
    #[arg(long, value_name = "SIZE")]
    pub retain_bytes: Option<Size>,
    /// Time after which a sealed segment is removed [default: never]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub retain_for: Option<Duration>,
    /// Time after which vectors are on the disk, at the latest
    #[arg(long, default_value = "100ms", value_name = "TIME", value_parser = parse_duration)]
    pub commit_interval: Duration,
    /// Write records past the page cache (O_DIRECT): yes refuses a file system that can't; auto is
    /// no until measurements say otherwise
    #[arg(long, value_enum, default_value_t = DirectWord::Auto)]
    pub direct: DirectWord,
    /// Time for which a producer's last 512 requests are remembered after it was last heard of, at
    /// least; a lane remembers 1024 producers
    #[arg(long, default_value = "10m", value_name = "TIME", value_parser = parse_duration)]
    pub producer_window: Duration,
    /// After a disk has failed to store what it had taken: drain and end with exit code 1 (stop),
    /// or go on in a new segment (continue)
    #[arg(long, value_enum, default_value_t = DiskErrorWord::Stop)]
    pub on_disk_error: DiskErrorWord,
    /// Maximum number of connections per lane, 1 to 1048576; fewer if the limit of open files is
    /// low
    #[arg(long, default_value_t = 4096, value_parser = whole(1, CONNECTIONS_MAX))]
    pub max_connections: u32,
    /// Connections of one IPv4 address or IPv6 network of 64 bits, over all lanes [default: seven
    /// eighths of all]
    #[arg(long, value_name = "COUNT", value_parser = at_least::<u32>(1))]
    pub connections_per_peer: Option<u32>,
    /// Probe a silent TCP client after this time, 1s to 32767s, and close the connection if it is
    /// gone; 0s for never
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = parse_duration)]
    pub keepalive: Duration,
    /// Maximum number of unanswered requests per connection, 1 to 65536; in header mode, further
    /// ones are refused as busy
    #[arg(long, default_value_t = 256, value_parser = whole(1, IN_FLIGHT_MAX))]
    pub in_flight: u32,
    /// Bytes of a lane's frames that have arrived only in part: each takes 32 KiB, or as much as
    /// the largest frame or receive if that is larger. Buffers have two sizes, and free ones keep
    /// their memory for a while, so the lane may hold twice as much
    #[arg(long, default_value = "64MiB", value_name = "SIZE")]
    pub carry_bytes: Size,
    /// Bytes of a lane's answers that aren't sent yet: each connection that waits for answers takes
    /// in-flight x (largest answer + 40)
    #[arg(long, default_value = "256MiB", value_name = "SIZE")]
    pub output_bytes: Size,
    /// Close a connection after this time without a request, once its client's system has all its
    /// answers; 0s for never
    #[arg(long, default_value = "10m", value_name = "TIME", value_parser = parse_duration)]
    pub idle_timeout: Duration,
    /// Close a connection that doesn't send its first bytes, or the rest of a frame, within this
    /// time; 0s for never
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = parse_duration)]
    pub header_timeout: Duration,
    /// Close a connection whose client's system accepts no byte of its waiting answers for this
    /// time; 0s for never. A client that reads slowly makes room in steps of up to 64 KiB, or a
    /// sixteenth of its receive buffer: leave it time for one
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = parse_duration)]
    pub unread_timeout: Duration,
    /// Time limit of a stop, within which what was received is answered and stored
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    pub drain: Duration,
    /// Serve /metrics, /healthz and /readyz over HTTP on this port of the loopback address, or at
    /// HOST:PORT
    #[arg(long, value_name = "PORT|HOST:PORT")]
    pub metrics: Option<String>,
    /// Print the rates, time shares and latencies of each lane to standard error at this interval
    #[arg(long, value_parser = parse_duration)]
    pub report_every: Option<Duration>,
}

/// `--node`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node(pub Numa);

impl FromStr for Node {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "local" => Ok(Self(Numa::Local)),
            _ => text
                .parse()
                .map(|node| Self(Numa::Node(node)))
                .map_err(|_| format!("{text:?} isn't a node: say local or 0")),
        }
    }
}

/// `--reclaim`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ReclaimWord {
    /// Once every stage has processed the request.
    Consume,
    /// Once the slot of the request is overwritten.
    Overwrite,
}

impl From<ReclaimWord> for Reclaim {
    fn from(word: ReclaimWord) -> Self {
        match word {
            ReclaimWord::Consume => Self::OnConsume,
            ReclaimWord::Overwrite => Self::OnOverwrite,
        }
    }
}

/// `--wait`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum WaitWord {
    /// Spin: the lowest latency, at the cost of a whole CPU per thread.
    Spin,
    /// Spin and yield, then sleep after about a millisecond.
    Backoff,
    /// Spin for 30 us, then sleep.
    Park,
}

impl From<WaitWord> for Wait {
    fn from(word: WaitWord) -> Self {
        match word {
            WaitWord::Spin => Self::Spin,
            WaitWord::Backoff => Self::Backoff,
            WaitWord::Park => Self::Park,
        }
    }
}

/// `--stages`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum StagesWord {
    /// On the IO thread.
    Inline,
    /// Each on its own thread.
    Threads,
}

/// `--sink`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SinkWord {
    /// Write the vectors to Arrow IPC segments.
    Log,
    /// Only count the vectors.
    Null,
}

/// `--ack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum AckWord {
    /// The vectors are in a lane.
    Received,
    /// The vectors are on the disk.
    Stored,
}

impl From<AckWord> for AckLevel {
    fn from(word: AckWord) -> Self {
        match word {
            AckWord::Received => Self::Received,
            AckWord::Stored => Self::Stored,
        }
    }
}

/// `--on-disk-error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DiskErrorWord {
    /// Drain and end.
    Stop,
    /// Go on in a new segment.
    Continue,
}

/// `--direct`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DirectWord {
    /// As measurements say: no.
    Auto,
    /// Past the page cache.
    Yes,
    /// Through the page cache.
    No,
}

/// A refusal to start. Its text names the option, the figure and the fix.
#[derive(Debug)]
pub enum ServeError {
    /// An option is invalid: a usage error.
    Option(String),
    /// The system, the disk or the network refused.
    Refused(String),
}

impl ServeError {
    pub(super) fn io(what: impl fmt::Display, error: &io::Error, fix: &str) -> Self {
        Self::Refused(format!("{what}: {error}; {fix}"))
    }

    /// An error of a lane. It names the options of the command line instead of the library's
    /// fields.
    pub(super) fn lane(number: u32, error: LaneError) -> Self {
        match error {
            LaneError::Option { field, given, must } => {
                let must = in_options(&must);
                let given = figure(field, given);
                Self::Option(format!("{} is {given}: it must be {must}", flag(field)))
            }
            LaneError::Pool(RingError::Option { field, given, must, limit }) => {
                let (given, limit) = (figure(field, given), figure(field, limit));
                let why = if must.contains("two chunks") { CHUNKS_WHY } else { "" };
                Self::Option(format!("{} is {given}: it must be {must} {limit}{why}", flag(field)))
            }
            LaneError::Pool(RingError::Region(error @ RegionError::NoSuchNode { node, .. })) => {
                Self::Option(format!("--node {node}: {error}"))
            }
            other => Self::Refused(in_options(&format!("lane {number}: {other}"))),
        }
    }

    /// An error of a lane's class pool.
    pub(super) fn classes(number: u32, error: &IoBuffersError) -> Self {
        Self::Refused(in_options(&format!(
            "lane {number}: outputs and carry buffers: {error}; or lower --in-flight, \
            --max-vectors or --carry-bytes"
        )))
    }

    /// The exit code: 2 for a usage error, 1 for everything else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Option(_) => 2,
            Self::Refused(_) => 1,
        }
    }
}

/// Where the size of a chunk comes from.
const CHUNKS_WHY: &str = ", because a chunk holds two of the largest requests: raise it, or lower --dim or --max-vectors";

/// The option that sets a field of a lane or its pool.
fn flag(field: &'static str) -> &'static str {
    match field {
        "bytes" | "pool.bytes" => "--pool",
        "window_bytes" => "--window",
        "slots" => "--slots",
        "max_slice_bytes" => "the largest frame, which follows from --dim and --max-vectors,",
        "width" => "--max-vectors",
        other => other,
    }
}

/// The text with options of the command line instead of what the library calls them.
fn in_options(text: &str) -> String {
    let names = [
        ("Reclaim::OnOverwrite", "--reclaim overwrite"),
        ("Numa::Local", "--node local"),
        ("Numa::Any", "--node local"),
        ("prefer-thp", "--pages prefer-thp"),
    ];
    names.into_iter().fold(text.to_owned(), |text, (name, option)| text.replace(name, option))
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option(text) | Self::Refused(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for ServeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_read() {
        assert_eq!(
            ["local", "0", "17"].map(str::parse),
            [Numa::Local, Numa::Node(0), Numa::Node(17)].map(|node| Ok(Node(node)))
        );
        for wrong in ["", "any", "-1", "0,1", "4294967296"] {
            assert!(wrong.parse::<Node>().is_err(), "{wrong}");
        }
    }
}
