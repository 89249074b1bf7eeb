//! Refusals: with exit code 2 and the name of the option for wrong usage; with exit code 1 for
//! folders that can't be used, and for ports and sockets that are in use.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use slipring_test_support::within;

use crate::support::client::{Address, Client};
use crate::support::process::{BINARY, Place, Process, refused, serve};
use crate::support::{data, vector};

#[test]
fn what_no_memory_could_hold_is_usage() {
    let place = Place::new();
    let cases: [(&str, &[&str]); 21] = [
        // Smaller than one frame.
        ("--pool 512", &["--pool", "512"]),
        ("--pool 100KiB --max-vectors 65535", &["--pool", "100KiB"]),
        ("--slots 3", &["--slots", "3"]),
        ("--slots 1", &["--slots", "1"]),
        ("--window 1", &["--window", "1"]),
        ("--segment-bytes 0", &["--segment-bytes", "0"]),
        ("--commit-interval 0s", &["--commit-interval is 0s", "1ms"]),
        ("--segment-age 999us", &["--segment-age is 999us", "1ms"]),
        // The library would take as much of it as the pool has.
        (
            "--window 2MiB --pool 1MiB",
            &["--window is 2MiB", "at most --pool, 1MiB", "raise --pool"],
        ),
        // A segment that is sealed would have to go at once.
        ("--retain-bytes 0", &["--retain-bytes is 0", "need 256MiB", "lower --segment-bytes"]),
        (
            "--retain-bytes 100MiB --segment-bytes 64MiB --lanes 2",
            &["--retain-bytes is 100MiB", "--lanes 2", "need 128MiB", "at least that"],
        ),
        ("--retain-for 0s", &["--retain-for is 0s", "at least 1s"]),
        ("--retain-for 999ms", &["--retain-for is 999ms", "at least 1s"]),
        // What would be stored nowhere.
        ("--sink null --data x", &["--data with --sink null", "leave one of them out"]),
        ("--sink null --data-mode 0600", &["--data-mode with --sink null"]),
        ("--sink null --retain-bytes 1GiB", &["--retain-bytes with --sink null"]),
        ("--sink null --retain-for 1h", &["--retain-for with --sink null"]),
        // The answers that a connection may be owed, and the scores of a ring.
        ("--in-flight 65536 --max-vectors 65535 --pool 64MiB", &["--in-flight", "--max-vectors"]),
        (
            "--slots 8388608 --max-vectors 65535 --in-flight 1 --pool 64MiB",
            &["--slots", "--max-vectors"],
        ),
        ("--reclaim overwrite --slots 4096 --pool 64KiB", &["--pool", "at least"]),
        // A node that doesn't exist: the error names those that do.
        ("--node 99999", &["--node 99999", "choose one of [0"]),
    ];
    for (words, names) in cases {
        println!("{words}");
        refused(serve(&place.words(words)), 2, names);
    }
}

#[test]
fn what_is_missing_is_usage() {
    let place = Place::new();
    let folder = place.folder.path().display();
    refused(serve(&format!("--data {folder}/data --listen 127.0.0.1:0")), 2, &["--dim"]);
    refused(serve("--dim 4 --listen 127.0.0.1:0"), 2, &["--data", "--sink null"]);
    refused(serve(&place.words("--nonsense 1")), 2, &["--nonsense"]);
}

#[test]
fn figures_that_are_none_are_usage() {
    let place = Place::new();
    for (option, bad) in [
        ("--dim", "0"),
        ("--dim", "65536"),
        ("--dim", "-1"),
        ("--dim", "four"),
        ("--max-vectors", "0"),
        ("--max-vectors", "65536"),
        ("--lanes", "0"),
        ("--lanes", "257"),
        ("--pool", "12XB"),
        ("--pool", "1.5MiB"),
        ("--pool", "99999999999999GiB"),
        ("--window", "x"),
        ("--slots", "1000"),
        ("--slots", "0"),
        ("--in-flight", "0"),
        ("--metrics", "localhost"),
        ("--metrics", "70000"),
        ("--report-every", "0s"),
        ("--max-connections", "0"),
        ("--pages", "huge"),
        ("--node", "far"),
        ("--node", "0,1"),
        ("--reclaim", "sometimes"),
        ("--wait", "long"),
        ("--stages", "none"),
        ("--score", "max"),
        ("--sink", "s3"),
        ("--columns", "vector"),
        ("--columns", "id;time"),
        ("--data-mode", "0755"),
        ("--data-mode", "rw"),
        ("--drain", "soon"),
        ("--carry-bytes", "lots"),
        ("--retain-bytes", "all"),
        ("--retain-bytes", "1.5GiB"),
        ("--retain-for", "forever"),
        ("--retain-for", "8761h"),
        ("--keepalive", "999ms"),
        ("--keepalive", "32768s"),
        ("--keepalive", "10h"),
    ] {
        println!("{option} {bad}");
        refused(serve(&place.words(&format!("{option} {bad}"))), 2, &[option]);
    }
    // Each value is legal, but their product isn't.
    refused(serve(&place.words("--dim 65535 --max-vectors 65535")), 2, &["max-vectors"]);
}

