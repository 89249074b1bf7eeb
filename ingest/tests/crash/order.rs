//! No answer that means stored leaves before the sync that covers its rows has returned: read from
//! a trace of the service's system calls.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use slipring_ingest::client::Target;
use slipring_ingest::load::{self, LoadOptions, LoadReport, VectorRange};
use slipring_ingest::log::{Disk, NextRecord, RealDisk, RecordReader, RowShape};
use slipring_ingest::sink::{Columns, DataMode};
use slipring_ingest::wire::frames::{
    ANSWER_HEADER_BYTES, AckLevel, AnswerEvent, HELLO_ANSWER_BYTES, Mode, answer_event,
    decode_hello_answer,
};
use slipring_test_support::{wait_until, within};

use crate::ledger::DIM;
use crate::support::process::{BINARY, Place, Process};
use crate::trace::{STRACE, TraceStep, TracedCall, steps};

/// The calls that bring rows to the disk, and those that send.
const CALLS: &str = "trace=openat,pwrite64,fdatasync,fsync,sendto,sendmsg,write,writev";

/// How far each lane's live file is: its length, and how much of it is on the disk.
#[derive(Clone, Copy, Debug, Default)]
struct FileState {
    written: u64,
    synced: u64,
    /// Whether the folder was synced after the file had been made.
    is_named: bool,
}

/// What a trace says.
#[derive(Debug, Default, PartialEq)]
struct Verdict {
    /// Vectors in accepted answers.
    answered: u64,
    /// Answers that were sent before their rows were on the disk.
    early: u64,
    answers: u64,
    syncs: u64,
}

/// Follows the calls of a service. Only one file is live in each lane, from beginning to end.
struct Order {
    mode: Mode,
    /// Of each lane's file: where each record ends, and the sequence that follows it.
    records: BTreeMap<u32, Vec<(u64, u64)>>,
    files: BTreeMap<u32, FileState>,
    /// By thread: what held when its call began.
    began: HashMap<u32, BTreeMap<u32, FileState>>,
    /// By socket: bytes that aren't a whole frame yet, and what held when the first of them left.
    outputs: HashMap<String, (Vec<u8>, BTreeMap<u32, FileState>)>,
    verdict: Verdict,
}

impl Order {
    fn new(mode: Mode, data: &Path, lanes: u32) -> Self {
        let records = (0..lanes).map(|lane| (lane, records(data, lane))).collect();
        let (files, began, outputs) = (BTreeMap::new(), HashMap::new(), HashMap::new());
        Self { mode, records, files, began, outputs, verdict: Verdict::default() }
    }

    fn follow(mut self, trace: &str) -> Verdict {
        for step in steps(trace) {
            match step {
                TraceStep::Begins(thread, _) => drop(self.began.insert(thread, self.files.clone())),
                TraceStep::Ended(thread, call, result) => self.end(thread, &call, result),
            }
        }
        self.verdict
    }

    fn end(&mut self, thread: u32, call: &TracedCall, result: i64) {
        let began = self.began.remove(&thread).expect("it began");
        let path = call.open_on();
        let lane =
            path.split("/lane=").nth(1).and_then(|rest| rest.split('/').next()?.parse().ok());
        let is_live = path.ends_with(".arrow.part");
        match (call.name.as_str(), lane) {
            ("pwrite64", Some(lane)) if is_live && result > 0 => {
                let file: &mut FileState = self.files.entry(lane).or_default();
                file.written = file.written.max(call.last_number() + result as u64);
            }
            ("fdatasync" | "fsync", Some(lane)) if is_live && result == 0 => {
                let before = began.get(&lane).copied().unwrap_or_default();
                let file = self.files.entry(lane).or_default();
                file.synced = file.synced.max(before.written);
                self.verdict.syncs += 1;
            }
            ("fsync", Some(lane)) if result == 0 => {
                // Of the folder. A file is written before its name must last.
                let was_there = began.get(&lane).is_some_and(|file| file.written > 0);
                self.files.entry(lane).or_default().is_named |= was_there;
            }
            ("sendto", None) if result > 0 => self.sent(&path, call, result as usize, began),
            _ => {}
        }
    }

    fn sent(
        &mut self,
        socket: &str,
        call: &TracedCall,
        bytes: usize,
        began: BTreeMap<u32, FileState>,
    ) {
        let sent = call.bytes().expect("strace writes all of it");
        let (mut output, mut held) =
            self.outputs.remove(socket).unwrap_or_else(|| (Vec::new(), began.clone()));
        output.extend_from_slice(&sent[..bytes]);
        while let Some(frame_bytes) = self.frame(&output, &held) {
            output.drain(..frame_bytes);
            held.clone_from(&began);
        }
        if !output.is_empty() {
            self.outputs.insert(socket.to_owned(), (output, held));
        }
    }

    /// The length of the frame at the front, if it is whole.
    fn frame(&mut self, bytes: &[u8], held: &BTreeMap<u32, FileState>) -> Option<usize> {
        if self.mode == Mode::Header && matches!(decode_hello_answer(bytes), Ok(Some(_))) {
            return Some(HELLO_ANSWER_BYTES);
        }
        let answer = match answer_event(self.mode, bytes).expect("an answer")? {
            AnswerEvent::Watermark(_) => return Some(ANSWER_HEADER_BYTES),
            AnswerEvent::Answer(answer) => answer,
        };
        if bytes.len() < answer.bytes_total {
            return None;
        }
        let vectors = u64::from(answer.vectors);
        self.verdict.answers += 1;
        self.verdict.answered += vectors;
        // In count mode one connection has the lane for itself.
        let (lane, next) = answer
            .place
            .map_or((0, self.verdict.answered), |place| (place.lane, place.first_row + vectors));
        let file = held.get(&lane.into()).copied().unwrap_or_default();
        let records = &self.records[&lane.into()];
        let durable = records.iter().rev().find(|(end, _)| *end <= file.synced);
        let is_durable = file.is_named && durable.is_some_and(|(_, through)| *through >= next);
        self.verdict.early += u64::from(vectors > 0 && !is_durable);
        Some(answer.bytes_total)
    }
}

