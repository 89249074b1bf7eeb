//! What can go wrong with one answer, as a value. A test writes it down, or draws it at random.

use std::time::Duration;

use fastrand::Rng;

/// The fault of one answer. Numbers of bytes are limited to what the answer has.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    None,
    /// The connection ends after this many bytes of the body, fewer than Content-Length says.
    Cut {
        after: usize,
    },
    /// The connection ends after the header, without the empty line that completes it.
    CutHeader,
    /// Content-Length and body are shorter than Content-Range says. All other headers fit the body.
    Short {
        by: usize,
    },
    /// Content-Length and body are longer than Content-Range says.
    Long {
        by: usize,
    },
    /// More bytes follow the body that Content-Length ended.
    Trailing {
        by: usize,
    },
    /// Content-Range and body are of a range this much further on, or further back if the object
    /// ends before that.
    Shifted {
        by: u64,
    },
    /// Content-Range says that the object is this much longer.
    Resized {
        by: u64,
    },
    /// 200 with the whole object, whatever was asked for.
    Whole,
    /// No Content-Length: the body ends with the connection.
    NoLength,
    /// No Content-Length: the body comes in chunks.
    Chunked,
    NoContentRange,
    NoEtag,
    /// An ETag that isn't the object's, whatever If-Match asked for.
    OtherEtag,
    /// The object's ETag with `W/` before it.
    WeakEtag,
    NoLastModified,
    /// Neither ETag nor Last-Modified.
    Nameless,
    /// From this request on, the key holds another object of the same length.
    Replaced,
    /// An answer without the object.
    Status {
        status: u16,
        retry_after: RetryAfter,
    },
    /// 302 to another key of this server.
    Redirect {
        to: String,
    },
    /// The connection is reset before the header is complete.
    ResetHeader,
    /// The connection is reset after this many bytes of the body.
    ResetBody {
        after: usize,
    },
    /// Bytes that aren't HTTP.
    Garbage,
    /// The body is sent in pieces of this many bytes, with a pause before each.
    Slow {
        bytes: usize,
        pause: Duration,
    },
    /// No answer at all; the connection stays open.
    Silent,
    /// This many bytes of the body, then nothing; the connection stays open.
    Stalled {
        after: usize,
    },
}

/// The value of `Retry-After`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RetryAfter {
    None,
    Seconds(u64),
    /// An HTTP date, this many seconds from now.
    Date(u64),
    /// Neither a number nor a date.
    Garbage,
}

/// All names that [`Fault::name`] returns.
pub const NAMES: &[&str] = &[
    "none",
    "cut",
    "cut header",
    "short",
    "long",
    "trailing",
    "shifted",
    "resized",
    "whole",
    "no length",
    "chunked",
    "no content-range",
    "no etag",
    "other etag",
    "weak etag",
    "no last-modified",
    "replaced",
    "status",
    "redirect",
    "reset header",
    "reset body",
    "garbage",
    "slow",
    "silent",
    "stalled",
    "nameless",
];

/// Faults in random order, all equally often.
pub struct Deck {
    random: Rng,
    part_bytes: usize,
    left: Vec<usize>,
}

impl Deck {
    pub fn new(random: Rng, part_bytes: usize) -> Self {
        Self { random, part_bytes, left: Vec::new() }
    }

    pub fn draw(&mut self) -> Fault {
        if self.left.is_empty() {
            self.left.extend(1..NAMES.len());
            self.random.shuffle(&mut self.left);
        }
        let kind = self.left.pop().expect("it was filled");
        Fault::random(kind, &mut self.random, self.part_bytes)
    }

    /// A fault with a chance of one in `requests`, else none.
    pub fn draw_sometimes(&mut self, requests: u64) -> Fault {
        if self.random.u64(..requests) == 0 { self.draw() } else { Fault::None }
    }
}

impl Fault {
    pub fn status(status: u16) -> Self {
        Self::Status { status, retry_after: RetryAfter::None }
    }

    pub fn name(&self) -> &'static str {
        NAMES[match self {
            Self::None => 0,
            Self::Cut { .. } => 1,
            Self::CutHeader => 2,
            Self::Short { .. } => 3,
            Self::Long { .. } => 4,
            Self::Trailing { .. } => 5,
            Self::Shifted { .. } => 6,
            Self::Resized { .. } => 7,
            Self::Whole => 8,
            Self::NoLength => 9,
            Self::Chunked => 10,
            Self::NoContentRange => 11,
            Self::NoEtag => 12,
            Self::OtherEtag => 13,
            Self::WeakEtag => 14,
            Self::NoLastModified => 15,
            Self::Replaced => 16,
            Self::Status { .. } => 17,
            Self::Redirect { .. } => 18,
            Self::ResetHeader => 19,
            Self::ResetBody { .. } => 20,
            Self::Garbage => 21,
            Self::Slow { .. } => 22,
            Self::Silent => 23,
            Self::Stalled { .. } => 24,
            Self::Nameless => 25,
        }]
    }

    /// The fault with this number in [`NAMES`], with numbers of bytes for parts of about
    /// `part_bytes`. None takes longer than a few milliseconds, except those in which the server
    /// stops sending: they last until the client gives up.
    fn random(kind: usize, random: &mut Rng, part_bytes: usize) -> Self {
        let bytes = random.usize(1..=part_bytes);
        match kind {
            1 => Self::Cut { after: bytes - 1 },
            2 => Self::CutHeader,
            3 => Self::Short { by: bytes },
            4 => Self::Long { by: bytes },
            5 => Self::Trailing { by: bytes },
            6 => Self::Shifted { by: bytes as u64 },
            7 => Self::Resized { by: bytes as u64 },
            8 => Self::Whole,
            9 => Self::NoLength,
            10 => Self::Chunked,
            11 => Self::NoContentRange,
            12 => Self::NoEtag,
            13 => Self::OtherEtag,
            14 => Self::WeakEtag,
            15 => Self::NoLastModified,
            16 => Self::Replaced,
            17 => Self::random_status(random),
            18 => Self::Redirect { to: "nowhere".to_owned() },
            19 => Self::ResetHeader,
            20 => Self::ResetBody { after: bytes - 1 },
            21 => Self::Garbage,
            22 => Self::Slow { bytes: part_bytes / 4 + 1, pause: Duration::from_millis(1) },
            23 => Self::Silent,
            24 => Self::Stalled { after: bytes - 1 },
            _ => Self::Nameless,
        }
    }

    fn random_status(random: &mut Rng) -> Self {
        const STATUSES: [u16; 10] = [400, 401, 403, 404, 408, 416, 429, 500, 503, 418];
        let retry_after = match random.u8(..4) {
            0 => RetryAfter::Seconds(0),
            1 => RetryAfter::Date(0),
            2 => RetryAfter::Garbage,
            _ => RetryAfter::None,
        };
        Self::Status { status: STATUSES[random.usize(..STATUSES.len())], retry_after }
    }
}

#[test]
fn every_fault_is_drawn_under_its_own_name() {
    let mut deck = Deck::new(Rng::with_seed(1), 100);
    for _ in 0..3 {
        let mut drawn: Vec<&str> = (1..NAMES.len()).map(|_| deck.draw().name()).collect();
        drawn.sort_unstable();
        let mut names = NAMES[1..].to_vec();
        names.sort_unstable();
        assert_eq!(drawn, names);
    }
    assert_eq!(Fault::None.name(), NAMES[0]);
}