/// Numbers that are none, and those out of range, are told what they may be; so are sizes and
/// names with one dash.
#[test]
fn errors_of_options_name_the_limits() {
    let place = Place::new();
    for (words, names) in [
        ("--dim abc", &["'abc'", "--dim", "a whole number from 1 to 65535"][..]),
        ("--dim -1", &["'-1'", "--dim", "a whole number from 1 to 65535"]),
        ("--slots 1", &["--slots", "from 2 to 16777216"]),
        ("--lanes 257", &["--lanes", "from 1 to 256"]),
        ("--in-flight 1e3", &["--in-flight", "from 1 to 65536"]),
        ("--pool foo", &["--pool", "\"foo\" isn't a size", "1TiB"]),
        ("-dim 4", &["unexpected argument", "two dashes: --dim"]),
        // Where the limit comes from.
        ("--pool 1KiB", &["--pool is 1KiB", "two chunks", "--dim or --max-vectors"]),
    ] {
        println!("{words}");
        refused(serve(&place.words(words)), 2, names);
    }
    for (words, names) in [
        ("demo --seconds 0", &["--seconds", "from 1 to 3600"][..]),
        ("load --to h:1 --dim x", &["--dim", "from 1 to 65535"]),
        ("load --to h:1 --dim 4 --rate fast", &["--rate", "0.001 to 1000000000"]),
        ("load --to h:1 --dim 4 --connections -1", &["--connections", "from 1 to 65536"]),
        ("load --to h:1 --dim 4 --timeout 0s", &["--timeout is 0s"]),
        ("load --to h:1 --dim 4 --file no.npy", &["--file no.npy", "name a .npy or .fvecs file"]),
        ("log cat --data d --lane x", &["--lane", "a whole number, 0 or more"]),
    ] {
        println!("{words}");
        let mut command = std::process::Command::new(BINARY);
        command.args(words.split_whitespace());
        refused(command, 2, names);
    }
}

/// What a service runs with is said at its start: the window that it has by default, and lanes that
/// share CPUs.
#[test]
fn a_start_says_windows_and_shared_cpus() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let cpus = slipring::machine::CpuMask::read().cpus().len();
        for (lanes, is_shared) in [(1, false), (cpus + 1, true)] {
            let words = format!("--lanes {lanes} --window 128KiB --sink null");
            let ended = Process::start(serve(&place.words(&words))).stop();
            let said = format!("lane {}: a window of 128KiB in a pool of 1MiB", lanes - 1);
            assert!(ended.code == Some(0) && ended.stderr.contains(&said), "{ended:?}");
            let warned = ended.stderr.contains("warn --lanes ");
            assert_eq!(warned, is_shared, "{ended:?}");
        }
    });
}

/// Every machine has node 0: it is accepted, and the report of each lane names it if the kernel
/// supports nodes.
#[test]
fn a_node_that_is_there_is_reported() {
    within(Duration::from_secs(60), || {
        let knows_nodes = std::path::Path::new("/sys/devices/system/node/node0").exists();
        for words in ["--node 0 --lanes 2", "--node local"] {
            let place = Place::new();
            let mut process = Process::start(serve(&place.words(words)));
            let mut client = Client::count(&process.tcp(), 4);
            client.send(0, &vector(4, 1));
            assert!(client.answer().is_ok());
            drop(client);
            let ended = process.stop();
            let named = |lane: &&str| {
                ended.stderr.lines().any(|line| line.contains(lane) && line.contains(": node: "))
            };
            let lanes = if words.contains("--lanes 2") {
                &["lane 0: ", "lane 1: "][..]
            } else {
                &["lane 0: "]
            };
            assert!(
                ended.code == Some(0) && (!knows_nodes || lanes.iter().all(named)),
                "{ended:?}"
            );
        }
    });
}

