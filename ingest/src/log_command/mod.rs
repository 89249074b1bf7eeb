//! `slipring log`: looking at the log in a data folder, and repairing it.
//!
//! ```text
//!   ls, verify, cat   read only, without a lock: a service may work in the folder
//!   repair            what a start of a service does with what a crash left, with the lock held
//! ```
//! What was live when a command looked may be sealed meanwhile: an open file stays readable under
//! its new name, and one that is gone is found under that name.
#![forbid(unsafe_code)]

mod cat;
mod dry_disk;
mod error;
mod files;
mod ls;
mod options;
mod output;
mod repair;
mod rows;
mod verify;

pub use error::LogCommandError;
pub use options::{
    CatFormat, CatOptions, LogArguments, LogCommand, LsOptions, RepairOptions, VerifyOptions,
};

use output::Output;

/// Runs a command, and returns its exit code. A reader of its output that goes away ends it
/// without a word.
///
/// # Errors
/// Why it can't do what was asked for.
pub fn run(arguments: &LogArguments) -> Result<u8, LogCommandError> {
    let mut output = Output::stdout().map_err(LogCommandError::Output)?;
    let code = match &arguments.command {
        LogCommand::Ls(options) => ls::run(options, &mut output),
        LogCommand::Verify(options) => verify::run(options, &mut output),
        LogCommand::Cat(options) => cat::run(options, &mut output),
        LogCommand::Repair(options) => repair::run(options, &mut output),
    };
    let code = code.and_then(|code| output.end().map(|()| code).map_err(LogCommandError::Output));
    match code {
        Err(LogCommandError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Ok(0)
        }
        code => code,
    }
}
