//! How the service ends: drained, late, or immediately.

use std::time::Duration;

use rustix::process::Signal;
use slipring_ingest::client::Target;
use slipring_ingest::load::{self, LoadOptions, VectorRange};
use slipring_ingest::wire::frames::Mode;
use slipring_test_support::{wait_until, within};

use crate::support::client::{Address, Client};
use crate::support::process::{Place, Process, serve, serve_in_shell};
use crate::support::{data, score, vector};

/// A client that doesn't read its answers can't be drained. Its answered vectors are in the
/// segments nevertheless, because the sink has its own share of the time before the deadline.
#[test]
fn a_client_that_never_reads_delays_the_end_and_costs_no_segment() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let socket = place.folder.path().join("socket");
        let words =
            format!("--drain 2s --max-vectors 4096 --pool 8MiB --unix {}", socket.display());
        let mut process = Process::start(serve(&place.words(&words)));
        let mut good = Client::count(&process.tcp(), 4);
        for id in 0..100 {
            good.send(0, &vector(4, id));
            assert_eq!(good.answer().scores, [score(4, id)]);
        }
        // The buffers of a Unix socket are small and don't grow.
        let mut deaf = Client::count(&Address::Unix(socket), 4);
        let request = deaf.request(0, &vec![1.0; 4 * 4096]);
        // Its answers fill the buffers of the socket, and then those of the service.
        deaf.send_until_stopped(&request);
        let resident = process.resident_bytes();
        assert!(resident < 64 << 20, "{resident} bytes for one client that doesn't read");
        let ended = process.stop();
        // Everything answered is stored, which is what the exit code is about.
        assert_eq!((ended.code, ended.total("connections_left")), (Some(0), 1), "{ended:?}");
        assert!(!ended.stdout.contains("late: "), "the sink had no time: {ended:?}");
        assert_eq!(
            ended.total("vectors_answered"),
            ended.total("vectors_in_segments"),
            "{ended:?}"
        );
        // What its socket had taken is there, up to an end that is no reset.
        assert!(deaf.bytes_to_end(false).len() >= 4 * 4096);
        let rows = data::rows(&place.data(), 4).remove(&0).unwrap();
        assert_eq!(rows.len() as u64, ended.total("vectors_in_segments"));
        assert!((0..100).all(|id| rows[id as usize] == vector(4, id)));
    });
}

/// The process that started the service may have closed its ends of the pipes. That doesn't end the
/// service.
#[test]
fn closed_output_is_no_failure() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let mut process = Process::start(serve(&place.words("")));
        process.close_stdout();
        let mut client = Client::count(&process.tcp(), 4);
        client.send(0, &vector(4, 1));
        assert!(client.answer().is_ok());
        drop(client);
        process.signal(Signal::TERM);
        assert_eq!(process.wait().code, Some(0));
    });
}

/// Without time for a drain stages may be late. The exit code is about vectors all the same: with
/// none to store there is no failure.
#[test]
fn a_drain_without_time_fails_only_if_vectors_are_missing() {
    within(Duration::from_secs(60), || {
        for drain in ["0s", "1us", "1ms"] {
            for requests in [0, 5] {
                let place = Place::new();
                let mut process = Process::start(serve(&place.words(&format!("--drain {drain}"))));
                let mut client = Client::header(&process.tcp(), 4);
                for id in 0..requests {
                    client.send(id.into(), &vector(4, id));
                    assert!(client.answer().is_ok());
                }
                let ended = process.stop();
                let is_missing =
                    ended.total("vectors_answered") > ended.total("vectors_in_segments");
                assert_eq!(ended.code, Some(i32::from(is_missing)), "{drain}: {ended:?}");
                assert_eq!(ended.stdout.contains("missing: "), is_missing, "{ended:?}");
                assert!(requests > 0 || !is_missing);
            }
        }
    });
}