#[test]
fn folders_that_cannot_be_used_are_refused() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let mut process = Process::start(serve(&place.words("")));
        let id = process.id().to_string();
        refused(serve(&place.words("")), 1, &["--data", "in use", &id]);
        refused(serve(&place.words("--lanes 2")), 1, &["--data", "in use"]);
        assert_eq!(process.stop().code, Some(0));
        refused(serve(&place.words("--dim 5")), 1, &["--data", "dimension 4, not 5", "--dim 4"]);
        let file = place.folder.path().join("file");
        std::fs::write(&file, "x").unwrap();
        refused(
            serve(&place.words(&format!("--data {}", file.display()))),
            1,
            &["--data", "name a folder"],
        );
        let columns = place.words("--columns id");
        let said = refused(serve(&columns), 1, &["--data", "leave --columns out"]);
        assert_eq!(said.matches("--data").count(), 1, "{said}");
        let said =
            refused(serve(&place.words("--data /proc/nowhere")), 1, &["--data /proc/nowhere"]);
        assert_eq!(said.matches("--data").count(), 1, "{said}");
    });
}

/// Columns and permissions reach the folder; a folder of an earlier version is migrated, and the
/// operator is told.
#[test]
fn a_folder_is_made_as_asked_and_an_old_one_is_migrated() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let words = place.words("--columns time --columns id --data-mode 0600");
        assert_eq!(Process::start(serve(&words)).stop().code, Some(0));
        let record = place.data().join(".slipring/record.json");
        let said = std::fs::read_to_string(&record).unwrap();
        assert_eq!(said.trim(), r#"{"columns":["id","time"],"dim":4,"format":2}"#);
        for (path, mode) in [(record, 0o600), (place.data().join("lane=0"), 0o700)] {
            let found = std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(found, mode, "{found:o}");
        }

        let place = Place::new();
        std::fs::create_dir_all(place.data().join("lane-0")).unwrap();
        std::fs::write(place.data().join("slipring.json"), r#"{"dim":4,"format":1}"#).unwrap();
        let ended = Process::start(serve(&place.words(""))).stop();
        let noticed = ended.stderr.contains("of an earlier version");
        assert!(ended.code == Some(0) && noticed, "{ended:?}");
        assert!(place.data().join("lane=0").is_dir() && !place.data().join("lane-0").exists());
        let ended = Process::start(serve(&place.words(""))).stop();
        assert!(!ended.stderr.contains("of an earlier version"), "{ended:?}");
    });
}

/// A start continues where the last run ended: sequences continue, and no file is changed.
#[test]
fn a_restart_adds_segments_and_overwrites_none() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let (mut ids, mut files) = (Vec::new(), data::files(&place.data(), 0));
        for start in 0..4u32 {
            let mut process = Process::start(serve(&place.words("--segment-bytes 1500")));
            let mut client = Client::header(&process.tcp(), 4);
            for id in start * 100..(start + 1) * 100 {
                client.send(id.into(), &vector(4, id));
                assert!(client.answer().is_ok());
                ids.push(id);
            }
            drop(client);
            let ended = process.stop();
            assert_eq!(
                (ended.code, ended.total("vectors_in_segments")),
                (Some(0), 100),
                "{ended:?}"
            );
            assert_eq!(data::ids(&place.data(), 4), ids, "sequences go on without a gap");
            let now = data::files(&place.data(), 0);
            assert!(now.len() > files.len(), "a start adds segments");
            for (path, bytes) in &files {
                assert!(now.get(path) == Some(bytes), "{} was changed", path.display());
            }
            files = now;
        }
    });
}

