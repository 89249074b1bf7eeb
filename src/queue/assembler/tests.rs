//! Messages of several streams whose frames arrive interleaved, compared with plain vectors: every
//! byte arrives, with at most one copy, and a small message is in no large class.

use proptest::prelude::*;
use slipring_test_support::random_runs;

use super::{AssembleError, Assembler, Length, PooledBuf};
use crate::class::{ClassPool, GetError};
use crate::queue::tests::{in_use, tiny_pool};

const MAX: usize = 5000;

fn assembler(pool: &ClassPool) -> Assembler {
    Assembler::new(pool, MAX).expect("a limit")
}

/// Receives a frame in pieces of at most `piece` bytes, as far as each space goes.
fn receive(assembler: &mut Assembler, frame: &[u8], piece: usize) {
    let mut left = frame;
    while !left.is_empty() {
        let space = assembler.space(left.len()).expect("space");
        assert!((1..=left.len()).contains(&space.len()), "{} of {}", space.len(), left.len());
        let bytes = space.len().min(piece);
        space[..bytes].copy_from_slice(&left[..bytes]);
        assembler.commit(bytes).expect("it was lent");
        left = &left[bytes..];
    }
}

/// One stream: its assembler, and the bytes that it should hold.
struct Stream {
    assembler: Assembler,
    expected: Vec<u8>,
    left: usize,
    is_open: bool,
    copied_bytes: u64,
}

impl Stream {
    fn begin(&mut self, len: usize, how: u8) {
        let length = match how % 3 {
            0 => Length::Exact(len),
            // A hint may be wrong in both directions.
            1 => Length::Hint(usize::from(how) * 20),
            _ => Length::Unknown,
        };
        self.assembler.begin(length).expect("no message is in progress");
        (self.left, self.is_open) = (len, true);
    }

    /// The next frame of the message. The message is complete when no bytes are left.
    fn frame(&mut self, pool: &ClassPool, len: usize, how: u8) {
        let len = len.min(self.left);
        let frame: Vec<u8> = (0..len).map(|at| (self.expected.len() + at) as u8 ^ how).collect();
        if how.is_multiple_of(2) {
            self.assembler.append(&frame).expect("it fits");
        } else {
            receive(&mut self.assembler, &frame, 1 + usize::from(how));
        }
        self.expected.extend(frame);
        self.left -= len;
        assert_eq!(self.assembler.received_bytes(), Some(self.expected.len()));
        if self.left == 0 {
            let message = self.assembler.complete().expect("the pool has buffers");
            self.check_message(pool, &message);
        }
    }

    fn check_message(&mut self, pool: &ClassPool, message: &PooledBuf) {
        assert_eq!(message[..], self.expected[..]);
        let copied = self.assembler.stats().copied_bytes - self.copied_bytes;
        assert!(copied <= message.len() as u64, "{copied} bytes copied of {}", message.len());
        let table = pool.table();
        let fit = table.class_of(message.len()).map_or(message.len(), |class| table.sizes()[class]);
        assert!(message.capacity() < 4 * message.len() || message.capacity() == fit, "{message:?}");
        self.copied_bytes += copied;
        self.expected.clear();
        self.is_open = false;
    }
}

proptest! {
    #![proptest_config(random_runs())]

    #[test]
    fn frames_of_three_streams_become_their_messages(
        ops in proptest::collection::vec(
            any::<(u8, u16, u8)>(),
            1..if cfg!(miri) { 30 } else { 120 },
        ),
    ) {
        let pool = tiny_pool(50);
        let stream = || Stream {
            assembler: assembler(&pool),
            expected: Vec::new(),
            left: 0,
            is_open: false,
            copied_bytes: 0,
        };
        let mut streams = [stream(), stream(), stream()];
        for (number, len, how) in ops {
            let stream = &mut streams[usize::from(number) % 3];
            let len = usize::from(len) % if how > 200 { MAX + 1 } else { 300 };
            match stream.is_open {
                false => stream.begin(len, how),
                true if number > 240 => {
                    stream.assembler.abort();
                    (stream.is_open, stream.left) = (false, 0);
                    stream.expected.clear();
                }
                true => stream.frame(&pool, len, how),
            }
        }
        drop(streams);
        assert_eq!(in_use(&pool), 0);
    }
}

