//! Bits that flip: verify finds each of them.

use std::fs;
use std::path::Path;

use slipring_ingest::log::{
    Disk, LogFolders, RealDisk, RowShape, check_live, check_old, check_sealed,
};
use slipring_ingest::sink::{Columns, DataMode};

use crate::build::{ALL, Built, DIM, NONE, log, verify};

fn faults(path: &Path, columns: Columns) -> Vec<u64> {
    let disk = RealDisk::new(DataMode::default());
    let shape = RowShape { dim: DIM, columns };
    match check_sealed(&disk.open_to_read(path).unwrap(), path, 0, (shape, 0)) {
        Ok(Some(check)) => check.faults.iter().map(|fault| fault.at).collect(),
        // It says that it is of other rows or of a later version, or of an earlier one.
        Err(_) | Ok(None) => vec![0],
    }
}

/// Every byte of a sealed file that isn't zero, be it head, header, column or footer, and one of
/// eight that are: they fill up.
#[test]
fn every_byte_of_a_sealed_segment_is_checked() {
    let built = Built::whole(ALL, 1 << 20, &[3, 1]);
    let path = built.file(".arrow");
    let whole = fs::read(&path).unwrap();
    assert_eq!(faults(&path, ALL), [0; 0]);
    let mut bytes = whole.clone();
    for at in (0..whole.len()).filter(|at| whole[*at] != 0 || at % 8 == 0) {
        bytes[at] ^= 1 << (at / 8 % 8);
        fs::write(&path, &bytes).unwrap();
        let found = faults(&path, ALL);
        assert!(!found.is_empty(), "byte {at} of {}", whole.len());
        assert!(found.iter().all(|fault| *fault <= at as u64), "byte {at}: {found:?}");
        bytes[at] = whole[at];
    }
    for length in [0, 1, 4096, 8192, 12288, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(!faults(&path, ALL).is_empty(), "{length} bytes of {}", whole.len());
    }
    fs::write(&path, [&whole[..], b"0"].concat()).unwrap();
    assert_eq!(faults(&path, ALL), [whole.len() as u64], "a byte too many");
}

/// The same by the command, in every part of a file; live ones too, as far as they had been stored.
#[test]
fn the_command_names_what_has_flipped() {
    for is_live in [false, true] {
        let records = [3, 2, 4];
        let built = match is_live {
            true => Built::crashed(ALL, &records, true),
            false => Built::whole(ALL, 1 << 20, &records),
        };
        let path = built.file(if is_live { ".arrow.part" } else { ".arrow" });
        let whole = fs::read(&path).unwrap();
        let mut places = vec![3, 9, 13, 700, 4000];
        for record in [4096, 8192, 12288] {
            // Prefix, figures, padding, sequences, ids, times, vectors, padding of the record.
            places.extend(
                [1, 5, 120, 500, 820, 832, 900, 960, 1030, 2000, 4095].map(|at| record + at),
            );
        }
        if !is_live {
            places.extend([16384, 16391, 16400, whole.len() - 12, whole.len() - 1]);
        }
        for at in places {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(&path, &bytes).unwrap();
            let printed = log("verify --json", &built.data());
            assert_eq!(printed.code, Some(1), "byte {at}: {printed:?}");
            let error = &printed.findings("error")[0];
            let name = path.strip_prefix(built.data()).unwrap();
            assert_eq!(error["file"], name.to_str().unwrap());
            assert!(error["offset"].as_u64().is_none_or(|found| found <= at as u64), "{error}");
            assert!(!error["fix"].as_str().unwrap().is_empty(), "{error}");
            // The other records are found.
            let left = printed.sums()["vectors"].as_u64().unwrap();
            assert!(at >= 16384 || left >= 5, "byte {at}: {printed:?}");
            let text = log("verify", &built.data()).text();
            assert!(text.contains(name.to_str().unwrap()) && text.starts_with("error: "), "{text}");
        }
        fs::write(&path, &whole).unwrap();
        assert_eq!(verify(&built.data(), 0).sums()["vectors"], 9);
    }
}

/// Two places of one file are two errors.
#[test]
fn all_damage_of_a_file_is_found() {
    let built = Built::whole(NONE, 1 << 20, &[1, 1, 1, 1, 1]);
    let path = built.file(".arrow");
    let mut bytes = fs::read(&path).unwrap();
    for record in [1, 3] {
        bytes[4096 * (record + 1) + 1000] ^= 1;
    }
    fs::write(&path, &bytes).unwrap();
    let printed = verify(&built.data(), 1);
    let offsets: Vec<_> = printed.findings("error").iter().map(|e| e["offset"].clone()).collect();
    assert_eq!(offsets, [8192, 16384]);
    assert_eq!(printed.sums()["vectors"], 3);
}

/// Whatever is in a file, a check ends with a finding or an error, and never with a panic.
#[test]
fn files_of_any_bytes_are_checked() {
    let built = Built::crashed(ALL, &[3, 1], true);
    let disk = RealDisk::new(DataMode::default());
    let shape = RowShape { dim: DIM, columns: ALL };
    let open = built.data().join(".slipring/lane=0");
    let folders = LogFolders { open: open.clone(), complete: built.data().join("lane=0") };
    let part = built.file(".part");
    let live = fs::read(&part).unwrap();
    let sealed = fs::read(Built::whole(ALL, 1 << 20, &[3, 1]).file(".arrow")).unwrap();
    let mut state = 1_u64;
    let mut below = |end: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % end
    };
    for round in 0..400 {
        let mut bytes = if round % 2 == 0 { live.clone() } else { sealed.clone() };
        for _ in 0..1 + below(8) {
            let at = below(bytes.len());
            match below(5) {
                0 => bytes[at] = below(256) as u8,
                1 => bytes[at..].iter_mut().take(8).for_each(|byte| *byte = 0xff),
                2 => bytes.truncate(at.max(1)),
                3 => bytes[at..].iter_mut().take(4096).for_each(|byte| *byte = 0),
                _ => bytes.rotate_left(at / 4096 * 4096),
            }
        }
        fs::write(&part, &bytes).unwrap();
        let file = disk.open_to_read(&part).unwrap();
        let _is_damaged = check_live(&disk, &folders, &file, &part, 0, shape);
        let _is_damaged = check_sealed(&file, &part, 0, (shape, 0));
        let _is_damaged = check_old(&file, &part, 0, shape);
    }
}
