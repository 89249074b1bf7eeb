//! How it ends: drained, late, or at once.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::client::Client;
use crate::support::process::{Place, Process, serve};
use crate::support::{vector, within};

/// Whoever started it may have closed its ends of the pipes: that isn't the service's end.
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
