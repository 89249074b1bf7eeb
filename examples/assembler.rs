//! Frames of two streams on one connection, each received straight into the buffer of its stream's
//! message.
//!
//!     cargo run --example assembler

use std::error::Error;
use std::io::Read;

use slipring::class::{ClassOptions, ClassPool};
use slipring::queue::{Assembler, Length, QueueOptions, queue};

/// A frame: the stream, whether it is the last frame of its message, the length, and the bytes.
fn frame(stream: u8, is_last: bool, bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).expect("a small frame").to_be_bytes();
    [&[stream, is_last.into(), len[0], len[1]], bytes].concat()
}

fn main() -> Result<(), Box<dyn Error>> {
    // Two messages with interleaved frames: a short one, and one that outgrows four classes.
    let messages = [vec![1; 1_000], vec![2; 57_000]];
    let mut wire = frame(1, false, &messages[1][..1_400]);
    wire.extend(frame(0, true, &messages[0]));
    let rest = messages[1][1_400..].chunks(1_400);
    let frames = rest.len();
    wire.extend((1..).zip(rest).flat_map(|(number, part)| frame(1, number == frames, part)));

    let pool = ClassPool::new(&ClassOptions::default())?;
    let (mut enqueuer, mut dequeuer) = queue(&pool, QueueOptions::default())?;
    let mut streams = [Assembler::new(&pool, 1 << 20)?, Assembler::new(&pool, 1 << 20)?];
    let (mut socket, mut head) = (&wire[..], [0; 4]);
    while socket.read_exact(&mut head).is_ok() {
        let assembler = &mut streams[usize::from(head[0])];
        let mut left = usize::from(u16::from_be_bytes([head[2], head[3]]));
        if assembler.received_bytes().is_none() {
            assembler.begin(Length::Unknown)?;
        }
        while left > 0 {
            let received = socket.read(assembler.space(left)?)?;
            assembler.commit(received)?;
            left -= received;
        }
        if head[1] == 1 {
            enqueuer.enqueue(assembler.complete()?)?;
        }
    }
    enqueuer.close();
    for expected in &messages {
        let message = dequeuer.dequeue()?.ok_or("a message is missing")?;
        assert!(
            message[..] == expected[..],
            "{} bytes arrived of {}",
            message.len(),
            expected.len()
        );
    }
    assert!(dequeuer.dequeue()?.is_none(), "the clean end");
    let copied = streams.map(|assembler| assembler.stats().copied_bytes);
    assert_eq!(copied, [0, 57_000], "one segment needs no copy, several need one");
    for (stream, (message, copied)) in messages.iter().zip(copied).enumerate() {
        let bytes = message.len();
        println!(
            "stream {stream}: a message of {bytes} bytes arrived, {copied} of them were copied"
        );
    }
    Ok(())
}

#[test]
fn it_runs() {
    main().unwrap();
}
