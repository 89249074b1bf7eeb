//! The options of `slipring load`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::error::LoadError;
use crate::client::Target;
use crate::stage::Score;
use crate::units::{RoundedSize, TIME_MAX, Time, at_least, parse_duration, whole};
use crate::wire::frames::{AckLevel, Limits, Mode, VECTORS_MAX, WireColumns, answer_bytes};

/// Most connections of one run.
pub const CONNECTIONS_MAX: u32 = 65_536;
/// Most requests in flight on one connection.
pub const IN_FLIGHT_MAX: u32 = 65_536;
/// Most threads of one run.
pub const THREADS_MAX: u32 = 256;
/// Requests per second of one run.
const RATES: std::ops::RangeInclusive<f64> = 1e-3..=1e9;
/// Most memory for the buffers of all connections.
pub const BUFFERS_BYTES_MAX: u64 = 4 << 30;

/// Duration of the measurement without `--count` and `--duration`.
const DURATION_DEFAULT: Duration = Duration::from_secs(10);
/// Duration of the warm-up without `--count` and `--warmup`.
const WARMUP_DEFAULT: Duration = Duration::from_secs(1);
/// Most unsent bytes that a connection gathers for one write; fewer if it has few requests in
/// flight.
const OUT_BYTES: usize = 256 << 10;
/// Most bytes of answers that a connection reads at a time; fewer if it has few requests in
/// flight.
const INPUT_BYTES: usize = 64 << 10;

/// What a load sends, where to, how fast, and what it checks.
///
/// To a server that stores ids (`--columns id`) it sends them too, in header mode.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadOptions {
    /// Address of the service: HOST:PORT, or the path of a Unix socket, like ./socket
    #[arg(long, value_name = "HOST:PORT|PATH")]
    pub to: Target,
    /// Number of components of every vector: the service's --dim
    #[arg(long, value_parser = whole(1, VECTORS_MAX))]
    pub dim: u32,
    /// Vectors per request: one number, or a range from which each number is equally likely
    #[arg(long, default_value = "1", value_name = "N|A-B")]
    pub vectors: VectorRange,
    /// Number of connections, all opened before the first request; 1 to 65536
    #[arg(long, default_value_t = 4, value_parser = whole(1, CONNECTIONS_MAX))]
    pub connections: u32,
    /// Maximum number of requests in flight on each connection, 1 to 65536; in header mode, at
    /// most as many as the server allows
    #[arg(long, default_value_t = 32, value_parser = whole(1, IN_FLIGHT_MAX))]
    pub in_flight: u32,
    /// Total number of requests, warm-up included [default: as many as --duration allows]
    #[arg(long, value_parser = at_least::<u64>(1))]
    pub count: Option<u64>,
    /// How long to measure after the warm-up [default: 10s without --count]
    #[arg(long, value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Length of the warm-up, whose requests aren't counted in the latencies [default: 1s; with
    /// --count, 0s]
    #[arg(long, value_parser = parse_duration)]
    pub warmup: Option<Duration>,
    /// Send the vectors of a .npy (<f4, 2 axes) or .fvecs file in order, repeatedly [default:
    /// vectors generated from --seed]
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Send components of f64, f16, int8 and uint8 in the file as f32 [default: they are refused]
    #[arg(long, requires = "file")]
    pub convert: bool,
    /// Protocol mode: header (version 2, with a hello), header1 (version 1) or count. To a service
    /// with --columns id, header mode sends ids: with --file the number of the row in the file,
    /// from 0, else a number that no other vector of the run has (vector k of connection c of N
    /// has k x N + c, on top of --number-from); the other modes can't
    #[arg(long, default_value = "header", value_name = "header|header1|count", value_parser = parse_mode)]
    pub mode: Mode,
    /// What an answer must mean: received, or stored, which is on the disk. The vectors that were
    /// accepted so are `acked_vectors`. Header mode asks the service for it; in the other modes
    /// answers mean what the service's own --ack says
    #[arg(long, default_value = "received", value_name = "received|stored", value_parser = parse_ack)]
    pub ack: AckLevel,
    /// Send as a producer, so that a request that comes a second time isn't stored again:
    /// connection c is producer ID + c, and numbers its requests from 1. At least 1; header mode
    /// only
    #[arg(long, value_name = "ID", value_parser = at_least::<u64>(1))]
    pub producer: Option<u64>,
    /// The least id of generated vectors, where the service stores ids
    #[arg(long, default_value_t = 0, conflicts_with = "file", value_parser = at_least::<u64>(0))]
    pub number_from: u64,
    /// Compare every score with an f64 reference, and fail if good vectors are refused or a row is
    /// named twice
    #[arg(long)]
    pub verify: bool,
    /// Score that the service was started with; --verify compares with it
    #[arg(long, value_enum, default_value_t = Score::Sum)]
    pub score: Score,
    /// Number of threads that send: 1 to 256, and no more than connections
    #[arg(long, default_value_t = 1, value_parser = whole(1, THREADS_MAX))]
    pub threads: u32,
    /// Requests per second over all connections, sent at intended times from which latencies are
    /// measured [default: as fast as --in-flight allows]
    #[arg(long, value_parser = parse_rate)]
    pub rate: Option<f64>,
    /// Seed of the generated vectors and of the numbers of vectors per request
    #[arg(long, default_value_t = 1, value_parser = at_least::<u64>(0))]
    pub seed: u64,
    /// Give up when a connection that awaits answers has made no progress for this long
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    pub timeout: Duration,
    /// Fail if the 99th percentile of the latencies is longer than this, like 300us or 2ms
    #[arg(long, value_parser = parse_duration)]
    pub p99_max: Option<Duration>,
    /// Fail if more requests than this are refused, for any reason; a connection that breaks fails
    /// the run in any case [default: good vectors may only be refused as busy]
    #[arg(long, value_parser = at_least::<u64>(0))]
    pub errors_max: Option<u64>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
    /// Most bytes of requests, beside the other bounds of the run; not on the command line. Each
    /// connection has an equal share, and stops when the largest request no longer fits into it.
    #[arg(skip)]
    pub bytes_max: Option<u64>,
}

