//! A connection owns a pool, and its streams share it: each has an assembler and a receive queue.
//! One stream is closed while its messages are held elsewhere. They return to the pool later, and
//! the other streams aren't affected.
//!
//!     cargo run --example connection

use std::error::Error;

use slipring::class::{ClassOptions, ClassPool, Limit};
use slipring::queue::{
    Assembler, Closer, Dequeuer, Enqueuer, Length, Message, QueueOptions, queue,
};

/// The receiving side of one stream.
struct Stream {
    assembler: Assembler,
    enqueuer: Enqueuer,
    closer: Closer,
}

/// A connection with its own pool, which bounds the memory of all of its streams together.
struct Connection {
    pool: ClassPool,
    streams: Vec<Stream>,
}

/// How a connection's pool is used. A buffer in use belongs to a message that is queued, that a
/// consumer holds or that is being assembled. So if no message is being assembled, the buffers that
/// aren't queued are held by consumers.
#[derive(Debug, PartialEq)]
struct Gauges {
    queued_messages: u64,
    queued_bytes: u64,
    held_messages: u64,
    /// For each class in use: its bytes, and its buffers in use.
    in_use: Vec<(usize, u64)>,
}

impl Connection {
    fn new() -> Result<Self, Box<dyn Error>> {
        let options = ClassOptions { limit: Limit::buffers(256), ..ClassOptions::default() };
        Ok(Self { pool: ClassPool::new(&options)?, streams: Vec::new() })
    }

    /// Opens a stream over the connection's pool. Returns the consumer's end.
    fn open(&mut self) -> Result<Dequeuer, Box<dyn Error>> {
        let (enqueuer, dequeuer) =
            queue(&self.pool, QueueOptions { messages: 16, bytes: 256 << 10 })?;
        let (assembler, closer) = (Assembler::new(&self.pool, 64 << 10)?, enqueuer.closer());
        self.streams.push(Stream { assembler, enqueuer, closer });
        Ok(dequeuer)
    }

    /// A frame of a stream. The last frame completes the message, which moves into the stream's
    /// queue.
    fn frame(&mut self, stream: usize, bytes: &[u8], is_last: bool) -> Result<(), Box<dyn Error>> {
        let Stream { assembler, enqueuer, .. } = &mut self.streams[stream];
        if assembler.received_bytes().is_none() {
            assembler.begin(Length::Unknown)?;
        }
        assembler.append(bytes)?;
        if is_last {
            enqueuer.try_enqueue(assembler.complete()?)?;
        }
        Ok(())
    }

    fn gauges(&self) -> Gauges {
        let queues: Vec<_> = self.streams.iter().map(|stream| stream.closer.stats()).collect();
        let queued_messages = queues.iter().map(|queue| queue.queued_messages).sum();
        let classes = self.pool.stats().classes;
        let in_use: Vec<_> = classes
            .iter()
            .map(|class| (class.class_bytes, class.in_use))
            .filter(|class| class.1 > 0)
            .collect();
        Gauges {
            queued_messages,
            queued_bytes: queues.iter().map(|queue| queue.queued_bytes).sum(),
            held_messages: in_use.iter().map(|class| class.1).sum::<u64>() - queued_messages,
            in_use,
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut connection = Connection::new()?;
    let mut consumers = (0..3).map(|_| connection.open()).collect::<Result<Vec<Dequeuer>, _>>()?;

    // Frames of three streams, mixed: two messages of 1,000 bytes and one of 9,000 on each.
    for message in [&[1; 1_000][..], &[2; 9_000], &[3; 1_000]] {
        let (first, last) = message.split_at(500);
        for stream in 0..3 {
            connection.frame(stream, first, false)?;
        }
        for stream in (0..3).rev() {
            connection.frame(stream, last, true)?;
        }
    }
    let all = Gauges {
        queued_messages: 9,
        queued_bytes: 33_000,
        held_messages: 0,
        in_use: vec![(2 << 10, 6), (16 << 10, 3)],
    };
    assert_eq!(connection.gauges(), all);

    // The consumer of stream 1 dequeues two messages and holds them on another thread. Then the
    // peer resets the stream.
    let held: Vec<Message> =
        (0..2).filter_map(|_| consumers[1].try_dequeue().transpose()).collect::<Result<_, _>>()?;
    let (drop_held, asked) = std::sync::mpsc::channel::<()>();
    let holder = std::thread::spawn(move || {
        let _ended = asked.recv();
        held.iter().map(|message| message.len()).sum::<usize>()
    });
    connection.streams[1].closer.close_with("the peer reset the stream");
    let third = consumers[1].try_dequeue()?.ok_or("a message that was queued is missing")?;
    assert!(
        third[..] == [3; 1_000] && consumers[1].try_dequeue().is_err(),
        "the error comes after what was queued"
    );
    drop(third);
    let gauges = connection.gauges();
    assert_eq!(
        (gauges.queued_messages, gauges.held_messages),
        (6, 2),
        "closing doesn't wait for held messages: {gauges:?}"
    );
    assert!(connection.frame(1, b"late", true).is_err(), "the stream is closed");

    // The other streams continue, with buffers of the same pool.
    for stream in [0, 2] {
        connection.frame(stream, &[4; 1_000], true)?;
        while let Ok(Some(message)) = consumers[stream].try_dequeue() {
            assert!(message.iter().all(|byte| *byte == message[0]));
        }
    }
    println!("{:?}\n{}", connection.gauges(), connection.pool.stats());

    // The held messages return to the connection's pool when their holder drops them, long after
    // their stream was closed.
    drop_held.send(())?;
    assert_eq!(holder.join().expect("the holder ends"), 10_000);
    let none = Gauges { queued_messages: 0, queued_bytes: 0, held_messages: 0, in_use: Vec::new() };
    assert_eq!(connection.gauges(), none);
    Ok(())
}

#[test]
fn it_runs() {
    main().unwrap();
}
