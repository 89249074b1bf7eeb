//! A full disk, and a file size limit: no accepted row is lost or duplicated, and the log continues
//! once there is space.
//!
//! The full disk is a real one, a tmpfs of 1 MiB, which needs the right to mount. Without it only
//! the file size limit is tested, in a child process.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use slipring_ingest::sink::{
    DataDir, SegmentLog, SegmentOptions, Sink, SinkError, SinkRows, for_each_batch, read_segments,
};

use crate::support::data::on_small_disk;

const DIM: usize = 16;

fn rows(first: u64, count: usize) -> Vec<f32> {
    (0..count * DIM).map(|i| (first * DIM as u64 + i as u64) as f32).collect()
}

fn open(folder: &Path, segment_bytes: u64, batch_rows: usize) -> SegmentLog {
    let dir = DataDir::open(folder, DIM as u32).unwrap();
    SegmentLog::open(&dir, 0, SegmentOptions { segment_bytes, batch_rows }).unwrap()
}

fn read_back(folder: &Path) -> Vec<f32> {
    let mut values = Vec::new();
    for_each_batch(folder, |_, _, rows| values.extend_from_slice(rows)).unwrap();
    values
}

/// Appends `count` rows per call until the log refuses. Returns how many rows it has accepted, and
/// the refusal.
fn append_until_refused(log: &mut SegmentLog, count: usize) -> (u64, SinkError) {
    let mut accepted = log.next_sequence();
    loop {
        assert!(accepted < 1 << 20, "nothing was refused");
        let outcome = log.append(SinkRows::plain(&rows(accepted, count)));
        accepted += if outcome.is_ok() { count as u64 } else { 0 };
        assert_eq!(log.next_sequence(), accepted, "a call is accepted in full or not at all");
        if let Err(error) = outcome {
            return (accepted, error);
        }
    }
}

/// Checks that no call succeeds and no row is accepted, then makes space and checks that everything
/// continues.
fn refuse_then_recover(
    log: &mut SegmentLog,
    folder: &Path,
    count: usize,
    expect: &str,
    make_space: impl FnOnce(),
) {
    let (accepted, error) = append_until_refused(log, count);
    assert!(error.may_retry() && error.to_string().contains(expect), "{error}");
    for _ in 0..3 {
        assert!(log.append(SinkRows::plain(&rows(accepted, 5))).is_err());
        assert!(log.flush().is_err());
        assert!(log.close().is_err());
        assert_eq!((log.next_sequence(), log.rows_accepted()), (accepted, accepted));
    }
    make_space();
    log.append(SinkRows::plain(&rows(accepted, 5))).unwrap();
    log.append(SinkRows::plain(&rows(accepted + 5, 200))).unwrap();
    let totals = log.close().unwrap();
    assert_eq!(totals.rows, accepted + 205);
    assert!(
        read_back(folder) == rows(0, totals.rows as usize),
        "rows were lost, duplicated or moved"
    );
    assert_eq!(read_segments(folder).unwrap().rows, totals.rows);
}

#[test]
fn a_full_disk_refuses_and_then_goes_on() {
    on_small_disk(1, |disk| {
        let folder = disk.path().join("data");
        disk.leave(300 << 10);
        let mut log = open(&folder, 100 << 10, 64);
        refuse_then_recover(&mut log, &folder, 5, "free space on this disk", || disk.free());
    });
}

#[test]
fn a_full_disk_refuses_the_footer_and_then_takes_it() {
    on_small_disk(1, |disk| {
        let folder = disk.path().join("data");
        let mut log = open(&folder, 1 << 20, 64);
        // Writes short batches until the file ends so near to the end of a page that the footer
        // needs another page.
        let part = folder.join(".slipring/lane=0/seg-00000000000000000000.arrow.part");
        let near_end = |bytes: u64| bytes.is_multiple_of(4096) || bytes % 4096 > 4096 - 400;
        let mut count = 0;
        while count == 0 || !near_end(fs::metadata(&part).unwrap().len()) {
            log.append(SinkRows::plain(&rows(count, 1))).unwrap();
            log.flush().unwrap();
            count += 1;
        }
        disk.leave(0);
        for _ in 0..2 {
            let error = log.close().unwrap_err();
            assert!(matches!(error, SinkError::Io { action: "write", .. }), "{error}");
            assert!(
                log.append(SinkRows::plain(&rows(count, 1))).is_err(),
                "the segment must be completed first"
            );
        }
        disk.free();
        assert_eq!(log.close().unwrap().rows, count);
        assert!(read_back(&folder) == rows(0, count as usize));
    });
}

