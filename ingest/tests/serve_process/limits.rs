//! Limits of the system: descriptors, memory, huge pages, CPUs, and a full disk. On a full disk the
//! service holds back its clients, loses nothing, and ends by its deadline.
//!
//! The full disk is a tmpfs of 8 MiB, where mounting is allowed. The file size limit, which needs
//! no privilege, is tested everywhere.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Signal};
use slipring_ingest::wire::frames::Status;
use slipring_test_support::{wait_until, within};

use crate::support::client::{Address, Client};
use crate::support::data::on_small_disk;
use crate::support::process::{BINARY, Place, Process, refused, serve, serve_in_shell, words};
use crate::support::{data, folder, vector};

/// Whether a connection is served; it may be closed because the service has too many.
fn is_served(client: &mut Client) -> bool {
    client.try_send_bytes(&client.request(0, &vector(4, 1))).is_ok()
        && !client.bytes_of_answer().is_empty()
}

/// Idle clients take every descriptor that they can get, but not those of the sink. So every
/// accepted client is served.
#[test]
fn idle_clients_leave_the_sink_its_descriptors() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let words = place.words("--segment-bytes 20000 --pool 2MiB");
        let mut process = Process::start(serve_in_shell("ulimit -n 64", &words));
        let address = process.tcp();
        let mut clients: Vec<Client> = (0..100).map(|_| Client::count(&address, 4)).collect();
        let served = clients.iter_mut().map(is_served).filter(|served| *served).count();
        assert!((20..64).contains(&served), "{served} of 100 were served");
        // More rows than the memory holds: segments are opened, completed and opened again.
        let vectors: Vec<f32> = (0..64).flat_map(|id| vector(4, id)).collect();
        for _ in 0..600 {
            clients[0].send(0, &vectors);
            assert!(clients[0].answer().is_ok());
        }
        drop(clients);
        let ended = process.stop();
        let rows = 64 * 600 + served as u64;
        assert_eq!((ended.code, ended.total("vectors_in_segments")), (Some(0), rows), "{ended:?}");
        assert!(ended.total("segments") > 1 && ended.stderr.contains("ulimit -n"), "{ended:?}");
        assert_eq!(data::ids(&place.data(), 4).len() as u64, rows);
    });
}

/// The limit is lowered below the number of open descriptors while the service runs. Accepting
/// pauses, without spinning and without ending, and continues once there is room again.
#[test]
fn no_descriptor_left_is_waited_out() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let mut process = Process::start(serve(&place.words("")));
        let address = process.tcp();
        let mut first = Client::count(&address, 4);
        assert!(is_served(&mut first));
        process.limit(Resource::Nofile, Some(8));
        let start = Instant::now();
        let mut waiting: Vec<Client> = (0..50).map(|_| Client::count(&address, 4)).collect();
        for client in &mut waiting {
            client.send(0, &vector(4, 2));
        }
        std::thread::sleep(Duration::from_millis(500));
        assert!(
            waiting.iter_mut().all(|client| client.take_answers().is_empty()),
            "one was accepted below the limit"
        );
        assert!(is_served(&mut first), "those that are there are served");
        process.limit(Resource::Nofile, Some(1024));
        for client in &mut waiting {
            assert!(client.answer().is_ok(), "each waited for its turn");
        }
        let paused = start.elapsed();
        drop((first, waiting));
        let ended = process.stop();
        assert_eq!((ended.code, ended.total("connections")), (Some(0), 51), "{ended:?}");
        // A pause takes a tenth of a second. A spinning thread would count none or thousands.
        let pauses = ended.total("accept_pauses");
        let most = 2 + paused.as_millis() as u64 / 50;
        assert!((1..=most).contains(&pauses), "{pauses} pauses in {paused:?}");
    });
}

