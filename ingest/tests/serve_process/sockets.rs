//! What already stands where it wants to listen.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use slipring_test_support::within;

use crate::support::client::{Address, Client};
use crate::support::process::{Place, Process, refused, serve};
use crate::support::vector;

#[test]
fn a_port_in_use_is_refused_with_any_number_of_lanes() {
    within(Duration::from_secs(60), || {
        for (first, second) in [("1", "1"), ("1", "2"), ("2", "1"), ("2", "2")] {
            let (place, other) = (Place::new(), Place::new());
            let mut process = Process::start(serve(&place.words(&format!("--lanes {first}"))));
            let port = process.said("tcp").unwrap();
            let words = other.words(&format!("--listen {port} --lanes {second}"));
            refused(serve(&words), 1, &["--listen", port, "choose another port"]);
            assert_eq!(process.stop().code, Some(0));
            // And when the first is gone, the port is free at once.
            assert_eq!(Process::start(serve(&words)).stop().code, Some(0));
        }
    });
}

#[test]
fn addresses_that_make_no_sense_are_usage() {
    let place = Place::new();
    for address in ["nonsense", "127.0.0.1", "127.0.0.1:99999", "no such host:1"] {
        let mut command = serve(&words_without_listen(&place));
        // With a space in it, it is no word of ours.
        command.args(["--listen", address]);
        refused(command, 2, &["--listen"]);
    }
}

#[test]
fn a_stale_unix_socket_is_replaced_and_a_live_one_refused() {
    within(Duration::from_secs(60), || {
        let (place, other) = (Place::new(), Place::new());
        let socket = place.folder.path().join("socket");
        let more = format!("--unix {}", socket.display());
        // Killed: its socket stays behind.
        let mut killed = Process::start(serve(&place.words(&more)));
        killed.signal(rustix::process::Signal::KILL);
        assert_eq!(killed.wait().code, None);
        assert!(socket.exists());
        let mut process = Process::start(serve(&place.words(&more)));
        let mut client = Client::count(&Address::Unix(socket.clone()), 4);
        client.send(0, &vector(4, 1));
        assert!(client.answer().is_ok());
        refused(serve(&other.words(&more)), 1, &["--unix", "another service listens there"]);
        // Asking did no harm.
        client.send(0, &vector(4, 2));
        assert!(client.answer().is_ok());
        assert_eq!(process.stop().code, Some(0));
        assert!(!socket.exists(), "its socket goes with it");
    });
}

/// A service that hangs with a full queue of connections is alive, and whoever asks doesn't hang
/// with it.
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

/// A socket that doesn't let us ask may well be alive.
#[test]
fn a_unix_socket_of_somebody_else_is_left_alone() {
    let place = Place::new();
    let socket = place.folder.path().join("socket");
    // A datagram socket answers a stream with "wrong type", for root as well.
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
    let long = format!("--unix /tmp/{}", "x".repeat(200));
    refused(serve(&place.words(&long)), 1, &["--unix"]);
}

/// Somebody removed the socket and another service took its place: the end of the first leaves it
/// alone.
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
