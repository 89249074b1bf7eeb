//! The operator's port of a service, and what it says.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use super::process::Process;

/// The answer of the port to these bytes: its head and its body; None if the client is turned away.
pub fn try_said_to(process: &Process, bytes: &[u8]) -> Option<(String, String)> {
    let mut client =
        TcpStream::connect(process.ready_value("metrics").expect("it has a port")).unwrap();
    let mut text = String::new();
    client.write_all(bytes).ok()?;
    client.shutdown(Shutdown::Write).ok()?;
    client.read_to_string(&mut text).ok()?;
    text.split_once("\r\n\r\n").map(|(head, body)| (head.to_owned(), body.to_owned()))
}

/// As [`try_said_to`], repeated until the client is served. Clients answered before may still be
/// closing.
pub fn said_to(process: &Process, bytes: &[u8]) -> (String, String) {
    loop {
        if let Some(said) = try_said_to(process, bytes) {
            return said;
        }
        std::thread::yield_now();
    }
}

pub fn got(process: &Process, path: &str) -> (String, String) {
    said_to(process, format!("GET {path} HTTP/1.1\r\nHost: slipring\r\n\r\n").as_bytes())
}

/// The samples of `/metrics`, by name and labels.
pub fn samples(process: &Process) -> BTreeMap<String, f64> {
    let (head, body) = got(process, "/metrics");
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("application/openmetrics-text"),
        "{head}"
    );
    assert!(
        head.contains(&format!("Content-Length: {}", body.len())) && body.ends_with("# EOF\n"),
        "{head}"
    );
    let lines = body.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}
