//! Round trips, prefixes, detection, random bytes, and docs/PROTOCOL.md: its examples, offsets,
//! statuses and limits are compared with the code.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::layout::{CREDITS_AT, DIM_AT, FLAGS_AT, N_AT, SEQUENCE_AT, STATUS_AT, VERSION_AT};
use super::*;

const PAGE: &str = include_str!("../../../../docs/PROTOCOL.md");

const MODES: [Mode; 2] = [Mode::Count, Mode::Header];

fn head_of(mode: Mode, bytes: &[u8], limits: &Limits) -> FrameHead {
    match front(mode, bytes, limits) {
        Front::Frame(head) => head,
        other => panic!("expected a frame, got {other:?}"),
    }
}

/// A header-mode header with every field free.
fn raw_header(magic: &[u8; 2], version: u8, flags: u8, n: u16, dim: u16) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend([version, flags]);
    bytes.extend(n.to_le_bytes());
    bytes.extend(dim.to_le_bytes());
    bytes.extend(77u64.to_le_bytes());
    bytes
}

proptest! {
    #[test]
    fn a_request_reads_back(
        dim in 1u32..20,
        rows in 1usize..9,
        sequence: u64,
        seed: u32,
        tail in vec(any::<u8>(), 0..40),
    ) {
        let limits = Limits { dim, max_vectors: 8 };
        let values: Vec<f32> = (0..rows as u32 * dim).map(|i| (i ^ seed) as f32).collect();
        for mode in MODES {
            let mut bytes = Vec::new();
            encode_request(mode, dim, sequence, &values, &mut bytes);
            let frame_bytes = bytes.len();
            prop_assert!(frame_bytes <= limits.frame_bytes_max(mode));
            prop_assert!(frame_bytes.is_multiple_of(4));
            prop_assert_eq!(detect(&bytes), Detected::Mode(mode));
            bytes.extend(&tail);
            let head = head_of(mode, &bytes, &limits);
            prop_assert_eq!(head.frame_bytes(), frame_bytes);
            prop_assert_eq!((head.vectors, head.refusal), (rows as u32, None));
            prop_assert_eq!(head.sequence, if mode == Mode::Header { sequence } else { 0 });
            let payload: Vec<f32> = bytes[head.header_bytes as usize..head.frame_bytes()]
                .chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
            prop_assert_eq!(payload, &values[..]);
            // Every prefix is too short for a header or already gives the same frame.
            for length in 0..frame_bytes {
                let is_partial = length < mode.header_bytes();
                let expected = if is_partial { Front::Partial } else { Front::Frame(head) };
                prop_assert_eq!(front(mode, &bytes[..length], &limits), expected);
            }
        }
    }

    #[test]
    fn an_answer_reads_back(
        scores in vec(any::<f32>(), 1..70),
        sequence: u64,
        credits: u16,
        refused in 0usize..11,
    ) {
        for mode in MODES {
            let status = Status::ALL[refused];
            let scores = if status == Status::Ok { &scores[..] } else { &[] };
            let mut bytes = Vec::new();
            encode_answer(mode, status, sequence, credits, scores, &mut bytes);
            prop_assert_eq!(bytes.len(), answer_bytes(mode, scores.len()));
            for length in 0..bytes.len() {
                prop_assert_eq!(decode_answer(mode, &bytes[..length]), Ok(None));
            }
            bytes.extend([0xff; 3]);
            let (head, range) = decode_answer(mode, &bytes).unwrap().unwrap();
            prop_assert_eq!(head.vectors as usize, scores.len());
            prop_assert_eq!(head.bytes_total, bytes.len() - 3);
            let expected: Vec<u8> = scores.iter().flat_map(|s| s.to_le_bytes()).collect();
            prop_assert_eq!(&bytes[range], &expected[..]);
            let (status, sequence, credits) = match mode {
                Mode::Header => (Some(status), sequence, credits),
                Mode::Count => ((status == Status::Ok).then_some(Status::Ok), 0, 0),
            };
            let found = (head.status, head.sequence, head.credits);
            prop_assert_eq!(found, (status, sequence, credits));
        }
    }

    #[test]
    fn every_limit_is_kept(bytes in vec(any::<u8>(), 0..40), dim: u32, max_vectors: u32) {
        let limits = Limits { dim, max_vectors };
        for mode in MODES {
            if let Front::Frame(head) = front(mode, &bytes, &limits) {
                prop_assert!(head.frame_bytes() <= limits.frame_bytes_max(mode));
                prop_assert!(head.refusal.is_some() || head.vectors <= max_vectors);
                prop_assert!(head.payload_bytes.is_multiple_of(4));
                prop_assert!(u64::from(head.payload_bytes) <= PAYLOAD_BYTES_MAX);
            }
        }
    }
}

