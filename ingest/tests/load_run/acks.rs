//! What a load counts as acknowledged, also where the server dies under it; what it asks for in its
//! hello; and what a server may say of what is stored.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use slipring_ingest::client::{Target, WrongAnswer};
use slipring_ingest::load::{
    ConnectionError, LoadError, LoadOptions, LoadReport, VectorRange, run,
};
use slipring_ingest::wire::frames::{
    ANSWER_HEADER_BYTES, AckLevel, Answer, Front, Hello, HelloAnswer, Limits, Mode,
    REQUEST_HEADER_BYTES, Reply, Watermark, decode_hello, encode_answer, front, hello_answer,
    write_watermark,
};
use slipring_test_support::within;

use super::options;
use super::server::{Conduct, LIMITS, start};

/// How a server ends a connection after some answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Death {
    /// As a killed process, whose kernel closes what is open.
    Closes,
    /// With a reset, and requests unread.
    Resets,
    /// In the middle of an answer.
    HalfAnswer,
    /// Before the first hello is answered.
    BeforeHello,
    /// Not at all.
    Lives,
}

/// A server of one connection after the other: what it says besides answers, and how it ends.
#[derive(Clone, Copy, Debug)]
struct Script {
    death: Death,
    /// Answers on each connection before its death.
    answers: u64,
    /// What the answers say is stored, from their sequence.
    stored_through: fn(u64) -> u64,
    /// A watermark before each answer but the first one, from the answer's sequence.
    watermark: Option<fn(u64) -> u64>,
    /// It knows producers, and this sequence begins what it takes for repeats, which another lane
    /// has stored.
    repeats_from: Option<u64>,
}

const PLAIN: Script = Script {
    death: Death::Lives,
    answers: u64::MAX,
    stored_through: |_| 0,
    watermark: None,
    repeats_from: None,
};

/// Starts it on a free port. It sends what it was told in its hellos.
fn scripted(script: Script) -> (Target, std::sync::mpsc::Receiver<Hello>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target::Tcp(listener.local_addr().unwrap().to_string());
    let (hellos, told) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, hellos) = (stream.unwrap(), hellos.clone());
            thread::spawn(move || {
                let told = |hello| hellos.send(hello).unwrap_or_default();
                let _gone = play(&mut stream, script, told);
                if script.death == Death::Resets {
                    let now = Some(Duration::ZERO);
                    rustix::net::sockopt::set_socket_linger(&stream, now).unwrap();
                }
            });
        }
    });
    (target, told)
}

fn play(stream: &mut TcpStream, script: Script, told: impl Fn(Hello)) -> std::io::Result<()> {
    let has_producers = script.repeats_from.is_some();
    let limits = Limits { has_log: true, has_producers, ..LIMITS };
    let (mut input, mut at, mut answered, mut row) = (Vec::new(), 0, 0, 0);
    loop {
        let mut out = Vec::new();
        while let Front::Frame(head) = front(Mode::Header, &input[at..], &limits) {
            let Some(frame) = input.get(at..at + head.frame_bytes()) else { break };
            at += head.frame_bytes();
            if head.reply == Reply::Hello {
                let hello = decode_hello(frame.first_chunk::<REQUEST_HEADER_BYTES>().unwrap());
                told(hello);
                if script.death == Death::BeforeHello {
                    return Ok(());
                }
                let (ack, in_flight_max, lane) = (hello.ack, 64, 3);
                let status = head.refusal.unwrap_or_default();
                out.extend(hello_answer(&HelloAnswer { status, limits, lane, in_flight_max, ack }));
                continue;
            }
            let (sequence, stored) = (head.sequence, (script.stored_through)(head.sequence));
            let is_repeat = script.repeats_from.is_some_and(|from| sequence >= from);
            row = if script.repeats_from == Some(sequence) { 0 } else { row };
            if let Some(through) = script.watermark.filter(|_| answered > 0) {
                let mut frame = [0; ANSWER_HEADER_BYTES];
                let stored_through = through(sequence);
                write_watermark(&Watermark { credits: 1, lane: 3, stored_through }, &mut frame);
                out.extend(frame);
            }
            let answer = Answer {
                vectors: head.vectors,
                sequence,
                lane: if is_repeat { 2 } else { 3 },
                first_row: row,
                stored_through: stored,
                ..Answer::default()
            };
            encode_answer(Mode::Header, &answer, &mut out);
            (answered, row) = (answered + 1, row + u64::from(head.vectors));
            if answered > script.answers {
                let cut = if script.death == Death::HalfAnswer { 17 } else { 40 };
                out.truncate(out.len() - cut);
                return stream.write_all(&out);
            }
        }
        stream.write_all(&out)?;
        let mut piece = [0; 4096];
        match stream.read(&mut piece)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => input.extend_from_slice(&piece[..count]),
        }
    }
}