/// A killed service leaves an unfinished segment, which the next start seals: also that of a lane
/// which the next start doesn't have. Sequences don't come twice.
#[test]
fn a_start_after_a_crash_keeps_what_it_finds() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let mut process = Process::start(serve(&place.words("--lanes 2")));
        let mut client = Client::count(&process.tcp(), 4);
        let vectors: Vec<f32> = (0..64).flat_map(|id| vector(4, id)).collect();
        for _ in 0..300 {
            client.send(0, &vectors);
            assert!(client.answer().is_ok());
        }
        // By then the commit interval is over several times.
        std::thread::sleep(Duration::from_secs(1));
        process.signal(rustix::process::Signal::KILL);
        assert_eq!(process.wait().code, None);
        drop(client);
        let mut process = Process::start(serve(&place.words("")));
        let mut client = Client::count(&process.tcp(), 4);
        client.send(0, &vector(4, 7));
        assert!(client.answer().is_ok());
        drop(client);
        let ended = process.stop();
        assert!(ended.code == Some(0) && ended.stderr.contains("after a crash"), "{ended:?}");
        let rows = data::rows(&place.data(), 4);
        let mut ids: Vec<u32> = rows.values().flatten().map(|row| row[0] as u32).collect();
        ids.sort_unstable();
        let expected: Vec<u32> =
            (0..64).flat_map(|id| vec![id; 300 + usize::from(id == 7)]).collect();
        assert!(ids == expected, "{} rows: {ended:?}", ids.len());
        let summary = slipring_ingest::sink::read_segments(&place.data()).unwrap();
        assert!(summary.gaps >= 1, "sequences go on behind a gap: {summary:?}");
    });
}

#[test]
fn a_port_in_use_is_refused_with_any_number_of_lanes() {
    within(Duration::from_secs(60), || {
        for (first, second) in [("1", "1"), ("1", "2"), ("2", "1"), ("2", "2")] {
            let (place, other) = (Place::new(), Place::new());
            let mut process = Process::start(serve(&place.words(&format!("--lanes {first}"))));
            let port = process.ready_value("tcp").unwrap();
            let words = other.words(&format!("--listen {port} --lanes {second}"));
            refused(serve(&words), 1, &["--listen", port, "choose another port"]);
            assert!(!other.data().exists(), "a start that is refused for its address wrote there");
            assert_eq!(process.stop().code, Some(0));
            // Once the first has ended, the port is free immediately.
            assert_eq!(Process::start(serve(&words)).stop().code, Some(0));
        }
    });
}

#[test]
fn an_address_of_another_machine_is_named_as_such() {
    let place = Place::new();
    // 192.0.2.0/24 is for documentation: no machine has it.
    for (option, words) in [
        ("--listen", "--listen 192.0.2.1:0"),
        ("--listen", "--listen 192.0.2.1:0 --lanes 2"),
        ("--metrics", "--metrics 192.0.2.1:9901"),
    ] {
        let said =
            refused(serve(&place.words(words)), 1, &[option, "isn't an address of this machine"]);
        assert!(!said.contains("another port"), "{said}");
    }
}

/// An error that begins with its option isn't put behind the same option.
#[test]
fn options_are_named_once() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        assert_eq!(Process::start(serve(&place.words(""))).stop().code, Some(0));
        for words in ["--dim 5", "--data /proc/nowhere"] {
            let said = refused(serve(&place.words(words)), 1, &["--data"]);
            assert!(!said.contains("--data: --data"), "{said}");
        }
        let said = refused(serve(&place.words("--dim 0")), 2, &["--dim", "from 1 to 65535"]);
        assert!(!said.contains("--max-vectors"), "{said}");
    });
}

/// Figures are in the units of the command line.
#[test]
fn bytes_are_in_units() {
    let place = Place::new();
    for (words, names) in [
        ("--pool 100KiB --max-vectors 65535", &["--pool is 100KiB"][..]),
        (
            "--in-flight 65536 --max-vectors 65535 --pool 64MiB",
            &[" GiB, at most 1 GiB are allowed"],
        ),
        (
            "--reclaim overwrite --slots 4096 --pool 64KiB",
            &["--pool is 64KiB", " MiB) with --reclaim overwrite"],
        ),
        ("--dim 65535 --max-vectors 65535", &["16 GiB, at most 256 MiB are allowed"]),
    ] {
        println!("{words}");
        refused(serve(&place.words(words)), 2, names);
    }
    let names = ["100 TiB of pools (--pool)", "lower --pool"];
    refused(serve(&place.words("--pool 100TiB")), 1, &names);
}

