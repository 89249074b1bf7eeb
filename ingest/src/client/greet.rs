//! The hello exchange of header mode, before the first request: what the server is, or which field
//! of the hello it refuses.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use super::connection::ClientConnection;
use crate::units::Time;
use crate::wire::frames::{
    AnswerError, Hello, HelloAnswer, Limits, Status, VECTORS_MAX, decode_hello_answer, encode_hello,
};

/// The longest wait without looking whether to give up.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Why a server may close a connection before its first answer.
pub(crate) const CONNECTIONS_HINT: &str = "the service may have reached --max-connections or \
    --connections-per-peer: see its log";

/// Why no request can be sent on a connection.
#[derive(Debug, thiserror::Error)]
pub enum GreetError {
    /// The connection failed.
    #[error("the hello wasn't answered: {0}; {CONNECTIONS_HINT}")]
    Io(#[from] io::Error),
    /// No answer in time.
    #[error(
        "the hello wasn't answered for {time}: no slipring listens there, or it waits for something; \
        see its log",
        time = Time(*.0)
    )]
    TimedOut(Duration),
    /// The server closed the connection first.
    #[error("the server closed the connection instead of answering the hello; {CONNECTIONS_HINT}")]
    Closed,
    /// Bytes that aren't a hello's answer.
    #[error("{}; {}", .0, version_fix(.0))]
    Unreadable(#[from] AnswerError),
    /// The server refuses a field of the hello.
    #[error("{}", refusal(*status, server, *dim))]
    Refused {
        /// Which one.
        status: Status,
        /// What the server accepts.
        server: Limits,
        /// The dimension that the hello named.
        dim: u32,
    },
    /// The server accepts the hello, and says something else than the hello.
    #[error(
        "the hello was accepted with {field} {got}, but {asked} was asked for; nothing is sent to a \
        server that contradicts itself"
    )]
    Contradicted {
        /// The field of the answer.
        field: &'static str,
        /// Its value.
        got: u32,
        /// What it must be.
        asked: String,
    },
    /// The caller gave up.
    #[error("interrupted")]
    Cancelled,
}

impl GreetError {
    /// Whether the server refused because it stores ids and the hello announced none: then another
    /// connection, whose hello announces them, can be greeted.
    pub(crate) fn asks_for_ids(&self) -> bool {
        matches!(self, GreetError::Refused { status: Status::IdsMissing, .. })
    }
}

fn version_fix(error: &AnswerError) -> &'static str {
    match error {
        AnswerError::Version { .. } | AnswerError::NoHello(_) | AnswerError::HelloField { .. } => {
            "use a client of the server's version, or its older mode"
        }
        _ => "is it a slipring that listens there?",
    }
}

fn refusal(status: Status, server: &Limits, dim: u32) -> String {
    match status {
        Status::WrongDimension => {
            format!("{status}: the server's dimension is {}, the client's is {dim}", server.dim)
        }
        Status::IdsMissing => format!(
            "{status}: the server stores an id for every vector (--columns id), and this client \
            sends none"
        ),
        Status::NoSuchAck => format!(
            "{status}: the server keeps no log (--sink null), so nothing it answers is stored"
        ),
        Status::NoSuchProducer => format!(
            "{status}: the server keeps no log (--sink null), so it remembers no producer's requests"
        ),
        Status::ShuttingDown => format!("{status}: the server stops; try again when it runs"),
        _ => format!("the server refused the hello: {status}"),
    }
}

/// Refuses an answer that accepts the hello and doesn't fit it.
fn check_fit(hello: &Hello, answer: &HelloAnswer) -> Result<(), GreetError> {
    let Limits { dim, max_vectors, columns, .. } = answer.limits;
    let refuse = |field, got, asked: String| Err(GreetError::Contradicted { field, got, asked });
    if dim != hello.dim {
        return refuse("dimension", dim, hello.dim.to_string());
    }
    if columns.id != hello.ids {
        return refuse("id column", columns.id.into(), u32::from(hello.ids).to_string());
    }
    if answer.ack != hello.ack {
        return refuse("ack level", answer.ack as u32, (hello.ack as u32).to_string());
    }
    if !(1..=VECTORS_MAX).contains(&max_vectors) {
        return refuse("max vectors", max_vectors, format!("1 to {VECTORS_MAX}"));
    }
    if answer.in_flight_max == 0 {
        return refuse("in flight", 0, "1 or more".to_owned());
    }
    Ok(())
}

impl ClientConnection {
    /// Says hello, and waits for the answer for at most `timeout`, or until the caller gives up.
    /// Waits with a poll, whether the socket blocks or not.
    pub(crate) fn greet(
        &mut self,
        hello: &Hello,
        timeout: Duration,
        is_cancelled: impl Fn() -> bool,
    ) -> Result<HelloAnswer, GreetError> {
        let (mut bytes, until) = (Vec::new(), Instant::now() + timeout);
        encode_hello(hello, &mut bytes);
        let mut unsent = &bytes[..];
        loop {
            if is_cancelled() {
                return Err(GreetError::Cancelled);
            }
            if Instant::now() >= until {
                return Err(GreetError::TimedOut(timeout));
            }
            if !unsent.is_empty() {
                unsent = &unsent[again(self.write(unsent))?.unwrap_or(0)..];
                continue;
            }
            self.wait_readable(LOOK_INTERVAL.min(timeout))?;
            let end = matches!(again(self.receive())?, Some(received) if received.bytes == 0);
            match decode_hello_answer(self.unprocessed())? {
                Some(answer) if answer.status == Status::Ok => {
                    check_fit(hello, &answer)?;
                    self.note_greeted(hello, &answer);
                    return Ok(answer);
                }
                Some(HelloAnswer { status, limits: server, .. }) => {
                    return Err(GreetError::Refused { status, server, dim: hello.dim });
                }
                None if end => return Err(GreetError::Closed),
                None => {}
            }
        }
    }
}

/// None: not now.
fn again<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