/// Number of vectors per request: from `least` to `most`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VectorRange {
    /// Fewest.
    pub least: u32,
    /// Most.
    pub most: u32,
}

impl LoadOptions {
    /// The defaults of the command line for this target and dimension.
    pub fn new(to: Target, dim: u32) -> LoadOptions {
        LoadOptions {
            to,
            dim,
            vectors: VectorRange { least: 1, most: 1 },
            connections: 4,
            in_flight: 32,
            count: None,
            duration: None,
            warmup: None,
            file: None,
            convert: false,
            mode: Mode::Header,
            ack: AckLevel::Received,
            producer: None,
            number_from: 0,
            verify: false,
            score: Score::Sum,
            threads: 1,
            rate: None,
            seed: 1,
            timeout: Duration::from_secs(30),
            p99_max: None,
            errors_max: None,
            json: false,
            bytes_max: None,
        }
    }

    /// Refuses options that can't be run, and names the first offending one. [`super::run`] calls
    /// this.
    pub fn check(&self) -> Result<(), LoadError> {
        let VectorRange { least, most } = self.vectors;
        if least == 0 || least > most {
            return refuse(
                "vectors",
                self.vectors,
                "1 to 65535, smaller number first",
                "say 1 or 1-8",
            );
        }
        if let Err(error) = (Limits::new(self.dim, most)).check() {
            return refuse(
                "dim",
                self.dim,
                format!("with --vectors {}, {error}", self.vectors),
                "lower one of them",
            );
        }
        within("connections", self.connections, CONNECTIONS_MAX)?;
        within("in-flight", self.in_flight, IN_FLIGHT_MAX)?;
        within("threads", self.threads, THREADS_MAX.min(self.connections))?;
        match (self.count, self.duration) {
            (Some(_), Some(_)) => {
                return refuse(
                    "count",
                    self.count.unwrap_or(0),
                    "not together with --duration",
                    "leave one out",
                );
            }
            (Some(0), None) => {
                return refuse("count", 0, "at least 1", "leave it out to run for --duration");
            }
            (None, Some(Duration::ZERO)) => return refuse("duration", "0s", "above 0", "say 10s"),
            _ => {}
        }
        if let Some(rate) = self.rate.filter(|rate| !RATES.contains(rate)) {
            return refuse(
                "rate",
                format!("{rate:?}"),
                "0.001 to 1000000000 requests per second",
                "leave it out for full speed",
            );
        }
        self.check_hello()?;
        self.check_bytes(false)?;
        if self.p99_max.is_some_and(|most| most.is_zero()) {
            return refuse("p99-max", "0s", "above 0", "say 2ms");
        }
        if self.timeout.is_zero() {
            return refuse("timeout", "0s", "above 0", "say 30s");
        }
        self.check_times()?;
        self.check_buffers()
    }

    /// Refuses what only a hello can say, in the modes that have none, and producers that no hello
    /// can name.
    fn check_hello(&self) -> Result<(), LoadError> {
        let has_hello = self.mode == Mode::Header;
        if self.ack == AckLevel::Stored && !has_hello {
            let limit = format!("--mode {} can't ask for it", self.mode.label());
            let fix = "say --mode header; or leave --ack out, and start the service with serve \
                --ack stored";
            return refuse("ack", self.ack.label(), limit, fix);
        }
        let Some(producer) = self.producer else { return Ok(()) };
        if !has_hello {
            let limit = format!("--mode {} can't name it", self.mode.label());
            return refuse("producer", producer, limit, "say --mode header");
        }
        let most = u64::MAX - u64::from(self.connections - 1);
        if !(1..=most).contains(&producer) {
            let limit = format!("1 to {most}, one for each connection from there on");
            return refuse("producer", producer, limit, "say a number in that range");
        }
        Ok(())
    }

    /// The producer that a connection is; 0: none.
    pub(super) fn producer_of(&self, connection: u32) -> u64 {
        self.producer.map_or(0, |first| first + u64::from(connection))
    }

