//! What an operator sees of a running service: `/metrics`, `/healthz` and `/readyz`,
//! `--report-every`, the figures at the stop, and the sizes that would have sufficed for the pools.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use slipring_ingest::log::{AlignedBytes, BLOCK_BYTES, Disk, DiskFile, RealDisk};
use slipring_ingest::sink::DataMode;
use slipring_test_support::{wait_until, within};

use crate::support::admin::{got, said_to, samples, try_said_to};
use crate::support::client::Client;
use crate::support::data::SmallDisk;
use crate::support::process::{
    Ended, Place, Process, is_log_line, log_text, refused, serve, words,
};
use crate::support::{data, vector};

/// Names of samples of lane 0: requests whose answers are sent, and events and latencies of a
/// stage.
const SENT: &str = "slipring_request_latency_seconds_count{lane=\"0\",until=\"sent\"}";
const RELEASED: &str = "slipring_stage_released_events_total";
const TIMED: &str = "slipring_stage_latency_seconds_count";
const STAGES: [&str; 4] = ["validate", "score", "answer", "sink"];

fn of_stage(name: &str, stage: &str) -> String {
    format!("{name}{{lane=\"0\",stage=\"{stage}\"}}")
}

/// The samples once every stage has released `requests` requests and their answers are sent. A
/// client may have its last answer before that: the sink is still writing then, and the send is
/// counted only afterwards.
fn samples_after(process: &Process, requests: f64) -> BTreeMap<String, f64> {
    let mut seen = samples(process);
    wait_until("the service counts all requests", || {
        seen = samples(process);
        let of_stages = STAGES
            .iter()
            .flat_map(|stage| [RELEASED, TIMED].map(|name| of_stage(name, stage)))
            .chain([SENT.to_owned()]);
        of_stages.into_iter().all(|name| seen.get(&name).is_some_and(|count| *count >= requests))
    });
    seen
}

/// A service that has answered 1,000 requests of 3 vectors and refused one.
fn busy(place: &Place, more: &str) -> (Process, Client) {
    let process = Process::start(serve(&place.words(&format!("--metrics 0 {more}"))));
    let mut client = Client::header1(&process.tcp(), 4);
    for id in 0..1000 {
        client.send(id, &vector(4, id as u32).repeat(3));
        assert!(client.answer().is_ok());
    }
    client.send(1000, &[f32::NAN, 0.0, 0.0, 0.0]);
    assert!(!client.answer().is_ok());
    (process, client)
}

#[test]
fn a_scrape_shows_what_was_done() {
    within(Duration::from_secs(60), || {
        for more in ["", "--stages threads --wait backoff"] {
            let place = Place::new();
            let (process, _client) = busy(&place, more);
            let samples = samples_after(&process, 1001.0);
            let of =
                |name: &str| *samples.get(name).unwrap_or_else(|| panic!("no {name} is there"));
            let of_lane = |name: &str| of(&format!("{name}{{lane=\"0\"}}"));
            assert_eq!(of_lane("slipring_io_requests_total"), 1001.0);
            assert_eq!(of_lane("slipring_io_vectors_answered_total"), 3000.0);
            assert_eq!(of_lane("slipring_io_connections_total"), 1.0);
            assert_eq!(of("slipring_io_answers_total{lane=\"0\",status=\"ok\"}"), 1000.0);
            assert_eq!(of("slipring_io_answers_total{lane=\"0\",status=\"not-finite\"}"), 1.0);
            assert_eq!(of_lane("slipring_lane_published_events_total"), 1001.0);
            assert_eq!(of(SENT), 1001.0);
            for stage in STAGES {
                let labels = format!("{{lane=\"0\",stage=\"{stage}\"");
                assert_eq!(of(&of_stage(RELEASED, stage)), 1001.0);
                assert_eq!(of(&of_stage(TIMED, stage)), 1001.0);
                assert_eq!(
                    of(&format!(
                        "slipring_stage_latency_seconds_bucket{{le=\"+Inf\",{}}}",
                        &labels[1..]
                    )),
                    1001.0
                );
                assert!(of(&format!("slipring_stage_latency_seconds_sum{labels}}}")) > 0.0);
            }
            assert_eq!(
                of("slipring_request_latency_seconds_count{lane=\"0\",until=\"flush\"}"),
                1001.0
            );
            for activity in ["receive", "answer", "send", "idle"] {
                assert!(
                    of(&format!(
                        "slipring_io_time_seconds_total{{lane=\"0\",activity=\"{activity}\"}}"
                    )) > 0.0
                );
            }
            for activity in ["busy", "idle"] {
                let labels = format!("{{lane=\"0\",stage=\"sink\",activity=\"{activity}\"}}");
                assert!(
                    of(&format!("slipring_stage_time_seconds_total{labels}")) > 0.0,
                    "{activity}"
                );
            }
            assert!(of_lane("slipring_io_longest_round_seconds") > 0.0);
            assert!(
                samples
                    .keys()
                    .any(|name| name.starts_with("slipring_class_gets_total{pool=\"lane 0\""))
            );
        }
    });
}

