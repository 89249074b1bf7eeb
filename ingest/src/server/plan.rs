//! The plan of a service: its options after all checks, with defaults from the machine: CPUs,
//! caches and descriptors.
//!
//! A sink opens one file per segment. If connections could use up all descriptors, idle clients
//! could stop the sink, and with it every client. So a lane may accept fewer connections than
//! configured; [`ServePlan::connections_max`] is that number.

use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use slipring::latency::Clock;
use slipring::machine::{CpuMask, PinPolicy, Topology};
use slipring::pipeline::{LaneSpec, StageSpec, Wait};
use slipring::ring::RingOptions;

use super::admin::CLIENTS_MAX;
use super::log_plan::{
    check_log, has_producers, held_bytes, log_bytes, merge_bytes, producers_bytes, writer_options,
};
use super::memory::{MachineMemory, MemoryBounds, MemoryPart};
use super::options::{
    CONNECTIONS_MAX, IN_FLIGHT_MAX, KEEPALIVE_LEAST, KEEPALIVE_MOST, LANES_MAX, ServeError,
    ServeOptions, SinkWord, StagesWord,
};
use super::writer::WriterOptions;
use crate::io::{
    Bell, DriverOptions, IoBuffers, IoBuffersError, Lobby, TimeLimits, clock, output_bytes,
    receive_bytes_max,
};
use crate::sink::Columns;
use crate::stage::Request;
use crate::units::{RoundedSize, Time};
use crate::wire::frames::{Limits, LimitsError, Mode, WireColumns};

const LISTEN_DEFAULT: &str = "127.0.0.1:9900";
/// The most bytes of one lane's scores, and of the answers owed to one connection: 1 GiB.
const BESIDE_BYTES_MAX: u64 = 1 << 30;

/// Bytes of a slot besides its request and its rows of columns.
const SLOT_BESIDE_BYTES: usize = 64;

/// Descriptors of a lane besides its connections: epoll, its eventfd, its bell, two listeners, the
/// open segment, its folder while the folder is synced, and a connection that is accepted only to
/// be closed.
const LANE_DESCRIPTORS: u64 = 8;
/// Descriptors for `--metrics`: the port, its clients, and one client that is refused.
const ADMIN_DESCRIPTORS: u64 = CLIENTS_MAX as u64 + 2;
/// Descriptors of the process: the data folder's lock, and some for a program that embeds the
/// service.
const PROCESS_DESCRIPTORS: u64 = 4;
/// The number of open descriptors assumed where it can't be read.
const OPEN_DEFAULT: u64 = 16;

/// A service that can be started.
#[derive(Clone, Debug)]
pub(super) struct ServePlan {
    pub(super) options: ServeOptions,
    pub(super) listen: Option<String>,
    pub(super) limits: Limits,
    /// Columns of the segments besides sequence and vector.
    pub(super) columns: Columns,
    pub(super) lanes: Vec<LanePlan>,
    /// The most connections of each lane.
    pub(super) connections_max: u32,
    pub(super) memory: MemoryBounds,
    /// Shared by all lanes.
    clock: Clock,
    topology: Topology,
}

/// The number and the CPUs of one lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LanePlan {
    pub(super) number: u32,
    pub(super) cpu: Option<usize>,
    pub(super) validate_cpu: Option<usize>,
    pub(super) score_cpu: Option<usize>,
    pub(super) sink_cpu: Option<usize>,
}

