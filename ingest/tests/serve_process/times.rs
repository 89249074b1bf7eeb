//! The time limits of a connection: who is closed, why, and who isn't.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use slipring_ingest::wire::frames::Status;
use slipring_test_support::within;

use crate::support::client::{Address, Client};
use crate::support::data;
use crate::support::process::{BINARY, Ended, Place, Process, serve, words};
use crate::support::{folder, vector};

/// Until the service ends a connection. Returns how long that took.
fn until_end(client: &mut Client) -> Duration {
    let start = Instant::now();
    client.expect_end();
    start.elapsed()
}

/// The totals of the three limits.
fn timeouts(ended: &Ended) -> [u64; 3] {
    ["idle_timeouts", "header_timeouts", "unread_timeouts"].map(|name| ended.total(name))
}

/// A connection without requests is closed in time, and one that sends now and then isn't.
#[test]
fn idle_connections_are_closed() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let mut process = Process::start(serve(&place.words("--idle-timeout 600ms")));
        let mut idle = [Client::count(&process.tcp(), 4), Client::header(&process.tcp(), 4)];
        let mut busy = Client::count(&process.tcp(), 4);
        for client in &mut idle {
            client.send(0, &vector(4, 1));
            assert!(client.answer().is_ok());
        }
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(2) {
            busy.send(0, &vector(4, 2));
            assert!(busy.answer().is_ok(), "it sends often enough");
            std::thread::sleep(Duration::from_millis(100));
        }
        for client in &mut idle {
            assert!(until_end(client) < Duration::from_secs(1), "it was to be closed long ago");
        }
        drop(busy);
        let ended = process.stop();
        assert_eq!((ended.code, timeouts(&ended)), (Some(0), [2, 0, 0]), "{ended:?}");
        assert_eq!(ended.total("broken"), 0, "{ended:?}");
    });
}

/// Urgent data ends a receive early. What comes after it in the same frame is read all the same.
#[test]
fn a_frame_that_urgent_data_interrupts_is_answered() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let mut process = Process::start(serve(&place.words("")));
        let mut client = Client::count(&process.tcp(), 4);
        client.send(0, &vector(4, 1));
        assert!(client.answer().is_ok());
        // All of it is there before the first receive.
        process.signal(Signal::STOP);
        let frame = client.request(0, &vector(4, 2));
        client.send_bytes(&frame[..7]);
        client.send_urgent(b'!');
        client.send_bytes(&frame[7..]);
        std::thread::sleep(Duration::from_millis(100));
        process.signal(Signal::CONT);
        assert!(client.answer().is_ok());
        drop(client);
        assert_eq!(process.stop().code, Some(0));
    });
}

/// Nothing at all, a few bytes, half of a later frame, and a byte now and then: all are closed, the
/// last after the answers that it is owed.
#[test]
fn unfinished_frames_are_closed() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let mut process = Process::start(serve(&place.words("--header-timeout 500ms")));
        let mut silent = Client::count(&process.tcp(), 4);
        let mut few = Client::count(&process.tcp(), 4);
        few.send_bytes(&[1, 0]);
        let mut half = Client::header(&process.tcp(), 4);
        let request = half.request(7, &vector(4, 1));
        half.send_bytes(&[&request[..], &request[..20]].concat());
        let mut drips = Client::header(&process.tcp(), 4);
        let mut writer = drips.second_handle();
        let bytes = drips.request(0, &vector(4, 1).repeat(64));
        let drip = std::thread::spawn(move || {
            let sent = bytes.chunks(1).take_while(|byte| {
                std::thread::sleep(Duration::from_millis(50));
                writer.try_send_bytes(byte).is_ok()
            });
            sent.count()
        });
        let mut good = Client::count(&process.tcp(), 4);
        good.send(0, &vector(4, 1));
        assert!(good.answer().is_ok());
        assert_eq!(half.answer().status, Some(Status::Ok));
        for client in [&mut silent, &mut few, &mut half] {
            until_end(client);
        }
        let _reset = drips.bytes_to_end(true);
        assert!(drip.join().unwrap() < 100, "a byte now and then isn't a complete frame");
        // One that waits between its frames isn't concerned.
        good.send(0, &vector(4, 1));
        assert!(good.answer().is_ok());
        drop(good);
        let ended = process.stop();
        assert_eq!((ended.code, timeouts(&ended)), (Some(0), [0, 4, 0]), "{ended:?}");
    });
}