#[test]
fn ten_thousand_connections_opened_and_dropped() {
    within(Duration::from_secs(120), || {
        for shell in ["ulimit -n 64", "ulimit -n 1024"] {
            let place = Place::new();
            let mut process = Process::start(serve_in_shell(shell, &place.words("")));
            let Address::Tcp(address) = process.tcp() else { unreachable!("it listens on TCP") };
            for connection in 0..5_000u32 {
                let stream = std::net::TcpStream::connect(address).unwrap();
                // Some connections send half a frame, some end with a reset.
                if connection % 3 == 0 {
                    let _sent = std::io::Write::write(&mut &stream, &[1, 0, 0, 0, 9]);
                }
                if connection % 5 == 0 {
                    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
                }
            }
            wait_until("a new client is served", || {
                is_served(&mut Client::count(&process.tcp(), 4))
            });
            let ended = process.stop();
            assert_eq!(ended.code, Some(0), "{ended:?}");
            assert!(
                ended.total("connections") + ended.total("over_connection_cap") > 4_000,
                "{ended:?}"
            );
        }
    });
}

/// Connections beyond a limit are closed without a word on the wire, so the service names the
/// option in its log, once for all of them, and a load the options that it may have been.
#[test]
fn connections_beyond_a_limit_name_its_option() {
    within(Duration::from_secs(60), || {
        for (words, said) in [
            (
                "--max-connections 2",
                "a connection was closed: every lane that it could go to has 2",
            ),
            ("--connections-per-peer 2", "a connection of 127.0.0.1 was closed: it has 2"),
        ] {
            let place = Place::new();
            let mut process = Process::start(serve(&place.words(words)));
            for mode in ["header", "count"] {
                let mut load = Command::new(BINARY);
                let to = process.ready_value("tcp").unwrap();
                let words = format!("load --to {to} --dim 4 --connections 6 --mode {mode}");
                load.args(words.split(' ')).args(["--duration", "10s", "--vectors", "1"]);
                let hint = "may have reached --max-connections or --connections-per-peer";
                let output = load.output().unwrap();
                let error = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.code() == Some(1) && error.contains(hint), "{error}");
            }
            let ended = process.stop();
            assert_eq!(ended.stderr.matches(said).count(), 1, "{ended:?}");
            let option = words.split(' ').next().unwrap();
            assert!(ended.stderr.contains(option), "{ended:?}");
        }
    });
}

#[test]
fn too_few_descriptors_to_begin_with_are_named() {
    let place = Place::new();
    refused(
        serve_in_shell("ulimit -n 16", &place.words("")),
        1,
        &["descriptors is 16", "ulimit -n"],
    );
}

#[test]
fn memory_beyond_a_limit_is_refused_by_its_name() {
    let place = Place::new();
    refused(
        serve_in_shell("ulimit -v 1000000", &place.words("--pool 2GiB")),
        1,
        &["RLIMIT_AS", "ulimit -v"],
    );
    refused(serve(&place.words("--pool 1000TiB")), 1, &["--pool"]);
    refused(serve(&place.words("--pool 500000GiB")), 1, &["pool"]);
    let all = ["488.3 TiB of answers", "lower --output-bytes", "the service may come to hold"];
    refused(serve(&place.words("--output-bytes 500000GiB")), 1, &all);
    refused(serve(&place.words("--carry-bytes 500000GiB --lanes 3")), 1, &["--carry-bytes"]);
    let ended = Process::start(serve(&place.words(""))).stop();
    assert!(ended.stderr.contains(" of memory at most: 256 MiB of answers"), "{ended:?}");
}