/// A client that has received all its answers and stays connected is owed nothing.
#[test]
fn a_client_that_stays_is_no_failure() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let mut process = Process::start(serve(&place.words("--drain 300ms")));
        let mut client = Client::count(&process.tcp(), 4);
        client.send(0, &vector(4, 1));
        assert!(client.answer().is_ok());
        let ended = process.stop();
        assert_eq!((ended.code, ended.total("vectors_in_segments")), (Some(0), 1), "{ended:?}");
    });
}

#[test]
fn an_idle_service_stops_on_either_signal() {
    within(Duration::from_secs(60), || {
        for signal in [Signal::TERM, Signal::HUP] {
            for more in
                ["", "--lanes 2 --stages threads", "--wait spin", "--wait backoff --sink null"]
            {
                let place = Place::new();
                let mut process = Process::start(serve(&place.words(more)));
                assert_eq!(process.ready_value("dim"), Some("4"));
                // A ready service accepts: the first connection is served, and nothing more is
                // printed.
                let mut client = Client::count(&process.tcp(), 4);
                client.send(0, &vector(4, 3));
                assert_eq!(client.answer().scores, [score(4, 3)]);
                drop(client);
                process.signal(signal);
                let ended = process.wait();
                assert_eq!(ended.code, Some(0), "{more}: {ended:?}");
                let said: Vec<&str> = ended.stdout.lines().collect();
                let lanes = if more.contains("--lanes 2") { 2 } else { 1 };
                let threads = if more.contains("--stages threads") { 3 } else { 1 };
                // Per lane: the sizes that would have sufficed, the class pool, and the figures.
                // The figures are the rates, the shares of time of the IO thread and of the stages,
                // and six latencies below a head.
                assert!(
                    said[0].starts_with("totals ") && said.len() == 1 + (2 + 9 + threads) * lanes,
                    "{ended:?}"
                );
                assert!(said[1..].iter().all(|line| line.starts_with("lane ")), "{ended:?}");
                assert!(
                    said[1..=lanes].iter().all(|line| line.contains("high water")),
                    "{ended:?}"
                );
                assert!(
                    said[1 + lanes..=2 * lanes]
                        .iter()
                        .all(|line| line.contains("class pool hits=")),
                    "{ended:?}"
                );
                assert!(!ended.stdout.contains("ready"), "ready is printed once: {ended:?}");
            }
        }
    });
}

/// Every signal that ends a process by default and can be caught drains the service: a closed
/// terminal (SIGHUP), Ctrl-\, a limit of CPU time, a host that loses its power (SIGPWR), the
/// real-time signals, of which `systemctl kill` sends any. A closed pipe and a limit of file sizes
/// don't end it, nor does SIGUSR1, which seals.
#[test]
fn every_signal_that_ends_a_process_drains() {
    within(Duration::from_secs(120), || {
        let named = [
            Signal::INT,
            Signal::HUP,
            Signal::QUIT,
            Signal::USR2,
            Signal::ALARM,
            Signal::VTALARM,
            Signal::PROF,
            Signal::IO,
            Signal::XCPU,
            Signal::POWER,
            Signal::STKFLT,
        ];
        // As the shell of the tests sends them: the first, one in between and the last.
        let real_time = [libc::SIGRTMIN(), 50, libc::SIGRTMAX()];
        for signal in named.map(Signal::as_raw).into_iter().chain(real_time) {
            let place = Place::new();
            let mut process = Process::start(serve(&place.words("")));
            let mut client = Client::count(&process.tcp(), 4);
            process.signal(Signal::PIPE);
            process.signal(Signal::XFSZ);
            process.signal(Signal::USR1);
            client.send(0, &vector(4, 1));
            assert!(client.answer().is_ok(), "{signal}");
            process.signal_number(signal);
            let ended = process.wait();
            assert_eq!(
                (ended.code, ended.total("vectors_in_segments")),
                (Some(0), 1),
                "{signal}: {ended:?}"
            );
            assert_eq!(data::ids(&place.data(), 4), [1], "{signal}");
        }
    });
}

