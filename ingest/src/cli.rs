//! The command line: `slipring demo | serve | load | sweep | get | log`.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;

use clap::{Arg, ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::demo::{self, DemoOptions};
#[cfg(feature = "objects")]
use crate::get::{self, GetOptions, GetOutcome};
#[cfg(feature = "objects")]
use crate::heap;
use crate::load::{self, BrokenLoad, IN_FLIGHT_MAX, LoadOptions};
use crate::log_command::{self, LogArguments};
use crate::notice::{self, announce};
#[cfg(feature = "objects")]
use crate::printable::Printable;
use crate::server::{ServeError, ServeOptions, Server};
use crate::signals::{Wish, on_end_signal, on_wishes, survive_file_limits};
use crate::sweep::{self, SweepOptions};
use crate::units::whole;
use crate::usage::explained;

/// Low-latency vector ingest: many small writes in, few large ordered batches out.
#[derive(Debug, Parser)]
#[command(name = "slipring", version, long_version = LONG_VERSION, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a service, send real vectors to it, check every answer and every stored vector
    #[command(after_help = DEMO_EXIT)]
    Demo(DemoOptions),
    /// Receive vectors from sockets and write them to Arrow segments
    #[command(after_help = SERVE_EXIT)]
    Serve(Box<ServeOptions>),
    /// Send vectors to a service, check its answers and measure it
    #[command(after_help = LOAD_EXIT)]
    Load(Box<LoadWords>),
    /// Find the best window for this machine, and print the setting
    #[command(after_help = SWEEP_EXIT)]
    Sweep(Box<SweepOptions>),
    /// Download objects from storage, and write them to files or send their vectors to a service
    #[cfg(feature = "objects")]
    #[command(after_help = GET_EXIT)]
    Get(Box<GetOptions>),
    /// Download objects from storage (not in this build: see `slipring get --help`)
    #[cfg(not(feature = "objects"))]
    #[command(after_help = GET_BUILD)]
    Get(AnyWords),
    /// List, verify, read and repair the log in a data folder
    Log(LogArguments),
}

/// What `--version` prints; `-V` prints the version only.
const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit: ",
    env!("SLIPRING_COMMIT"),
    "\nfeatures: ",
    env!("SLIPRING_FEATURES")
);

/// The options of `load`, with a name that one of them had before.
#[derive(Debug, clap::Args)]
struct LoadWords {
    #[command(flatten)]
    options: LoadOptions,
    /// The former name of --in-flight
    #[arg(long, hide = true, conflicts_with = "in_flight", value_parser = whole(1, IN_FLIGHT_MAX))]
    window: Option<u32>,
}

impl LoadWords {
    /// The options. Says so if a former name was used.
    fn into_options(self) -> LoadOptions {
        let Some(in_flight) = self.window else { return self.options };
        notice::usage("load: --window is called --in-flight now; the former name still works");
        LoadOptions { in_flight, ..self.options }
    }
}

/// The command line of a command that isn't in this build. It accepts any arguments, so that the
/// command can say so.
#[cfg(not(feature = "objects"))]
#[derive(Debug, clap::Args)]
struct AnyWords {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<std::ffi::OsString>,
}

const EXAMPLES: &str = "\
Examples:
  slipring demo
  slipring serve --dim 128 --data vectors
  slipring load --to 127.0.0.1:9900 --dim 128 --vectors 1-8 --duration 10s --verify
  slipring sweep --payload 4KiB
  slipring log verify --data vectors

`slipring COMMAND --help` lists a command's options. Exit codes: 0 success, 1 failure, 2 bad usage.";

const DEMO_EXIT: &str = "\
Exit codes: 0 everything is verified; 1 failure; 2 bad usage; 130 interrupted, the folder is removed.";

const SERVE_EXIT: &str = "\
SIZE is a number of bytes like 4096, 64KiB, 64MiB or 2GiB; LIST is CPU numbers like 0,2 or 0-3; TIME
is like 500ms, 10s or 2m.
The service prints a line `ready ...` when it accepts connections. SIGTERM, SIGINT and every other
signal that ends a process stop it after it has drained; a second one, later than 1s, ends it
immediately. SIGKILL and faults (SIGSEGV and its like) end it as they are. SIGUSR1 seals the live
segments: then readers of the folder find all vectors that were received.
Exit codes: 0 drained; 1 it couldn't start, or not everything is stored, and it prints what is
missing; 2 bad usage.";

