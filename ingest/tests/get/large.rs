//! Objects larger than the memory that `slipring get` may use. The server makes their bytes up.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::files::noise;
use slipring_ingest::sink::read_segments;

use crate::support::PATIENCE;
use crate::support::service::Service;
use crate::tools::{Ended, get, names, start, wait};

const GIB: u64 = 1 << 30;
/// What the process may use at its peak beside its buffers.
pub const BESIDE_KIB_MAX: u64 = 64 << 10;
/// A buffer of a part.
const BUFFER_KIB: u64 = 8 << 10;

/// The bytes repeat after this many: no multiple of a part, so a part at a wrong place shows.
const PERIOD: usize = (1 << 20) + 7;
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| noise(PERIOD));

/// Serves one object of `size` bytes under every path. Every hundredth body breaks off.
fn serve_pattern(size: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, requests) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let requests = Arc::clone(&requests);
            // A client that disconnects ends its own thread only.
            thread::spawn(move || serve(stream, size, &requests));
        }
    });
    address
}

fn serve(stream: TcpStream, size: u64, requests: &AtomicUsize) -> std::io::Result<()> {
    let mut out = stream.try_clone()?;
    let mut lines = BufReader::new(stream).lines();
    while lines.next().transpose()?.is_some() {
        let mut range = None;
        for header in lines.by_ref() {
            let header = header?.to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            let asked =
                header.strip_prefix("range: bytes=").and_then(|range| range.split_once('-'));
            let number = |text: &str| text.parse::<u64>().unwrap();
            range = asked.map(|(first, last)| number(first)..number(last) + 1).or(range);
        }
        let tag = "ETag: \"1\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT";
        let body = match range {
            None => {
                write!(out, "HTTP/1.1 200 OK\r\n{tag}\r\nContent-Length: {size}\r\n\r\n")?;
                0..size
            }
            Some(range) => {
                let range = range.start..range.end.min(size);
                write!(
                    out,
                    "HTTP/1.1 206 Partial Content\r\n{tag}\r\n\
                     Content-Range: bytes {}-{}/{size}\r\nContent-Length: {}\r\n\r\n",
                    range.start,
                    range.end - 1,
                    range.end - range.start
                )?;
                range
            }
        };
        let broken = requests.fetch_add(1, Ordering::Relaxed) % 100 == 50;
        let end = if broken { (body.start + body.end) / 2 } else { body.end };
        let mut at = body.start;
        while at < end {
            let first = (at % PERIOD as u64) as usize;
            let piece = ((end - at) as usize).min(PERIOD - first);
            out.write_all(&PATTERN[first..first + piece])?;
            at += piece as u64;
        }
        if broken {
            return Ok(());
        }
    }
    Ok(())
}

/// Runs to the end. Returns the peak of the process's memory in KiB.
pub fn run_measured(words: &[&str]) -> (Ended, u64) {
    let (mut child, mut peak) = (start(get(words)), 0);
    let (status, deadline) =
        (format!("/proc/{}/status", child.id()), Instant::now() + 10 * PATIENCE);
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "not over after {:?}", 10 * PATIENCE);
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        let kib = line.trim().trim_end_matches(" kB").parse().unwrap_or(0);
        peak = peak.max(kib);
        thread::sleep(Duration::from_millis(20));
    }
    assert!(peak > 0, "its memory was never seen");
    (wait(child), peak)
}

#[track_caller]
fn assert_pattern(path: &Path, size: u64) {
    assert_eq!(fs::metadata(path).unwrap().len(), size);
    let (mut file, mut piece, mut left) = (File::open(path).unwrap(), vec![0; PERIOD], size);
    while left > 0 {
        let piece = &mut piece[..(left as usize).min(PERIOD)];
        file.read_exact(piece).unwrap();
        assert!(*piece == PATTERN[..piece.len()], "wrong bytes from {} on", size - left);
        left -= piece.len() as u64;
    }
}

/// The memory is that of the buffers, whether they are used again or not.
#[track_caller]
fn assert_peak(peak_kib: u64, buffers: u64, line: &Value) {
    let most = buffers * BUFFER_KIB + BESIDE_KIB_MAX;
    assert!(peak_kib < most, "{peak_kib} KiB, more than {most}: {line}");
}

#[test]
fn buffers_that_are_used_once_take_no_more_memory() {
    let size = 2 * GIB + 12_345;
    let url = format!("http://{}/large", serve_pattern(size));
    for (option, buffers) in [("--parallel=1", 16), ("--no-ranges", 1)] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().display().to_string();
        let (ended, peak_kib) = run_measured(&[&*url, "-o", &out, "--json", option]);
        let line = ended.assert_code(0).line("/large");
        assert_peak(peak_kib, buffers, &line);
        assert_eq!((&line["bytes"], &line["part_buffers"]["hits"]), (&size.into(), &0.into()));
    }
}

#[test]
fn an_object_larger_than_the_memory_becomes_a_file() {
    let size = 4 * GIB + 12_345;
    let url = format!("http://{}/large", serve_pattern(size));
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().display().to_string();
    let words = [&*url, "-o", &out, "--json", "--buffer-pool"];
    let (ended, peak_kib) = run_measured(&words);
    let line = ended.assert_code(0).line("/large");
    assert_peak(peak_kib, 16, &line);
    assert_eq!(line["bytes"], size, "{line}");
    assert!(line["retries"].as_u64().unwrap() > 0, "some bodies broke off: {line}");
    let buffers = &line["part_buffers"];
    let [gets, hits, high_water] =
        ["gets", "hits", "high_water"].map(|name| buffers[name].as_u64().unwrap());
    assert!(gets > 500 && hits >= gets - 16 && (1..=16).contains(&high_water), "{line}");
    assert_eq!(names(folder.path()), ["large"]);
    assert_pattern(&folder.path().join("large"), size);
}

#[test]
fn an_object_in_one_answer_needs_one_buffer() {
    let size = GIB / 2 + 1;
    let url = format!("http://{}/large", serve_pattern(size));
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().display().to_string();
    let words = [&*url, "-o", &out, "--json", "--no-ranges", "--buffer-pool-size", "4"];
    let (ended, peak_kib) = run_measured(&words);
    let line = ended.assert_code(0).line("/large");
    assert_peak(peak_kib, 1, &line);
    assert_eq!((&line["bytes"], &line["ranges"]), (&size.into(), &1.into()));
    assert_eq!(line["part_buffers"]["high_water"], 1);
    assert_pattern(&folder.path().join("large"), size);
}

#[test]
fn rows_of_a_large_object_are_sent_from_few_buffers() {
    let (dim, rows) = (64_usize, 1 << 20);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.npy");
    let mut file = File::create(&path).unwrap();
    let header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dim}), }}\n");
    file.write_all(b"\x93NUMPY\x01\x00").unwrap();
    file.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    let thousand_rows = 1_f32.to_le_bytes().repeat(dim * 1024);
    (0..rows / 1024).for_each(|_| file.write_all(&thousand_rows).unwrap());

    let mut service = Service::start(dim as u32, "");
    let to = service.target().to_string();
    let url = path.display().to_string();
    let words = [&*url, "--ingest", &to, "--json", "--buffer-pool-size", "4"];
    let (ended, peak_kib) = run_measured(&words);
    let line = ended.assert_code(0).line("large.npy");
    assert_peak(peak_kib, 4, &line);
    assert_eq!((&line["vectors_sent"], &line["vectors_answered"]), (&rows.into(), &rows.into()));
    service.stop();
    let read = read_segments(&service.data()).unwrap();
    assert_eq!((read.rows, read.sum), (rows as u64, (rows * dim) as f64));
}