impl ServePlan {
    pub(super) fn new(options: &ServeOptions) -> Result<Self, ServeError> {
        let columns = Columns::from(options.columns.as_slice());
        let limits = Limits {
            dim: options.dim,
            max_vectors: options.max_vectors,
            columns: WireColumns { id: columns.id, time: columns.time },
            has_log: options.sink == SinkWord::Log,
            has_producers: has_producers(options),
        };
        limits.check().map_err(|error| ServeError::Option(limits_text(&error)))?;
        within("--lanes", options.lanes, LANES_MAX)?;
        within("--max-connections", options.max_connections, CONNECTIONS_MAX)?;
        within("--in-flight", options.in_flight, IN_FLIGHT_MAX)?;
        if let Some(most) = options.connections_per_peer {
            within("--connections-per-peer", most, u32::MAX)?;
        }
        check_window(options)?;
        check_memory(options, &limits)?;
        check_keepalive(options.keepalive)?;
        check_log(options)?;
        if options.sink == SinkWord::Log && options.data.is_none() {
            return Err(ServeError::Option(
                "--data is missing: name a folder for the segments, or say --sink null".to_owned(),
            ));
        }
        let listen = options
            .listen
            .clone()
            .or_else(|| options.unix.is_none().then(|| LISTEN_DEFAULT.to_owned()));
        let lanes = plan_lanes(options, CpuMask::read().cpus())?;
        if options.report_every == Some(Duration::ZERO) {
            return Err(ServeError::Option(
                "--report-every is 0s: give 1ms or more, or leave it out".to_owned(),
            ));
        }
        let connections_max = connections_max(options)?;
        let memory = memory(options, &limits);
        if let Some(machine) = MachineMemory::read() {
            memory.check(&machine)?;
        }
        Ok(Self {
            memory,
            options: options.clone(),
            listen,
            limits,
            columns,
            lanes,
            connections_max,
            clock: clock(),
            topology: Topology::read(),
        })
    }

    /// The specification of a lane. Its stages are validate, then score, then answer and sink, both
    /// of which follow score.
    pub(super) fn spec(&self, lane: &LanePlan) -> LaneSpec {
        let options = &self.options;
        let wait = Wait::from(options.wait);
        let pool = RingOptions {
            bytes: options.pool.bytes(),
            // The receive of one frame takes, besides the payload, the header and the remainder of
            // its last cache line. On overwrite the pool must hold a ring full of these.
            max_slice_bytes: self.limits.frame_bytes_max(Mode::Header),
            window_bytes: options.window.map(crate::units::Size::bytes),
            lanes_sharing_l3: lane
                .cpu
                .map_or(1, |cpu| self.topology.lanes_sharing(cpu, &self.lane_cpus())),
            // None of our stages retains a slice.
            pinned_chunks_max: Some(0),
            pages: options.pages,
            numa: options.node.0,
            ..RingOptions::default()
        };
        let stage = |name: &str, cpu: Option<usize>| match options.stages {
            StagesWord::Inline => StageSpec::inline(name),
            StagesWord::Threads => on_thread(name, cpu, lane.cpu, wait),
        };
        let spec = LaneSpec::new(pool, options.slots)
            .layer([stage("validate", lane.validate_cpu)])
            .layer([stage("score", lane.score_cpu)])
            .layer([
                StageSpec::inline("answer"),
                on_thread("sink", lane.sink_cpu, lane.cpu, options.sink_wait.into()),
            ])
            .reclaim(options.reclaim.into())
            .wait(wait)
            .timed(self.clock);
        let policy = if options.cpus.is_some() { PinPolicy::Require } else { PinPolicy::Prefer };
        match lane.cpu {
            Some(cpu) => spec.cpu(cpu, policy),
            None => spec,
        }
    }

    /// How the logs are written.
    pub(super) fn writer(&self) -> WriterOptions {
        writer_options(&self.options)
    }

    pub(super) fn driver(&self) -> DriverOptions {
        let options = &self.options;
        DriverOptions {
            limits: self.limits,
            connections_max: self.connections_max as usize,
            in_flight_max: options.in_flight,
            ack: options.ack.into(),
            times: TimeLimits {
                idle: options.idle_timeout,
                header: options.header_timeout,
                unread: options.unread_timeout,
            },
            wait: options.wait.into(),
            drain: options.drain,
            clock: self.clock,
        }
    }

    /// Where connections are counted, with a bell for each lane.
    pub(super) fn lobby(&self) -> Result<Lobby, ServeError> {
        let bells: std::io::Result<Vec<Bell>> = self.lanes.iter().map(|_| Bell::new()).collect();
        let bells = bells.map_err(|error| {
            ServeError::io("a lane's bell", &error, "raise the descriptor limit")
        })?;
        let lane_max = self.connections_max as usize;
        let all = lane_max.saturating_mul(self.lanes.len());
        // One peer leaves some for the others.
        let per_peer =
            self.options.connections_per_peer.map_or(all - all / 8, |most| most as usize);
        Ok(Lobby::new(bells, lane_max, per_peer))
    }

