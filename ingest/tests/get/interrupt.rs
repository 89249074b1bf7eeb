//! SIGINT and SIGTERM in the middle of it.

use rustix::process::{Pid, Signal, kill_process};

use crate::command::{get, names, start, wait};
use crate::http::{Conduct, Server};
use crate::support::wait_until;

#[test]
fn an_interruption_leaves_whole_files_only() {
    for signal in [Signal::INT, Signal::TERM] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start([
            ("whole", Conduct::Right, vec![1; 1000]),
            ("stalled", Conduct::Stall, vec![2; 100_000]),
            ("never", Conduct::Right, vec![3; 1000]),
        ]);
        // One object at a time, so that the last one doesn't begin.
        let out = folder.path().display().to_string();
        let urls = ["whole", "stalled", "never"].map(|path| server.url(path));
        let child = start(get(&[&*urls[0], &urls[1], &urls[2], "-o", &out, "--json", "--concurrency", "4"]));
        wait_until("the stalled object is under way", || server.requests() == 2);
        kill_process(Pid::from_child(&child), signal).unwrap();
        let ended = wait(child).assert_code(130);
        assert!(ended.stderr.contains("interrupted: 1 of 3 objects"), "{ended:?}");
        assert_eq!(ended.lines().len(), 1, "{ended:?}");
        assert_eq!((names(folder.path()), server.requests()), (vec!["whole".to_owned()], 2));
    }
}