    /// Refuses a `bytes_max` that is less than a request for each connection. Whether requests
    /// carry ids is known when the server has said so.
    pub(super) fn check_bytes(&self, ids: bool) -> Result<(), LoadError> {
        let Some(bytes_max) = self.bytes_max else { return Ok(()) };
        let least = u64::from(self.connections) * self.request_bytes_max(ids) as u64;
        if bytes_max < least {
            let limit = format!("at least {least}, one request per connection");
            return refuse("bytes", bytes_max, limit, "raise it");
        }
        if self.rate.is_some() {
            return refuse("bytes", bytes_max, "not together with --rate", "leave one out");
        }
        Ok(())
    }

    fn check_times(&self) -> Result<(), LoadError> {
        let times =
            [("duration", self.duration), ("warmup", self.warmup), ("timeout", Some(self.timeout))];
        for (field, time) in times {
            if let Some(time) = time.filter(|time| *time > TIME_MAX) {
                return refuse(field, Time(time), "at most a year", "say 10s, 2m or 1h");
            }
        }
        Ok(())
    }

    fn check_buffers(&self) -> Result<(), LoadError> {
        let buffers_bytes = u64::from(self.connections) * self.connection_bytes();
        if buffers_bytes > BUFFERS_BYTES_MAX {
            let limit = format!(
                "their buffers would take {}, at most {} are allowed",
                RoundedSize(buffers_bytes),
                RoundedSize(BUFFERS_BYTES_MAX)
            );
            return refuse(
                "connections",
                self.connections,
                limit,
                "lower --connections, --in-flight or --vectors",
            );
        }
        Ok(())
    }

    /// Bytes of one connection: requests gathered for a write, with ids where the server may ask
    /// for them, answers of a read, and one entry per request in flight.
    fn connection_bytes(&self) -> u64 {
        (self.out_bytes(self.mode == Mode::Header)
            + self.input_bytes()
            + self.in_flight as usize * 32) as u64
    }

    /// Bytes of the largest request.
    pub(super) fn request_bytes_max(&self, ids: bool) -> usize {
        let columns = WireColumns { id: ids, time: false };
        let limits = Limits { columns, ..Limits::new(self.dim, self.vectors.most) };
        limits.frame_bytes_max(self.mode)
    }

    /// Capacity of a connection for unsent bytes: at least one request.
    pub(super) fn out_bytes(&self, ids: bool) -> usize {
        let request_bytes = self.request_bytes_max(ids);
        request_bytes.max(OUT_BYTES.min(request_bytes.saturating_mul(self.in_flight as usize)))
    }

    /// Capacity of a connection for received bytes: at least one answer.
    pub(super) fn input_bytes(&self) -> usize {
        let bytes = answer_bytes(self.mode, self.vectors.most as usize);
        bytes.max(INPUT_BYTES.min(bytes.saturating_mul(self.in_flight as usize)))
    }

    /// Duration of the warm-up, whose requests don't count in the latencies.
    pub fn warmup_effective(&self) -> Duration {
        self.warmup.unwrap_or(if self.count.is_some() { Duration::ZERO } else { WARMUP_DEFAULT })
    }

    /// Duration of the measurement; None if the run ends when the count is sent.
    pub fn duration_effective(&self) -> Option<Duration> {
        self.duration.or(if self.count.is_some() { None } else { Some(DURATION_DEFAULT) })
    }
}

fn within(field: &'static str, value: u32, most: u32) -> Result<(), LoadError> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    let fix = if field == "threads" {
        "there is no use for more threads than connections"
    } else {
        "say a number in that range"
    };
    refuse(field, value, format!("1 to {most}"), fix)
}

fn refuse(
    field: &'static str,
    value: impl ToString,
    limit: impl Into<String>,
    fix: &'static str,
) -> Result<(), LoadError> {
    Err(LoadError::Option { field, value: value.to_string(), limit: limit.into(), fix })
}

impl fmt::Display for VectorRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.least == self.most {
            write!(f, "{}", self.least)
        } else {
            write!(f, "{}-{}", self.least, self.most)
        }
    }
}

impl FromStr for VectorRange {
    type Err = String;

    fn from_str(text: &str) -> Result<VectorRange, String> {
        let (least, most) = text.split_once('-').unwrap_or((text, text));
        match (least.parse(), most.parse()) {
            (Ok(least), Ok(most)) if (1..=most).contains(&least) && most <= 65_535 => {
                Ok(VectorRange { least, most })
            }
            _ => {
                Err("1 to 65535, or a range with the smaller number first: 1, 64, 1-8".to_string())
            }
        }
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| RATES.contains(rate));
    rate.ok_or_else(|| "it must be 0.001 to 1000000000 requests per second".to_owned())
}

fn parse_ack(text: &str) -> Result<AckLevel, String> {
    let levels = [AckLevel::Received, AckLevel::Stored];
    let named = levels.into_iter().find(|level| level.label() == text);
    named.ok_or_else(|| "received or stored".to_string())
}

fn parse_mode(text: &str) -> Result<Mode, String> {
    let modes = [Mode::Header, Mode::Header1, Mode::Count];
    let named = modes.into_iter().find(|mode| mode.label() == text);
    named.ok_or_else(|| "header, header1 or count".to_string())
}
