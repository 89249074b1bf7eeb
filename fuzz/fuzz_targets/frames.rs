//! Bytes of a connection, in both directions: where they are cut must not matter, and no header
//! may promise more than the limits allow.
//!
//! The input begins with the limits of a server and the lengths of pieces: see [`Connection::new`].
//! Another version of the wire is one more [`Mode`]; its frames need seeds of their own.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slipring_ingest::wire::frames::{
    ANSWER_HEADER_BYTES, AnswerEvent, Detected, Front, Limits, Mode, answer_event, decode_answer,
    detect, front,
};

/// Bytes of the input before those of the connection.
const SETTINGS_BYTES: usize = 6;

/// What one connection receives.
struct Connection<'a> {
    limits: Limits,
    /// Lengths of the pieces that the bytes arrive in, over and over.
    pieces: [usize; 4],
    bytes: &'a [u8],
}

impl<'a> Connection<'a> {
    fn new(input: &'a [u8]) -> Option<Connection<'a>> {
        let (settings, bytes) = input.split_first_chunk::<SETTINGS_BYTES>()?;
        let [dim, max_vectors, pieces @ ..] = *settings;
        let has_log = dim.is_multiple_of(2);
        let limits =
            Limits { has_log, ..Limits::new(1 + u32::from(dim), 1 + u32::from(max_vectors)) };
        let pieces = pieces.map(|length| 1 + usize::from(length));
        Some(Connection { limits, pieces, bytes })
    }

    /// What the server sees: every header, until framing is lost or the bytes end.
    fn requests(&self, mode: Mode, is_whole: bool) -> Vec<Front> {
        let (mut seen, mut arrived, mut at) = (Vec::new(), 0, 0);
        let mut pieces = self.pieces.iter().cycle();
        while arrived < self.bytes.len() {
            let piece = if is_whole { self.bytes.len() } else { *pieces.next().unwrap() };
            arrived = self.bytes.len().min(arrived + piece);
            while at < arrived {
                match front(mode, &self.bytes[at..arrived], &self.limits) {
                    Front::Partial => break,
                    broken @ Front::Broken(_) => {
                        seen.push(broken);
                        return seen;
                    }
                    Front::Frame(head) => {
                        assert!(u64::from(head.payload_bytes) <= self.limits.payload_bytes_max());
                        assert!(head.frame_bytes() <= self.limits.frame_bytes_max(mode));
                        assert!(head.refusal.is_some() || head.vectors <= self.limits.max_vectors);
                        if at + head.frame_bytes() > arrived {
                            break;
                        }
                        at += head.frame_bytes();
                        seen.push(Front::Frame(head));
                    }
                }
            }
        }
        seen
    }

    /// What a client sees of a server that answers with these bytes.
    fn check_answers(&self, mode: Mode) {
        let mut at = 0;
        while let Ok(Some(event)) = answer_event(mode, &self.bytes[at..]) {
            match (event, decode_answer(mode, &self.bytes[at..])) {
                (AnswerEvent::Answer(head), Ok(Some((whole, scores)))) => {
                    assert_eq!(whole, head);
                    assert_eq!(scores.len(), head.scores as usize * 4);
                    assert!(head.scores <= head.vectors && head.bytes_total > 0);
                    at += head.bytes_total;
                }
                (AnswerEvent::Answer(head), Ok(None)) => {
                    assert!(head.bytes_total > self.bytes.len() - at);
                    break;
                }
                (AnswerEvent::Watermark(_), Err(_)) => at += ANSWER_HEADER_BYTES,
                (event, whole) => panic!("{event:?}, {whole:?}"),
            }
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some(connection) = Connection::new(input) else { return };
    for mode in [Mode::Count, Mode::Header1, Mode::Header] {
        assert_eq!(connection.requests(mode, false), connection.requests(mode, true));
        connection.check_answers(mode);
    }
    // The first four bytes decide.
    let detected = detect(connection.bytes);
    assert_eq!(detected == Detected::Need, connection.bytes.len() < 4);
    assert_eq!(detected, detect(connection.bytes.get(..4).unwrap_or(connection.bytes)));
});
