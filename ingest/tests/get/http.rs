//! An HTTP server of a few objects: ranges, connections that stay, and objects that misbehave. It
//! runs until the test process ends.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// How an object is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    Right,
    /// Half of every body, then the end of the connection.
    Cut,
    /// Half of every body, then nothing.
    Stall,
}

pub struct Server {
    address: SocketAddr,
    /// Requests whose answer has begun.
    requests: Arc<AtomicUsize>,
}

type Objects = BTreeMap<&'static str, (Conduct, Vec<u8>)>;

impl Server {
    /// Serves these objects by their paths, without the slash in front.
    pub fn start<const N: usize>(objects: [(&'static str, Conduct, Vec<u8>); N]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, requests) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let objects: Objects =
            objects.into_iter().map(|(path, conduct, bytes)| (path, (conduct, bytes))).collect();
        let (objects, counter) = (Arc::new(objects), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (objects, counter) = (Arc::clone(&objects), Arc::clone(&counter));
                // A client that goes away ends its thread, and nothing else.
                thread::spawn(move || serve(stream, &objects, &counter));
            }
        });
        Self { address, requests }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Answers the requests of one connection.
fn serve(stream: TcpStream, objects: &Objects, requests: &AtomicUsize) -> std::io::Result<()> {
    let mut out = stream.try_clone()?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(request) = lines.next().transpose()? {
        let mut range = None;
        for header in lines.by_ref() {
            let header = header?.to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            range = header.strip_prefix("range: bytes=").map(str::to_owned).or(range);
        }
        let path = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
        let Some((conduct, bytes)) = objects.get(path) else {
            requests.fetch_add(1, Ordering::SeqCst);
            out.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        };
        let wanted = range.as_deref().and_then(|range| range.split_once('-'));
        let (head, body) = match wanted {
            None => ("HTTP/1.1 200 OK".to_owned(), &bytes[..]),
            Some(_) if bytes.is_empty() => (
                "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */0".to_owned(),
                &bytes[..],
            ),
            Some((first, last)) => {
                let first: usize = first.parse().unwrap();
                let last = last.parse().unwrap_or(usize::MAX).min(bytes.len() - 1);
                let range = format!("Content-Range: bytes {first}-{last}/{}", bytes.len());
                (format!("HTTP/1.1 206 Partial Content\r\n{range}"), &bytes[first..=last])
            }
        };
        let tag = "ETag: \"1\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT";
        write!(out, "{head}\r\n{tag}\r\nContent-Length: {}\r\n\r\n", body.len())?;
        let sent = if *conduct == Conduct::Right { body } else { &body[..body.len() / 2] };
        out.write_all(sent)?;
        requests.fetch_add(1, Ordering::SeqCst);
        match conduct {
            Conduct::Right => {}
            Conduct::Cut => return Ok(()),
            Conduct::Stall => thread::sleep(Duration::from_secs(3600)),
        }
    }
    Ok(())
}
