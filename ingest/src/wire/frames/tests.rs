//! Round trips, prefixes, detection, and random bytes.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

mod hello;
mod page;

const MODES: [Mode; 3] = [Mode::Count, Mode::Header1, Mode::Header];

fn head_of(mode: Mode, bytes: &[u8], limits: &Limits) -> FrameHead {
    match front(mode, bytes, limits) {
        Front::Frame(head) => head,
        other => panic!("expected a frame, got {other:?}"),
    }
}

/// A header of version 1 with every field free.
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
        let limits = Limits::new(dim, 8);
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
            prop_assert_eq!(head.sequence, if mode == Mode::Count { 0 } else { sequence });
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
        refused in 0usize..Status::ALL.len(),
        asked: bool,
    ) {
        for mode in MODES {
            let status = Status::ALL[refused];
            let vectors = if status == Status::Ok { scores.len() as u32 } else { 0 };
            let asked = asked || mode != Mode::Header;
            let scores = if status == Status::Ok && asked { &scores[..] } else { &[] };
            let (lane, detail, first_row) = (credits ^ 1, credits.into(), sequence >> 1);
            let stored_through = sequence >> 2;
            let answer = Answer {
                status, vectors, sequence, credits, lane, detail, first_row, stored_through, scores,
            };
            let mut bytes = Vec::new();
            encode_answer(mode, &answer, &mut bytes);
            prop_assert_eq!(bytes.len(), answer_bytes(mode, scores.len()));
            for length in 0..bytes.len() {
                prop_assert_eq!(decode_answer(mode, &bytes[..length]), Ok(None));
            }
            bytes.extend([0xff; 3]);
            let (head, range) = decode_answer(mode, &bytes).unwrap().unwrap();
            prop_assert_eq!((head.vectors, head.scores as usize), (vectors, scores.len()));
            let place = AnswerPlace { lane, detail, first_row, stored_through };
            prop_assert_eq!(head.place, (mode == Mode::Header).then_some(place));
            prop_assert_eq!(head.bytes_total, bytes.len() - 3);
            let expected: Vec<u8> = scores.iter().flat_map(|s| s.to_le_bytes()).collect();
            prop_assert_eq!(&bytes[range], &expected[..]);
            let (status, sequence, credits) = match mode {
                Mode::Header | Mode::Header1 => (Some(status), sequence, credits),
                Mode::Count => ((status == Status::Ok).then_some(Status::Ok), 0, 0),
            };
            let found = (head.status, head.sequence, head.credits);
            prop_assert_eq!(found, (status, sequence, credits));
        }
    }

    #[test]
    fn every_limit_is_kept(bytes in vec(any::<u8>(), 0..40), dim: u32, max_vectors: u32) {
        let limits = Limits::new(dim, max_vectors);
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
    let limits = Limits::new(3, 5);
    let mut state = 0x5eed_1234_u64;
    let (mut frames, mut broken) = (0u64, 0u64);
    for _ in 0..100_000 {
        let length = (next(&mut state) % 120) as usize;
        let mut bytes: Vec<u8> = (0..length).map(|_| next(&mut state) as u8).collect();
        // Half of the buffers start like a header and have small fields. Otherwise hardly any would
        // pass the first check.
        if next(&mut state).is_multiple_of(2) && length >= 16 {
            let (n, dim) = ((next(&mut state) % 7) as u8, (next(&mut state) % 4) as u8);
            if next(&mut state).is_multiple_of(2) && length >= 24 {
                let (kind, flags) = (1 + (next(&mut state) % 3) as u8, next(&mut state) as u8 % 5);
                bytes[..16].copy_from_slice(&[
                    b'S', b'R', 2, kind, flags, 0, n, 0, dim, 0, 0, 0, 0, 0, 0, 0,
                ]);
            } else {
                bytes[..8].copy_from_slice(&[b'S', b'R', 1, 0, n, 0, dim, 0]);
            }
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
                assert!(range.end <= bytes.len() && range.len() == head.scores as usize * 4);
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
    let table: [(&[u8], Detected); 14] = [
        (b"", Detected::Need),
        (b"SR\x01", Detected::Need),
        (&[0, 0, 0, 0], Detected::Mode(Mode::Count)),
        (&[42, 0, 0, 0], Detected::Mode(Mode::Count)),
        (&[0xff, 0xff, 0, 0], Detected::Mode(Mode::Count)),
        (b"SR\0\0", Detected::Mode(Mode::Count)),
        (b"SR\x01\0", Detected::Mode(Mode::Header1)),
        (b"SR\x02\x01", Detected::Mode(Mode::Header)),
        (b"SR\x02\0", Detected::Mode(Mode::Header)),
        (b"SR\x03\0", Detected::Mode(Mode::Header1)),
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
    let limits = Limits::new(128, 64);
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
fn version_1_says_what_is_wrong() {
    let limits = Limits::new(128, 64);
    let broken = |bytes: Vec<u8>| match front(Mode::Header1, &bytes, &limits) {
        Front::Broken(status) => status,
        other => panic!("expected lost framing, got {other:?}"),
    };
    assert_eq!(broken(raw_header(b"SX", 1, 0, 1, 128)), Status::BadMagic);
    assert_eq!(broken(raw_header(b"SR", 2, 0, 1, 128)), Status::BadVersion);
    assert_eq!(broken(raw_header(b"SR", 1, 4, 1, 128)), Status::BadFlags);
    assert_eq!(broken(raw_header(b"SR", 1, 0, 65, 128)), Status::TooManyVectors);
    assert_eq!(broken(raw_header(b"SR", 1, 0, 64, 129)), Status::WrongDimension);

    let refused = |n, dim| {
        let head = head_of(Mode::Header1, &raw_header(b"SR", 1, 0, n, dim), &limits);
        assert_eq!(head.sequence, 77);
        (head.refusal, head.frame_bytes())
    };
    assert_eq!(refused(0, 128), (Some(Status::ZeroVectors), 16));
    assert_eq!(refused(0, 9), (Some(Status::ZeroVectors), 16));
    assert_eq!(refused(1, 129), (Some(Status::WrongDimension), 16 + 129 * 4));
    assert_eq!(refused(64, 127), (Some(Status::WrongDimension), 16 + 64 * 127 * 4));
    assert_eq!(refused(300, 2), (Some(Status::WrongDimension), 16 + 2400));
    assert_eq!(refused(9, 0), (Some(Status::WrongDimension), 16));
    assert_eq!(refused(64, 128), (None, limits.frame_bytes_max(Mode::Header1)));
}

#[test]
fn limits_name_the_field() {
    assert_eq!(Limits::new(128, 64).check(), Ok(()));
    assert_eq!(Limits::new(0, 64).check(), Err(LimitsError::Dim(0)));
    assert_eq!(Limits::new(65536, 64).check(), Err(LimitsError::Dim(65536)));
    assert_eq!(Limits::new(1, 0).check(), Err(LimitsError::MaxVectors(0)));
    assert_eq!(Limits::new(1, 65536).check(), Err(LimitsError::MaxVectors(65536)));
    let wide = Limits::new(65535, 65535);
    assert_eq!(wide.check(), Err(LimitsError::Payload(65535 * 65535 * 4)));
    assert!(wide.check().unwrap_err().to_string().contains("lower max-vectors"));
}

#[test]
fn limits_that_nobody_checked_overflow_nothing() {
    let limits = Limits::new(u32::MAX, u32::MAX);
    assert_eq!(
        front(Mode::Count, &u32::MAX.to_le_bytes(), &limits),
        Front::Broken(Status::TooManyVectors)
    );
    assert_eq!(limits.frame_bytes_max(Mode::Count) as u64, 4 + PAYLOAD_BYTES_MAX);
    let none = Limits::new(u32::MAX, 0);
    assert_eq!(
        front(Mode::Count, &1u32.to_le_bytes(), &none),
        Front::Broken(Status::TooManyVectors)
    );
}

#[test]
fn bytes_that_are_no_answer_are_an_error() {
    assert_eq!(decode_answer(Mode::Count, &[0, 0, 1, 0]), Err(AnswerError::Count(0x1_0000)));
    assert_eq!(
        decode_answer(Mode::Header1, &raw_header(b"HT", 1, 0, 0, 0)),
        Err(AnswerError::Magic(*b"HT"))
    );
    assert_eq!(
        decode_answer(Mode::Header1, &raw_header(b"SR", 3, 0, 0, 0)),
        Err(AnswerError::Version { got: 3, reads: 1 })
    );
    assert_eq!(
        decode_answer(Mode::Header1, &raw_header(b"SR", 1, 22, 0, 0)),
        Err(AnswerError::Status(22))
    );
}

#[test]
fn statuses_keep_their_numbers() {
    for (number, status) in Status::ALL.into_iter().enumerate() {
        assert_eq!(status as usize, number);
        assert_eq!(Status::from_wire(number as u8), Some(status));
        assert!(status.label().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
    }
    assert_eq!(Status::from_wire(22), None);
}

/// A watermark is told from an answer by its kind alone, wherever its bytes end.
#[test]
fn a_watermark_is_no_answer() {
    let watermark = Watermark { credits: 7, lane: 513, stored_through: u64::MAX - 2 };
    let mut bytes = [0xff; ANSWER_HEADER_BYTES];
    write_watermark(&watermark, &mut bytes);
    for length in 0..bytes.len() {
        let begun = &bytes[..length];
        assert_eq!(answer_event(Mode::Header, begun), Ok(None));
        assert_eq!(may_be_watermark(Mode::Header, begun), length > 0);
    }
    let event = Ok(Some(AnswerEvent::Watermark(watermark)));
    assert_eq!(answer_event(Mode::Header, &bytes), event);
    assert_eq!(decode_answer(Mode::Header, &bytes), Err(AnswerError::Kind(3)));
    // It never comes instead of a hello's answer, nor in the other modes.
    assert_eq!(decode_hello_answer(&bytes), Err(AnswerError::NoHello(Status::Ok)));
    let refused = AnswerError::Version { got: 2, reads: 1 };
    assert_eq!(answer_event(Mode::Header1, &bytes), Err(refused));
    assert!(!may_be_watermark(Mode::Header1, &bytes) && !may_be_watermark(Mode::Count, &bytes));
    let mut answer = Vec::new();
    encode_answer(Mode::Header, &Answer::default(), &mut answer);
    assert!((4..40).all(|length| !may_be_watermark(Mode::Header, &answer[..length])));
    bytes[3] = 4;
    assert_eq!(answer_event(Mode::Header, &bytes), Err(AnswerError::Kind(4)));
}
