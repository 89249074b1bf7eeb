//! The options of `slipring demo`.

use std::path::PathBuf;

use crate::units::Size;

/// How long, how much, and where to.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoOptions {
    /// Seconds of mixed load, at most
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// Bytes of mixed load, at most
    #[arg(long, default_value = "512MiB", value_name = "SIZE")]
    pub bytes: Size,
    /// A new folder for the segments; it stays [default: one in the temporary folder, which stays
    /// too]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}
