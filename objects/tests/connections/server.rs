//! The smallest HTTP server that object_store takes for one: GET of a range, answers of one connection one after the other, connections counted.
//!
//! Each path is an object of the same size, whose bytes follow from the path. It makes no errors; servers that do are those of `faults.rs`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub const OBJECT_BYTES: usize = 10_000;

/// Serves until it is dropped.
pub struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: AtomicUsize,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Seen>::default();
        let counted = Arc::clone(&seen);
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                counted.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(client, Arc::clone(&counted)));
            }
        });
        Self { address, seen, accepting }
    }

    pub fn url(&self, key: &str) -> String {
        format!("http://{}/{key}", self.address)
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Relaxed)
    }

    /// Requests answered so far.
    pub fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::Relaxed)
    }
}

/// The object of this path.
pub fn object(path: &str) -> Vec<u8> {
    path.bytes().cycle().enumerate().map(|(at, byte)| byte ^ at as u8 ^ (at >> 8) as u8).take(OBJECT_BYTES).collect()
}

/// Answers one connection's requests until the client closes it.
async fn serve(client: TcpStream, seen: Arc<Seen>) {
    let mut client = BufReader::new(client);
    while let Some((path, range)) = read_request(&mut client).await {
        seen.requests.fetch_add(1, Ordering::Relaxed);
        let body = &object(&path)[range.0..(range.1 + 1).min(OBJECT_BYTES)];
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {}-{}/{OBJECT_BYTES}\r\nETag: \"{path}\"\r\n\r\n",
            body.len(),
            range.0,
            range.0 + body.len() - 1,
        );
        let answer = [head.as_bytes(), body].concat();
        // The client may have gone.
        if client.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// The path without its slash and the range's first and last byte; none when the client has closed.
async fn read_request(client: &mut BufReader<TcpStream>) -> Option<(String, (usize, usize))> {
    let (mut path, mut range) = (None, None);
    loop {
        let mut line = String::new();
        if client.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            let (path, range): (String, _) = (path.expect("GET"), range.expect("a range"));
            return Some((path, range));
        }
        if let Some(rest) = line.strip_prefix("GET /") {
            path = rest.split(' ').next().map(str::to_owned);
        } else if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            let (first, last) = bytes.split_once('-').expect("first and last byte");
            range = Some((first.parse().unwrap(), last.parse().unwrap()));
        }
    }
}
