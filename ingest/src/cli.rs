//! The command line: `slipring serve | load | demo`.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Parser, Subcommand};
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};

use crate::load::{self, LoadOptions};
use crate::notice::{announce, notice};
use crate::server::{ServeError, ServeOptions, Server};

/// Low-latency vector ingest: many small writes in, few large ordered batches out.
#[derive(Debug, Parser)]
#[command(name = "slipring", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take vectors off sockets and write them to Arrow segments
    Serve(Box<ServeOptions>),
    /// Send vectors to a service, check its answers and measure it
    Load(Box<LoadOptions>),
}

/// Runs what the arguments say. Exit codes: 0 good, 1 failed, 2 bad usage.
#[must_use]
pub fn run() -> ExitCode {
    let code = match Cli::parse().command {
        Command::Serve(options) => serve(&options),
        Command::Load(options) => send(&options),
    };
    ExitCode::from(code)
}

fn send(options: &LoadOptions) -> u8 {
    match load::run(options) {
        Ok(report) if options.json => {
            announce(report.to_json());
            0
        }
        Ok(report) => {
            announce(report);
            0
        }
        Err(error) => {
            notice(format_args!("load: {error}"));
            error.exit_code()
        }
    }
}

fn serve(options: &ServeOptions) -> u8 {
    match serve_until_signal(options) {
        Ok(code) => code,
        Err(error) => {
            notice(format_args!("serve: {error}"));
            error.exit_code()
        }
    }
}

/// Serves until SIGTERM or SIGINT, or until a lane fails; a second signal ends the process at once.
fn serve_until_signal(options: &ServeOptions) -> Result<u8, ServeError> {
    let refused = |error: std::io::Error| ServeError::Refused(format!("signals: {error}"));
    let (mut told, tell) = UnixStream::pair().map_err(refused)?;
    let again = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&again)).map_err(refused)?;
        signal_hook::flag::register(signal, Arc::clone(&again)).map_err(refused)?;
        signal_hook::low_level::pipe::register(signal, tell.try_clone().map_err(refused)?).map_err(refused)?;
    }
    // Writing past the limit of file sizes is an error that the sink can wait on; the signal that comes with it would kill.
    signal_hook::flag::register(SIGXFSZ, Arc::default()).map_err(refused)?;
    // A lane that ends by itself wakes this thread as a signal does.
    let server = Server::start(options, Arc::new(move || drop((&tell).write(b"x"))))?;
    for (lane, report) in server.reports().enumerate() {
        notice(format_args!("lane {lane}: {}", report.pin));
        report.region.to_string().lines().for_each(|line| notice(format_args!("lane {lane}: {line}")));
        report.downgrades.iter().for_each(|downgrade| notice(format_args!("lane {lane}: {downgrade}")));
    }
    announce(server.ready_line());
    while told.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::Interrupted) {}
    let totals = server.stop();
    announce(&totals);
    Ok(u8::from(!totals.is_drained()))
}