fn one_vector(to: Target) -> LoadOptions {
    let vectors = VectorRange { least: 1, most: 1 };
    LoadOptions { vectors, connections: 1, in_flight: 3, verify: false, ..options(to) }
}

/// The exit code, the last line of standard output as an object, and standard error.
fn load(to: &Target, words: &str) -> (Option<i32>, Value, String) {
    let line = format!("load --to {to} --dim 4 --json {words}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipring"));
    let output = command.args(line.split_whitespace()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let last = said.lines().last().map_or(Value::Null, |line| serde_json::from_str(line).unwrap());
    (output.status.code(), last, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_server_that_dies_leaves_the_count_of_what_it_acknowledged() {
    within(Duration::from_secs(120), || {
        for death in [Death::Closes, Death::Resets, Death::HalfAnswer] {
            for (answers, ack) in
                [(0, AckLevel::Stored), (1, AckLevel::Received), (40, AckLevel::Stored)]
            {
                let (to, _) = scripted(Script { death, answers, ..PLAIN });
                let options = LoadOptions { ack, ..one_vector(to.clone()) };
                let broken = run(&options).unwrap_err();
                assert!(
                    matches!(
                        broken.error,
                        LoadError::Connection { error: ConnectionError::Closed { .. }, .. }
                    ),
                    "{death:?}: {broken}"
                );
                let LoadReport { accepted, sent, .. } = &*broken.report;
                assert_eq!(accepted.vectors, answers, "{death:?} {ack:?}");
                assert!(sent.vectors > answers, "{death:?}");

                let words = format!("--count 200 --connections 3 --ack {}", ack.label());
                let (code, last, said) = load(&to, &words);
                assert_eq!(code, Some(1), "{said}");
                let acked = last["acked_vectors"].as_u64().unwrap();
                // The first connection to break ends the run: the others have what has arrived.
                assert!((answers..=3 * answers).contains(&acked), "{death:?}: {acked}: {last}");
                assert_eq!((&last["ack"], &last["mode"]), (&ack.label().into(), &"header".into()));
                let failure = last["failures"][0].as_str().unwrap();
                assert!(failure.contains("ended early") && said.contains(failure), "{said}");
            }
        }
    });
}

/// Nothing was acknowledged, which is said too; bad usage prints nothing.
#[test]
fn a_server_that_is_not_there_acknowledges_nothing() {
    within(Duration::from_secs(60), || {
        let (dead, _) = scripted(Script { death: Death::BeforeHello, ..PLAIN });
        for to in [Target::Tcp("127.0.0.1:1".to_owned()), dead] {
            let (code, last, said) = load(&to, "--count 1 --ack stored");
            assert_eq!((code, &last["acked_vectors"]), (Some(1), &0.into()), "{said}");
            assert!(last["failures"][0].is_string() && said.contains("Z error load: "), "{said}");
            assert_eq!(load(&to, "--count 0").1, Value::Null);
        }
    });
}

#[test]
fn the_table_has_the_count_too() {
    let (to, _) = scripted(Script { death: Death::Closes, answers: 40, ..PLAIN });
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipring"));
    let words = format!("load --to {to} --dim 4 --connections 1 --count 99 --ack stored");
    let output = command.args(words.split_whitespace()).output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    let acked = table.lines().find(|line| line.starts_with("acked")).expect("a line of its own");
    assert_eq!(acked.split_whitespace().collect::<Vec<_>>(), ["acked", "40", "40", "(stored)"]);
    assert_eq!(output.status.code(), Some(1), "{table}");
}

/// Answers may say anything between what they said before and what was sent, and so may watermarks,
/// which say something new.
#[test]
fn what_a_server_says_is_stored_is_checked() {
    let run_of = |script| {
        let (to, _) = scripted(script);
        run(&one_vector(to))
    };
    for stored_through in [|_| 0, |sequence| sequence - 1, |sequence| sequence, |_| 1] {
        let report = run_of(Script { stored_through, ..PLAIN }).unwrap();
        assert_eq!((report.accepted.vectors, report.answer_bytes), (200, 200 * 40));
    }
    // Before the answer to a request, a watermark says that the one before it is stored.
    let watermark: Option<fn(u64) -> u64> = Some(|sequence| sequence - 1);
    let behind = |sequence: u64| sequence.saturating_sub(2);
    let report = run_of(Script { stored_through: behind, watermark, ..PLAIN }).unwrap_err();
    assert!(matches!(wrong(report.error), WrongAnswer::StoredBack { .. }));
    let grown = run_of(Script { stored_through: |sequence| sequence - 1, watermark, ..PLAIN });
    // The answer before has said less.
    assert_eq!(grown.unwrap().accepted.vectors, 200);

    let error = |script| wrong(run_of(script).unwrap_err().error);
    let ahead = Script { stored_through: |sequence| sequence + 3, ..PLAIN };
    assert!(matches!(error(ahead), WrongAnswer::StoredAhead { sent: 3, got: 4 }));
    let all = Script { stored_through: |_| u64::MAX, ..PLAIN };
    assert!(matches!(error(all), WrongAnswer::StoredAhead { got: u64::MAX, .. }));
    let back = Script { stored_through: |sequence| 2 - sequence.min(2), ..PLAIN };
    assert!(matches!(error(back), WrongAnswer::StoredBack { before: 1, got: 0 }));
    let ahead = Script { watermark: Some(|sequence| sequence + 3), ..PLAIN };
    assert!(matches!(error(ahead), WrongAnswer::StoredAhead { .. }));
    let again = Script { stored_through: |_| 1, watermark: Some(|_| 1), ..PLAIN };
    assert!(matches!(error(again), WrongAnswer::StoredBack { before: 1, got: 1 }));
}

fn wrong(error: LoadError) -> WrongAnswer {
    match error {
        LoadError::Connection { error: ConnectionError::Answer(error), .. } => error,
        other => panic!("expected a wrong answer, not {other}"),
    }
}

/// Each connection names its own producer, and numbers its requests from 1.
#[test]
fn the_hello_names_level_and_producer() {
    let (to, told) = scripted(PLAIN);
    let options =
        LoadOptions { ack: AckLevel::Stored, producer: Some(u64::MAX - 2), ..options(to) };
    // This server knows no producers.
    let error = run(&options).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("no-such-producer") && text.contains("leave --producer out"), "{text}");
    assert_eq!(error.exit_code(), 1);
    let first = told.recv().unwrap();
    assert_eq!(first, Hello { ack: AckLevel::Stored, producer: u64::MAX - 2, ..Hello::new(4) });

    let (to, told) = scripted(PLAIN);
    run(&LoadOptions { verify: false, ..super::options(to) }).unwrap();
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [Hello::new(4); 3]);
}