/// A client that reads no answers holds memory. It is closed, and one that reads slowly isn't.
#[test]
fn clients_that_dont_read_are_closed() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let socket = place.folder.path().join("socket");
        let words = format!("--unread-timeout 3s --unix {}", socket.display());
        let mut process = Process::start(serve(&place.words(&words)));
        let address = Address::Unix(socket);
        let (mut deaf, mut slow) = (Client::count(&address, 4), Client::count(&address, 4));
        let request = deaf.request(0, &vector(4, 1).repeat(64));
        deaf.send_until_stopped(&request);
        let sent = slow.send_until_stopped(&request);
        let start = Instant::now();
        let mut answers = 0;
        while start.elapsed() < Duration::from_secs(5) {
            for _ in 0..4.min(sent / request.len() - answers) {
                assert!(slow.answer().is_ok(), "it reads");
                answers += 1;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(slow);
        let ended = process.stop();
        assert_eq!((ended.code, timeouts(&ended)), (Some(0), [0, 0, 1]), "{ended:?}");
        assert_eq!(ended.total("connections_left"), 0, "{ended:?}");
    });
}

/// One that reads slowly all the time isn't closed, though it takes minutes until its socket has
/// enough room again to be reported as writable.
#[test]
fn clients_that_read_slowly_are_not_closed() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let words = "--unread-timeout 4s --dim 1 --in-flight 8 --max-vectors 1024";
        let mut process = Process::start(serve(&place.words(words)));
        let mut slow = Client::count(&process.tcp(), 1);
        slow.receive_buffer(8192);
        let request = slow.request(0, &vector(1, 1).repeat(1024));
        let mut writer = slow.second_handle();
        let writes = std::thread::spawn(move || while writer.try_send_bytes(&request).is_ok() {});
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(12) {
            assert!(slow.answer().is_ok(), "it reads");
            std::thread::sleep(Duration::from_millis(300));
        }
        slow.end();
        let _over = writes.join();
        drop(slow);
        let ended = process.stop();
        assert_eq!((ended.code, timeouts(&ended)), (Some(0), [0; 3]), "{ended:?}");
    });
}

/// The process is stopped for longer than the limits. What came meanwhile is answered, and who
/// lacks something has as long as before.
#[test]
fn a_stopped_service_blames_nobody() {
    for wait in ["park", "spin"] {
        within(Duration::from_secs(60), move || {
            let place = Place::new();
            let words = format!("--idle-timeout 2s --header-timeout 2s --wait {wait}");
            let mut process = Process::start(serve(&place.words(&words)));
            let address = process.tcp();
            let greeted = |_| {
                let mut client = Client::count(&address, 4);
                client.send(0, &vector(4, 3));
                assert!(client.answer().is_ok());
                client
            };
            // More than one wait for readiness reports.
            let mut all: Vec<Client> = (0..300).map(greeted).collect();
            // Every second one has sent half of a frame.
            let frame = all[0].request(0, &vector(4, 3));
            all.iter_mut().step_by(2).for_each(|client| client.send_bytes(&frame[..7]));
            let missing = |number: usize| if number % 2 == 0 { &frame[7..] } else { &frame[..] };
            let is_late = |number: &usize| number % 10 < 2;
            process.signal(Signal::STOP);
            for number in (0..300).filter(|number| !is_late(number)) {
                all[number].send_bytes(missing(number));
            }
            let mut new = Client::count(&address, 4);
            new.send(0, &vector(4, 3));
            std::thread::sleep(Duration::from_secs(4));
            process.signal(Signal::CONT);
            std::thread::sleep(Duration::from_millis(100));
            for number in (0..300).filter(is_late) {
                all[number].send_bytes(missing(number));
            }
            for client in all.iter_mut().chain([&mut new]) {
                assert!(client.answer().is_ok());
            }
            drop((all, new));
            let ended = process.stop();
            assert_eq!((ended.code, timeouts(&ended)), (Some(0), [0; 3]), "{ended:?}");
        });
    }
}

/// A stop in the time in which a client that was answered in full may still end its side.
#[test]
fn a_stopped_service_resets_no_client_that_it_has_answered() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let words = "--dim 1 --max-vectors 1024 --pool 4MiB";
        let mut process = Process::start(serve(&place.words(words)));
        let mut client = Client::count(&process.tcp(), 1);
        let requests: Vec<u8> =
            (0..200).flat_map(|_| client.request(0, &vector(1, 1).repeat(1024))).collect();
        client.send_bytes(&requests);
        client.send_bytes(&[0xff; 64]);
        std::thread::sleep(Duration::from_millis(400));
        process.signal(Signal::STOP);
        client.send_bytes(&[0xff; 64]);
        std::thread::sleep(Duration::from_millis(1500));
        process.signal(Signal::CONT);
        std::thread::sleep(Duration::from_millis(300));
        for _ in 0..200 {
            assert!(client.answer().is_ok());
        }
        assert!(client.answer().scores.is_empty(), "framing is lost");
        client.expect_end();
        assert_eq!(process.stop().code, Some(0));
    });
}

