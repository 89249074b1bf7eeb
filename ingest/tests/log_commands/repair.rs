//! `log repair`: the next start finds a whole log, and a dry run changes nothing.

use std::fs;

use serde_json::json;

use crate::build::{ALL, Built, DIM, NONE, files, log, verify};
use crate::cat::check_csv;
use crate::support::client::Client;
use crate::support::process::{Process, serve};

/// A torn tail is cut and the segment sealed; the dry run says the same and changes nothing.
#[test]
fn a_torn_tail_is_cut_and_sealed() {
    let built = Built::crashed(ALL, &[3, 2, 4], true);
    let part = built.file(".part");
    let torn = [&fs::read(&part).unwrap()[..], &[0xff, 0xff, 0xff, 0xff, 1, 2, 3]].concat();
    fs::write(&part, torn).unwrap();
    let before = files(&built.data());
    let dry = log("repair --dry-run --json", &built.data());
    assert_eq!(dry.code, Some(0), "{dry:?}");
    let mut after = files(&built.data());
    let lock = built.data().join(".slipring/lock");
    after.insert(lock.clone(), before[&lock].clone());
    assert!(before == after, "a dry run changed the folder");
    let repaired = log("repair --json", &built.data());
    assert_eq!(repaired.code, Some(0), "{repaired:?}");
    let (said, done) = (dry.lines(), repaired.lines());
    assert_eq!(said[..2], done[..2], "what it does is what it said");
    assert_eq!(
        (&dry.sums()["dry_run"], &repaired.sums()["dry_run"]),
        (&json!(true), &json!(false))
    );
    assert_eq!((&done[0]["vectors"], &done[0]["torn_bytes_cut"]), (&json!(9), &json!(7)));
    assert_eq!(done[0]["segments"], json!(["lane=0/seg-00000000000000000000.arrow"]));
    assert_eq!(verify(&built.data(), 0).sums()["torn_bytes_cut"], 0);
    check_csv(&log("cat --format csv", &built.data()).text(), ALL, 0..9);
    // There is nothing left to do, and the gap is there once.
    let again = log("repair --json", &built.data());
    assert_eq!(again.sums()["files"], 0, "{again:?}");
    let next = |lines: &[serde_json::Value]| lines[lines.len() - 2]["next_sequence"].clone();
    assert_eq!(
        (next(&again.lines()), next(&done)),
        (json!(9 + (1_u64 << 32)), json!(9 + (1_u64 << 32)))
    );
}

/// Records around damage are saved, and the file is kept.
#[test]
fn damage_is_kept_and_what_is_around_it_saved() {
    let built = Built::crashed(NONE, &[3, 2, 4], true);
    let part = built.file(".part");
    let mut bytes = fs::read(&part).unwrap();
    bytes[8192 + 900] ^= 1;
    fs::write(&part, bytes).unwrap();
    let dry = log("repair --dry-run --json", &built.data());
    let repaired = log("repair --json", &built.data());
    assert_eq!((repaired.code, &dry.lines()[..2]), (Some(0), &repaired.lines()[..2]));
    let file = &repaired.lines()[0];
    assert_eq!((&file["vectors"], &file["damage"]["offset"]), (&json!(7), &json!(8192)), "{file}");
    assert_eq!(file["damage"]["was_durable"], true, "{file}");
    assert!(built.file(".bad").exists());
    let printed = verify(&built.data(), 0);
    assert_eq!((&printed.sums()["vectors"], &printed.sums()["gaps"]), (&json!(7), &json!(1)));
    let text = log("repair", &built.data()).text();
    assert!(text.lines().last().unwrap().contains("0 damaged"), "{text}");
}

/// What a repair leaves is what a service goes on with: nothing is recovered twice.
#[test]
fn a_service_goes_on_behind_it() {
    let built = Built::crashed(NONE, &[3, 2], true);
    assert_eq!(log("repair", &built.data()).code, Some(0));
    let words =
        format!("--listen 127.0.0.1:0 --pool 1MiB --slots 256 --pages 4k --wait park --dim {DIM}");
    let mut command = serve(&words);
    command.arg("--data").arg(built.data());
    let mut process = Process::start(command);
    for words in ["repair", "repair --dry-run"] {
        let printed = log(words, &built.data());
        assert_eq!(printed.code, Some(1), "{printed:?}");
        assert!(
            printed.stderr.contains(&format!("in use by process {}", process.id())),
            "{printed:?}"
        );
    }
    let mut client = Client::count(&process.tcp(), DIM);
    client.send(0, &[1.0; DIM as usize]);
    assert!(client.answer().is_ok());
    drop(client);
    let ended = process.stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.stderr.contains("after a crash"), "{ended:?}");
    assert_eq!(verify(&built.data(), 0).sums()["vectors"], 6);
}