const LOAD_EXIT: &str = "\
TIME is like 300us, 500ms, 10s or 2m. Without --rate, every connection keeps --in-flight requests
under way, and requests spend most of their latency in queues. With --rate, requests have intended
send times, and latencies are measured from those. A run that breaks, because the service dies for
example, prints what was answered until then: acked_vectors of --json are the vectors that answers
accepted, with the meaning that --ack asked for.
Exit codes: 0 every request was answered once, in order, and with --verify correctly; 1 failure, or
good vectors were refused (other than as busy), or nothing was accepted or measured, or --p99-max or
--errors-max was crossed; 2 bad usage.";

const SWEEP_EXIT: &str = "\
SIZE is a number of bytes like 4096, 64KiB, 64MiB or 2GiB. Prints one line per window and then
`best: --window SIZE`, an option of serve; or `too noisy`, if half of the repeats of the best one
spread over the median of one that isn't as good. Run it on an otherwise idle machine, because other
programs affect its figures. How far it is is on standard error.
Exit codes: 0 every payload arrived; 1 it couldn't run; 2 bad usage.";

#[cfg(feature = "objects")]
const GET_EXIT: &str = "\
SIZE is a number of bytes like 4096, 64KiB, 64MiB or 2GiB; TIME is like 500ms, 10s or 2m.
The endpoint and the credentials come from the environment: AWS_ENDPOINT, AWS_ALLOW_HTTP, AWS_REGION,
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AZURE_STORAGE_ACCOUNT_NAME, GOOGLE_SERVICE_ACCOUNT and the
other variables of the object_store crate; AWS_SKIP_SIGNATURE=true for a public bucket.
A file appears under its name when it is complete. With -o and --ingest, objects come part by part
and are never in memory as a whole; of Arrow, a record batch is. Column pool: hit, buffers that are
used again; off, without --buffer-pool; and of objects that come as a whole: fresh, new memory for
one of more than 256 MiB; skip, for one under 1 MiB. Lines of --json have url, bytes, ranges, retries,
elapsed_ms (of fetching; for parts, of writing or sending as well) and pool; with --ingest
also vectors_sent, vectors_answered and vectors_refused (by the service, or left out as not finite);
content_encoding if its store says that it is packed; for objects that come part by part
part_buffers, the buffers taken, reused and in use at the same time, of the run so far; and error if
the object failed. Secrets of URLs are shown as ***.
Exit codes: 0 every object arrived; 1 some didn't: URL and cause are on standard error; 2 bad usage,
nothing was fetched; 130 interrupted, incomplete files are removed.";

#[cfg(not(feature = "objects"))]
const GET_BUILD: &str = "\
This build has no clients for object storage. Build one that has:
  cargo build --release -p slipring-ingest --features objects";

/// The headings that `serve --help` puts above its options.
const SERVE_HEADINGS: &[(&str, &[&str])] = &[
    ("Sockets", &["listen", "unix", "max_connections", "in_flight", "carry_bytes", "output_bytes"]),
    (
        "Limits of connections",
        &["connections_per_peer", "keepalive", "idle_timeout", "header_timeout", "unread_timeout"],
    ),
    ("Vectors", &["dim", "max_vectors", "score"]),
    (
        "Segments",
        &[
            "sink",
            "data",
            "ack",
            "columns",
            "data_mode",
            "segment_bytes",
            "segment_age",
            "commit_interval",
            "direct",
            "producer_window",
            "retain_bytes",
            "retain_for",
            "on_disk_error",
            "drain",
        ],
    ),
    ("Memory", &["pool", "window", "slots", "pages", "node", "reclaim"]),
    ("Threads", &["lanes", "cpus", "stage_cpus", "stages", "wait", "sink_wait"]),
    ("Figures", &["metrics", "report_every"]),
];

/// The headings of `load --help`.
const LOAD_HEADINGS: &[(&str, &[&str])] = &[
    (
        "What to send",
        &[
            "to",
            "dim",
            "vectors",
            "file",
            "convert",
            "seed",
            "number_from",
            "mode",
            "ack",
            "producer",
        ],
    ),
    (
        "How much",
        &[
            "count",
            "duration",
            "warmup",
            "rate",
            "connections",
            "in_flight",
            "window",
            "threads",
            "timeout",
        ],
    ),
    ("What to check and print", &["verify", "score", "p99_max", "errors_max", "json"]),
];

