//! `log ls` and `log verify` on folders that are whole, torn, or have what doesn't belong there.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::build::{ALL, Built, NONE, log, verify};

/// Empty, one record, many records, many segments: what is there is counted, and nothing is wrong.
#[test]
fn whole_folders_are_listed_and_verified() {
    for (columns, segment_bytes, records, segments) in [
        (NONE, 1 << 20, &[][..], 0),
        (ALL, 1 << 20, &[1], 1),
        (NONE, 1 << 20, &[3, 1, 16, 2], 1),
        (ALL, 1, &[3, 1, 16, 2, 5], 5),
    ] {
        let built = Built::whole(columns, segment_bytes, records);
        let (rows, count) = (records.iter().sum::<u64>(), records.len());
        let sums = verify(&built.data(), 0).sums();
        let expected = json!({
            "lanes": 1, "vectors": rows, "unchecked_vectors": 0, "segments": segments,
            "records": count, "torn_bytes_cut": 0, "errors": 0, "gaps": 0, "kept_files": 0,
        });
        assert_eq!(sums, expected);
        let listed = log("ls --json", &built.data());
        assert_eq!(listed.code, Some(0), "{listed:?}");
        let lines = listed.lines();
        assert_eq!(lines.len(), segments + 1);
        let mut next = 0;
        for line in &lines[..segments] {
            assert_eq!((&line["state"], &line["lane"]), (&json!("sealed"), &json!(0)));
            assert_eq!(line["first_sequence"], next, "{line}");
            next = line["next_sequence"].as_u64().unwrap();
            assert!(line["modified"].as_str().unwrap().ends_with('Z'), "{line}");
            let file = built.data().join(line["file"].as_str().unwrap());
            assert_eq!(line["bytes"], fs::metadata(file).unwrap().len());
        }
        assert_eq!((next, &listed.sums()["vectors"]), (rows, &json!(rows)));
        for words in ["ls", "verify"] {
            let printed = log(words, &built.data());
            let text = printed.text();
            let last = text.lines().last().unwrap().to_owned();
            assert_eq!(printed.code, Some(0), "{printed:?}");
            assert!(last.contains(&format!("{rows} vectors")), "{last}");
        }
    }
}

#[test]
fn a_folder_without_lanes_has_nothing() {
    let mut built = Built::new(ALL);
    built.unlock();
    let sums = verify(&built.data(), 0).sums();
    assert_eq!((&sums["lanes"], &sums["vectors"]), (&json!(0), &json!(0)));
    assert_eq!(log("ls --json", &built.data()).sums()["segments"], 0);
}

/// What a crash leaves behind the last whole record is no error, and the figure says how much it
/// is. The same bytes are missed where they had been stored.
#[test]
fn a_torn_tail_is_counted_and_a_short_file_is_an_error() {
    let built = Built::crashed(ALL, &[3, 2, 4], false);
    let part = built.file(".part");
    let whole = fs::read(&part).unwrap();
    assert_eq!(verify(&built.data(), 0).sums()["vectors"], 9);
    let listed = log("ls --json", &built.data()).lines();
    let figures = ["state", "vectors", "durable_vectors", "records"].map(|f| &listed[0][f]);
    assert_eq!(figures, [&json!("live"), &json!(9), &json!(5), &json!(3)]);
    let last_at = whole.len() - 4096;
    for torn in [1, 100, 4095] {
        fs::write(&part, &whole[..last_at + torn]).unwrap();
        let printed = verify(&built.data(), 0);
        let figures = ["vectors", "torn_bytes_cut"].map(|f| printed.sums()[f].as_u64().unwrap());
        assert_eq!(figures, [5, torn as u64], "{printed:?}");
        assert_eq!(printed.findings("note").len(), 1, "{printed:?}");
    }
    // A file that is being made has no whole head yet.
    let mut empty = Built::new(ALL);
    drop(empty.lane(0, 1 << 20));
    empty.unlock();
    for head in [0, 17, 4096] {
        let name = "data/.slipring/lane=0/seg-00000000000000000000.arrow.part";
        fs::write(empty.folder.path().join(name), &whole[..head]).unwrap();
        assert_eq!(verify(&empty.data(), 0).sums()["vectors"], 0);
    }
    let built = Built::crashed(ALL, &[3, 2, 4], true);
    for left in [0, 100, 4096, 8192, last_at, last_at + 100] {
        fs::write(built.file(".part"), &whole[..left]).unwrap();
        let printed = verify(&built.data(), 1);
        let error = &printed.findings("error")[0];
        assert!(error["file"].as_str().unwrap().ends_with(".arrow.part"), "{error}");
        assert!(error["offset"].as_u64().unwrap() <= left as u64, "{left}: {error}");
        assert!(error["fix"].as_str().unwrap().contains("log repair"), "{error}");
    }
}