/// Where each record of a lane's only live file ends, and the sequence that follows it.
fn records(data: &Path, lane: u32) -> Vec<(u64, u64)> {
    let folder = data.join(format!(".slipring/lane={lane}"));
    let parts = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let parts: Vec<PathBuf> =
        parts.filter(|path| path.to_string_lossy().ends_with(".arrow.part")).collect();
    assert_eq!(parts.len(), 1, "one live file: {parts:?}");
    let disk = RealDisk::new(DataMode::default());
    let file = disk.open_to_read(&parts[0]).unwrap();
    let end = std::fs::metadata(&parts[0]).unwrap().len();
    let shape = RowShape { dim: DIM, columns: Columns::default() };
    let mut reader = RecordReader::new(&file, &parts[0], end, 0, shape).unwrap();
    let mut records = Vec::new();
    while let NextRecord::Record(record) = reader.next_record().unwrap() {
        records.push((record.offset() + record.record_bytes(), record.next_sequence()));
    }
    assert!(!records.is_empty(), "nothing was written");
    records
}

/// Runs a load against a traced service, kills the service so that its live files stay as they are,
/// and reads the trace. None: it can't be traced here.
fn traced(words: &str, lanes: u32, load: LoadOptions) -> Option<(LoadReport, Verdict)> {
    let strace = || {
        let mut command = Command::new("strace");
        command.args(STRACE).arg(CALLS);
        command
    };
    if !strace().args(["-o", "/dev/null", "true"]).output().is_ok_and(|run| run.status.success()) {
        println!("no strace here, or it may not trace");
        return None;
    }
    let place = Place::new();
    let trace = place.folder.path().join("trace");
    let mut command = strace();
    command.arg("-o").arg(&trace).args([BINARY, "serve"]);
    let words = place.words(&format!("--max-vectors 8 --lanes {lanes} {words}"));
    command.args(words.split_whitespace());
    let mut process = Process::start(command);
    let to = Target::Tcp(process.ready_value("tcp").unwrap().to_owned());
    let report = load::run(&LoadOptions { to, ..load.clone() });
    let report = report.unwrap_or_else(|broken| panic!("{words}: {broken}"));
    process.signal(Signal::KILL);
    process.wait();
    let mut text = String::new();
    wait_until("strace writes its last line", || {
        text = std::fs::read_to_string(&trace).unwrap();
        text.contains("+++ killed by SIGKILL +++")
    });
    Some((report, Order::new(load.mode, &place.data(), lanes).follow(&text)))
}

fn load_of(ack: AckLevel, connections: u32, in_flight: u32, count: u64) -> LoadOptions {
    LoadOptions {
        connections,
        in_flight,
        vectors: VectorRange { least: 1, most: 8 },
        count: Some(count),
        ack,
        ..LoadOptions::new(Target::Tcp(String::new()), DIM)
    }
}

/// One request after the other, and many at once; with one lane and two, inline and on threads, in
/// header mode and in the modes that say by `serve --ack` what an answer means.
#[test]
fn no_stored_answer_leaves_before_its_sync_returned() {
    within(Duration::from_secs(300), || {
        let stored = |connections, in_flight, count| {
            load_of(AckLevel::Stored, connections, in_flight, count)
        };
        let with_mode =
            |mode, options: LoadOptions| LoadOptions { mode, ack: AckLevel::Received, ..options };
        for (words, lanes, load) in [
            ("", 1, stored(1, 1, 100)),
            ("--stages threads", 1, stored(1, 1, 100)),
            ("", 1, stored(4, 32, 2_000)),
            ("--stages threads", 2, stored(4, 32, 2_000)),
            ("--commit-interval 1ms", 2, stored(16, 1, 1_000)),
            ("--ack stored", 1, with_mode(Mode::Count, stored(1, 32, 500))),
            ("--ack stored", 1, with_mode(Mode::Count, stored(1, 1, 100))),
            ("--ack stored", 1, with_mode(Mode::Header1, stored(1, 32, 500))),
        ] {
            let Some((report, verdict)) = traced(words, lanes, load.clone()) else { return };
            assert_eq!(report.accepted.requests, load.count.unwrap(), "{words}: {report}");
            assert_eq!(verdict.answers, report.accepted.requests, "{words}: {verdict:?}");
            assert_eq!(verdict.answered, report.accepted.vectors, "{words}: {verdict:?}");
            assert_eq!(verdict.early, 0, "{words}, {} at once: {verdict:?}", load.in_flight);
            if load.connections * load.in_flight == 1 {
                assert!(verdict.syncs >= verdict.answers, "{words}: {verdict:?}");
            }
        }
    });
}

/// The check can fail: an answer that means received waits for no sync, nor does one of a service
/// without `--ack stored`.
#[test]
fn received_answers_leave_before_their_sync() {
    within(Duration::from_secs(120), || {
        for mode in [Mode::Header, Mode::Count] {
            // Over several intervals, so that there are syncs.
            let rate = Some(200.0);
            let load = LoadOptions { mode, rate, ..load_of(AckLevel::Received, 1, 1, 100) };
            let Some((report, verdict)) = traced("", 1, load) else {
                return;
            };
            assert_eq!(verdict.answered, report.accepted.vectors, "{verdict:?}");
            assert!(verdict.early > 0 && verdict.syncs > 1, "{verdict:?}");
        }
    });
}
