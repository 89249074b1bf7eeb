//! Checks docs/PROTOCOL.md against the code: examples, offsets, statuses and limits as printed.

use std::collections::BTreeMap;

use super::layout::{CREDITS_AT, DIM_AT, FLAGS_AT, N_AT, SEQUENCE_AT, STATUS_AT, VERSION_AT};
use super::*;

const PAGE: &str = include_str!("../../../docs/PROTOCOL.md");

/// The bytes of each fenced block that opens with "hex NAME"; what stands after three spaces is for
/// people.
fn examples() -> BTreeMap<&'static str, Vec<u8>> {
    PAGE.split("```hex ")
        .skip(1)
        .map(|block| {
            let (name, rest) = block.split_once('\n').unwrap();
            let lines = rest.split("```").next().unwrap().lines();
            let bytes = lines.flat_map(|line| line.split("   ").next().unwrap().split_whitespace());
            (name, bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect())
        })
        .collect()
}

/// The cells of the tables whose first cell of the head is `title`, in order.
fn tables(title: &str) -> Vec<Vec<Vec<&'static str>>> {
    let head = format!("\n\n| {title} |");
    let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect();
    let rows = |table: &'static str| {
        table.lines().skip(2).take_while(|line| line.starts_with('|')).map(cells).collect()
    };
    PAGE.match_indices(&head).map(|(at, _)| rows(PAGE[at..].trim_start())).collect()
}

#[test]
fn the_examples_are_what_the_code_writes() {
    let request = |mode, sequence| {
        let mut bytes = Vec::new();
        encode_request(mode, 2, sequence, &[1.0, 2.0], &mut bytes);
        bytes
    };
    let answer = |mode, status, scores: &[f32]| {
        let mut bytes = Vec::new();
        encode_answer(mode, status, 7, 31, scores, &mut bytes);
        bytes
    };
    let written = BTreeMap::from([
        ("count-request", request(Mode::Count, 0)),
        ("count-answer", answer(Mode::Count, Status::Ok, &[3.0])),
        ("count-refusal", answer(Mode::Count, Status::NotFinite, &[])),
        ("header-request", request(Mode::Header, 7)),
        ("header-answer", answer(Mode::Header, Status::Ok, &[3.0])),
        ("header-refusal", answer(Mode::Header, Status::NotFinite, &[])),
    ]);
    assert_eq!(examples(), written);
}

#[test]
fn the_tables_carry_the_offsets() {
    let offsets = |title| -> Vec<Vec<(&'static str, usize)>> {
        let row = |row: &Vec<&'static str>| (row[0], row[1].parse().unwrap());
        tables(title).iter().map(|table| table.iter().map(row).collect()).collect()
    };
    let head = [("magic", 0), ("version", VERSION_AT)];
    let request = [
        ("flags", FLAGS_AT),
        ("n", N_AT),
        ("dim", DIM_AT),
        ("sequence", SEQUENCE_AT),
        ("vectors", FRAME_HEADER_BYTES),
    ];
    let answer = [
        ("status", STATUS_AT),
        ("n", N_AT),
        ("credits", CREDITS_AT),
        ("sequence", SEQUENCE_AT),
        ("scores", FRAME_HEADER_BYTES),
    ];
    assert_eq!(
        offsets("request field"),
        [vec![("n", 0), ("vectors", COUNT_HEADER_BYTES)], [&head[..], &request].concat()]
    );
    assert_eq!(
        offsets("answer field"),
        [vec![("n", 0), ("scores", COUNT_HEADER_BYTES)], [&head[..], &answer].concat()]
    );
}

#[test]
fn the_status_table_is_the_enum() {
    let printed: Vec<(usize, &str)> =
        tables("status")[0].iter().map(|row| (row[0].parse().unwrap(), row[1])).collect();
    let coded: Vec<(usize, &str)> =
        Status::ALL.iter().map(|status| (*status as usize, status.label())).collect();
    assert_eq!(printed, coded);
    assert!(
        PAGE.contains(&format!("at most {PAYLOAD_BYTES_MAX}."))
            && PAGE.contains(&format!("at most {VECTORS_MAX}"))
    );
}
