//! SIGKILL at random moments: of a service under load, and of one that recovers from the kill
//! before.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use slipring_ingest::client::Target;
use slipring_ingest::load::{self, LoadOptions, VectorRange};
use slipring_ingest::wire::frames::{
    ANSWER_HEADER_BYTES, AckLevel, AnswerEvent, HELLO_ANSWER_BYTES, Hello, Mode, Status,
    answer_event, decode_hello_answer, encode_hello, encode_request_with_ids,
};
use slipring_test_support::{Draw, within};

use crate::ledger::{DIM, Ledger, Run, RunVectors, components};
use crate::support::PATIENCE;
use crate::support::process::{BINARY, Place, Process, serve};

/// Kills on one data folder. Each check reads all of it.
const KILLS_OF_A_FOLDER: u64 = 20;
/// The longest life of a service under load.
const LIFE_MS: u64 = 400;
/// Connections with one request in flight, each with a thread of its own.
const SHALLOW: u64 = 12;
/// Connections with many.
const DEEP: u64 = 2;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// `SLIPRING_KILLS` is their number, 20 by default, and `SLIPRING_KILL_SEED` what they follow from;
/// scripts/faults runs 200.
#[test]
fn what_was_answered_as_stored_survives_every_kill() {
    let kills = number("SLIPRING_KILLS", KILLS_OF_A_FOLDER);
    let seed = number("SLIPRING_KILL_SEED", 1);
    within(Duration::from_secs(60 + 10 * kills), move || {
        let (mut done, mut acked, mut folders) = (0, 0, 0);
        while done < kills {
            let here = KILLS_OF_A_FOLDER.min(kills - done);
            acked += kill_over_and_over(here, seed.wrapping_add(folders));
            (done, folders) = (done + here, folders + 1);
        }
        println!("{done} kills, {acked} vectors acknowledged as stored, all there; seed {seed}");
    });
}

/// On one data folder; returns the vectors that were acknowledged.
fn kill_over_and_over(kills: u64, seed: u64) -> u64 {
    let (mut draw, mut ledger, place) = (Draw::new(seed), Ledger::default(), Place::new());
    let (mut futile, mut whole, lanes) = (0, 0, 1 + draw.below(2));
    for kill in 0..kills {
        let when = format!("seed {seed}, before kill {kill}");
        let words = words(&mut draw, lanes);
        if draw.below(4) == 0 {
            kill_while_it_starts(&place.words(&words), draw.below(60));
        }
        let mut process = Process::start(serve(&place.words(&words)));
        let there = ledger.check(&place.data(), &when);
        assert_eq!(there, whole, "{when}: verify had found another number of vectors");
        let acked_before = ledger.acked();
        let clients = Clients::start(&process, &ledger, kill);
        thread::sleep(Duration::from_millis(draw.below(LIFE_MS)));
        process.signal(Signal::KILL);
        process.wait();
        ledger.runs.extend(clients.end());
        whole = verified(&place.data(), &format!("seed {seed}, after kill {kill}"));
        futile += u64::from(ledger.acked() == acked_before);
    }
    // Some are killed before a sync.
    assert!(futile <= kills / 2, "seed {seed}: {futile} of {kills} runs had nothing acknowledged");
    assert!(ledger.acked() > 0, "seed {seed}: nothing was acknowledged");
    let words = words(&mut draw, lanes);
    let mut process = Process::start(serve(&place.words(&words)));
    let ended = process.stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let when = format!("seed {seed}, at the end");
    let there = ledger.check(&place.data(), &when);
    assert_eq!((there, verified(&place.data(), &when)), (whole, whole), "{when}");
    ledger.acked()
}

/// The vectors in whole records, as `slipring log verify` counts them, who finds no error: a kill
/// damages nothing, and what it cut short is no error.
fn verified(data: &Path, when: &str) -> u64 {
    let mut command = Command::new(BINARY);
    let output = command.args(["log", "verify", "--json", "--data"]).arg(data).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let last: Value = serde_json::from_str(said.lines().last().expect("a last line")).unwrap();
    assert_eq!((output.status.code(), &last["errors"]), (Some(0), &0.into()), "{when}: {said}");
    last["vectors"].as_u64().expect("a number")
}

/// Small and large segments, inline stages and threads, and long and short intervals.
fn words(draw: &mut Draw, lanes: u64) -> String {
    let segment = ["64KiB", "1MiB", "256MiB"][draw.below(3) as usize];
    let stages = ["inline", "threads"][draw.below(2) as usize];
    let interval = ["10ms", "100ms", "10s"][draw.below(3) as usize];
    format!(
        "--columns id --max-vectors 8 --lanes {lanes} --segment-bytes {segment} --stages {stages} \
        --commit-interval {interval}"
    )
}

