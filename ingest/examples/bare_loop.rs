//! The least that a service can do: one thread receives count-mode frames and answers them with
//! zeros. There is no pool, ring, stage or sink. Run `slipring load` against this and against
//! `slipring serve`, and compare.
//!
//! `cargo run --release -p slipring-ingest --example bare_loop -- 127.0.0.1:9990 128`

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;

use mio::{Events, Interest, Poll, Token};
use slipring_ingest::wire::frames::{Answer, Front, Limits, Mode, encode_answer, front};

const BUFFER_BYTES: usize = 64 << 10;

/// A connection, and the bytes that were received and aren't answered yet.
struct Client {
    stream: mio::net::TcpStream,
    bytes: Vec<u8>,
    filled: usize,
    out: Vec<u8>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(address), Some(dim)) = (args.next(), args.next()) else {
        return Err("bare_loop HOST:PORT DIM".into());
    };
    let limits = Limits::new(dim.parse()?, 64);
    if let Some(cpu) = slipring::machine::CpuMask::read().cpus().first() {
        slipring::machine::pin_current(*cpu, slipring::machine::PinPolicy::Prefer)?;
    }
    let listener = TcpListener::bind(&address)?;
    listener.set_nonblocking(true)?;
    let mut listener = mio::net::TcpListener::from_std(listener);
    let (mut poll, mut events, mut clients, mut next) =
        (Poll::new()?, Events::with_capacity(256), HashMap::new(), 1);
    poll.registry().register(&mut listener, Token(0), Interest::READABLE)?;
    println!("ready tcp={address}");
    loop {
        // It spins, as `serve --wait spin` does.
        poll.poll(&mut events, Some(std::time::Duration::ZERO))?;
        for event in &events {
            if event.token() == Token(0) {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    poll.registry().register(&mut stream, Token(next), Interest::READABLE)?;
                    clients.insert(
                        next,
                        Client { stream, bytes: vec![0; BUFFER_BYTES], filled: 0, out: Vec::new() },
                    );
                    next += 1;
                }
            } else if let Some(client) = clients.get_mut(&event.token().0)
                && !serve(client, &limits)
            {
                clients.remove(&event.token().0);
            }
        }
    }
}

/// Receives until the socket is empty, and answers complete frames. Returns false if the client is
/// gone. The load generator reads its answers, so the few bytes of an answer always fit the socket.
fn serve(client: &mut Client, limits: &Limits) -> bool {
    let zeros = [0.0f32; 64];
    loop {
        match client.stream.read(&mut client.bytes[client.filled..]) {
            Ok(0) => return false,
            Ok(count) => client.filled += count,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
        let mut at = 0;
        while let Front::Frame(head) = front(Mode::Count, &client.bytes[at..client.filled], limits)
        {
            if at + head.frame_bytes() > client.filled {
                break;
            }
            let scores = &zeros[..head.vectors as usize];
            let answer = Answer { scores, ..Answer::default() };
            encode_answer(Mode::Count, &answer, &mut client.out);
            at += head.frame_bytes();
        }
        client.bytes.copy_within(at..client.filled, 0);
        client.filled -= at;
        if client.stream.write_all(&client.out).is_err() {
            return false;
        }
        client.out.clear();
    }
}