    /// Says that lanes share CPUs, if any do.
    pub(super) fn shared_cpus(&self) -> Option<String> {
        let mut cpus = self.lane_cpus();
        let lanes = cpus.len();
        cpus.sort_unstable();
        cpus.dedup();
        (cpus.len() < lanes).then(|| {
            let list: Vec<String> = cpus.iter().map(ToString::to_string).collect();
            format!(
                "--lanes {lanes} on {} {}: lanes that share a CPU wait for each other; lower \
                 --lanes, or name more with --cpus",
                if cpus.len() == 1 { "CPU" } else { "CPUs" },
                list.join(",")
            )
        })
    }

    /// A lane's class pool, not mapped yet.
    pub(super) fn classes(&self) -> Result<IoBuffers, IoBuffersError> {
        let Self { options, limits, .. } = self;
        let (output_bytes, frame_bytes) =
            (output_bytes(limits, options.in_flight), limits.frame_bytes_max(Mode::Header));
        IoBuffers::new(
            output_bytes,
            frame_bytes,
            receive_bytes_max(limits),
            options.carry_bytes.bytes(),
            options.output_bytes.bytes(),
            options.node.0,
        )
    }

    fn lane_cpus(&self) -> Vec<usize> {
        self.lanes.iter().filter_map(|lane| lane.cpu).collect()
    }
}

/// A stage on its own thread. A stage that shares the CPU of the IO thread sleeps when idle,
/// because it would otherwise take that CPU's time.
fn on_thread(name: &str, cpu: Option<usize>, io_cpu: Option<usize>, wait: Wait) -> StageSpec {
    let shares = cpu.is_some() && cpu == io_cpu;
    let stage = StageSpec::thread(name).wait(if shares { Wait::Park } else { wait });
    match cpu {
        Some(cpu) => stage.cpu(cpu),
        None => stage,
    }
}

/// Chooses the CPUs of IO threads and stages: those of the options, else the first CPUs for IO
/// threads and the others, in turn, for stages.
fn plan_lanes(options: &ServeOptions, mask: &[usize]) -> Result<Vec<LanePlan>, ServeError> {
    let lanes = options.lanes as usize;
    let io: Vec<usize> = match &options.cpus {
        Some(ids) if ids.0.len() != lanes => {
            return Err(ServeError::Option(format!(
                "--cpus names {} CPUs for {lanes} lanes: name one per lane",
                ids.0.len()
            )));
        }
        Some(ids) => ids.0.clone(),
        None => mask.iter().copied().cycle().take(lanes).collect(),
    };
    let stage: Vec<usize> = match &options.stage_cpus {
        Some(ids) => ids.0.clone(),
        None => mask.iter().copied().filter(|cpu| !io.contains(cpu)).collect(),
    };
    for (flag, asked, ids) in [
        ("--cpus", options.cpus.is_some(), &io),
        ("--stage-cpus", options.stage_cpus.is_some(), &stage),
    ] {
        if let Some(cpu) = ids.iter().find(|cpu| asked && !mask.contains(cpu)) {
            return Err(ServeError::Option(format!(
                "{flag}: there is no CPU {cpu} for this process; it may use {}",
                CpuMask::read()
            )));
        }
    }
    let plan = |lane: usize| {
        let cpu = io.get(lane).copied();
        let nth = |n: usize| {
            if stage.is_empty() { cpu } else { Some(stage[(lane * 3 + n) % stage.len()]) }
        };
        LanePlan {
            number: lane as u32,
            cpu,
            validate_cpu: nth(1),
            score_cpu: nth(2),
            sink_cpu: nth(0),
        }
    };
    Ok((0..lanes).map(plan).collect())
}

/// Bounds the memory outside the pools, because a refused allocation would abort the process.
fn check_memory(options: &ServeOptions, limits: &Limits) -> Result<(), ServeError> {
    let owed_bytes = output_bytes(limits, options.in_flight) as u64;
    // The sums of validate, and the scores.
    let score_bytes = (options.slots as u64).saturating_mul(u64::from(options.max_vectors) * 8);
    let sums = [
        (
            "--in-flight",
            u64::from(options.in_flight),
            owed_bytes,
            "the answers owed to one connection",
        ),
        ("--slots", options.slots as u64, score_bytes, "the sums and scores of a ring"),
    ];
    for (flag, count, bytes, what) in sums {
        if bytes > BESIDE_BYTES_MAX {
            return Err(ServeError::Option(format!(
                "{flag} {count} with --max-vectors {}: {what} would take {}, at most {} are \
                allowed; lower one of them",
                options.max_vectors,
                RoundedSize(bytes),
                RoundedSize(BESIDE_BYTES_MAX)
            )));
        }
    }
    Ok(())
}

