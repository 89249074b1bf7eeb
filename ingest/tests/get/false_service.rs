//! Services that don't keep to the protocol: each must fail the object, and say where.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use slipring_ingest::protocol::{Limits, Mode, Status, encode_answer, encode_request};
use slipring_test_support::wait_until;

use crate::command::{get, run, start, wait};
use crate::http::{Conduct, Server};
use crate::images::npy;
use crate::support::folder;

/// Frames of the object that is sent: one vector each.
const FRAMES: usize = 3;

/// A service that reads one frame of a vector of dimension 1, does `answer`, and keeps the
/// connection or lets it go.
fn falsely(keep: bool, answer: impl Fn(&mut TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let mut kept = Vec::new();
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut frame =
                vec![0; Limits { dim: 1, max_vectors: 1 }.frame_bytes_max(Mode::Header)];
            if stream.read_exact(&mut frame).is_ok() {
                answer(&mut stream);
            }
            if keep {
                kept.push(stream);
            }
        }
    });
    address
}

fn answered(status: Status, sequence: u64, scores: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_answer(Mode::Header, status, sequence, 8, scores, &mut bytes);
    bytes
}

#[test]
fn wrong_answers_fail_the_object() {
    let server = Server::start([("a.npy", Conduct::Right, npy(&[1.0; FRAMES], 1))]);
    let mut request = Vec::new();
    encode_request(Mode::Header, 1, 0, &[1.0], &mut request);
    request[0] = b'X';
    let cases = [
        (answered(Status::Ok, 0, &[1.0, 1.0]), "2 scores for 1 vectors"),
        (answered(Status::Ok, 0, &[]), "0 scores for 1 vectors"),
        (answered(Status::Ok, 7, &[1.0]), "sequence 7"),
        (answered(Status::ShuttingDown, 0, &[]), "shutting-down"),
        (answered(Status::Failed, 0, &[]), "see the service's own log"),
        (answered(Status::Busy, 0, &[]), "raise its --in-flight"),
        (request, "not with \"SR\""),
        (Vec::new(), "ended with 1 frames unanswered"),
    ];
    for (bytes, expected) in cases {
        let to = falsely(false, move |stream| stream.write_all(&bytes).unwrap());
        let ended = run(&[&*server.url("a.npy"), "--ingest", &to, "--max-vectors", "1", "--json"])
            .assert_code(1);
        assert!(
            ended.stderr.contains(expected) && ended.stderr.contains(&to),
            "{expected}: {ended:?}"
        );
        assert_eq!(ended.line("a.npy")["vectors_answered"], 0, "{ended:?}");
    }
}

#[test]
fn what_was_answered_before_the_end_is_counted() {
    let server = Server::start([("a.npy", Conduct::Right, npy(&[1.0; FRAMES], 1))]);
    let to = falsely(false, |stream| {
        stream.write_all(&answered(Status::Ok, 0, &[1.0])).unwrap();
        // The others are read, so that closing isn't a reset.
        stream.read_exact(&mut [0; 2 * 20]).unwrap();
    });
    let ended = run(&[&*server.url("a.npy"), "--ingest", &to, "--max-vectors", "1", "--json"])
        .assert_code(1);
    assert!(ended.stderr.contains("ended with 2 frames unanswered"), "{ended:?}");
    let line = ended.line("a.npy");
    assert_eq!(
        (line["vectors_sent"].as_u64(), line["vectors_answered"].as_u64()),
        (Some(3), Some(1)),
        "{line}"
    );
}

#[test]
fn a_frame_that_makes_room_for_others_is_refused_by_its_reason() {
    let server = Server::start([("a.npy", Conduct::Right, npy(&[1.0; FRAMES], 1))]);
    let to = falsely(false, |stream| {
        stream.write_all(&answered(Status::Ok, 0, &[1.0])).unwrap();
        stream.read_exact(&mut [0; 2 * 20]).unwrap();
        // By then the service knows no sequence any more.
        stream.write_all(&answered(Status::Busy, 0, &[])).unwrap();
    });
    let ended = run(&[&*server.url("a.npy"), "--ingest", &to, "--max-vectors", "1", "--json"])
        .assert_code(1);
    assert!(ended.stderr.contains("raise its --in-flight or --carry-bytes"), "{ended:?}");
    let line = ended.line("a.npy");
    assert_eq!(
        (line["vectors_answered"].as_u64(), line["vectors_refused"].as_u64()),
        (Some(1), Some(1)),
        "{line}"
    );
}

#[test]
fn a_deaf_service_is_given_up_or_interrupted() {
    let server = Server::start([("a.npy", Conduct::Right, npy(&[1.0; FRAMES], 1))]);
    let to = falsely(true, |_| ());
    let url = server.url("a.npy");
    let ended = run(&[&*url, "--ingest", &to, "--timeout", "300ms"]).assert_code(1);
    assert!(ended.stderr.contains("nothing moved for 300ms with 1 frames unanswered"), "{ended:?}");
    // One that stops reading in the middle of a frame that no socket holds.
    let folder = folder();
    let large = folder.path().join("large.npy");
    std::fs::write(&large, npy(&vec![1.0; 8 << 20], 1 << 12)).unwrap();
    let large = large.display().to_string();
    let ended = run(&[&*large, "--ingest", &to, "--timeout", "300ms", "--max-vectors", "2048"])
        .assert_code(1);
    assert!(ended.stderr.contains("nothing moved for 300ms with 1 frames unanswered"), "{ended:?}");

    let told = folder.path().join("told");
    let to = falsely(true, {
        let told = told.clone();
        move |_| std::fs::write(&told, "it has a frame").unwrap()
    });
    let child = start(get(&[&*url, "--ingest", &to]));
    wait_until("a frame is sent", || told.exists());
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ended = wait(child).assert_code(130);
    // What the service may have is said, so that nobody sends it twice unawares.
    for part in [
        "interrupted when 3 of its vectors were sent and 0 answered",
        "interrupted: 0 of 1 objects",
    ] {
        assert!(ended.stderr.contains(part), "{part}: {ended:?}");
    }
}