/// SIGUSR1 seals what is there, as often as it comes, and the service goes on.
#[test]
fn a_signal_seals_while_the_service_runs() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let mut process = Process::start(serve(&place.words("--lanes 2 --commit-interval 10m")));
        let mut client = Client::count(&process.tcp(), 4);
        for id in 0..3 {
            client.send(0, &vector(4, id));
            assert!(client.answer().is_ok());
            let rows = || slipring_ingest::sink::read_segments(&place.data()).unwrap().rows;
            // An answer may come before its vectors are in the log.
            wait_until("it is sealed", || {
                process.signal(Signal::USR1);
                process.signal(Signal::USR1);
                rows() == u64::from(id) + 1
            });
        }
        drop(client);
        let ended = process.stop();
        assert_eq!((ended.code, ended.total("segments")), (Some(0), 3), "{ended:?}");
    });
}

/// Beyond a limit of CPU time the kernel sends SIGXCPU every second, which isn't somebody's second
/// thought.
#[test]
fn a_signal_that_the_kernel_repeats_does_not_cut_the_drain() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let words = place.words("--drain 4s --max-vectors 1024 --pool 4MiB");
        let mut process = Process::start(serve(&words));
        let mut deaf = Client::count(&process.tcp(), 4);
        let request = deaf.request(0, &vector(4, 1).repeat(1024));
        deaf.send_until_stopped(&request);
        for signal in [Signal::XCPU, Signal::XCPU, Signal::PROF, Signal::ALARM, Signal::VTALARM] {
            process.signal(signal);
            std::thread::sleep(Duration::from_millis(350));
        }
        let ended = process.wait();
        assert_eq!((ended.code, ended.total("connections_left")), (Some(0), 1), "{ended:?}");
    });
}

/// nohup ignores SIGHUP for the program that it starts, and that stays so. So does every other
/// signal but those that shells ignore for what runs in the background.
#[test]
fn a_signal_that_is_ignored_stays_ignored() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let shell = "trap '' HUP USR2 PWR INT QUIT";
        let mut process = Process::start(serve_in_shell(shell, &place.words("")));
        for signal in [Signal::HUP, Signal::USR2, Signal::POWER] {
            process.signal(signal);
        }
        let mut client = Client::count(&process.tcp(), 4);
        client.send(0, &vector(4, 1));
        assert!(client.answer().is_ok());
        std::thread::sleep(Duration::from_millis(200));
        assert!(process.is_running(), "{:?}", process.wait());
        drop(client);
        process.signal(Signal::INT);
        assert_eq!(process.wait().code, Some(0));
    });
}

/// Sends requests until the service closes the connection. Returns the number of vectors answered.
fn load_until_closed(address: &Address, mode: Mode) -> u64 {
    let mut client = Client::new(address, mode, 4);
    let mut writer = client.second_handle();
    let sender = std::thread::spawn(move || {
        let requests: Vec<u8> =
            (0..50).flat_map(|id| writer.request(id, &vector(4, 1).repeat(3))).collect();
        while writer.try_send_bytes(&requests).is_ok() {}
    });
    let mut answered = 0;
    while let Some((_, scores)) = client.next_if_served() {
        assert!(scores.is_empty() || scores == [score(4, 1); 3]);
        answered += scores.len() as u64;
    }
    sender.join().unwrap();
    answered
}

