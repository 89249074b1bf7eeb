//! A long run of the service's data path in one process, for perf (profiling/README.md has the
//! recipes).
//!
//! ```text
//!   this thread     send a batch of requests ─▶ Unix socket ─┐                       ┌─▶ read and compare the answers of the previous batch
//!   thread lane-0         receive ─▶ cut frames in the pool ─▶ validate ─▶ score ─▶ answer          (inline)
//!   thread sink-0                                                    └─▶ count the vectors
//! ```
//! The service is the real one, with a null sink. One iteration is one request of one vector. Every
//! answer is compared, and at the end the service's own totals.

mod long_run;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, FromArgMatches};
use long_run::{Ended, Options, Program, Progress, run};
use slipring::machine::{CpuMask, PinPolicy, pin_current};
use slipring_ingest::io::Counter;
use slipring_ingest::server::{ServeError, ServeOptions, Server};
use slipring_ingest::wire::frames::{COUNT_HEADER_BYTES, Mode, encode_request};

/// The service stops reading at this many requests in flight. Two batches are in flight.
const IN_FLIGHT: u64 = 256;
/// A count and a score.
const ANSWER_BYTES: usize = 8;
/// Longest wait for an answer: a hang is an error.
const PATIENCE: Duration = Duration::from_secs(60);
/// Requests are numbered modulo this. Below it, sums with the other components are exact.
const NUMBERS: u64 = 1 << 20;

const INGEST_LOOP: Program = Program {
    name: "ingest_loop",
    iteration: "one request of one vector, sent, scored and answered",
    flags: &["--payload", "--batch", "--pool", "--window"],
    batch_max: IN_FLIGHT / 2,
};

fn main() -> ExitCode {
    run(&INGEST_LOOP, whole_run)
}

fn whole_run(options: &Options) -> Result<String, Ended> {
    if !options.payload_bytes.is_multiple_of(4) {
        let text = format!(
            "--payload is {}: a vector of f32 has a multiple of 4 bytes",
            options.payload_bytes
        );
        return Err(Ended::Usage(text));
    }
    let dim = options.payload_bytes / 4;
    let place = Place::new()?;
    let server = Server::start(&serve_options(options, &place.socket())?, Arc::new(|| ()))
        .map_err(|error| match error {
            ServeError::Option(text) => {
                let text = text.replace("--dim, --max-vectors", "--payload");
                Ended::Usage(text.replace("--dim is", "--payload / 4 is"))
            }
            ServeError::Refused(text) => Ended::Failed(text),
        })?;
    server.reports().for_each(|report| eprintln!("ingest_loop: thread lane-0 {}", report.pin));
    if let [_, cpu, ..] = CpuMask::read().cpus() {
        eprintln!(
            "ingest_loop: the sender is {}",
            pin_current(*cpu, PinPolicy::Prefer).map_err(Ended::failed)?
        );
    }
    let mut sender = Sender::connect(&place.socket(), dim, options.batch)?;
    sender.go(options.warm_up)?;
    let mut progress = Progress::start(INGEST_LOOP.name, options.iterations, options.batch);
    while let Some(step) = progress.next() {
        sender.go(step)?;
    }
    let (ns, sent) = (progress.ns_per_iteration(), sender.sent);
    drop(sender);
    let totals = server.stop();
    if !totals.is_drained()
        || totals.counts[Counter::VectorsAnswered] != sent
        || totals.vectors_in_segments != sent
    {
        return Err(Ended::Failed(format!("{sent} vectors were sent, but: {totals}")));
    }
    let copied_percent = 100.0 * totals.counts[Counter::CopiedBytes] as f64
        / totals.counts[Counter::UncopiedBytes].max(1) as f64;
    Ok(format!(
        "{} iterations verified, vectors of {dim}; {copied_percent:.1} % of the bytes went through a carry buffer; {ns:.2} ns per iteration",
        options.iterations
    ))
}

/// The options of `slipring serve` for this run.
fn serve_options(options: &Options, socket: &Path) -> Result<ServeOptions, Ended> {
    let (dim, pool) = (options.payload_bytes / 4, options.pool_bytes);
    // Waiting threads sleep, so samples show work, and on two CPUs the sink doesn't share one with
    // the sender.
    let words = format!(
        "--dim {dim} --max-vectors 1 --pool {pool} --sink null --in-flight {IN_FLIGHT} --wait park"
    );
    let mut words: Vec<String> = words.split(' ').map(str::to_owned).collect();
    words.extend(["--unix".to_owned(), socket.display().to_string()]);
    words.extend(
        options
            .window_bytes
            .into_iter()
            .flat_map(|bytes| ["--window".to_owned(), bytes.to_string()]),
    );
    let command = ServeOptions::augment_args(clap::Command::new("serve").no_binary_name(true));
    let parsed = command
        .try_get_matches_from(words)
        .and_then(|matches| ServeOptions::from_arg_matches(&matches));
    parsed.map_err(|error| Ended::Usage(error.to_string().replace("--dim <DIM>", "--payload / 4")))
}

/// A folder for the socket, removed when it is dropped.
struct Place(PathBuf);