/// Kills a service that may be recovering.
fn kill_while_it_starts(words: &str, after_ms: u64) {
    let mut command = serve(words);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    thread::sleep(Duration::from_millis(after_ms));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Everything that sends to one service until it dies: deep and shallow connections, a process with
/// several, and two witnesses.
struct Clients(Vec<JoinHandle<Run>>);

impl Clients {
    fn start(process: &Process, ledger: &Ledger, seed: u64) -> Self {
        let address: SocketAddr = process.ready_value("tcp").unwrap().parse().unwrap();
        let mut threads: Vec<JoinHandle<Run>> = Vec::new();
        for client in 0..DEEP + SHALLOW {
            let first_id = ledger.next_id(threads.len() as u64);
            let in_flight = if client < DEEP { 64 } else { 1 };
            threads.push(thread::spawn(move || one_connection(address, in_flight, seed, first_id)));
        }
        let first_id = ledger.next_id(threads.len() as u64);
        threads.push(thread::spawn(move || one_process(address, first_id)));
        for ack in [AckLevel::Stored, AckLevel::Received] {
            let first_id = ledger.next_id(threads.len() as u64);
            threads.push(thread::spawn(move || witness(address, ack, first_id)));
        }
        Self(threads)
    }

    fn end(self) -> Vec<Run> {
        self.0.into_iter().map(|thread| thread.join().unwrap()).collect()
    }
}

/// A load on one connection.
fn one_connection(address: SocketAddr, in_flight: u32, seed: u64, first_id: u64) -> Run {
    let options = LoadOptions {
        connections: 1,
        in_flight,
        vectors: VectorRange { least: 1, most: 8 },
        duration: Some(Duration::from_secs(600)),
        ack: AckLevel::Stored,
        number_from: first_id,
        seed,
        ..LoadOptions::new(Target::Tcp(address.to_string()), DIM)
    };
    let broken = load::run(&options).expect_err("the service dies");
    let report = &broken.report;
    assert_eq!(report.refusals.total(), 0, "{broken}: {report}");
    Run {
        connections: 1,
        acked: report.accepted.vectors,
        sent: Some(report.sent.vectors),
        vectors: RunVectors::Generated(seed),
        named: Vec::new(),
    }
}

/// `slipring load` with several connections, whose last line says what was acknowledged.
fn one_process(address: SocketAddr, first_id: u64) -> Run {
    let line = format!(
        "load --to {address} --dim {DIM} --connections 4 --in-flight 8 --duration 10m --json \
        --ack stored --number-from {first_id}"
    );
    let output = Command::new(BINARY).args(line.split_whitespace()).output().unwrap();
    let (said, errors) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}{errors}");
    let last: Value = serde_json::from_str(said.lines().last().expect("a last line")).unwrap();
    assert!(last["failures"][0].is_string(), "{last}");
    let acked = last["acked_vectors"].as_u64().expect("a number");
    let sent = last["sent"]["vectors"].as_u64();
    let (connections, vectors) = (4, RunVectors::Several);
    Run { connections, acked, sent, vectors, named: Vec::new() }
}

/// A client that knows the row of each vector. Some of what was only received may be lost.
fn witness(address: SocketAddr, ack: AckLevel, first_id: u64) -> Run {
    let mut named = Vec::new();
    let _dead = testify(address, ack, first_id, &mut named);
    let acked = if ack == AckLevel::Stored { named.len() as u64 } else { 0 };
    // One more may have been on its way.
    let sent = Some(named.len() as u64 + 1);
    Run { connections: 1, acked, sent, vectors: RunVectors::OfId, named }
}

/// One request after the other, each with one vector, until the service is gone.
fn testify(
    address: SocketAddr,
    ack: AckLevel,
    first_id: u64,
    named: &mut Vec<(u16, u64)>,
) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut bytes = Vec::new();
    encode_hello(&Hello { ids: true, ack, ..Hello::new(DIM) }, &mut bytes);
    stream.write_all(&bytes)?;
    let mut hello = [0; HELLO_ANSWER_BYTES];
    stream.read_exact(&mut hello)?;
    let hello = decode_hello_answer(&hello).unwrap().expect("a whole answer");
    assert_eq!((hello.status, hello.ack), (Status::Ok, ack));
    for id in first_id.. {
        bytes.clear();
        let sequence = id - first_id + 1;
        encode_request_with_ids(DIM, sequence, &[id], &components(id), false, &mut bytes);
        stream.write_all(&bytes)?;
        let answer = loop {
            let mut frame = [0; ANSWER_HEADER_BYTES];
            stream.read_exact(&mut frame)?;
            match answer_event(Mode::Header, &frame).unwrap().expect("a whole frame") {
                AnswerEvent::Answer(answer) => break answer,
                AnswerEvent::Watermark(watermark) => {
                    let stored = watermark.stored_through;
                    assert!(stored < sequence, "it is stored before it came: {stored}");
                }
            }
        };
        assert_eq!((answer.status, answer.sequence), (Some(Status::Ok), sequence));
        let place = answer.place.expect("header mode says it");
        assert!(place.stored_through <= sequence, "it is stored before it came: {place:?}");
        named.push((place.lane, place.first_row));
    }
    Ok(())
}
