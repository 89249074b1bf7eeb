//! SIGINT and SIGTERM in the middle of it.

use std::os::unix::net::{UnixListener, UnixStream};

use rustix::process::{Pid, Signal, kill_process};
use slipring_test_support::wait_until;

use crate::command::{get, names, start, wait};
use crate::http::{Conduct, Server};
use crate::support::folder;

/// Threads of this name that a process has.
fn count_threads(process: u32, wanted: &str) -> usize {
    let threads =
        std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let names =
        threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok());
    names.filter(|name| name.trim() == wanted).count()
}

#[test]
fn an_interruption_leaves_whole_files_only() {
    for signal in [Signal::INT, Signal::TERM] {
        let folder = folder();
        let server = Server::start([
            ("whole", Conduct::Right, vec![1; 1000]),
            ("stalled", Conduct::Stall, vec![2; 100_000]),
            ("never", Conduct::Right, vec![3; 1000]),
        ]);
        // One object at a time, so that the last one doesn't begin.
        let out = folder.path().display().to_string();
        let urls = ["whole", "stalled", "never"].map(|path| server.url(path));
        let child = start(get(&[
            &*urls[0],
            &urls[1],
            &urls[2],
            "-o",
            &out,
            "--json",
            "--concurrency",
            "4",
            "--buffer-pool",
        ]));
        wait_until("the stalled object is under way", || server.requests() == 2);
        wait_until("the pool is looked at", || count_threads(child.id(), "slipring-ticker") == 1);
        kill_process(Pid::from_child(&child), signal).unwrap();
        let ended = wait(child).assert_code(130);
        assert!(ended.stderr.contains("interrupted: 1 of 3 objects"), "{ended:?}");
        assert_eq!(ended.lines().len(), 1, "{ended:?}");
        assert_eq!((names(folder.path()), server.requests()), (vec!["whole".to_owned()], 2));
    }
}

#[test]
fn connecting_is_interrupted_too() {
    let folder = folder();
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    // Nobody accepts, and the line of those who wait is full.
    rustix::net::listen(&listener, 0).unwrap();
    let _first = UnixStream::connect(&socket).unwrap();
    let to = socket.display().to_string();
    let child = start(get(&["any", "--ingest", &to, "--timeout", "1h"]));
    wait_until("it connects", || count_threads(child.id(), "connect") == 1);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ended = wait(child).assert_code(130);
    assert!(ended.stderr.contains("interrupted: 0 of 1 objects"), "{ended:?}");
}