/// The error with the options of the command line instead of the frames' fields.
fn limits_text(error: &LimitsError) -> String {
    match error {
        LimitsError::Dim(_) | LimitsError::MaxVectors(_) => format!("--{error}"),
        LimitsError::Payload(_) => format!("--dim, --max-vectors: {error}"),
    }
}

/// Every bound of memory, over all lanes.
fn memory(options: &ServeOptions, limits: &Limits) -> MemoryBounds {
    let lanes = u64::from(options.lanes);
    let each =
        |what, bytes: u64, option| MemoryPart { what, bytes: bytes.saturating_mul(lanes), option };
    let output_bytes = output_bytes(limits, options.in_flight) as u64;
    let receive_bytes = receive_bytes_max(limits) as u64;
    // The slot, its status, the sums of validate and the scores.
    let slot_bytes = (size_of::<Request>() + SLOT_BESIDE_BYTES) as u64;
    let slot_bytes = slot_bytes + u64::from(limits.max_vectors) * 8;
    MemoryBounds::new(vec![
        each("pools", options.pool.0, "--pool"),
        each("slots", (options.slots as u64).saturating_mul(slot_bytes), "--slots"),
        // Both of the sizes of carry buffers may have been in use, one after the other.
        each(
            "unfinished frames",
            options.carry_bytes.0.max(2 * receive_bytes).saturating_mul(2),
            "--carry-bytes",
        ),
        each("answers", options.output_bytes.0.max(output_bytes), "--output-bytes"),
        each("rows on their way to the disk", log_bytes(options), "--dim"),
        each("known requests of producers", producers_bytes(options), "--lanes"),
        each("answers that wait for the disk", held_bytes(options), "--slots"),
        MemoryPart { what: "merging segments", bytes: merge_bytes(options), option: "--sink" },
    ])
}

fn within(flag: &str, given: u32, most: u32) -> Result<(), ServeError> {
    if given == 0 || given > most {
        return Err(ServeError::Option(format!("{flag} is {given}: it must be from 1 to {most}")));
    }
    Ok(())
}

/// A window is a part of its pool.
fn check_window(options: &ServeOptions) -> Result<(), ServeError> {
    match options.window.filter(|window| *window > options.pool) {
        Some(window) => Err(ServeError::Option(format!(
            "--window is {window}: it must be at most --pool, {}; lower it, or raise --pool",
            options.pool
        ))),
        None => Ok(()),
    }
}

/// Zero, or whole seconds that the kernel accepts.
fn check_keepalive(keepalive: Duration) -> Result<(), ServeError> {
    let seconds = KEEPALIVE_LEAST..=KEEPALIVE_MOST;
    if keepalive.is_zero() || seconds.contains(&keepalive) {
        return Ok(());
    }
    Err(ServeError::Option(format!(
        "--keepalive is {}: it must be from {} to {}, the system's limits; or say 0s for never",
        Time(keepalive),
        Time(KEEPALIVE_LEAST),
        Time(KEEPALIVE_MOST)
    )))
}