/// The headings of `sweep --help`.
const SWEEP_HEADINGS: &[(&str, &[&str])] = &[
    ("What to run", &["payload", "batch", "events", "repeats", "json"]),
    ("Memory", &["pool", "windows", "slots"]),
    ("Threads", &["stages", "cpus"]),
];

/// The headings of `get --help`.
#[cfg(feature = "objects")]
const GET_HEADINGS: &[(&str, &[&str])] = &[
    (
        "What to get, and where to",
        &[
            "urls",
            "output",
            "ingest",
            "column",
            "id_column",
            "number_rows_from",
            "convert",
            "batch_max",
            "max_vectors",
        ],
    ),
    ("Memory", &["buffer_pool", "buffer_pool_size", "buffer_pool_shrink_after"]),
    (
        "Requests",
        &[
            "part_size",
            "concurrency",
            "parallel",
            "no_ranges",
            "allow_insecure_redirects",
            "unsized_max",
            "retries",
            "timeout",
            "total_timeout",
        ],
    ),
    ("What to print", &["json"]),
];
#[cfg(not(feature = "objects"))]
const GET_HEADINGS: &[(&str, &[&str])] = &[];

/// Runs the command that the arguments name. Exit codes: 0 success, 1 failure, 2 bad usage.
#[must_use]
pub fn run() -> ExitCode {
    notice::start();
    notice::log_panics();
    let parsed = command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let code = match parsed.map(|line| line.command) {
        Ok(Command::Demo(options)) => run_demo(&options),
        Ok(Command::Serve(options)) => run_serve(&options),
        Ok(Command::Load(words)) => run_load(&words.into_options()),
        Ok(Command::Sweep(options)) => run_sweep(&options),
        Ok(Command::Get(options)) => run_get(&options),
        Ok(Command::Log(arguments)) => log_command::run(&arguments)
            .unwrap_or_else(|error| fail(arguments.name(), &error, error.exit_code())),
        Err(shown) if !shown.use_stderr() => {
            // A pager may have closed its end.
            let _closed = shown.print();
            0
        }
        Err(error) => {
            notice::usage_lines(explained(&error, std::env::args_os()));
            2
        }
    };
    notice::flush();
    ExitCode::from(code)
}

/// Says in one line why a command ends with this exit code, and returns the code. What is wrong
/// with the command line is said plainly.
fn fail(command: &str, error: impl Display, code: u8) -> u8 {
    let text = format_args!("{command}: {error}");
    if code == 2 {
        notice::usage(text)
    } else {
        notice::error(text)
    }
    code
}

/// Options whose value is a time.
const TIMES: &[&str] = &[
    "drain",
    "segment_age",
    "commit_interval",
    "producer_window",
    "duration",
    "warmup",
    "timeout",
    "total_timeout",
    "report_every",
    "keepalive",
    "idle_timeout",
    "header_timeout",
    "unread_timeout",
    "p99_max",
];

/// The option with a short name for its value, unless it has its own.
fn with_value_name(option: Arg) -> Arg {
    let id = option.get_id().to_string();
    // `FILE` was given on purpose, although it is the default name too.
    let has_name =
        id == "file" || option.get_value_names().is_some_and(|names| names[0] != id.to_uppercase());
    if !option.get_action().takes_values() || has_name {
        option
    } else if !option.get_possible_values().is_empty() {
        option.value_name("WORD")
    } else {
        option.value_name(if TIMES.contains(&id.as_str()) { "TIME" } else { "N" })
    }
}

