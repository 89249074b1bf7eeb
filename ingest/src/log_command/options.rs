//! The options of `slipring log`.

use std::path::PathBuf;

use crate::sink::DataMode;
use crate::units::at_least;

/// What `slipring log` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct LogArguments {
    /// Which of its commands.
    #[command(subcommand)]
    pub command: LogCommand,
}

/// The commands of `slipring log`.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum LogCommand {
    /// List the segments of all lanes, sealed and live, and what a crash left
    #[command(after_help = LS_EXIT)]
    Ls(LsOptions),
    /// Read every record of every lane, and say what isn't as it was written
    #[command(after_help = VERIFY_EXIT)]
    Verify(VerifyOptions),
    /// Write the vectors of a range of sequences to standard output
    #[command(after_help = CAT_EXIT)]
    Cat(CatOptions),
    /// Make whole what a crash has left, as the next start of a service would
    #[command(after_help = REPAIR_EXIT)]
    Repair(RepairOptions),
}

impl LogArguments {
    /// The command's name, for messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.command {
            LogCommand::Ls(_) => "log ls",
            LogCommand::Verify(_) => "log verify",
            LogCommand::Cat(_) => "log cat",
            LogCommand::Repair(_) => "log repair",
        }
    }
}

const LS_EXIT: &str = "\
Reads footers, and live files whole; takes no lock, so a service may work in the folder. Lines of
--json have lane, state (sealed, live, damaged, torn, apart, copy, foreign), file, first_sequence,
next_sequence, vectors, durable_vectors, records, bytes, modified (UTC) and problem; the last line
has the sums.
Exit codes: 0 all files are listed; 1 a file couldn't be read, or the folder; 2 bad usage.";

const VERIFY_EXIT: &str = "\
Takes no lock, so a service may work in the folder: what it is writing at the end of a live segment
is no error. Vectors of earlier versions have no checksums: their bounds and sequences are checked,
and a note says so. With --json every error, gap and note is a line with kind, lane, file, offset,
found and fix, and the last line has vectors, segments, torn_bytes_cut (bytes behind the last whole
vector of live segments, which a start cuts), errors, gaps and more.
Exit codes: 0 no error; 1 an error, or the folder can't be read; 2 bad usage.";

const CAT_EXIT: &str = "\
Vectors come in the order of their sequences, from the sealed segments and from the live one as far
as it is known to be on the disk: up to about 100ms behind. It takes no lock. Sequences that aren't
in the log are left out, and standard error says which. CSV has one line per vector, the vector as
a list in quotation marks, and times in UTC.
Exit codes: 0 everything that there is of the range is written, or its reader has gone away; 1 a
file is damaged or can't be read; 2 bad usage.";

const REPAIR_EXIT: &str = "\
Holds the folder's lock, so no service may work there. Cuts torn ends, seals what was left open,
copies the whole records around damage into segments of their own and keeps the damaged file as
.bad. Sequences go on behind a gap if the log wasn't closed. Nothing else is changed.
Exit codes: 0 the log is whole; 1 it isn't, or the folder can't be read or is in use; 2 bad usage.";

/// What to list.
#[derive(Clone, Debug, clap::Args)]
pub struct LsOptions {
    /// Data folder of `slipring serve`
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Print one JSON object per file, and one with the sums
    #[arg(long)]
    pub json: bool,
}

/// What to verify.
#[derive(Clone, Debug, clap::Args)]
pub struct VerifyOptions {
    /// Data folder of `slipring serve`
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Print one JSON object per finding, and one with the sums
    #[arg(long)]
    pub json: bool,
}

/// What to write, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct CatOptions {
    /// Data folder of `slipring serve`
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// The lane [default: the only one]
    #[arg(long, value_name = "N", value_parser = at_least::<u32>(0))]
    pub lane: Option<u32>,
    /// The first sequence
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = at_least::<u64>(0))]
    pub from: u64,
    /// The sequence after the last one [default: all that there is]
    #[arg(long, value_name = "N", value_parser = at_least::<u64>(0))]
    pub to: Option<u64>,
    /// An Arrow IPC stream (arrow), or comma-separated text (csv)
    #[arg(long, value_enum, value_name = "WORD", default_value_t = CatFormat::Arrow)]
    pub format: CatFormat,
}

/// How vectors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CatFormat {
    /// An Arrow IPC stream.
    Arrow,
    /// Comma-separated text with a header.
    Csv,
}

/// What to repair.
#[derive(Clone, Debug, clap::Args)]
pub struct RepairOptions {
    /// Data folder of `slipring serve`
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Change nothing, and say what a repair would do
    #[arg(long)]
    pub dry_run: bool,
    /// Permissions of new files, as with `slipring serve` [default: 0640, as far as the umask lets]
    #[arg(long, value_name = "MODE")]
    pub data_mode: Option<DataMode>,
    /// Print one JSON object per file, and one with the sums
    #[arg(long)]
    pub json: bool,
}