/// What a producer repeats is where it was stored the first time, also in another lane. Nobody
/// else's vectors are.
#[test]
fn only_repeats_of_a_producer_go_back() {
    let script = Script { repeats_from: Some(100), ..PLAIN };
    let (to, _) = scripted(script);
    let producer = Some(7);
    let report = run(&LoadOptions { producer, ..one_vector(to) }).unwrap();
    assert_eq!(report.accepted.vectors, 200);
    let (to, _) = scripted(script);
    let error = wrong(run(&one_vector(to)).unwrap_err().error);
    assert!(matches!(error, WrongAnswer::Lane { expected: 3, got: 2 }), "{error}");
}

#[test]
fn a_server_without_a_log_is_named_before_anything_is_sent() {
    let (to, seen) = start(Conduct::Right, LIMITS);
    let error = run(&LoadOptions { ack: AckLevel::Stored, ..options(to) }).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("no-such-ack") && text.contains("leave --ack out"), "{text}");
    assert_eq!((error.exit_code(), seen.lock().unwrap().requests), (1, 0));
}

#[test]
fn modes_without_a_hello_name_the_option_of_the_service() {
    let (to, seen) = start(Conduct::Right, LIMITS);
    for mode in [Mode::Count, Mode::Header1] {
        let stored = LoadOptions { mode, ack: AckLevel::Stored, ..options(to.clone()) };
        let error = run(&stored).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("--mode {} can't ask for it", mode.label())), "{text}");
        assert!(text.contains("serve --ack stored"), "{text}");
        assert_eq!(error.exit_code(), 2);
        let producer = LoadOptions { mode, producer: Some(7), ..options(to.clone()) };
        let text = run(&producer).unwrap_err().to_string();
        assert!(text.contains("--producer is 7") && text.contains("say --mode header"), "{text}");
    }
    for (producer, connections) in [(0, 1), (u64::MAX, 2), (u64::MAX - 6, 8)] {
        let options = LoadOptions { producer: Some(producer), connections, ..options(to.clone()) };
        let error = run(&options).unwrap_err();
        assert!(error.to_string().contains(&format!("--producer is {producer}: 1 to ")), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
    assert_eq!(seen.lock().unwrap().connections, 0);
}