#[test]
fn gaps_are_said_and_overlaps_are_errors() {
    let built = Built::whole(NONE, 1, &[3, 2, 4]);
    let lane = built.data().join("lane=0");
    let name = |first: u64| lane.join(format!("seg-{first:020}.arrow"));
    let second = fs::read(name(3)).unwrap();
    fs::remove_file(name(3)).unwrap();
    let printed = verify(&built.data(), 0);
    let gap = &printed.findings("gap")[0];
    assert_eq!(gap["found"], "sequences 3 to 4 aren't in the log");
    assert_eq!((&printed.sums()["gaps"], &printed.sums()["vectors"]), (&json!(1), &json!(7)));
    // A copy under another name says other sequences than its name.
    fs::write(name(2), &second).unwrap();
    let printed = verify(&built.data(), 1);
    let found: Vec<_> = printed.findings("error").iter().map(|e| e["found"].to_string()).collect();
    assert!(found.iter().any(|found| found.contains("first sequence is 3, not 2")), "{found:?}");
    // A segment of another lane doesn't belong here.
    fs::remove_file(name(2)).unwrap();
    fs::write(name(3), &second).unwrap();
    verify(&built.data(), 0);
    fs::rename(&lane, built.data().join("lane=1")).unwrap();
    fs::rename(built.data().join(".slipring/lane=0"), built.data().join(".slipring/lane=1"))
        .unwrap();
    let printed = verify(&built.data(), 1);
    assert_eq!(printed.sums()["errors"], 3, "{printed:?}");
}

/// Names that aren't ours, files that can't be opened, and what was set aside.
#[test]
fn what_does_not_belong_there_is_named() {
    let built = Built::whole(NONE, 1, &[3, 2]);
    let (lane, open) = (built.data().join("lane=0"), built.data().join(".slipring/lane=0"));
    fs::write(open.join("seg-00000000000000000003.arrow.bad"), "bad").unwrap();
    fs::write(open.join("seg-00000000000000000003.arrow.2.bad"), "bad").unwrap();
    fs::write(open.join("seg-00000000000000000003.arrow.new"), "copy").unwrap();
    fs::write(lane.join("notes.txt"), "mine").unwrap();
    let printed = verify(&built.data(), 0);
    assert_eq!(printed.findings("note").len(), 3, "{printed:?}");
    assert_eq!(printed.sums()["kept_files"], 3);
    fs::write(lane.join("mine.arrow"), "mine").unwrap();
    symlink("/dev/null", lane.join("seg-00000000000000000009.arrow")).unwrap();
    fs::create_dir(lane.join("seg-00000000000000000010.arrow")).unwrap();
    fs::write(lane.join("seg-00000000000000000011.arrow"), "").unwrap();
    let printed = verify(&built.data(), 1);
    let errors = printed.findings("error");
    let of = |name: &str| errors.iter().find(|e| e["file"].as_str().unwrap().contains(name));
    for name in ["mine.arrow", "0009.arrow", "0010.arrow", "0011.arrow"] {
        let error = of(name).unwrap_or_else(|| panic!("{name}: {printed:?}"));
        assert!(!error["fix"].as_str().unwrap().is_empty(), "{error}");
    }
    assert_eq!(printed.sums()["vectors"], 5, "the others are read all the same");
    let listed = log("ls --json", &built.data());
    assert_eq!((listed.code, &listed.sums()["problems"]), (Some(1), &json!(4)), "{listed:?}");
}