/// The command line with its options under headings, and one help text for `-h` and `--help`.
fn command() -> clap::Command {
    let short_help = |command: clap::Command| {
        let help = Arg::new("help")
            .short('h')
            .long("help")
            .action(ArgAction::HelpShort)
            .help("Print help");
        // So that -1 is a value out of range, not an option.
        let command = command.disable_help_flag(true).allow_negative_numbers(true);
        command.arg(help).max_term_width(100)
    };
    let headed = |mut command: clap::Command, headings: &[(&'static str, &[&'static str])]| {
        for (heading, options) in headings {
            for option in *options {
                command =
                    command.mut_arg(option, |arg| with_value_name(arg).help_heading(*heading));
            }
        }
        short_help(command)
    };
    short_help(Cli::command())
        .mut_subcommand("demo", short_help)
        .mut_subcommand("serve", |command| headed(command, SERVE_HEADINGS))
        .mut_subcommand("load", |command| headed(command, LOAD_HEADINGS))
        .mut_subcommand("sweep", |command| headed(command, SWEEP_HEADINGS))
        .mut_subcommand("get", |command| headed(command, GET_HEADINGS))
        .mut_subcommand("log", |command| {
            let commands = ["ls", "verify", "cat", "repair"];
            commands
                .iter()
                .fold(short_help(command), |log, name| log.mut_subcommand(name, short_help))
        })
}

fn run_demo(options: &DemoOptions) -> u8 {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    if let Err(error) = on_end_signal(1, move || flag.store(true, Ordering::SeqCst)) {
        return fail("demo", format_args!("signals: {error}"), 1);
    }
    let mut out: Box<dyn Write> =
        if options.json { Box::new(io::sink()) } else { Box::new(io::stdout()) };
    match demo::run(options, &mut out, &interrupted) {
        Ok(report) => {
            let written = if options.json { announce(report.to_json()) } else { announce(&report) };
            u8::from(!report.is_verified()).max(print_code("demo", written))
        }
        Err(error) => {
            // After a load that failed, the service's totals follow.
            for line in error.to_string().lines() {
                fail("demo", line, error.exit_code());
            }
            error.exit_code()
        }
    }
}

fn run_load(options: &LoadOptions) -> u8 {
    let report = match load::run(options) {
        Ok(report) => report,
        Err(broken) => return fail_load(options, &broken),
    };
    let written = if options.json { announce(report.to_json()) } else { announce(&report) };
    let failures = report.failures();
    for failure in &failures {
        notice::error(format_args!("load: {failure}"));
    }
    if failures.is_empty()
        && let Some(shortfall) = report.shortfall()
    {
        notice::warn(format_args!("load: {shortfall}"));
    }
    u8::from(!failures.is_empty()).max(print_code("load", written))
}

/// A load that broke says what was answered until then, and why it broke.
fn fail_load(options: &LoadOptions, broken: &BrokenLoad) -> u8 {
    let code = broken.exit_code();
    let written = if code == 2 {
        Ok(())
    } else if options.json {
        announce(broken.to_json())
    } else if broken.report.sent.requests > 0 {
        announce(&broken.report)
    } else {
        Ok(())
    };
    fail("load", broken, code).max(print_code("load", written))
}

fn run_sweep(options: &SweepOptions) -> u8 {
    let warn = |note: &str| notice::warn(format_args!("sweep: {note}"));
    match sweep::run(options, warn, |text| notice::info(format_args!("sweep: {text}"))) {
        Ok(report) if options.json => {
            print_code("sweep", report.to_json().iter().try_for_each(announce))
        }
        Ok(report) => print_code("sweep", announce(&report)),
        Err(error) => fail("sweep", &error, error.exit_code()),
    }
}

/// The exit code of a command after it has printed its result: printing must have succeeded.
fn print_code(command: &str, written: io::Result<()>) -> u8 {
    match written {
        Ok(()) => 0,
        Err(error) => {
            let text = format_args!("the result can't be written to standard output: {error}");
            fail(command, text, 1)
        }
    }
}

#[cfg(feature = "objects")]
fn run_get(options: &GetOptions) -> u8 {
    let mut lines = Ok(());
    let report = |outcome: &GetOutcome| {
        if let Some(error) = &outcome.error {
            notice::error(format_args!("get: {}: {error}", Printable(&outcome.url)));
        }
        if let Some(encoding) = &outcome.content_encoding {
            notice::warn(format_args!(
                "get: {}: its store says that it is packed (Content-Encoding: {encoding:?}); it is kept as it came",
                Printable(&outcome.url)
            ));
        }
        // After the first line that can't be written, no other is tried.
        if options.json && lines.is_ok() {
            lines = announce(outcome.to_json());
        }
    };
    heap::give_back_large_blocks();
    let cancel = survive_file_limits().and_then(|()| get::cancel_on_signals());
    let cancel = cancel.map_err(|error| get::GetRunError::System { what: "signals", error });
    match cancel.and_then(|cancel| get::run(options, &cancel, report)) {
        Ok(report) => {
            let lines = if options.json { lines } else { announce(&report) };
            u8::from(!report.is_complete()).max(print_code("get", lines))
        }
        Err(error) => fail("get", &error, error.exit_code()),
    }
}