/// Everything answered is in the segments, no matter how much is in flight.
#[test]
fn a_signal_under_load_drains() {
    within(Duration::from_secs(90), || {
        for (more, signal) in [
            ("", Signal::TERM),
            ("--stages threads --slots 16 --pool 32KiB", Signal::INT),
            ("--lanes 2 --in-flight 8 --segment-bytes 100KiB", Signal::TERM),
        ] {
            let place = Place::new();
            let mut process = Process::start(serve(&place.words(more)));
            let clients: Vec<_> = [Mode::Count, Mode::Header, Mode::Count]
                .into_iter()
                .map(|mode| {
                    let address = process.tcp();
                    std::thread::spawn(move || load_until_closed(&address, mode))
                })
                .collect();
            std::thread::sleep(Duration::from_millis(400));
            process.signal(signal);
            let ended = process.wait();
            let answered: u64 = clients.into_iter().map(|client| client.join().unwrap()).sum();
            assert_eq!(ended.code, Some(0), "{more}: {ended:?}");
            let rows: usize = data::rows(&place.data(), 4).values().map(Vec::len).sum();
            let stored = ended.total("vectors_in_segments");
            assert!(
                answered > 0 && rows as u64 == stored && answered <= stored,
                "{answered} answered, {rows} rows, {ended:?}"
            );
            assert_eq!(ended.total("vectors_answered"), stored, "{ended:?}");
        }
    });
}

/// Compares the load generator's count of accepted vectors with the segments.
#[test]
fn what_a_load_had_accepted_is_in_the_segments() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let mut process =
            Process::start(serve(&place.words("--max-vectors 8 --segment-bytes 200KiB")));
        let to = Target::Tcp(process.ready_value("tcp").unwrap().to_owned());
        let options = LoadOptions {
            vectors: VectorRange { least: 1, most: 8 },
            count: Some(20_000),
            verify: true,
            ..LoadOptions::new(to, 4)
        };
        let report = load::run(&options).unwrap();
        let ended = process.stop();
        assert_eq!(
            (ended.code, ended.total("vectors_in_segments")),
            (Some(0), report.accepted.vectors),
            "{ended:?}"
        );
        let summary = slipring_ingest::sink::read_segments(&place.data()).unwrap();
        assert_eq!(summary.rows, report.accepted.vectors);
        assert!(
            (summary.sum - report.accepted.sum).abs() < 1e-6 * summary.rows as f64,
            "{} {}",
            summary.sum,
            report.accepted.sum
        );
    });
}

/// The first signal drains the service; a later one ends it without waiting.
#[test]
fn a_second_signal_ends_it_at_once() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        // The client doesn't read these answers: without the second signal the service would wait
        // for a minute.
        let mut process =
            Process::start(serve(&place.words("--drain 60s --max-vectors 1024 --pool 4MiB")));
        let mut deaf = Client::count(&process.tcp(), 4);
        let request = deaf.request(0, &vector(4, 1).repeat(1024));
        // Continues until answers wait in the service, and not only requests in the socket: those
        // it could still drain.
        deaf.send_until_stopped(&request);
        process.signal(Signal::TERM);
        std::thread::sleep(Duration::from_millis(1500));
        assert!(process.is_running());
        process.signal(Signal::INT);
        let ended = process.wait();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("a second signal (SIGINT) ends this process"), "{ended:?}");
    });
}

/// Two signals in a row are one wish: `timeout` signals its child and then the child's group,
/// systemd may send SIGHUP behind SIGTERM, and a terminal that closes sends it twice.
#[test]
fn signals_in_a_row_drain() {
    within(Duration::from_secs(60), || {
        for signals in [
            [Signal::TERM, Signal::TERM, Signal::CONT],
            [Signal::TERM, Signal::HUP, Signal::CONT],
            [Signal::HUP, Signal::HUP, Signal::TERM],
            [Signal::INT, Signal::INT, Signal::INT],
        ] {
            for between in [Duration::ZERO, Duration::from_millis(10)] {
                let place = Place::new();
                let mut process = Process::start(serve(&place.words("")));
                let mut client = Client::count(&process.tcp(), 4);
                for id in 0..50 {
                    client.send(0, &vector(4, id));
                    assert!(client.answer().is_ok());
                }
                for signal in signals {
                    // The drain may be over before the last one.
                    let _gone = process.try_signal(signal);
                    std::thread::sleep(between);
                }
                let ended = process.wait();
                let stored = ended.total("vectors_in_segments");
                assert_eq!((ended.code, stored), (Some(0), 50), "{signals:?}: {ended:?}");
            }
        }
    });
}
