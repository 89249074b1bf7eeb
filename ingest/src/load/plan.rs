//! The plan of a run: the rows to send, the answers to expect, and the start of the clock. All
//! threads share it.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::error::{ConnectionError, refusal_label};
use super::named_rows::NamedRows;
use super::options::{LoadOptions, VectorRange};
use super::schedule::requests_before;
use crate::client::{ClientConnection, ExpectedAnswer};
use crate::stage::Score;
use crate::vectors::VectorRows;
use crate::wire::frames::{
    AnswerHead, Hello, ID_BYTES, Mode, RequestHead, Status, encode_request_head,
};

/// How long a server is asked for its columns.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Shared by all threads and never changed, except for `failed` and `named`.
#[derive(Debug)]
pub(super) struct LoadPlan {
    pub(super) options: LoadOptions,
    pub(super) rows: ExpectedRows,
    pub(super) start: Instant,
    /// Whether the server stores an id for every vector, which requests then carry.
    pub(super) ids: bool,
    /// The same of a server that refused good vectors in count mode, where it can't say why.
    asked: OnceLock<bool>,
    /// Set by the thread that fails, so that the others stop.
    pub(super) failed: OnceLock<()>,
    /// With `--verify`: the rows that were named.
    named: Mutex<NamedRows>,
}

impl LoadPlan {
    /// Starts the clock.
    pub(super) fn new(options: LoadOptions, rows: ExpectedRows, ids: bool) -> LoadPlan {
        let (asked, failed, named) = (OnceLock::new(), OnceLock::new(), Mutex::default());
        LoadPlan { options, rows, start: Instant::now(), ids, asked, failed, named }
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    pub(super) fn request_bytes(&self, vectors: u32) -> usize {
        let id_bytes = if self.ids { ID_BYTES } else { 0 };
        let row_bytes = self.options.dim as usize * 4 + id_bytes;
        self.options.mode.header_bytes() + vectors as usize * row_bytes
    }

    /// Appends a request. The rows are in wire order, so this writes a header, the ids if there are
    /// any, and copies.
    pub(super) fn append_request(&self, next: &NextRequest, out: &mut Vec<u8>) {
        let (dim, scores) = (self.options.dim, self.options.verify);
        let NextRequest { sequence, row, vectors, .. } = *next;
        let head = RequestHead { dim, vectors, sequence, ids: self.ids, scores };
        encode_request_head(self.options.mode, &head, out);
        if self.ids {
            for vector in 0..u64::from(vectors) {
                out.extend_from_slice(&self.id(next, vector).to_le_bytes());
            }
        }
        self.rows.rows.append(row, vectors as usize, out);
    }

    /// The id of a vector of a request. A file's rows have their numbers in it. Generated vectors
    /// are numbered over the whole run: those of the connections take turns, so that no number
    /// comes twice, and the same options send the same ids.
    fn id(&self, next: &NextRequest, vector: u64) -> u64 {
        if self.options.file.is_some() {
            return (next.row as u64 + vector) % self.rows.count() as u64;
        }
        let number = next.sent_vectors.wrapping_add(vector);
        let connections = u64::from(self.options.connections);
        let number = number.wrapping_mul(connections).wrapping_add(next.connection.into());
        self.options.number_from.wrapping_add(number)
    }

    /// Whether a refusal means that the server stores ids, and that the requests have none. Count
    /// mode gives no reason, so the server is asked by a hello, once.
    pub(super) fn lacks_ids(&self, request: &LoadRequest, status: Option<Status>) -> bool {
        match status {
            Some(status) => status == Status::IdsMissing,
            None if !self.is_rejection(request, None) => false,
            None => *self.asked.get_or_init(|| server_asks_for_ids(&self.options)),
        }
    }

    /// The answer that `request`, which has this sequence, must get. Header mode
    /// sends scores only where they are asked for.
    pub(super) fn expected(&self, request: &LoadRequest, sequence: u64) -> ExpectedAnswer {
        let scores = self.options.verify || self.options.mode != Mode::Header;
        ExpectedAnswer { vectors: request.vectors, sequence, scores }
    }

    /// The row that a connection starts with. If all requests have one size and are counted, the
    /// connections together send the rows in turn, each as often as every other. Otherwise they
    /// start evenly spread.
    pub(super) fn row_first(&self, connection: u32) -> usize {
        let (rows, connections) = (self.rows.count() as u128, self.options.connections);
        let VectorRange { least, most } = self.options.vectors;
        let row = match self.options.count {
            Some(count) if least == most => {
                requests_before(count, connection, connections) as u128 * u128::from(least)
            }
            _ => rows * u128::from(connection) / u128::from(connections),
        };
        (row % rows) as usize
    }

    /// The f64 sum of the rows' components.
    pub(super) fn sum(&self, row: usize, vectors: u32) -> f64 {
        self.rows.expected(row, vectors as usize).map(|row| row.sum).sum()
    }

    /// Whether a refusal with this status means that something is wrong: the vectors are good, and
    /// the service neither is busy nor stops.
    pub(super) fn is_rejection(&self, request: &LoadRequest, status: Option<Status>) -> bool {
        let is_excused = matches!(status, Some(Status::Busy | Status::ShuttingDown));
        !is_excused
            && self
                .rows
                .expected(request.row as usize, request.vectors as usize)
                .all(|row| row.finite)
    }

    /// With `--verify`: good vectors are accepted with the right scores, others are refused, and no
    /// row is named twice. Returns the number of scores compared.
    pub(super) fn check_scores(
        &self,
        request: &LoadRequest,
        head: &AnswerHead,
        scores: &[u8],
    ) -> Result<u64, ConnectionError> {
        let rows = || self.rows.expected(request.row as usize, request.vectors as usize);
        if head.status != Some(Status::Ok) {
            return if self.is_rejection(request, head.status) {
                Err(ConnectionError::Refused(refusal_label(head.status)))
            } else {
                Ok(0)
            };
        }
        if !rows().all(|row| row.finite) {
            return Err(ConnectionError::Accepted);
        }
        self.named.lock().unwrap_or_else(PoisonError::into_inner).add(head)?;
        for (vector, (row, bytes)) in rows().zip(scores.as_chunks::<4>().0).enumerate() {
            let got = f32::from_le_bytes(*bytes);
            if !row.accepts(got) {
                return Err(ConnectionError::WrongScore { vector, expected: row.score, got });
            }
        }
        Ok(u64::from(head.vectors))
    }
}

/// Whether the server refuses a hello because it announces no ids.
fn server_asks_for_ids(options: &LoadOptions) -> bool {
    let timeout = options.timeout.min(ASK_TIMEOUT);
    let Ok(mut asking) = ClientConnection::open(&options.to, Mode::Header, 0, timeout) else {
        return false;
    };
    let greeted = asking.greet(&Hello::new(options.dim), timeout, || false);
    greeted.is_err_and(|error| error.asks_for_ids())
}

/// What a connection sends next.
#[derive(Clone, Copy, Debug)]
pub(super) struct NextRequest {
    pub(super) connection: u32,
    /// Its number on the connection, from 1 on: 0 would say that nothing is stored.
    pub(super) sequence: u64,
    /// Index of its first row.
    pub(super) row: usize,
    pub(super) vectors: u32,
    /// Vectors of the connection before it.
    pub(super) sent_vectors: u64,
}

/// A request in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoadRequest {
    /// Index of its first row. After the last row comes the first one.
    pub(super) row: u32,
    pub(super) vectors: u32,
    /// When it was sent, or with `--rate` meant to be, since the start.
    pub(super) intended_ns: u64,
    /// Whether it counts in the latencies and rates.
    pub(super) measured: bool,
}