impl Place {
    fn new() -> Result<Self, Ended> {
        static PLACES: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = PLACES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = std::env::temp_dir()
            .join(format!("slipring-ingest-loop-{}-{number}", std::process::id()));
        std::fs::create_dir(&folder)
            .map_err(|error| Ended::Failed(format!("{}: {error}", folder.display())))?;
        Ok(Self(folder))
    }

    fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // If that fails, a folder for temporary files has one more.
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

/// The bare client. Its requests were encoded once; only the first component changes.
struct Sender {
    stream: UnixStream,
    requests: Vec<u8>,
    request_bytes: usize,
    answers: Vec<u8>,
    dim: usize,
    batch: u64,
    sent: u64,
    answered: u64,
}

impl Sender {
    fn connect(socket: &Path, dim: usize, batch: u64) -> Result<Self, Ended> {
        let stream = UnixStream::connect(socket).map_err(Ended::failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(Ended::failed)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(Ended::failed)?;
        let mut requests = Vec::new();
        let vector = vec![1.0; dim];
        (0..batch).for_each(|_| encode_request(Mode::Count, dim as u32, 0, &vector, &mut requests));
        let (request_bytes, answers) =
            (requests.len() / batch as usize, vec![0; ANSWER_BYTES * batch as usize]);
        Ok(Self { stream, requests, request_bytes, answers, dim, batch, sent: 0, answered: 0 })
    }

    /// Sends `iterations` requests, one batch ahead of the answers, and reads all answers.
    fn go(&mut self, iterations: u64) -> Result<(), Ended> {
        let until = self.sent + iterations;
        let mut owed = 0;
        while self.sent < until {
            let count = self.batch.min(until - self.sent);
            self.send_batch(count)?;
            self.compare_answers(owed)?;
            owed = count;
        }
        self.compare_answers(owed)
    }

    #[inline(never)]
    fn send_batch(&mut self, count: u64) -> Result<(), Ended> {
        let requests = &mut self.requests[..count as usize * self.request_bytes];
        for (number, request) in (self.sent..).zip(requests.chunks_exact_mut(self.request_bytes)) {
            let first = (number % NUMBERS) as f32;
            request[COUNT_HEADER_BYTES..COUNT_HEADER_BYTES + 4]
                .copy_from_slice(&first.to_le_bytes());
        }
        self.stream.write_all(requests).map_err(Ended::failed)?;
        self.sent += count;
        Ok(())
    }

    #[inline(never)]
    fn compare_answers(&mut self, count: u64) -> Result<(), Ended> {
        let answers = &mut self.answers[..count as usize * ANSWER_BYTES];
        self.stream
            .read_exact(answers)
            .map_err(|error| Ended::Failed(format!("answer {}: {error}", self.answered)))?;
        let (answers, _) = answers.as_chunks::<ANSWER_BYTES>();
        for (number, answer) in (self.answered..).zip(answers) {
            let score = (number % NUMBERS) as f32 + (self.dim - 1) as f32;
            let ([vectors, found], _) = answer.as_chunks::<4>() else {
                unreachable!("eight bytes are two fours")
            };
            if u32::from_le_bytes(*vectors) != 1 || f32::from_le_bytes(*found) != score {
                return Err(Ended::Failed(format!(
                    "answer {number} is {answer:?}, not one vector with score {score}"
                )));
            }
        }
        self.answered += count;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(words: &str) -> Result<String, Ended> {
        let words = format!("--iterations 3000 --warm-up 100 --pool 8MiB {words}");
        whole_run(&Options::parse(
            &words.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
            &INGEST_LOOP,
        )?)
    }

    #[test]
    fn a_small_run_is_verified() {
        for words in [
            "",
            "--batch 1",
            "--batch 128 --payload 8",
            "--payload 64KiB --batch 9",
            "--window 1MiB",
        ] {
            let said = small(words);
            assert!(
                said.as_ref().is_ok_and(|said| said.starts_with("3000 iterations verified")),
                "{words}: {said:?}"
            );
        }
    }

    #[test]
    fn what_does_not_fit_is_usage() {
        for (words, name) in [
            ("--payload 510", "--payload"),
            ("--payload 1MiB", "--payload"),
            ("--pool 512", "--pool"),
            ("--window 1", "--window"),
            ("--batch 129", "--batch"),
            ("--written 8", "--written"),
        ] {
            let said = small(words);
            assert!(
                matches!(&said, Err(Ended::Usage(text)) if text.contains(name)),
                "{words}: {said:?}"
            );
        }
    }

    #[test]
    fn a_wrong_answer_fails() {
        let place = Place::new().unwrap();
        let listener = std::os::unix::net::UnixListener::bind(place.socket()).unwrap();
        let mut sender = Sender::connect(&place.socket(), 2, 1).unwrap();
        let (mut service, _) = listener.accept().unwrap();
        service.write_all(&[1, 0, 0, 0, 0, 0, 128, 63, 1, 0, 0, 0, 0, 0, 128, 63]).unwrap();
        // The score 0 + 1 is right for the first request. For the second it must be 1 + 1.
        assert_eq!(sender.go(1), Ok(()));
        assert!(matches!(sender.go(1), Err(Ended::Failed(text)) if text.starts_with("answer 1")));
    }
}
