//! `slipring demo` in this process with small figures, and the binary where signals matter.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use slipring_ingest::demo::{self, DemoError, DemoOptions};
use slipring_ingest::sink::read_segments;
use slipring_ingest::units::Size;

fn options(data: &Path) -> DemoOptions {
    DemoOptions { seconds: 600, bytes: Size(1 << 20), data: Some(data.to_owned()), json: false }
}

#[test]
fn a_small_run_is_verified_and_its_folder_stays() {
    let above = tempfile::tempdir().unwrap();
    let data = above.path().join("new");
    let mut told = Vec::new();
    let report = demo::run(&options(&data), &mut told, &AtomicBool::new(false)).unwrap();
    assert!(report.is_verified(), "{report}");
    assert_eq!((report.digits.accepted.vectors, report.digits.accepted.sum), (1797, 561_718.0));
    let most = 1u64 << 20;
    // The bound leaves at most one request a connection unused.
    assert!(
        (most - 4 * 2052..=most).contains(&report.mixed.sent.bytes),
        "{}",
        report.mixed.sent.bytes
    );
    // Read by whoever comes next, not only by the demonstration itself.
    let read = read_segments(&data).unwrap();
    assert_eq!(read.rows, 1797 + report.mixed.accepted.vectors);
    assert_eq!(read.sum, 561_718.0 + report.mixed.accepted.sum);
    let json = report.to_json();
    assert_eq!(
        (json["verified"].as_bool(), json["read"]["vectors"].as_u64()),
        (Some(true), Some(read.rows))
    );

    let text = format!("{}{report}", String::from_utf8(told).unwrap());
    assert!(text.lines().count() < 50, "{text}");
    let path = data
        .canonicalize()
        .unwrap()
        .join("lane-0/seg-00000000000000000000.arrow")
        .display()
        .to_string();
    assert!(path.len() > 90 || text.lines().all(|line| line.chars().count() <= 100), "{text}");
    for part in [
        "pinned: ",
        "pool of 64 MiB",
        "window of ",
        "p99.99",
        "Everything was checked and is right.",
        &path,
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn an_interruption_removes_the_folder() {
    let above = tempfile::tempdir().unwrap();
    let data = above.path().join("new");
    let long = DemoOptions { bytes: Size(64 << 20), ..options(&data) };
    let error = demo::run(&long, &mut Vec::new(), &AtomicBool::new(true)).unwrap_err();
    assert!(matches!(error, DemoError::Interrupted) && error.exit_code() == 130, "{error}");
    assert!(!data.exists());
}

#[test]
fn folders_that_exist_and_impossible_bounds_are_refused() {
    let above = tempfile::tempdir().unwrap();
    fs::write(above.path().join("file"), "mine").unwrap();
    let taken =
        demo::run(&options(above.path()), &mut Vec::new(), &AtomicBool::new(false)).unwrap_err();
    assert!(taken.to_string().contains("name a new folder") && taken.exit_code() == 2, "{taken}");
    assert!(above.path().join("file").exists(), "a folder of somebody else's isn't removed");

    let data = above.path().join("new");
    let tiny = DemoOptions { bytes: Size(1), ..options(&data) };
    let tiny = demo::run(&tiny, &mut Vec::new(), &AtomicBool::new(false)).unwrap_err();
    assert!(tiny.to_string().contains("--bytes is 1: at least") && tiny.exit_code() == 2, "{tiny}");
    assert!(!data.exists(), "it was refused before anything was made");
}

#[test]
fn the_binary_says_by_its_exit_code_what_became_of_it() {
    let above = tempfile::tempdir().unwrap();
    let demo = |data: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slipring"));
        // From a folder that knows nothing of this repository.
        command
            .args(["demo", "--json", "--seconds", "600", "--data"])
            .arg(data)
            .current_dir(above.path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let good = demo(&above.path().join("good")).args(["--bytes", "1MiB"]).output().unwrap();
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    let json: serde_json::Value = serde_json::from_slice(&good.stdout).unwrap();
    assert_eq!(json["verified"], true);

    let stopped = above.path().join("stopped");
    let child = demo(&stopped).args(["--bytes", "1GiB"]).spawn().unwrap();
    // The service has its record before it accepts, and signals are caught before that.
    while !stopped.join("slipring.json").exists() {
        thread::sleep(Duration::from_millis(2));
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
    assert!(!stopped.exists());
}