/// The limit of memory is lowered while the service runs. Mapped buffers are reused. A client that
/// needs more than those waits, and is answered once there is memory again. A frame that finds no
/// carry buffer replaces the one that has waited longest.
#[test]
fn memory_that_is_refused_later_is_waited_out() {
    within(Duration::from_secs(60), || {
        // One output and three carry buffers are mapped at the start.
        let place = Place::new();
        let words = "--sink null --dim 1 --max-vectors 65535 --in-flight 16 --pool 32MiB \
            --carry-bytes 64MiB";
        let mut process = Process::start(serve(&place.words(words)));
        let address = process.tcp();
        let mut other = Client::count(&address, 1);
        other.send(0, &[1.0]);
        assert!(other.answer().is_ok());
        // Its output buffer holds the answers that it doesn't read.
        let mut deaf = Client::count(&address, 1);
        let mut late: Vec<Client> = (0..5).map(|_| Client::header(&address, 1)).collect();
        let request = deaf.request(0, &vec![1.0; 65_535]);
        deaf.send_until_stopped(&request);
        let start = Instant::now();
        process.limit(Resource::As, Some(process.address_bytes() + (1 << 19)));
        other.send(0, &[2.0]);
        std::thread::sleep(Duration::from_millis(300));
        assert!(other.take_answers().is_empty(), "it was answered without memory");
        process.limit(Resource::As, None);
        assert_eq!(other.answer().scores, [2.0]);
        drop(deaf);
        process.limit(Resource::As, Some(process.address_bytes() + (1 << 19)));
        for client in &mut late {
            let half = client.request(0, &[1.0; 1000])[..2000].to_vec();
            client.send_bytes(&half);
            std::thread::sleep(Duration::from_millis(50));
        }
        for client in &mut late[..2] {
            assert_eq!(client.answer().status, Some(Status::Busy), "it waited longest");
        }
        process.limit(Resource::As, None);
        let refused = start.elapsed();
        drop((other, late));
        let ended = process.stop();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(ended.total("over_carry_cap"), 2, "{ended:?}");
        assert!(ended.stderr.contains("ulimit -v"), "{ended:?}");
        // The service asks for memory fifty times a second, for answers and for frames. A spinning
        // thread would ask thousands of times.
        let refusals = ended.total("memory_refusals");
        let most = 100 + refused.as_millis() as u64 / 5;
        assert!((3..=most).contains(&refusals), "{refusals} refusals in {refused:?}");
    });
}

#[test]
fn huge_pages_that_are_required_and_absent_are_named() {
    // Free huge pages, and those that the kernel would make on demand.
    let pages = ["free_hugepages", "nr_overcommit_hugepages"].map(|name| {
        let path = format!("/sys/kernel/mm/hugepages/hugepages-2048kB/{name}");
        std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0u64)
    });
    let pages: u64 = pages.iter().sum();
    println!("this machine has up to {pages} huge pages of 2 MiB; a pool beyond them is asked for");
    let place = Place::new();
    let pool = format!("--pages require-2m --pool {}MiB", (pages + 8) * 2);
    refused(serve(&place.words(&pool)), 1, &["nr_hugepages"]);
    // When huge pages are only preferred, the service starts without them.
    assert_eq!(Process::start(serve(&place.words("--pages prefer-2m"))).stop().code, Some(0));
}

#[test]
fn cpus_that_do_not_exist_are_usage() {
    let place = Place::new();
    refused(serve(&place.words("--cpus 1023")), 2, &["--cpus", "1023"]);
    refused(serve(&place.words("--cpus 5000")), 2, &["--cpus", "5000"]);
    refused(serve(&place.words("--stage-cpus 1023")), 2, &["--stage-cpus", "1023"]);
    refused(serve(&place.words("--lanes 2 --cpus 0")), 2, &["--cpus"]);
    refused(serve(&place.words("--cpus x")), 2, &["--cpus"]);
}

/// Sends single vectors until the service stops reading. Returns the number of requests, and the
/// bytes of the last one that weren't sent.
fn send_until_stopped(client: &mut Client) -> (u32, Vec<u8>) {
    let (mut sent, mut last, mut unsent) = (0, Instant::now(), Vec::new());
    let until = Instant::now() + Duration::from_secs(30);
    while last.elapsed() < Duration::from_secs(1) {
        assert!(Instant::now() < until, "{sent} requests, and the service still reads");
        while unsent.len() < 4096 {
            unsent.extend(client.request(0, &vector(4, sent)));
            sent += 1;
        }
        let some = client.send_some(&unsent);
        unsent.drain(..some);
        if some > 0 {
            last = Instant::now();
        }
        assert!(client.take_answers().iter().all(|answer| answer.is_ok()));
    }
    (sent, unsent)
}

