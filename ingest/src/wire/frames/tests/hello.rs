//! Header mode: hellos and their answers, and what is wrong with a frame.

use super::*;

const PLAIN: Limits = Limits::new(4, 64);
const WITH_IDS: Limits =
    Limits { columns: WireColumns { id: true, time: false }, ..Limits::new(4, 64) };

fn hello(ids: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_hello(&Hello { ids, ..Hello::new(4) }, &mut bytes);
    bytes
}

fn hello_refusal(bytes: &[u8], limits: &Limits) -> Option<Status> {
    let head = head_of(Mode::Header, bytes, limits);
    assert_eq!((head.reply, head.frame_bytes()), (Reply::Hello, 24));
    head.refusal
}

/// Each field that doesn't exist yet is refused by its own status, whatever its value.
#[test]
fn every_field_of_a_hello_is_refused_by_name() {
    assert_eq!(hello_refusal(&hello(false), &PLAIN), None);
    assert_eq!(hello_refusal(&hello(true), &WITH_IDS), None);
    assert_eq!(hello_refusal(&hello(true), &PLAIN), Some(Status::NoSuchColumns));
    assert_eq!(hello_refusal(&hello(false), &WITH_IDS), Some(Status::IdsMissing));
    let fields = [
        (4..8, Status::WrongDimension),
        (8..9, Status::WrongElementType),
        (9..10, Status::NoSuchAck),
        (10..11, Status::NoSuchColumns),
        (11..12, Status::ReservedNotZero),
        (12..14, Status::NoSuchToken),
        (14..16, Status::ReservedNotZero),
        (16..24, Status::NoSuchProducer),
    ];
    for (bytes, status) in fields {
        for at in bytes {
            for bit in 0..8 {
                let mut changed = hello(false);
                changed[at] ^= 1 << bit;
                assert_eq!(hello_refusal(&changed, &PLAIN), Some(status), "byte {at}, bit {bit}");
            }
        }
    }
    // A server with a log gives both acknowledgements, and no third one.
    let with_log = Limits { has_log: true, ..PLAIN };
    for ack in [AckLevel::Received, AckLevel::Stored] {
        let asked = Hello { ack, ..Hello::new(4) };
        let mut bytes = Vec::new();
        encode_hello(&asked, &mut bytes);
        let refused = (ack == AckLevel::Stored).then_some(Status::NoSuchAck);
        assert_eq!(hello_refusal(&bytes, &PLAIN), refused);
        assert_eq!(hello_refusal(&bytes, &with_log), None);
        assert_eq!(decode_hello(bytes.first_chunk().unwrap()), asked);
    }
    for ack in 2..=u8::MAX {
        let mut changed = hello(false);
        changed[9] = ack;
        assert_eq!(hello_refusal(&changed, &with_log), Some(Status::NoSuchAck));
    }
    // The dimension first: it is the likeliest mistake.
    let mut all = hello(false);
    all[4..].fill(0xff);
    assert_eq!(hello_refusal(&all, &PLAIN), Some(Status::WrongDimension));
}

#[test]
fn a_hello_s_answer_reads_back() {
    let acks = [AckLevel::Received, AckLevel::Stored].into_iter().cycle();
    for (status, ack) in Status::ALL.into_iter().zip(acks) {
        for (id, time) in [(false, false), (true, false), (false, true), (true, true)] {
            let columns = WireColumns { id, time };
            let limits = Limits { columns, ..Limits::new(70_000, 65_535) };
            let answer = HelloAnswer { status, limits, lane: 513, in_flight_max: 300, ack };
            let bytes = hello_answer(&answer);
            for length in 0..bytes.len() {
                assert_eq!(decode_hello_answer(&bytes[..length]), Ok(None));
            }
            assert_eq!(decode_hello_answer(&bytes), Ok(Some(answer)));
        }
    }
    // What an older server, another program, and this server after a frame that is no hello say.
    let old = raw_header(b"SR", 1, Status::BadVersion as u8, 0, 0);
    assert_eq!(decode_hello_answer(&old), Err(AnswerError::Version { got: 1, reads: 2 }));
    assert_eq!(decode_hello_answer(b"HTTP/1.1 400"), Err(AnswerError::Magic(*b"HT")));
    let mut refused = Vec::new();
    let answer = Answer { status: Status::BadKind, ..Answer::default() };
    encode_answer(Mode::Header, &answer, &mut refused);
    assert_eq!(decode_hello_answer(&refused), Err(AnswerError::NoHello(Status::BadKind)));
}

