//! The smallest object server that S3 clients accept: `GET` and `HEAD` of files below a folder,
//! with ranges, ETags and `If-Match`.
//!
//! ```text
//!   accept ──▶ one thread per connection:  read a request ──▶ write the head ──▶ sendfile from the page cache
//! ```
//!
//! Promises:
//! - The right bytes, or a status.
//! - Little work of its own: no byte of an object passes through this process. So the client is
//!   what is measured.
//!
//! Doesn't check signatures, list or store anything. It serves every client that connects, so it
//! listens on 127.0.0.1 only. It ends when the process that started it ends.

mod request;
mod sendfile;

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;
use std::{process, thread};

use clap::Args;

use crate::choice::Wrong;
use request::{Part, Request, part};
use sendfile::send;

/// The server's options.
#[derive(Args, Clone)]
pub struct Options {
    /// The folder of buckets, which are folders
    folder: PathBuf,
}

/// The bench's objects don't change while it runs, so all have the same date.
const LAST_MODIFIED: &str = "Thu, 01 Jan 2026 00:00:00 GMT";

/// Prints `ready` and the address, then serves until standard input ends.
///
/// # Errors
/// There is no port.
pub fn run(options: &Options) -> Result<(), Wrong> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listener =
        listener.map_err(|error| Wrong::Case(format!("the server has no port: {error}")))?;
    let address = listener
        .local_addr()
        .map_err(|error| Wrong::Case(format!("the server has no address: {error}")))?;
    println!("ready http://{address}");
    thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        process::exit(0);
    });
    accept(&listener, &options.folder);
    Ok(())
}

/// Serves every connection on a thread of its own.
fn accept(listener: &TcpListener, folder: &Path) {
    for stream in listener.incoming().flatten() {
        let folder = folder.to_owned();
        // A broken connection ends its own thread only.
        thread::spawn(move || serve(&stream, &folder).ok());
    }
}

fn serve(stream: &TcpStream, folder: &Path) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut incoming = BufReader::new(stream);
    while let Some(request) = Request::read(&mut incoming)? {
        answer(&request, folder, stream)?;
        if request.closes {
            break;
        }
    }
    Ok(())
}

/// An object that exists.
struct Object {
    file: File,
    len: u64,
    etag: String,
}

impl Object {
    /// Also None if the path is outside of the folder or isn't a file.
    fn open(folder: &Path, path: &str) -> Option<Self> {
        let names: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        if names.iter().any(|name| matches!(*name, "" | "." | "..") || name.contains('\0')) {
            return None;
        }
        let file =
            File::open(names.iter().fold(folder.to_owned(), |path, name| path.join(name))).ok()?;
        let about = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        let changed = about.modified().ok()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Some(Self {
            file,
            len: about.len(),
            etag: format!("\"{:x}-{:x}\"", about.len(), changed.as_nanos()),
        })
    }
}

fn answer(request: &Request, folder: &Path, mut stream: &TcpStream) -> io::Result<()> {
    let is_head = request.method == "HEAD";
    let refuse = |status: &str, code: &str, header: &str| {
        let text = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{header}\r\n", text.len());
        (&mut &*stream).write_all((head + if is_head { "" } else { &text }).as_bytes())
    };
    if !is_head && request.method != "GET" {
        return refuse("405 Method Not Allowed", "MethodNotAllowed", "");
    }
    let Some(object) = Object::open(folder, &request.path) else {
        return refuse("404 Not Found", "NoSuchKey", "");
    };
    if request.if_match.as_ref().is_some_and(|wanted| wanted != "*" && *wanted != object.etag) {
        return refuse("412 Precondition Failed", "PreconditionFailed", "");
    }
    let (status, bytes, range) = match part(request.range.as_deref(), object.len) {
        Part::Whole => ("200 OK", 0..object.len, String::new()),
        Part::Bytes(bytes) => {
            let range = format!(
                "content-range: bytes {}-{}/{}\r\n",
                bytes.start,
                bytes.end - 1,
                object.len
            );
            ("206 Partial Content", bytes, range)
        }
        Part::Nothing => {
            let range = format!("content-range: bytes */{}\r\n", object.len);
            return refuse("416 Range Not Satisfiable", "InvalidRange", &range);
        }
    };
    let len = bytes.end - bytes.start;
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {len}\r\n{range}etag: {}\r\nlast-modified: {LAST_MODIFIED}\r\naccept-ranges: bytes\r\n\r\n",
        object.etag
    );
    stream.write_all(head.as_bytes())?;
    if is_head {
        return Ok(());
    }
    send(&object.file, bytes, stream)
}

#[cfg(test)]
mod tests;