/// The disk stays full: the totals say how many vectors are missing, and the segments that were
/// written are complete.
#[test]
fn a_disk_that_stays_full_ends_with_the_number() {
    on_small_disk(8, |disk| {
        disk.leave(200 << 10);
        let mut process = Process::start(serve(&words(disk.path(), "--drain 1s --in-flight 64")));
        let mut client = Client::count(&process.tcp(), 4);
        send_until_stopped(&mut client);
        let ended = process.stop();
        let (answered, stored) =
            (ended.total("vectors_answered"), ended.total("vectors_in_segments"));
        assert!(ended.code == Some(1) && answered > stored, "{ended:?}");
        let missing = format!("missing: {} answered vectors", answered - stored);
        assert!(
            ended.stdout.contains(&missing) && ended.stderr.contains("free space on this disk"),
            "{ended:?}"
        );
        // What ended the log is said, though its last segment could be sealed.
        let said = ["the disk is full: it has ", "accepted vectors aren't stored"];
        assert!(said.iter().all(|said| ended.stdout.contains(said)), "{ended:?}");
        assert_eq!(data::ids(&disk.path().join("data"), 4).len() as u64, stored);
    });
}

/// A disk without room for the end of a segment is said before the service is ready.
#[test]
fn a_disk_that_is_full_at_the_start_is_refused() {
    on_small_disk(8, |disk| {
        disk.leave(64 << 10);
        let said = ["bytes are free for", "lane=0", "--data"];
        refused(serve(&words(disk.path(), "")), 1, &said);
        disk.leave(0);
        refused(serve(&words(disk.path(), "")), 1, &["lane=0/.probe", "No space left"]);
    });
}

/// What is on the disk when it fills up stays there, though its segment can't be sealed.
#[test]
fn a_segment_that_cant_be_sealed_is_counted_and_sealed_by_the_next_start() {
    on_small_disk(8, |disk| {
        let mut process = Process::start(serve(&words(disk.path(), "--drain 500ms")));
        let mut client = Client::count(&process.tcp(), 4);
        for id in 0..7 {
            client.send(0, &vector(4, id));
            assert!(client.answer().is_ok());
        }
        // Several commit intervals.
        std::thread::sleep(Duration::from_secs(1));
        disk.leave(0);
        let ended = process.stop();
        let totals = ["vectors_in_segments", "segments", "segment_bytes", "vectors_left_open"];
        assert_eq!(totals.map(|name| ended.total(name)), [0, 0, 0, 7], "{ended:?}");
        assert!(ended.code == Some(1) && !ended.stdout.contains("missing"), "{ended:?}");
        disk.free();
        let ended = Process::start(serve(&words(disk.path(), ""))).stop();
        assert!(
            ended.code == Some(0) && ended.stderr.contains("7 vectors are sealed"),
            "{ended:?}"
        );
        assert_eq!(data::ids(&disk.path().join("data"), 4), (0..7).collect::<Vec<_>>());
    });
}

/// Rows are in the sink's memory when the disk fills up: the last segment can't even be created.
#[test]
fn a_disk_that_is_full_at_the_end_ends_with_the_number() {
    on_small_disk(8, |disk| {
        let more = "--drain 500ms --commit-interval 10m";
        let mut process = Process::start(serve(&words(disk.path(), more)));
        let mut client = Client::count(&process.tcp(), 4);
        for id in 0..7 {
            client.send(0, &vector(4, id));
            assert!(client.answer().is_ok());
        }
        disk.leave(0);
        let ended = process.stop();
        assert!(
            ended.code == Some(1) && ended.stdout.contains("missing: 7 answered vectors"),
            "{ended:?}"
        );
    });
}

/// Space is freed while the service runs: everything continues, in order. Its notices aren't read,
/// which is no failure either.
#[test]
fn a_disk_with_space_again_loses_nothing() {
    on_small_disk(8, |disk| {
        disk.leave(200 << 10);
        // The buffers of a Unix socket don't grow, so everything sent fits on the disk.
        let folder = folder();
        let socket = folder.path().join("socket");
        let more = format!("--in-flight 64 --unix {}", socket.display());
        let mut process = Process::start_unheard(serve(&words(disk.path(), &more)));
        let mut client = Client::count(&Address::Unix(socket), 4);
        let (mut sent, unsent) = send_until_stopped(&mut client);
        disk.free();
        client.send_bytes(&unsent);
        for _ in 0..100 {
            client.send(0, &vector(4, sent));
            sent += 1;
        }
        client.end_sending();
        while client.answer_or_end().is_some_and(|answer| answer.is_ok()) {}
        let ended = process.stop();
        assert_eq!(
            (ended.code, ended.total("vectors_in_segments")),
            (Some(0), u64::from(sent)),
            "{ended:?}"
        );
        assert_eq!(data::ids(&disk.path().join("data"), 4), (0..sent).collect::<Vec<_>>());
    });
}

