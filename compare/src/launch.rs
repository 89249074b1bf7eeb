//! Runs one program and prints what it used.
//!
//! The kernel counts the memory of the process that starts a program as the program's own peak,
//! because a child begins with its parent's memory. A script's peak would hide a small program's;
//! this process stays small. `launcher_peak_kib` says how small: no peak below it is the program's.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::Instant;

use clap::Args;
use serde_json::json;

use crate::choice::Wrong;
use crate::memory::peak_resident_bytes;
use crate::objects::usage;

/// What is run.
#[derive(Args)]
pub struct LaunchOptions {
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// # Errors
/// The program didn't start, or didn't end with 0.
pub fn run(options: &LaunchOptions) -> Result<(), Wrong> {
    let (program, arguments) = options
        .command
        .split_first()
        .ok_or_else(|| Wrong::Option("a program to run is needed".to_owned()))?;
    let failed = |why: String| Wrong::Case(format!("{}: {why}", program.display()));
    let began = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .map_err(|error| failed(error.to_string()))?;
    let seconds = began.elapsed().as_secs_f64();
    if !status.success() {
        return Err(failed(format!("it ended with {status}")));
    }
    let (used, peak_kib) = usage::children();
    let line = json!({
        "seconds": seconds,
        "cpu_seconds": used.cpu_us as f64 / 1e6,
        "peak_kib": peak_kib,
        "launcher_peak_kib": peak_resident_bytes() >> 10,
    });
    println!("{line}");
    Ok(())
}