#[test]
fn the_port_answers_whatever_others_do() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let (process, _client) = busy(&place, "");
        for path in ["/healthz", "/readyz"] {
            let (head, body) = got(&process, path);
            assert!(head.starts_with("HTTP/1.1 200 OK") && body == "ok\n", "{head}");
        }
        for (request, status) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], "404"),
            (b"PUT /metrics HTTP/1.1\r\n\r\n", "405"),
            (b"\x01\x00\x00\x00", "400"),
        ] {
            assert!(said_to(&process, request).0.starts_with(&format!("HTTP/1.1 {status} ")));
        }
        let (head, body) = said_to(&process, b"HEAD /metrics HTTP/1.1\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200 OK") && body.is_empty(), "{head}");
        // Seven clients are silent, and an eighth is answered. Beside eight or more, a client is
        // turned away, and is answered once they have gone.
        let address = process.ready_value("metrics").unwrap();
        let mut silent: Vec<TcpStream> =
            (0..7).map(|_| TcpStream::connect(address).unwrap()).collect();
        assert!(got(&process, "/healthz").0.starts_with("HTTP/1.1 200 OK"));
        while try_said_to(&process, b"GET /healthz HTTP/1.1\r\n\r\n").is_some() {
            silent.push(TcpStream::connect(address).unwrap());
        }
        drop(silent);
        assert!(got(&process, "/healthz").0.starts_with("HTTP/1.1 200 OK"));
    });
}

#[test]
fn a_service_that_drains_is_not_ready() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        // The client keeps its side open, and the service waits for it.
        let (mut process, client) = busy(&place, "");
        process.signal(Signal::TERM);
        let mut said = Vec::new();
        while process.is_running() {
            let Ok(mut asked) = TcpStream::connect(process.ready_value("metrics").unwrap()) else {
                break;
            };
            let mut text = String::new();
            if asked.write_all(b"GET /readyz HTTP/1.1\r\n\r\n").is_ok()
                && asked.read_to_string(&mut text).is_ok()
            {
                said.extend(text.split(' ').nth(1).map(str::to_owned));
            }
        }
        assert!(said.iter().any(|status| status == "503"), "{said:?}");
        drop(client);
        let ended = process.wait();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    });
}

#[test]
fn reports_say_what_came_since_the_last() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let (mut process, client) = busy(&place, "--report-every 100ms");
        std::thread::sleep(Duration::from_secs(1));
        drop(client);
        let ended = process.stop();
        let reports: Vec<&str> =
            ended.stderr.lines().filter(|line| line.contains(" requests/s, ")).collect();
        assert!(
            reports.len() >= 2 && reports.iter().all(|line| log_text(line).starts_with("lane 0: ")),
            "{ended:?}"
        );
        assert!(
            reports.last().is_some_and(|line| line.contains(": 0 requests/s")),
            "nothing came at the end: {ended:?}"
        );
        let sent: u64 = ended
            .stderr
            .lines()
            .filter_map(|line| log_text(line).strip_prefix("lane 0: receive to sent"))
            .map(|line| line.split_whitespace().last().unwrap().parse::<u64>().unwrap())
            .sum();
        // The first report covers the time since the reporter started, which was before the first
        // request.
        assert_eq!(sent, 1001, "each request is in one report: {ended:?}");
        let last = ended
            .stdout
            .lines()
            .find(|line| line.starts_with("lane 0: receive to sent"))
            .expect("a latency");
        assert!(last.ends_with(" 1001"), "{last}");
        for start in ["lane 0: time receive=", "lane 0: time of sink busy="] {
            assert!(
                ended.stdout.lines().any(|line| line.starts_with(start)),
                "{start} in {ended:?}"
            );
        }
    });
}

#[test]
fn reports_that_are_not_read_delay_nothing() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let (mut process, mut reader) =
            Process::start_unread(serve(&place.words("--report-every 1ms")));
        // By then the pipe is full: a report has about 1 KiB.
        std::thread::sleep(Duration::from_secs(1));
        let mut client = Client::header1(&process.tcp(), 4);
        client.send(0, &vector(4, 1));
        assert!(client.answer().is_ok());
        drop(client);
        let ended = process.stop();
        assert_eq!((ended.code, ended.total("vectors_in_segments")), (Some(0), 1), "{ended:?}");
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert!(
            text.len() > 32 << 10
                && text.lines().all(|line| is_log_line(line)
                    && (log_text(line).starts_with("lane 0: ")
                        || log_text(line).starts_with("data folder: ")
                        || line.contains(" of memory at most: ")))
        );
    });
}

