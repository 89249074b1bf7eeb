//! docs/PROTOCOL.md: its examples, offsets, statuses and limits are compared with the code.

use std::collections::BTreeMap;

use super::super::hello::{hello_answer_at, hello_at};
use super::super::layout::{KIND_AT, STATUS_AT, VERSION_AT, answer_at, header1_at, request_at};
use super::*;

const PAGE: &str = include_str!("../../../../../docs/PROTOCOL.md");

/// The bytes of each fenced block that opens with "hex NAME". Text after three spaces is for the
/// reader.
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

/// The cells of every table whose first heading is `title`, in order.
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
        let (sequence, credits, lane) = (7, 31, 1);
        let (vectors, first_row) = if status == Status::Ok { (1, 1000) } else { (0, 0) };
        let (detail, stored_through) = (0, 5);
        let answer = Answer {
            status,
            vectors,
            sequence,
            credits,
            lane,
            detail,
            first_row,
            stored_through,
            scores,
        };
        let mut bytes = Vec::new();
        encode_answer(mode, &answer, &mut bytes);
        bytes
    };
    let hello = |dim, status, ack| {
        let limits = Limits::new(dim, 64);
        hello_answer(&HelloAnswer { status, limits, lane: 1, in_flight_max: 64, ack }).to_vec()
    };
    let asked = |ack| {
        let mut bytes = Vec::new();
        encode_hello(&Hello { ack, ..Hello::new(2) }, &mut bytes);
        bytes
    };
    let mut watermark = [0; ANSWER_HEADER_BYTES];
    write_watermark(&Watermark { credits: 64, lane: 1, stored_through: 7 }, &mut watermark);
    let mut with_ids = Vec::new();
    encode_request_with_ids(2, 8, &[42], &[1.0, 2.0], false, &mut with_ids);
    let written = BTreeMap::from([
        ("hello", asked(AckLevel::Received)),
        ("hello-stored", asked(AckLevel::Stored)),
        ("hello-answer", hello(2, Status::Ok, AckLevel::Received)),
        ("hello-answer-stored", hello(2, Status::Ok, AckLevel::Stored)),
        ("hello-refusal", hello(4, Status::WrongDimension, AckLevel::Received)),
        ("watermark", watermark.to_vec()),
        ("header-request", request(Mode::Header, 7)),
        ("header-request-with-ids", with_ids),
        ("header-answer", answer(Mode::Header, Status::Ok, &[3.0])),
        ("header-answer-without-scores", answer(Mode::Header, Status::Ok, &[])),
        ("header-refusal", answer(Mode::Header, Status::NotFinite, &[])),
        ("count-request", request(Mode::Count, 0)),
        ("count-answer", answer(Mode::Count, Status::Ok, &[3.0])),
        ("count-refusal", answer(Mode::Count, Status::NotFinite, &[])),
        ("header1-request", request(Mode::Header1, 7)),
        ("header1-answer", answer(Mode::Header1, Status::Ok, &[3.0])),
        ("header1-refusal", answer(Mode::Header1, Status::NotFinite, &[])),
    ]);
    assert_eq!(examples(), written);
}

/// Names and offsets of the fields in every table with this title.
fn offsets(title: &str) -> Vec<Vec<(&'static str, usize)>> {
    let row = |row: &Vec<&'static str>| (row[0], row[1].parse().unwrap());
    tables(title).iter().map(|table| table.iter().map(row).collect()).collect()
}

const MAGIC_FIELDS: [(&str, usize); 2] = [("magic", 0), ("version", VERSION_AT)];
const HEAD_FIELDS: [(&str, usize); 3] = [("magic", 0), ("version", VERSION_AT), ("kind", KIND_AT)];

#[test]
fn the_tables_of_hellos_carry_the_offsets() {
    let head = HEAD_FIELDS;
    let hello = [
        ("dim", hello_at::DIM),
        ("element type", hello_at::ELEMENT_TYPE),
        ("ack level", hello_at::ACK_LEVEL),
        ("columns", hello_at::COLUMNS),
        ("reserved", hello_at::RESERVED),
        ("token bytes", hello_at::TOKEN_BYTES),
        ("reserved", hello_at::RESERVED_2),
        ("producer", hello_at::PRODUCER),
        ("token", REQUEST_HEADER_BYTES),
    ];
    assert_eq!(offsets("hello field"), [[&head[..], &hello].concat()]);
    let hello_answer = [
        ("status", STATUS_AT),
        ("columns", hello_answer_at::COLUMNS),
        ("lane", hello_answer_at::LANE),
        ("dim", hello_answer_at::DIM),
        ("max vectors", hello_answer_at::MAX_VECTORS),
        ("in flight", hello_answer_at::IN_FLIGHT),
        ("element type", hello_answer_at::ELEMENT_TYPE),
        ("ack level", hello_answer_at::ACK_LEVEL),
        ("reserved", hello_answer_at::ACK_LEVEL + 1),
    ];
    assert_eq!(offsets("hello answer field"), [[&head[..], &hello_answer].concat()]);
}

#[test]
fn the_tables_of_requests_and_answers_carry_the_offsets() {
    let (magic, head) = (MAGIC_FIELDS, HEAD_FIELDS);
    let request = [
        ("flags", request_at::FLAGS),
        ("n", request_at::N),
        ("dim", request_at::DIM),
        ("reserved", request_at::RESERVED),
        ("sequence", request_at::SEQUENCE),
        ("ids", REQUEST_HEADER_BYTES),
    ];
    let request1 = [
        ("flags", header1_at::FLAGS),
        ("n", header1_at::N),
        ("dim", header1_at::DIM),
        ("sequence", header1_at::SEQUENCE),
        ("vectors", HEADER1_BYTES),
    ];
    let answer = [
        ("status", STATUS_AT),
        ("flags", answer_at::FLAGS),
        ("n", answer_at::N),
        ("credits", answer_at::CREDITS),
        ("lane", answer_at::LANE),
        ("detail", answer_at::DETAIL),
        ("sequence", answer_at::SEQUENCE),
        ("first row", answer_at::FIRST_ROW),
        ("stored through", answer_at::STORED_THROUGH),
        ("scores", ANSWER_HEADER_BYTES),
    ];
    let answer1 = [
        ("status", header1_at::STATUS),
        ("n", header1_at::N),
        ("credits", header1_at::CREDITS),
        ("sequence", header1_at::SEQUENCE),
        ("scores", HEADER1_BYTES),
    ];
    assert_eq!(
        offsets("request field"),
        [
            [&head[..], &request].concat(),
            [&magic[..], &request1].concat(),
            vec![("n", 0), ("vectors", COUNT_HEADER_BYTES)]
        ]
    );
    assert_eq!(
        offsets("answer field"),
        [
            [&head[..], &answer].concat(),
            [&magic[..], &answer1].concat(),
            vec![("n", 0), ("scores", COUNT_HEADER_BYTES)]
        ]
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