/// The other files of a folder: a damaged `next`, and what `durable` says of another segment.
#[test]
fn the_files_beside_segments_are_checked() {
    let built = Built::whole(NONE, 1, &[3, 2]);
    let next = built.file("next");
    let whole = fs::read_to_string(&next).unwrap();
    for damaged in ["", "{", &whole.replace("\"next\":5", "\"next\":4")] {
        fs::write(&next, damaged).unwrap();
        let printed = verify(&built.data(), 1);
        assert!(printed.findings("error")[0]["file"].as_str().unwrap().ends_with("/next"));
        assert_eq!(printed.sums()["vectors"], 5);
    }
    fs::write(&next, whole.replace("\"format\":1", "\"format\":2")).unwrap();
    let printed = verify(&built.data(), 1);
    assert!(printed.text().contains("format 2, this version knows formats up to 1"), "{printed:?}");
    fs::remove_file(&next).unwrap();
    verify(&built.data(), 0);
}

/// A file of a later version is named, with both formats.
#[test]
fn a_later_format_is_named() {
    let built = Built::whole(NONE, 1, &[3, 2]);
    let path = built.data().join("lane=0/seg-00000000000000000003.arrow");
    let mut bytes = fs::read(&path).unwrap();
    // Figures stand before their names, between zeros.
    let figure = |bytes: &[u8], name: &str, digits: usize| {
        let at = bytes.windows(name.len()).position(|found| found == name.as_bytes()).unwrap();
        let is_figure = |at: &usize| bytes[*at..at + digits].iter().all(u8::is_ascii_hexdigit);
        (0..at).rev().find(is_figure).unwrap()
    };
    let format_at = figure(&bytes[..4096], "slipring.record", 4);
    bytes[format_at..format_at + 4].copy_from_slice(b"0009");
    let crc_at = figure(&bytes[..4096], "slipring.crc", 8);
    bytes[crc_at..crc_at + 8].copy_from_slice(b"00000000");
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &bytes[..4096]);
    bytes[crc_at..crc_at + 8].copy_from_slice(format!("{crc:08x}").as_bytes());
    fs::write(&path, &bytes).unwrap();
    let printed = verify(&built.data(), 1);
    let error = &printed.findings("error")[0];
    assert_eq!(error["found"], "it has format 9, this version knows formats up to 1");
    assert_eq!(printed.sums()["vectors"], 3, "the others are read");
    let csv = log("cat --format csv", &built.data());
    assert_eq!((csv.code, csv.text().lines().count()), (Some(1), 4), "{csv:?}");
    // A live one keeps a repair from doing anything.
    let part = built.data().join(".slipring/lane=0/seg-00000000000000000003.arrow.part");
    fs::rename(&path, &part).unwrap();
    for words in ["repair --dry-run", "repair"] {
        let printed = log(words, &built.data());
        assert_eq!(printed.code, Some(1), "{words}: {printed:?}");
        assert!(printed.stderr.contains("has format 9"), "{words}: {printed:?}");
    }
    assert_eq!(fs::read(&part).unwrap(), bytes);
}

/// Without a record the files say what they hold, as in a copy of the lanes alone.
#[test]
fn a_copy_of_the_lanes_alone_is_read() {
    let built = Built::whole(ALL, 1, &[3, 2]);
    fs::remove_dir_all(built.data().join(".slipring")).unwrap();
    assert_eq!(verify(&built.data(), 0).sums()["vectors"], 5);
    let csv = log("cat --format csv", &built.data());
    assert_eq!((csv.code, csv.text().lines().count()), (Some(0), 6), "{csv:?}");
}