#[test]
fn a_message_in_one_segment_is_not_copied() {
    let pool = tiny_pool(4);
    let mut assembler = assembler(&pool);
    for (length, bytes) in
        [(Length::Exact(900), 900), (Length::Hint(1000), 300), (Length::Unknown, 64)]
    {
        assembler.begin(length).unwrap();
        let at = assembler.space(bytes).unwrap().as_ptr();
        assembler.commit(0).unwrap();
        receive(&mut assembler, &vec![3; bytes], 50);
        let message = assembler.complete().unwrap();
        assert_eq!((message.as_ptr(), message.len()), (at, bytes), "it is where it was received");
    }
    assert_eq!(assembler.stats().copied_bytes, 0);
}

#[test]
fn an_unknown_length_takes_ascending_classes_and_one_copy() {
    let pool = tiny_pool(4);
    let mut assembler = assembler(&pool);
    assembler.begin(Length::Unknown).unwrap();
    (0..320 / 5).for_each(|_| receive(&mut assembler, &[4; 5], 1));
    assert_eq!(
        pool.stats().classes.iter().map(|class| class.in_use).collect::<Vec<_>>(),
        [1, 1, 0]
    );
    // A segment that was lent and never filled isn't a segment of the message.
    assembler.space(1).unwrap();
    let message = assembler.complete().unwrap();
    assert_eq!((&message[..], message.capacity()), (&[4; 320][..], 1024));
    let stats = assembler.stats();
    assert_eq!(
        (stats.messages, stats.bytes, stats.copied_bytes, stats.gathered, stats.copied_down),
        (1, 320, 320, 1, 0)
    );
    assert_eq!(in_use(&pool), 1, "the segments returned to the pool");
}

#[test]
fn a_quarter_of_a_segment_is_copied_down_and_more_is_not() {
    let pool = tiny_pool(4);
    let mut assembler = assembler(&pool);
    for (bytes, capacity) in [(0, 64), (64, 64), (65, 256), (256, 256), (257, 1024)] {
        assembler.begin(Length::Hint(1024)).unwrap();
        assembler.append(&vec![1; bytes]).unwrap();
        assert_eq!(assembler.complete().unwrap().capacity(), capacity, "{bytes} bytes");
    }
}

#[test]
fn too_much_is_refused_and_the_next_message_is_not() {
    let pool = tiny_pool(8);
    let mut assembler = assembler(&pool);
    for (length, part, name) in [
        (Length::Unknown, 10, "large"),
        (Length::Hint(64), 10, "large"),
        (Length::Exact(20), 10, "overrun"),
    ] {
        assembler.begin(length).unwrap();
        assembler.append(&vec![1; part]).unwrap();
        match assembler.space(usize::MAX).unwrap_err() {
            AssembleError::TooLarge { message_bytes_max: MAX, asked_bytes: usize::MAX } => {
                assert_eq!(name, "large")
            }
            AssembleError::Overrun { declared_bytes: 20, .. } => assert_eq!(name, "overrun"),
            other => panic!("{other}"),
        }
        assert_eq!((assembler.received_bytes(), in_use(&pool)), (None, 0), "it was given up");
    }
    assert!(matches!(assembler.begin(Length::Exact(MAX + 1)), Err(AssembleError::TooLarge { .. })));
    assembler.begin(Length::Exact(MAX)).unwrap();
    assembler.append(&[8; MAX]).unwrap();
    assert_eq!(assembler.complete().unwrap()[..], [8; MAX]);
    assert_eq!(assembler.stats().aborted, 3);
}

#[test]
fn wrong_calls_are_errors_that_change_nothing() {
    let pool = tiny_pool(8);
    assert!(matches!(Assembler::new(&pool, 0), Err(AssembleError::Limit { given: 0 })));
    assert!(matches!(Assembler::new(&pool, usize::MAX), Err(AssembleError::Limit { .. })));
    let mut assembler = assembler(&pool);
    assert!(matches!(assembler.space(1), Err(AssembleError::NotBegun)));
    assert!(matches!(assembler.commit(0), Err(AssembleError::NotBegun)));
    assert!(matches!(assembler.complete(), Err(AssembleError::NotBegun)));
    assembler.begin(Length::Exact(8)).unwrap();
    assembler.append(b"four").unwrap();
    assert!(matches!(
        assembler.begin(Length::Unknown),
        Err(AssembleError::InProgress { bytes: 4 })
    ));
    assert!(matches!(
        assembler.complete(),
        Err(AssembleError::Short { bytes: 4, declared_bytes: 8 })
    ));
    assert_eq!(assembler.space(2).unwrap().len(), 2);
    assert!(matches!(
        assembler.commit(3),
        Err(AssembleError::Commit { asked_bytes: 3, lent_bytes: 2 })
    ));
    assembler.append(b"more").unwrap();
    assert!(
        matches!(assembler.commit(1), Err(AssembleError::Commit { lent_bytes: 0, .. })),
        "the space was used for the appended bytes"
    );
    assert_eq!(&assembler.complete().unwrap()[..], b"fourmore");
}