/// Space is freed while the service drains, later than the sink would wait by itself.
#[test]
fn a_disk_with_space_again_in_time_is_a_clean_stop() {
    on_small_disk(8, |disk| {
        let mut process = Process::start(serve(&words(disk.path(), "--drain 20s")));
        let mut client = Client::count(&process.tcp(), 4);
        for id in 0..7 {
            client.send(0, &vector(4, id));
            assert!(client.answer().is_ok());
        }
        disk.leave(0);
        process.signal(Signal::TERM);
        std::thread::sleep(Duration::from_millis(5500));
        assert!(process.is_running(), "{:?}", process.wait());
        disk.free();
        let ended = process.wait();
        assert_eq!((ended.code, ended.total("vectors_in_segments")), (Some(0), 7), "{ended:?}");
        assert_eq!(data::ids(&disk.path().join("data"), 4), (0..7).collect::<Vec<_>>());
    });
}

/// A limit of file sizes makes writes fail as a full disk does; it doesn't kill the service.
#[test]
fn a_file_size_limit_stops_reading_until_it_is_raised() {
    within(Duration::from_secs(90), || {
        let folder = folder();
        let words = words(folder.path(), "--in-flight 64 --segment-bytes 100KiB");
        // A segment that can't become as large as asked for is refused at the start.
        let said = ["--segment-bytes 100KiB", "limit of file sizes is 50 KiB", "ulimit -f"];
        refused(serve_in_shell("ulimit -S -f 100", &words), 1, &said);
        let mut process = Process::start(serve(&words));
        process.limit(Resource::Fsize, Some(50 << 10));
        let mut client = Client::count(&process.tcp(), 4);
        let (sent, unsent) = send_until_stopped(&mut client);
        assert!(process.is_running(), "{:?}", process.wait());
        process.limit(Resource::Fsize, None);
        client.send_bytes(&unsent);
        client.end_sending();
        while client.answer_or_end().is_some_and(|answer| answer.is_ok()) {}
        let ended = process.stop();
        assert_eq!(
            (ended.code, ended.total("vectors_in_segments")),
            (Some(0), u64::from(sent)),
            "{ended:?}"
        );
        assert!(ended.stderr.contains("raise the file size limit"), "{ended:?}");
        assert_eq!(data::ids(&folder.path().join("data"), 4), (0..sent).collect::<Vec<_>>());
    });
}

/// A disk that fails instead of being full: a failed sync can't be repaired by another one. The
/// service ends by itself and says how many vectors are missing. strace causes the failure, where
/// it is installed and may trace.
#[test]
fn a_disk_that_fails_ends_the_service() {
    let folder = folder();
    // Of the calls on this file alone: others at the start are to succeed.
    let part = folder.path().join("data/.slipring/lane=0/seg-00000000000000000000.arrow.part");
    let strace = move |more: &[&str]| {
        let mut command = Command::new("strace");
        command
            .args([
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                "trace=fdatasync",
                "-e",
                "inject=fdatasync:error=EIO",
                "-P",
            ])
            .arg(&part)
            .args(more);
        command
    };
    if !strace(&["true"]).output().is_ok_and(|output| output.status.success()) {
        return println!("no strace here, or it may not trace");
    }
    within(Duration::from_secs(60), move || {
        let mut command = strace(&[BINARY, "serve"]);
        command.args(words(folder.path(), "--segment-bytes 1").split(' '));
        let mut process = Process::start(command);
        let mut client = Client::count(&process.tcp(), 4);
        // More rows than one buffer.
        let request = client.request(0, &vector(4, 1).repeat(64));
        for _ in 0..300 {
            if client.try_send_bytes(&request).is_err() {
                break;
            }
        }
        let ended = process.wait();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let said = ["failed: lane 0", "sync", "answered vectors aren't on the disk"];
        assert!(said.iter().all(|words| ended.stdout.contains(words)), "{ended:?}");
        assert!(
            !ended.stdout.contains("late: "),
            "it waited for a stage that is no longer polled: {ended:?}"
        );
    });
}