/// Requests that a full ring holds back are processed once there is room, without another receive.
/// Their flush counts too.
#[test]
fn requests_that_waited_in_a_stall_are_timed_like_any_other() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let mut process =
            Process::start(serve(&place.words("--metrics 0 --slots 8 --max-vectors 4")));
        let mut client = Client::header1(&process.tcp(), 4);
        let requests: Vec<u8> =
            (0..64).flat_map(|id| client.request(id, &vector(4, id as u32))).collect();
        client.send_bytes(&requests);
        (0..64).for_each(|_| assert!(client.answer().is_ok()));
        let seen = samples_after(&process, 64.0);
        for until in ["flush", "sent"] {
            let count = seen[&format!(
                "slipring_request_latency_seconds_count{{lane=\"0\",until=\"{until}\"}}"
            )];
            assert_eq!(count, 64.0, "{until}");
        }
        assert!(seen["slipring_io_stalls_total{lane=\"0\"}"] > 0.0, "nothing stalled");
        drop(client);
        assert_eq!(process.stop().code, Some(0));
    });
}

#[test]
fn a_port_in_use_is_refused() {
    let bound = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::new();
    let words = place.words(&format!("--metrics {}", bound.local_addr().unwrap()));
    refused(serve(&words), 1, &["--metrics", "choose another port"]);
}

/// Serves a thousand small requests, one at a time, and stops.
fn served(words: &str) -> Ended {
    let place = Place::new();
    let mut process = Process::start(serve(&place.words(words)));
    let mut client = Client::count(&process.tcp(), 4);
    for id in 0..1000 {
        client.send(0, &vector(4, id));
        assert!(client.answer().is_ok());
    }
    drop(client);
    let ended = process.stop();
    assert_eq!((ended.code, ended.total("vectors_in_segments")), (Some(0), 1000), "{ended:?}");
    ended
}

fn hint(ended: &Ended) -> &str {
    let line = ended.stdout.lines().find_map(|line| line.strip_prefix("lane 0: high water "));
    line.unwrap_or_else(|| panic!("no hint in {ended:?}"))
}

#[test]
fn the_hinted_options_serve_the_same() {
    within(Duration::from_secs(60), || {
        for policy in ["consume --slots 256", "overwrite --slots 256"] {
            let first = served(&format!("--pool 32MiB --reclaim {policy}"));
            let line = hint(&first);
            let (_, words) = line.split_once("; ").expect("a setting");
            let words = words.strip_suffix(" would have served").expect("a setting");
            assert!(
                line.contains(" of 32 MiB; ")
                    && words.starts_with("--pool ")
                    && words.contains(" --window "),
                "{line}"
            );
            assert!(!words.contains("--pool 32MiB"), "nearly all of it was never used: {line}");
            let again = served(&format!("{words} --reclaim {policy}"));
            assert!(!hint(&again).contains("full"), "{words}: {}", hint(&again));
        }
    });
}

/// Whether a folder's file system writes past the page cache.
fn can_write_direct(folder: &Path) -> bool {
    let disk = RealDisk::new(DataMode::default()).direct_writes(true);
    let file = disk.create_new(&folder.join("tried")).unwrap();
    file.write_at(&AlignedBytes::zeroed(BLOCK_BYTES), 0).unwrap();
    file.is_direct()
}

/// What the figures say of the records of a service in this folder.
fn direct_figure(folder: &Path, word: &str) -> f64 {
    let more = format!("--metrics 0 --direct {word} --report-every 10ms --data-mode 0600");
    let mut process = Process::start(serve(&words(folder, &more)));
    let mut client = Client::count(&process.tcp(), 4);
    client.send(0, &vector(4, 1));
    assert!(client.answer().is_ok());
    let figure = |name: &str| samples(&process)[&format!("slipring_log_{name}{{lane=\"0\"}}")];
    wait_until("it is on the disk", || figure("durable_sequence") > 0.0);
    let direct = figure("direct");
    std::thread::sleep(Duration::from_millis(50));
    let ended = process.stop();
    let said = if direct > 0.0 { "past the page cache" } else { "through the page cache" };
    assert!(ended.code == Some(0) && ended.stderr.contains(said), "{ended:?}");
    assert_eq!(data::ids(&folder.join("data"), 4), [1]);
    std::fs::remove_dir_all(folder.join("data")).unwrap();
    direct
}

/// Records are written past the page cache if that was asked for; a file system that can't is
/// refused at the start.
#[test]
fn direct_writes_are_made_or_refused() {
    within(Duration::from_secs(60), || {
        let check = |folder: &Path| {
            let can = can_write_direct(folder);
            if can {
                assert_eq!(direct_figure(folder, "yes"), 1.0);
            } else {
                let parts = ["--direct yes", "past the page cache", "--direct auto"];
                refused(serve(&words(folder, "--direct yes")), 1, &parts);
            }
            // What was measured says nothing for it yet.
            ["auto", "no"].iter().for_each(|word| assert_eq!(direct_figure(folder, word), 0.0));
            can
        };
        let place = Place::new();
        println!("the machine's disk: {}", check(place.folder.path()));
        match SmallDisk::mount(16) {
            Ok(disk) => println!("tmpfs: {}", check(disk.path())),
            Err(why) => println!("no tmpfs here: {why}"),
        }
        match SmallDisk::mount_ramfs() {
            Ok(disk) => assert!(!check(disk.path()), "ramfs has no other way"),
            Err(why) => println!("no ramfs here: {why}"),
        }
    });
}