/// The answer that a row should get.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExpectedRow {
    score: f64,
    /// The tolerance for a server that adds in f32, in any order.
    tolerance: f64,
    /// The sum of the components; 0 if one of them isn't finite, because such a row is never
    /// accepted.
    pub(super) sum: f64,
    pub(super) finite: bool,
}

impl ExpectedRow {
    fn of(components: impl Iterator<Item = f32>, score: Score) -> ExpectedRow {
        let (mut sum, mut scored, mut terms, mut finite) = (0.0, 0.0, 0.0, true);
        for (index, component) in components.enumerate() {
            finite &= component.is_finite();
            let component = f64::from(component);
            let term = match score {
                Score::Sum => component,
                Score::Weighted => component * (index + 1) as f64,
                Score::None => 0.0,
            };
            sum += component;
            scored += term;
            terms += f64::abs(term);
        }
        // Beyond f32's range even finite components may overflow midway, so any score is accepted.
        let tolerance = match score {
            Score::None => 0.0,
            _ if terms > f64::from(f32::MAX) => f64::INFINITY,
            _ => 1e-5 * terms + 1e-6,
        };
        ExpectedRow { score: scored, tolerance, sum: if finite { sum } else { 0.0 }, finite }
    }

    /// Whether `score` is right for this row. A NaN never is, unless the row may overflow.
    pub(super) fn accepts(&self, score: f32) -> bool {
        self.tolerance == f64::INFINITY || (f64::from(score) - self.score).abs() <= self.tolerance
    }
}

/// Rows and the answers that they should get.
#[derive(Debug)]
pub(super) struct ExpectedRows {
    rows: VectorRows,
    expected: Vec<ExpectedRow>,
}

impl ExpectedRows {
    pub(super) fn new(rows: VectorRows, score: Score) -> ExpectedRows {
        let expected =
            (0..rows.count()).map(|row| ExpectedRow::of(rows.components(row), score)).collect();
        ExpectedRows { rows, expected }
    }

    pub(super) fn count(&self) -> usize {
        self.expected.len()
    }

    /// The expected answers for the `count` rows from `first` on. After the last row comes the
    /// first one.
    pub(super) fn expected(
        &self,
        first: usize,
        count: usize,
    ) -> impl Iterator<Item = &ExpectedRow> {
        self.expected[first..].iter().chain(self.expected.iter().cycle()).take(count)
    }
}
