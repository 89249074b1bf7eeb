//! The options of `slipring serve`, and the error with which the service refuses to start.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use slipring::pipeline::{LaneError, Reclaim, Wait};
use slipring::region::{Numa, Pages, RegionError};
use slipring::ring::RingError;

use crate::io::IoBuffersError;
use crate::sink::ColumnWord;
use crate::stage::Score;
use crate::units::{CpuIds, Size, figure, parse_duration};

/// What is served and where, with which memory and on which CPUs. Besides its pool a lane may hold
/// at most `carry-bytes` for unfinished frames, and
/// `max-connections x in-flight x (largest answer + 16)` bytes for answers.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeOptions {
    /// TCP address [default: 127.0.0.1:9900, without --unix]
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Path of a Unix socket
    #[arg(long, value_name = "PATH")]
    pub unix: Option<PathBuf>,
    /// Components of a vector
    #[arg(long)]
    pub dim: u32,
    /// Most vectors of a request
    #[arg(long, default_value_t = 64)]
    pub max_vectors: u32,
    /// IO threads, each with a pool, a ring and a sink of its own
    #[arg(long, default_value_t = 1)]
    pub lanes: u32,
    /// One CPU a lane, for its IO thread: 0,2 or 0-3 [default: the first CPUs allowed]
    #[arg(long, value_name = "LIST")]
    pub cpus: Option<CpuIds>,
    /// CPUs of stages and sinks [default: the other CPUs allowed, else the lane's own]
    #[arg(long, value_name = "LIST")]
    pub stage_cpus: Option<CpuIds>,
    /// Bytes of each lane's pool
    #[arg(long, default_value = "64MiB", value_name = "SIZE")]
    pub pool: Size,
    /// Bytes in rotation [default: 4MiB, less where the L3 cache is small]
    #[arg(long, value_name = "SIZE")]
    pub window: Option<Size>,
    /// Slots of each lane's ring: a power of two
    #[arg(long, default_value_t = 4096)]
    pub slots: usize,
    /// Page kind of the pools: 4k, prefer-thp, prefer-2m, prefer-1g, require-2m, require-1g
    #[arg(long, default_value = "prefer-thp", value_name = "KIND")]
    pub pages: Pages,
    /// NUMA node of each lane's memory, its pool and its class pool: a number, or local, the node
    /// of its CPU
    #[arg(long, default_value = "local", value_name = "NODE")]
    pub node: Node,
    /// When memory comes back
    #[arg(long, value_enum, default_value_t = ReclaimWord::Consume)]
    pub reclaim: ReclaimWord,
    /// What idle threads do
    #[arg(long, value_enum, default_value_t = WaitWord::Backoff)]
    pub wait: WaitWord,
    /// Where validate and score run
    #[arg(long, value_enum, default_value_t = StagesWord::Inline)]
    pub stages: StagesWord,
    /// What is answered for a vector: the sum of its components, their dot product with 1, 2, ...
    /// dim, or zero
    #[arg(long, value_enum, default_value_t = Score::Sum)]
    pub score: Score,
    /// Where vectors go: Arrow segments, or nowhere
    #[arg(long, value_enum, default_value_t = SinkWord::Log)]
    pub sink: SinkWord,
    /// Folder of the segments; needed unless the sink is null
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Columns of the segments besides sequence and vector: id, from the requests (header mode
    /// version 2), and time, when a request had arrived
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    pub columns: Vec<ColumnWord>,
    /// A segment is complete at this size
    #[arg(long, default_value = "256MiB", value_name = "SIZE")]
    pub segment_bytes: Size,
    /// Connections of a lane
    #[arg(long, default_value_t = 4096)]
    pub max_connections: u32,
    /// Requests of a connection without an answer; in header mode more are refused as busy
    #[arg(long, default_value_t = 256)]
    pub in_flight: u32,
    /// Bytes of a lane's unfinished frames: each takes 32 KiB or the largest frame
    #[arg(long, default_value = "64MiB", value_name = "SIZE")]
    pub carry_bytes: Size,
    /// How long a stop may drain
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    pub drain: Duration,
    /// Serve /metrics, /healthz and /readyz over HTTP on this port of loopback, or at HOST:PORT
    #[arg(long, value_name = "PORT|HOST:PORT")]
    pub metrics: Option<String>,
    /// Print rates, shares of time and latencies of each lane to standard error, over and over
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
    /// When every stage has passed it.
    Consume,
    /// When its slot is overwritten.
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
    /// Spin: lowest latency, all of the CPU.
    Spin,
    /// Spin, yield, and sleep after about a millisecond.
    Backoff,
    /// Sleep after some dozens of microseconds.
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
    /// On a thread each.
    Threads,
}

/// `--sink`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SinkWord {
    /// Arrow IPC segments.
    Log,
    /// Nothing: vectors are counted.
    Null,
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
                let must = must.replace("Reclaim::OnOverwrite", "--reclaim overwrite");
                let given = figure(field, given);
                Self::Option(format!("{} is {given}: it must be {must}", flag(field)))
            }
            LaneError::Pool(RingError::Option { field, given, must, limit }) => {
                let (given, limit) = (figure(field, given), figure(field, limit));
                Self::Option(format!("{} is {given}: it must be {must} {limit}", flag(field)))
            }
            LaneError::Pool(RingError::Region(error @ RegionError::NoSuchNode { node, .. })) => {
                Self::Option(format!("--node {node}: {error}"))
            }
            other => Self::Refused(format!("lane {number}: {other}")),
        }
    }

    /// An error of a lane's class pool.
    pub(super) fn classes(number: u32, error: &IoBuffersError) -> Self {
        Self::Refused(format!(
            "lane {number}: outputs and carry buffers: {error}; or lower --in-flight, \
            --max-vectors or --carry-bytes"
        ))
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
