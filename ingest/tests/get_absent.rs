//! `slipring get` in a build without clients for storage: known, and clear about what to do.
#![cfg(not(feature = "objects"))]

use std::process::Command;

#[test]
fn it_says_how_to_build_it() {
    for words in [
        &["s3://bucket/key", "-o", "out", "--buffer-pool-size", "4"][..],
        &[],
        &["--json"],
        &["-x"],
    ] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_slipring")).arg("get").args(words).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{said}");
        assert!(
            said.contains("cargo build --release -p slipring-ingest --features objects"),
            "{said}"
        );
    }
    let output =
        Command::new(env!("CARGO_BIN_EXE_slipring")).args(["get", "--help"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("--features objects"), "{said}");
}