/// Xorshift: the same 10^5 buffers on every run.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Reads random bytes as the server and as a client would. Nothing panics, and every step advances
/// or ends the reading.
#[test]
fn a_hundred_thousand_random_buffers() {
    let limits = Limits { dim: 3, max_vectors: 5 };
    let mut state = 0x5eed_1234_u64;
    let (mut frames, mut broken) = (0u64, 0u64);
    for _ in 0..100_000 {
        let length = (next(&mut state) % 120) as usize;
        let mut bytes: Vec<u8> = (0..length).map(|_| next(&mut state) as u8).collect();
        // Half of the buffers start like a header and have small fields. Otherwise hardly any would
        // pass the first check.
        if next(&mut state).is_multiple_of(2) && length >= 16 {
            bytes[..4].copy_from_slice(&[b'S', b'R', 1, 0]);
            bytes[4..8].copy_from_slice(&[
                (next(&mut state) % 7) as u8,
                0,
                (next(&mut state) % 4) as u8,
                0,
            ]);
        } else if length >= 4 {
            bytes[..4].copy_from_slice(&[(next(&mut state) % 7) as u8, 0, 0, 0]);
        }
        let Detected::Mode(mode) = detect(&bytes) else { continue };
        let mut at = 0;
        while at < bytes.len() {
            match front(mode, &bytes[at..], &limits) {
                Front::Partial => break,
                Front::Broken(_) => {
                    broken += 1;
                    break;
                }
                Front::Frame(head) => {
                    assert!(head.frame_bytes() >= 4);
                    frames += 1;
                    at += head.frame_bytes();
                }
            }
        }
        for mode in MODES {
            if let Ok(Some((head, range))) = decode_answer(mode, &bytes) {
                assert_eq!(range.end, head.bytes_total);
                assert!(range.end <= bytes.len() && range.len() == head.vectors as usize * 4);
            }
        }
    }
    assert!(
        frames > 50_000 && broken > 10_000,
        "the buffers miss their targets: {frames} frames, {broken} broken"
    );
}

#[test]
fn detection_table() {
    let table: [(&[u8], Detected); 12] = [
        (b"", Detected::Need),
        (b"SR\x01", Detected::Need),
        (&[0, 0, 0, 0], Detected::Mode(Mode::Count)),
        (&[42, 0, 0, 0], Detected::Mode(Mode::Count)),
        (&[0xff, 0xff, 0, 0], Detected::Mode(Mode::Count)),
        (b"SR\0\0", Detected::Mode(Mode::Count)),
        (b"SR\x01\0", Detected::Mode(Mode::Header)),
        (b"SR\x02\0", Detected::Mode(Mode::Header)),
        (&[0, 0, 1, 0], Detected::Unknown),
        (b"*1\r\n$4\r\nPING\r\n", Detected::Unknown),
        (b"PING\r\n", Detected::Unknown),
        (b"GET /metrics HTTP/1.1\r\n", Detected::Unknown),
    ];
    for (bytes, expected) in table {
        assert_eq!(detect(bytes), expected, "{bytes:?}");
    }
}

#[test]
fn count_mode_refuses_none_and_loses_framing_above_the_limit() {
    let limits = Limits { dim: 128, max_vectors: 64 };
    let zero = head_of(Mode::Count, &[0, 0, 0, 0, 9, 9], &limits);
    assert_eq!((zero.frame_bytes(), zero.refusal), (4, Some(Status::ZeroVectors)));
    assert_eq!(head_of(Mode::Count, &[64, 0, 0, 0], &limits).refusal, None);
    for broken in [65, 0xffff, 0x1_0000, u32::MAX] {
        assert_eq!(
            front(Mode::Count, &broken.to_le_bytes(), &limits),
            Front::Broken(Status::TooManyVectors)
        );
    }
}