#[test]
fn addresses_that_make_no_sense_are_usage() {
    let place = Place::new();
    for (address, said) in [
        ("nonsense", "has no colon"),
        ("9900", "has no colon"),
        ("127.0.0.1", "has no colon"),
        ("127.0.0.1:99999", "port is \"99999\", and must be from 0 to 65535"),
        ("127.0.0.1:", "port is \"\""),
        ("no such host:1", "finds no such host"),
    ] {
        let mut command = serve(&words_without_listen(&place));
        // One contains a space, so it can't be one of our words.
        command.args(["--listen", address]);
        refused(command, 2, &["--listen", said, "say HOST:PORT, like 127.0.0.1:9900"]);
    }
    for (address, said) in [("70000", "from 0 to 65535"), ("localhost", "has no colon")] {
        let words = place.words(&format!("--metrics {address}"));
        refused(serve(&words), 2, &["--metrics", said, "HOST:PORT", "9901"]);
    }
}

#[test]
fn a_stale_unix_socket_is_replaced_and_a_live_one_refused() {
    within(Duration::from_secs(60), || {
        let (place, other) = (Place::new(), Place::new());
        let socket = place.folder.path().join("socket");
        let more = format!("--unix {}", socket.display());
        // A killed service leaves its socket.
        let mut killed = Process::start(serve(&place.words(&more)));
        killed.signal(rustix::process::Signal::KILL);
        assert_eq!(killed.wait().code, None);
        assert!(socket.exists());
        let mut process = Process::start(serve(&place.words(&more)));
        let mut client = Client::count(&Address::Unix(socket.clone()), 4);
        client.send(0, &vector(4, 1));
        assert!(client.answer().is_ok());
        refused(serve(&other.words(&more)), 1, &["--unix", "another service listens there"]);
        // The attempt of the second service does no harm.
        client.send(0, &vector(4, 2));
        assert!(client.answer().is_ok());
        assert_eq!(process.stop().code, Some(0));
        assert!(!socket.exists(), "its socket goes with it");
    });
}

/// A service that hangs with a full queue of connections is alive, and a service that wants its
/// socket doesn't hang with it.
#[test]
fn a_unix_socket_with_a_full_queue_is_refused() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let socket = place.folder.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let _waits = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        let more = format!("--unix {}", socket.display());
        refused(serve(&place.words(&more)), 1, &["--unix", "another service listens there"]);
        assert!(socket.exists());
    });
}

/// A socket that we can't connect to may belong to a running service.
#[test]
fn a_unix_socket_of_somebody_else_is_left_alone() {
    let place = Place::new();
    let socket = place.folder.path().join("socket");
    // Connecting a stream to a datagram socket fails with "wrong type", for root too.
    let _theirs = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    refused(
        serve(&place.words(&format!("--unix {}", socket.display()))),
        1,
        &["--unix", "choose another path"],
    );
    assert!(socket.exists(), "it was removed");
}

#[test]
fn a_regular_file_is_no_unix_socket() {
    let place = Place::new();
    let file = place.folder.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    refused(
        serve(&place.words(&format!("--unix {}", file.display()))),
        1,
        &["--unix", "isn't a socket"],
    );
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    let long = format!("--unix /tmp/{}", "x".repeat(103));
    refused(serve(&place.words(&long)), 2, &["--unix", "108 bytes", "at most 107"]);
}

/// The socket was removed and another service has one at the same path. The end of the first
/// service doesn't remove it.
#[test]
fn the_socket_of_a_successor_stays() {
    within(Duration::from_secs(60), || {
        let (place, other) = (Place::new(), Place::new());
        let socket = place.folder.path().join("socket");
        let more = format!("--unix {}", socket.display());
        let mut first = Process::start(serve(&place.words(&more)));
        std::fs::remove_file(&socket).unwrap();
        let mut second = Process::start(serve(&other.words(&more)));
        assert_eq!(first.stop().code, Some(0));
        let mut client = Client::count(&Address::Unix(socket), 4);
        client.send(0, &vector(4, 1));
        assert!(client.answer().is_ok());
        drop(client);
        assert_eq!(second.stop().code, Some(0));
    });
}

fn words_without_listen(place: &Place) -> String {
    place.words("").replace("--listen 127.0.0.1:0", "")
}