#[test]
fn an_exhausted_pool_is_an_error_and_the_message_goes_on_later() {
    let pool = tiny_pool(1);
    let mut assembler = assembler(&pool);
    assembler.begin(Length::Unknown).unwrap();
    assembler.append(&[1; 60]).unwrap();
    let blocker = pool.get(200).unwrap();
    let exhausted =
        |error| matches!(error, AssembleError::Pool(GetError::Exhausted { class_bytes: 256, .. }));
    // All or nothing, although four bytes would fit.
    assert!(exhausted(assembler.append(&[2; 10]).unwrap_err()));
    assert_eq!(assembler.received_bytes(), Some(60));
    assert!(matches!(assembler.begin(Length::Exact(200)), Err(AssembleError::InProgress { .. })));
    drop(blocker);
    assembler.append(&[2; 10]).unwrap();
    receive(&mut assembler, &[3; 200], 200);
    // The last segment has no room for 320 bytes, and the only larger buffer is in use.
    receive(&mut assembler, &[4; 50], 50);
    let blocker = pool.get(1000).unwrap();
    assert!(matches!(
        assembler.complete().unwrap_err(),
        AssembleError::Pool(GetError::Exhausted { class_bytes: 1024, .. })
    ));
    assert_eq!(assembler.received_bytes(), Some(320));
    drop(blocker);
    let message = assembler.complete().unwrap();
    let expected = [&[1; 60][..], &[2; 10], &[3; 200], &[4; 50]].concat();
    assert_eq!(message[..], expected[..]);
}

/// At the limit of the smaller class, a complete message is handed out in the buffer that it is in.
/// A wait for a smaller buffer might never end.
#[test]
fn a_complete_message_is_handed_out_as_it_is_when_no_smaller_buffer_is_free() {
    let pool = tiny_pool(1);
    let mut assembler = assembler(&pool);
    let small = pool.get(64).unwrap();
    assembler.begin(Length::Hint(1000)).unwrap();
    assembler.append(&[6; 40]).unwrap();
    let message = assembler.complete().unwrap();
    assert_eq!((&message[..], message.capacity()), (&[6; 40][..], 1024));
    let stats = assembler.stats();
    assert_eq!((stats.messages, stats.bytes, stats.copied_bytes, stats.copied_down), (1, 40, 0, 0));
    drop((small, message));
    assert_eq!(in_use(&pool), 0);
}

/// The same for a message in several segments, of which the last has room for all of it.
#[test]
fn a_message_is_gathered_into_its_own_last_segment_when_no_other_buffer_is_free() {
    let pool = tiny_pool(1);
    let mut assembler = assembler(&pool);
    assembler.begin(Length::Unknown).unwrap();
    (0..100).for_each(|byte| assembler.append(&[byte]).unwrap());
    // This space is lent and not committed, so it isn't part of the message.
    assembler.space(30).unwrap().fill(200);
    let message = assembler.complete().unwrap();
    assert_eq!((message[..].to_vec(), message.capacity()), ((0..100).collect(), 256));
    let stats = assembler.stats();
    assert_eq!((stats.copied_bytes, stats.gathered, stats.copied_down), (100, 1, 0));
    assert_eq!(in_use(&pool), 1, "the first segment returned to the pool");
}

#[test]
fn a_hint_reserves_nothing_beyond_the_classes() {
    let pool = tiny_pool(8);
    for (hint, max) in
        [(1 << 46, 1 << 50), (usize::MAX, isize::MAX as usize), (2000, MAX), (0, MAX)]
    {
        let mut assembler = Assembler::new(&pool, max).expect("a limit");
        assembler.begin(Length::Hint(hint)).expect("no message is in progress");
        assembler.append(b"a").expect("the pool has a buffer for that");
        receive(&mut assembler, b"b", 1);
        assert!(
            pool.stats().direct.in_use == 0,
            "a hint of {hint} used memory outside of the classes"
        );
        assert_eq!(&assembler.complete().expect("it is complete")[..], b"ab");
    }
    assert_eq!(in_use(&pool), 0);
}