#[test]
fn a_full_disk_refuses_to_open_and_then_opens() {
    on_small_disk(1, |disk| {
        let folder = disk.path().join("data");
        fs::create_dir(&folder).unwrap();
        disk.leave(0);
        let error = DataDir::open(&folder, DIM as u32).err().unwrap();
        let text = error.to_string();
        assert!(error.may_retry() && text.contains("free space on this disk"), "{text}");
        assert!(!text.contains("accepted"), "nothing was accepted yet: {text}");
        disk.free();
        open(&folder, 1, 1).append(SinkRows::plain(&rows(0, 1))).unwrap();
        assert!(read_back(&folder) == rows(0, 1));
    });
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Append(usize),
    Flush,
    Close,
    Leave(u64),
    Free,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        // All rows of a run fit the empty disk, even with each row in its own batch and the files
        // rounded up to pages.
        8 => (0_usize..10).prop_map(Op::Append),
        1 => Just(Op::Flush),
        1 => Just(Op::Close),
        2 => (0_u64..20_000).prop_map(Op::Leave),
        2 => Just(Op::Free),
    ]
}

/// Random calls while the disk fills up and is freed. The model is the number of rows accepted.
#[test]
fn a_disk_that_fills_and_empties_loses_nothing() {
    on_small_disk(1, |disk| {
        let config =
            ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
        let mut runner = proptest::test_runner::TestRunner::new(config);
        let strategy = (1_usize..20, 8_192_u64..40_000, prop::collection::vec(op(), 1..60));
        let refused = Cell::new(0);
        let outcome = runner.run(&strategy, |(batch_rows, segment_bytes, ops)| {
            let folder = disk.path().join("data");
            let mut log = open(&folder, segment_bytes, batch_rows);
            let mut model = 0;
            let note = |done: bool| refused.set(refused.get() + u32::from(!done));
            for op in ops {
                match op {
                    Op::Append(count) => {
                        let done = log.append(SinkRows::plain(&rows(model, count))).is_ok();
                        model += if done { count as u64 } else { 0 };
                        note(done);
                    }
                    Op::Flush => note(log.flush().is_ok()),
                    Op::Close => note(log.close().is_ok()),
                    Op::Leave(free_bytes) => disk.leave(free_bytes),
                    Op::Free => disk.leave(1 << 20),
                }
                prop_assert_eq!((log.next_sequence(), log.rows_accepted()), (model, model));
            }
            disk.leave(1 << 20);
            prop_assert_eq!(log.close().unwrap().rows, model);
            drop(log);
            prop_assert!(
                read_back(&folder) == rows(0, model as usize),
                "rows were lost, duplicated or moved"
            );
            fs::remove_dir_all(&folder).unwrap();
            Ok(())
        });
        outcome.unwrap();
        println!("{} calls were refused", refused.get());
        assert!(refused.get() > 0, "the disk was never full");
    });
}

#[test]
fn a_file_size_limit_refuses_and_then_goes_on() {
    const TEST: &str = "full::a_file_size_limit_refuses_and_then_goes_on";
    const CHILD: &str = "SLIPRING_TEST_LIMITED";
    if let Some(folder) = std::env::var_os(CHILD) {
        let folder = Path::new(&folder);
        let mut log = open(folder, 1 << 20, 64);
        // Each call has several batches, so that the limit interrupts one of them.
        refuse_then_recover(&mut log, folder, 250, "raise the file size limit", || {
            let limit = getrlimit(Resource::Fsize);
            setrlimit(Resource::Fsize, Rlimit { current: limit.maximum, ..limit }).unwrap();
        });
        println!("ran under a file size limit");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // Only the soft limit is set, in blocks of 512 bytes, so that the child can raise it. The
    // signal that the limit raises is ignored, as in the service.
    let script = r#"trap "" XFSZ; ulimit -S -f 195; exec "$0" --exact "$1" --nocapture"#;
    let mut child = Command::new("sh");
    child
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .arg(TEST)
        .env(CHILD, folder.path());
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("ran under a file size limit"), "{said}");
}