/// Connections per lane: the number requested, or fewer if the limit of descriptors is too low.
fn connections_max(options: &ServeOptions) -> Result<u32, ServeError> {
    let (asked, lanes) = (options.max_connections, options.lanes);
    let Some(limit) = getrlimit(Resource::Nofile).current else { return Ok(asked) };
    let open =
        std::fs::read_dir("/proc/self/fd").map_or(OPEN_DEFAULT, |entries| entries.count() as u64);
    let admin = if options.metrics.is_some() { ADMIN_DESCRIPTORS } else { 0 };
    let taken = open + PROCESS_DESCRIPTORS + admin + u64::from(lanes) * LANE_DESCRIPTORS;
    match limit.saturating_sub(taken) / u64::from(lanes) {
        0 => Err(ServeError::Refused(format!(
            "the limit of descriptors is {limit}, and {lanes} lanes need {taken} before the first \
            connection: raise it (ulimit -n)"
        ))),
        room => Ok(u32::try_from(room).unwrap_or(u32::MAX).min(asked)),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    fn placed(words: &str, mask: &[usize]) -> Vec<(Option<usize>, [Option<usize>; 3])> {
        let command = ServeOptions::augment_args(clap::Command::new("serve"));
        let matches = command.try_get_matches_from(
            ["serve", "--dim", "4"].into_iter().chain(words.split_whitespace()),
        );
        let options = ServeOptions::from_arg_matches(&matches.unwrap()).unwrap();
        let lanes = plan_lanes(&options, mask).unwrap();
        lanes
            .iter()
            .map(|lane| (lane.cpu, [lane.sink_cpu, lane.validate_cpu, lane.score_cpu]))
            .collect()
    }

    #[test]
    fn lanes_that_share_a_cpu_are_said() {
        let shared = |words: &str| {
            let command = ServeOptions::augment_args(clap::Command::new("serve"));
            let words =
                ["serve", "--dim", "4", "--sink", "null"].into_iter().chain(words.split(' '));
            let matches = command.try_get_matches_from(words).unwrap();
            let options = ServeOptions::from_arg_matches(&matches).unwrap();
            ServePlan::new(&options).unwrap().shared_cpus()
        };
        let cpu = CpuMask::read().cpus()[0];
        assert_eq!(shared("--lanes 1"), None);
        let said = shared(&format!("--lanes 2 --cpus {cpu},{cpu}")).unwrap();
        assert!(said.starts_with(&format!("--lanes 2 on CPU {cpu}: ")), "{said}");
        let many = CpuMask::read().cpus().len() + 1;
        assert!(
            shared(&format!(
                "--lanes {many} --pool 1MiB --slots 64 --carry-bytes 64KiB --output-bytes 1MiB"
            ))
            .is_some()
        );
    }

    fn memory_of(words: &str) -> MemoryBounds {
        let command = ServeOptions::augment_args(clap::Command::new("serve"));
        let words = ["serve"].into_iter().chain(words.split_whitespace());
        let matches = command.try_get_matches_from(words).unwrap();
        let options = ServeOptions::from_arg_matches(&matches).unwrap();
        memory(&options, &Limits::new(options.dim, options.max_vectors))
    }

    /// The defaults fit a machine of 2 GiB, whatever the vectors; and so do the largest answers.
    #[test]
    fn the_defaults_fit_a_small_machine() {
        let small = MachineMemory::of(2 << 30);
        for words in
            ["--dim 1", "--dim 768", "--dim 4096", "--dim 1 --max-vectors 65535 --slots 512"]
        {
            assert!(memory_of(words).check(&small).is_ok(), "{words}: {}", memory_of(words));
        }
        let refused = |words| memory_of(words).check(&small).unwrap_err().to_string();
        assert!(
            refused("--dim 4 --output-bytes 2GiB")
                .ends_with("lower --output-bytes, --carry-bytes, --pool")
        );
        assert!(refused("--dim 1 --max-vectors 65535").contains("2 GiB of slots (--slots)"));
        assert!(refused("--dim 4 --lanes 256 --sink null").contains("16 GiB of pools (--pool)"));
        assert!(refused("--dim 4 --pool 18446744073709551615 --lanes 2").contains("--pool"));
    }

    /// Machines are values in this test: with one CPU, with one that isn't the first, with gaps
    /// between the CPUs, with fewer CPUs than lanes, and with many.
    #[test]
    fn threads_are_placed_on_the_cpus_that_there_are() {
        let on = |cpu, stages: [usize; 3]| (Some(cpu), stages.map(Some));
        assert_eq!(placed("", &[0]), [on(0, [0; 3])]);
        assert_eq!(placed("", &[5]), [on(5, [5; 3])]);
        assert_eq!(placed("", &[3, 7]), [on(3, [7; 3])]);
        assert_eq!(placed("--lanes 2", &[3]), [on(3, [3; 3]), on(3, [3; 3])]);
        assert_eq!(placed("--lanes 2", &[1, 2, 9]), [on(1, [9; 3]), on(2, [9; 3])]);
        assert_eq!(placed("--lanes 3", &[4, 6]), [on(4, [4; 3]), on(6, [6; 3]), on(4, [4; 3])]);
        let many: Vec<usize> = (0..64).collect();
        assert_eq!(placed("--lanes 2", &many), [on(0, [2, 3, 4]), on(1, [5, 6, 7])]);
        assert_eq!(placed("--cpus 9 --stage-cpus 1,9", &many), [on(9, [1, 9, 1])]);
        // Where the system doesn't report its CPUs, nothing is pinned.
        assert_eq!(placed("", &[]), [(None, [None; 3])]);
    }
}
