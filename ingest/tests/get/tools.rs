//! The command `slipring get` and its result, the HTTP server that it fetches from, and files of
//! vectors.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, StringArray};
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_schema::{DataType, Field};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use slipring_ingest::vectors::VectorRows;

use crate::support::PATIENCE;
use crate::support::process::BINARY;

/// `slipring get` with these words, without the variables for storage in our own environment.
pub fn get<S: AsRef<str>>(words: &[S]) -> Command {
    let mut command = Command::new(BINARY);
    command.arg("get").args(words.iter().map(AsRef::as_ref));
    for (name, _) in std::env::vars_os() {
        let ours = name.to_string_lossy().to_ascii_lowercase();
        if ours.ends_with("_proxy")
            || ["aws_", "azure_", "google_"].iter().any(|prefix| ours.starts_with(prefix))
        {
            command.env_remove(name);
        }
    }
    command
}

/// The same command, run by a shell after this line.
pub fn limited(shell: &str, command: Command) -> Command {
    let mut limited = Command::new("sh");
    limited
        .args(["-c", &format!("{shell}; exec \"$0\" \"$@\"")])
        .arg(command.get_program())
        .args(command.get_args());
    limited
}

/// The exit code and the output of a run.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// The lines of `--json`.
    pub fn lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The line about the object whose URL ends with `url`.
    #[track_caller]
    pub fn line(&self, url: &str) -> Value {
        let found: Vec<Value> = self
            .lines()
            .into_iter()
            .filter(|line| line["url"].as_str().unwrap().ends_with(url))
            .collect();
        assert_eq!(found.len(), 1, "{url}: {self:?}");
        found[0].clone()
    }

    #[track_caller]
    pub fn assert_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        self
    }
}

pub fn start(mut command: Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for the end of the process.
#[track_caller]
pub fn wait(child: Child) -> Ended {
    let pid = Pid::from_child(&child);
    let (done, wait) = channel();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    let Ok(output) = wait.recv_timeout(PATIENCE) else {
        kill_process(pid, Signal::KILL).unwrap();
        panic!("not over after {PATIENCE:?}");
    };
    let Output { status, stdout, stderr } = output.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { code: status.code(), stdout: text(&stdout), stderr: text(&stderr) }
}

/// Runs the command to its end.
#[track_caller]
pub fn run<S: AsRef<str>>(words: &[S]) -> Ended {
    wait(start(get(words)))
}

/// The names in a folder, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// How an object is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    Right,
    /// Sends half of every body, then closes the connection.
    Cut,
    /// Sends half of every body, then nothing.
    Stall,
}

pub struct Server {
    address: SocketAddr,
    /// Number of requests whose answer has begun.
    requests: Arc<AtomicUsize>,
}

type Objects = BTreeMap<&'static str, (Conduct, Vec<u8>)>;

impl Server {
    /// Serves these objects by their paths, which have no leading slash.
    pub fn start<const N: usize>(objects: [(&'static str, Conduct, Vec<u8>); N]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, requests) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let objects: Objects =
            objects.into_iter().map(|(path, conduct, bytes)| (path, (conduct, bytes))).collect();
        let (objects, counter) = (Arc::new(objects), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (objects, counter) = (Arc::clone(&objects), Arc::clone(&counter));
                // A client that disconnects ends its own thread only.
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

pub const DIM: usize = 64;
/// The figures of examples/data/README.md.
pub const DIGITS: u64 = 1797;
pub const DIGITS_SUM: f64 = 561_718.0;

pub fn digits_npy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/data/digits-64.npy")
}

/// The components of the digits.
pub fn digits() -> Vec<f32> {
    let rows = VectorRows::from_npy(&fs::read(digits_npy()).unwrap(), DIM as u32).unwrap();
    rows.bytes().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

pub fn npy(components: &[f32], dim: usize) -> Vec<u8> {
    let header = format!(
        "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {dim}), }}\n",
        components.len() / dim
    );
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(wire(components));
    bytes
}

pub fn fvecs(components: &[f32], dim: usize) -> Vec<u8> {
    components
        .chunks(dim)
        .flat_map(|row| [(dim as u32).to_le_bytes().to_vec(), wire(row)].concat())
        .collect()
}

/// Batches of 500 rows, with a column of labels before the vectors.
pub fn arrow_file(components: &[f32], dim: usize) -> Vec<u8> {
    let batches = batches(components, dim);
    let mut writer = FileWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

pub fn arrow_stream(components: &[f32], dim: usize) -> Vec<u8> {
    let batches = batches(components, dim);
    let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

/// A column of vectors.
pub fn lists(rows: &[f32], dim: usize) -> ArrayRef {
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let values = Arc::new(Float32Array::from(rows.to_vec()));
    Arc::new(FixedSizeListArray::new(item, dim as i32, values, None))
}

fn batches(components: &[f32], dim: usize) -> Vec<RecordBatch> {
    let batch = |rows: &[f32]| {
        let labels: ArrayRef = Arc::new(StringArray::from(vec!["a label"; rows.len() / dim]));
        RecordBatch::try_from_iter([("label", labels), ("embedding", lists(rows, dim))]).unwrap()
    };
    components.chunks(500 * dim).map(batch).collect()
}

fn wire(components: &[f32]) -> Vec<u8> {
    components.iter().flat_map(|component| component.to_le_bytes()).collect()
}