#[test]
fn header_mode_says_what_is_wrong() {
    let limits = Limits { dim: 128, max_vectors: 64 };
    let broken = |bytes: Vec<u8>| match front(Mode::Header, &bytes, &limits) {
        Front::Broken(status) => status,
        other => panic!("expected lost framing, got {other:?}"),
    };
    assert_eq!(broken(raw_header(b"SX", 1, 0, 1, 128)), Status::BadMagic);
    assert_eq!(broken(raw_header(b"SR", 2, 0, 1, 128)), Status::BadVersion);
    assert_eq!(broken(raw_header(b"SR", 1, 4, 1, 128)), Status::BadFlags);
    assert_eq!(broken(raw_header(b"SR", 1, 0, 65, 128)), Status::TooManyVectors);
    assert_eq!(broken(raw_header(b"SR", 1, 0, 64, 129)), Status::WrongDimension);

    let refused = |n, dim| {
        let head = head_of(Mode::Header, &raw_header(b"SR", 1, 0, n, dim), &limits);
        assert_eq!(head.sequence, 77);
        (head.refusal, head.frame_bytes())
    };
    assert_eq!(refused(0, 128), (Some(Status::ZeroVectors), 16));
    assert_eq!(refused(0, 9), (Some(Status::ZeroVectors), 16));
    assert_eq!(refused(1, 129), (Some(Status::WrongDimension), 16 + 129 * 4));
    assert_eq!(refused(64, 127), (Some(Status::WrongDimension), 16 + 64 * 127 * 4));
    assert_eq!(refused(300, 2), (Some(Status::WrongDimension), 16 + 2400));
    assert_eq!(refused(9, 0), (Some(Status::WrongDimension), 16));
    assert_eq!(refused(64, 128), (None, limits.frame_bytes_max(Mode::Header)));
}

#[test]
fn limits_name_the_field() {
    assert_eq!(Limits { dim: 128, max_vectors: 64 }.check(), Ok(()));
    assert_eq!(Limits { dim: 0, max_vectors: 64 }.check(), Err(LimitsError::Dim(0)));
    assert_eq!(Limits { dim: 65536, max_vectors: 64 }.check(), Err(LimitsError::Dim(65536)));
    assert_eq!(Limits { dim: 1, max_vectors: 0 }.check(), Err(LimitsError::MaxVectors(0)));
    assert_eq!(Limits { dim: 1, max_vectors: 65536 }.check(), Err(LimitsError::MaxVectors(65536)));
    let wide = Limits { dim: 65535, max_vectors: 65535 };
    assert_eq!(wide.check(), Err(LimitsError::Payload(65535 * 65535 * 4)));
    assert!(wide.check().unwrap_err().to_string().contains("lower max-vectors"));
}

#[test]
fn limits_that_nobody_checked_overflow_nothing() {
    let limits = Limits { dim: u32::MAX, max_vectors: u32::MAX };
    assert_eq!(
        front(Mode::Count, &u32::MAX.to_le_bytes(), &limits),
        Front::Broken(Status::TooManyVectors)
    );
    assert_eq!(limits.frame_bytes_max(Mode::Count) as u64, 4 + PAYLOAD_BYTES_MAX);
    let none = Limits { dim: u32::MAX, max_vectors: 0 };
    assert_eq!(
        front(Mode::Count, &1u32.to_le_bytes(), &none),
        Front::Broken(Status::TooManyVectors)
    );
}

#[test]
fn bytes_that_are_no_answer_are_an_error() {
    assert_eq!(decode_answer(Mode::Count, &[0, 0, 1, 0]), Err(AnswerError::Count(0x1_0000)));
    assert_eq!(
        decode_answer(Mode::Header, &raw_header(b"HT", 1, 0, 0, 0)),
        Err(AnswerError::Magic(*b"HT"))
    );
    assert_eq!(
        decode_answer(Mode::Header, &raw_header(b"SR", 3, 0, 0, 0)),
        Err(AnswerError::Version(3))
    );
    assert_eq!(
        decode_answer(Mode::Header, &raw_header(b"SR", 1, 11, 0, 0)),
        Err(AnswerError::Status(11))
    );
}

#[test]
fn statuses_keep_their_numbers() {
    for (number, status) in Status::ALL.into_iter().enumerate() {
        assert_eq!(status as usize, number);
        assert_eq!(Status::from_wire(number as u8), Some(status));
        assert!(status.label().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
    }
    assert_eq!(Status::from_wire(11), None);
}

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
