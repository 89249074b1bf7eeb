//! The binary `slipring`; everything is in the library.

fn main() -> std::process::ExitCode {
    slipring_ingest::cli::run()
}