#[cfg(not(feature = "objects"))]
fn run_get(_: &AnyWords) -> u8 {
    GET_BUILD.lines().for_each(|line| notice::usage(format_args!("get: {line}")));
    2
}

fn run_serve(options: &ServeOptions) -> u8 {
    match serve_until_signal(options) {
        Ok(code) => code,
        Err(error) => fail("serve", &error, error.exit_code()),
    }
}

/// Serves until a signal that ends a process, or until a lane fails. A second signal, later than a
/// second, ends the process immediately.
fn serve_until_signal(options: &ServeOptions) -> Result<u8, ServeError> {
    let refused = |error: io::Error| ServeError::Refused(format!("signals: {error}"));
    let (wish, wishes) = channel();
    let by_signal = wish.clone();
    let signalled = move |signal| {
        let _gone = by_signal.send(signal);
    };
    on_wishes(1, signalled).map_err(refused)?;
    survive_file_limits().map_err(refused)?;
    // A lane that ends by itself wakes this thread as a signal does.
    let lane_ended = move || {
        let _gone = wish.send(Wish::End);
    };
    let server = Server::start(options, Arc::new(lane_ended))?;
    notice::info(server.memory());
    for (lane, (report, window)) in server.reports().zip(server.windows()).enumerate() {
        notice::info(format_args!("lane {lane}: {}", report.pin));
        let pool = options.pool;
        notice::info(format_args!("lane {lane}: a window of {window} in a pool of {pool}"));
        for line in report.region.to_string().lines() {
            let is_downgrade = line.starts_with("downgrade: ");
            let level = if is_downgrade { notice::warn } else { notice::info };
            level(format_args!("lane {lane}: {line}"));
        }
        for downgrade in &report.downgrades {
            notice::warn(format_args!("lane {lane}: {downgrade}"));
        }
    }
    // The process that started this one may have closed its end of the pipe, or may never read it.
    // The service runs all the same.
    notice::announce_unwaited(server.ready_line());
    // The thread of the signals keeps its sender until one has ended this.
    while wishes.recv() == Ok(Wish::Seal) {
        server.seal();
    }
    let totals = server.stop();
    notice::announce_unwaited(&totals);
    Ok(u8::from(!totals.is_drained()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_has_a_heading() {
        let command = command();
        command.clone().debug_assert();
        let all = [
            ("serve", SERVE_HEADINGS),
            ("load", LOAD_HEADINGS),
            ("sweep", SWEEP_HEADINGS),
            ("get", GET_HEADINGS),
        ];
        // Without its feature, `get` has no headings.
        for (name, headings) in all.into_iter().filter(|(_, headings)| !headings.is_empty()) {
            let found = command.find_subcommand(name).expect("it is one of ours");
            for option in found.get_arguments().filter(|option| option.get_id() != "help") {
                assert!(option.get_help_heading().is_some(), "{name}: {}", option.get_id());
            }
            assert_eq!(
                headings.iter().map(|(_, options)| options.len()).sum::<usize>(),
                found.get_arguments().count() - 1
            );
        }
    }

    const FORMER_AND_NEW: [&str; 10] =
        ["slipring", "load", "--to", "h:1", "--dim", "1", "--window", "1", "--in-flight", "1"];

    #[test]
    fn bad_usage_exits_2_and_help_exits_0() {
        for (line, code) in [
            (&["slipring"][..], 2),
            (&["slipring", "serve"], 2),
            (&["slipring", "demo", "--seconds", "0"], 2),
            (&["slipring", "load", "--to", "x:1", "--dim", "1", "--vectors", "8-1"], 2),
            (&["slipring", "sweep", "--windows", "0"], 2),
            (&["slipring", "serve", "--help"], 0),
            (&["slipring", "--version"], 0),
            (&["slipring", "-V"], 0),
            (&FORMER_AND_NEW[..], 2),
        ] {
            assert_eq!(
                command().try_get_matches_from(line).unwrap_err().exit_code(),
                code,
                "{line:?}"
            );
        }
    }
}