/// An accepted hello has no field that this build can't read; a refused one may come from a server
/// that knows more.
#[test]
fn an_accepted_hello_means_what_this_build_knows() {
    let answered = |status| {
        let limits = Limits::new(4, 64);
        let ack = AckLevel::Received;
        hello_answer(&HelloAnswer { status, limits, lane: 0, in_flight_max: 1, ack })
    };
    let fields = [
        (5..6, 2..8, "columns"),
        (18..19, 0..8, "element type"),
        (19..20, 1..8, "ack level"),
        (20..24, 0..8, "reserved"),
    ];
    for (bytes, bits, name) in fields {
        for (at, bit) in bytes.flat_map(|at| bits.clone().map(move |bit| (at, bit))) {
            let mut changed = answered(Status::Ok);
            changed[at] |= 1 << bit;
            let refused = decode_hello_answer(&changed).unwrap_err();
            let AnswerError::HelloField { field, got, known } = refused else {
                panic!("{refused}")
            };
            let knows = u32::from(name == "ack level");
            assert!(
                field == name && got != known && known == knows,
                "byte {at}, bit {bit}: {refused}"
            );
            let mut changed = answered(Status::WrongElementType);
            changed[at] |= 1 << bit;
            assert!(decode_hello_answer(&changed).is_ok(), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn ids_come_where_the_server_has_a_column_and_nowhere_else() {
    let mut with = Vec::new();
    encode_request_with_ids(4, 9, &[7, 8], &[1.0; 8], false, &mut with);
    let mut without = Vec::new();
    encode_request(Mode::Header, 4, 9, &[1.0; 8], &mut without);
    let judged = |bytes: &[u8], limits| {
        let head = head_of(Mode::Header, bytes, limits);
        assert_eq!((head.frame_bytes(), head.sequence), (bytes.len(), 9));
        (head.refusal, head.reply)
    };
    assert_eq!(judged(&with, &WITH_IDS), (None, Reply::Plain));
    assert_eq!(judged(&without, &PLAIN), (None, Reply::Scores));
    assert_eq!(judged(&without, &WITH_IDS), (Some(Status::IdsMissing), Reply::Scores));
    assert_eq!(judged(&with, &PLAIN), (Some(Status::NoSuchColumns), Reply::Plain));
    // The other modes can't carry ids.
    for mode in [Mode::Count, Mode::Header1] {
        let mut bytes = Vec::new();
        encode_request(mode, 4, 9, &[1.0; 8], &mut bytes);
        assert_eq!(head_of(mode, &bytes, &WITH_IDS).refusal, Some(Status::IdsMissing));
    }
    // The largest frame of such a server fits its limits.
    let mut largest = Vec::new();
    encode_request_with_ids(4, 9, &[1; 64], &[1.0; 256], true, &mut largest);
    assert_eq!(judged(&largest, &WITH_IDS), (None, Reply::Scores));
    assert_eq!(largest.len(), WITH_IDS.frame_bytes_max(Mode::Header));
}

/// Also where ids make the largest legal payload longer than these.
#[test]
fn too_many_vectors_are_lost_framing_in_every_mode() {
    let limits = Limits { dim: 1, ..WITH_IDS };
    for mode in MODES {
        for vectors in [65, 66, 192, 193, 65_535] {
            let mut bytes = Vec::new();
            encode_request(mode, 1, 7, &vec![1.0; vectors], &mut bytes);
            let expected = Front::Broken(Status::TooManyVectors);
            assert_eq!(front(mode, &bytes, &limits), expected, "{mode:?}, {vectors} vectors");
        }
    }
    let mut with_ids = Vec::new();
    encode_request_with_ids(1, 7, &[1; 65], &[1.0; 65], false, &mut with_ids);
    for limits in [limits, Limits::new(1, 64)] {
        let expected = Front::Broken(Status::TooManyVectors);
        assert_eq!(front(Mode::Header, &with_ids, &limits), expected);
    }
}

#[test]
fn header_mode_says_what_is_wrong() {
    let mut good = Vec::new();
    encode_request(Mode::Header, 4, 77, &[1.0; 4], &mut good);
    let judged = |at: usize, bytes: &[u8]| {
        let mut changed = good.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        front(Mode::Header, &changed, &PLAIN)
    };
    let broken = |at, bytes: &[u8]| match judged(at, bytes) {
        Front::Broken(status) => status,
        other => panic!("expected lost framing, got {other:?}"),
    };
    assert_eq!(broken(0, b"X"), Status::BadMagic);
    assert_eq!(broken(2, &[1]), Status::BadVersion);
    assert_eq!(broken(3, &[0]), Status::BadKind);
    assert_eq!(broken(3, &[3]), Status::BadKind);
    assert_eq!(broken(4, &[4]), Status::BadFlags);
    assert_eq!(broken(5, &[1]), Status::BadFlags);
    assert_eq!(broken(12, &[0, 0, 0, 1]), Status::ReservedNotZero);
    assert_eq!(broken(6, &[65]), Status::TooManyVectors);
    assert_eq!(broken(8, &u32::MAX.to_le_bytes()), Status::WrongDimension);
    let refused = |at, bytes: &[u8]| match judged(at, bytes) {
        Front::Frame(head) => (head.refusal, head.frame_bytes(), head.sequence),
        other => panic!("expected a frame, got {other:?}"),
    };
    assert_eq!(refused(6, &[0]), (Some(Status::ZeroVectors), 24, 77));
    assert_eq!(refused(8, &[5]), (Some(Status::WrongDimension), 44, 77));
    assert_eq!(refused(0, b"SR"), (None, 40, 77));
}