/// A client has left its answers unread, and then the limits end its connection, or don't: it is
/// owed what its system hasn't got yet. It sends on, and reads all of them after that.
#[test]
fn a_client_with_answers_on_their_way_is_not_idle() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let words = "--idle-timeout 1s --header-timeout 1s --dim 1 --max-vectors 1024 --pool 4MiB";
        let mut process = Process::start(serve(&place.words(words)));
        let large = vector(1, 1).repeat(1024);
        let start = |more: usize| {
            let mut client = Client::count(&process.tcp(), 1);
            let request = client.request(0, &large);
            client.send_bytes(&[&request.repeat(200), &request[..more]].concat());
            client
        };
        let (mut idle, mut half) = (start(0), start(1000));
        std::thread::sleep(Duration::from_millis(3500));
        let request = idle.request(0, &large);
        idle.send_bytes(&request);
        half.send_bytes(&request[1000..]);
        std::thread::sleep(Duration::from_millis(200));
        (0..201).for_each(|_| assert_eq!(idle.answer().scores, large));
        (0..200).for_each(|_| assert_eq!(half.answer().scores, large));
        half.expect_end();
        until_end(&mut idle);
        let ended = process.stop();
        assert_eq!((ended.code, timeouts(&ended)), (Some(0), [1, 1, 0]), "{ended:?}");
    });
}

/// Zero is for ever.
#[test]
fn without_limits_nobody_is_closed() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let words = "--idle-timeout 0s --header-timeout 0s --unread-timeout 0s";
        let mut process = Process::start(serve(&place.words(words)));
        let mut silent = Client::count(&process.tcp(), 4);
        std::thread::sleep(Duration::from_millis(1500));
        silent.send(0, &vector(4, 1));
        assert!(silent.answer().is_ok());
        drop(silent);
        let ended = process.stop();
        assert_eq!((ended.code, timeouts(&ended)), (Some(0), [0; 3]), "{ended:?}");
    });
}

/// The kernel probes silent clients: its table shows the timer of each connection.
#[test]
fn silent_tcp_clients_are_probed() {
    const KEEPALIVE: &str = "02";
    within(Duration::from_secs(60), || {
        for (words, is_probed) in [("", true), ("--keepalive 0s", false)] {
            let place = Place::new();
            let mut process = Process::start(serve(&place.words(words)));
            let Address::Tcp(address) = process.tcp() else { unreachable!("it listens on TCP") };
            let mut client = Client::count(&process.tcp(), 4);
            client.send(0, &vector(4, 1));
            assert!(client.answer().is_ok());
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
            let port = format!(":{:04X}", address.port());
            let timers: Vec<&str> = table
                .lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>())
                .filter(|line| line.len() > 5 && line[1].ends_with(&port) && line[3] == "01")
                .map(|line| &line[5][..2])
                .collect();
            assert_eq!(timers.contains(&KEEPALIVE), is_probed, "{timers:?}");
            drop(client);
            assert_eq!(process.stop().code, Some(0));
        }
    });
}

/// The system forbids accepting for a while: it is said once, tried ten times a second, and waited
/// out. strace causes the errors, where it is installed and may trace.
#[test]
fn accepting_that_is_forbidden_is_waited_out() {
    let strace = |more: &[&str]| {
        let mut command = Command::new("strace");
        // The tracer isn't the parent, so that signals go to the service.
        command.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=accept4"]);
        command.args(["-e", "inject=accept4:error=EPERM:when=1..5"]).args(more);
        command
    };
    if !strace(&["true"]).output().is_ok_and(|output| output.status.success()) {
        return println!("no strace here, or it may not trace");
    }
    within(Duration::from_secs(60), move || {
        let folder = folder();
        let mut command = strace(&[BINARY, "serve"]);
        command.args(words(folder.path(), "").split_whitespace());
        let mut process = Process::start(command);
        let mut client = Client::count(&process.tcp(), 4);
        client.send(0, &vector(4, 1));
        assert!(client.answer().is_ok(), "it waited for its turn");
        drop(client);
        let ended = process.stop();
        assert_eq!(ended.total("accept_pauses"), 5, "{ended:?}");
        let said = ended.stderr.matches("no connection can be accepted").count();
        assert_eq!(said, 1, "{ended:?}");
        assert_eq!(data::ids(&folder.path().join("data"), 4), [1]);
    });
}
