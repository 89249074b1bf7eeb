//! The operator's port: `/metrics`, `/healthz` and `/readyz` over HTTP/1.1, on threads of its own,
//! separate from the lanes.
//!
//! | path | 200 | 503 |
//! |---|---|---|
//! | `/healthz` | every lane runs, or drains after a stop | a lane has ended by itself |
//! | `/readyz` | the service accepts requests | it is starting, draining, or has failed |
//! | `/metrics` | always: OpenMetrics text | |
//!
//! Promises that a client that sends slowly, too much or nothing takes no time from a lane: at most
//! [`CLIENTS_MAX`] are served at the same time, each within [`PATIENCE`], with one request per
//! connection.
//!
//! Doesn't have authentication or encryption.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::listen::{bind_fix, resolve};
use super::metrics::Exporter;
use super::options::ServeError;
use crate::notice;
use crate::units::THREAD_FIX;

/// The most clients served at the same time. The connection of a further client is closed.
pub(super) const CLIENTS_MAX: usize = 8;
/// The time limit for a client, from its connection to the last byte of the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most bytes of a request's line and headers together.
const HEAD_BYTES_MAX: usize = 8 << 10;
const HEADERS_MAX: usize = 64;
/// The pause in accepting when the system has no descriptors or threads left.
const PAUSE: Duration = Duration::from_millis(100);
/// The content type for Prometheus.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The health of a service.
#[derive(Debug, Default)]
pub(super) struct Health {
    pub(super) accepts: AtomicBool,
    pub(super) drains: Arc<AtomicBool>,
    /// A lane's thread has ended.
    pub(super) lane_ended: AtomicBool,
}

impl Health {
    fn is_alive(&self) -> Result<(), &'static str> {
        let failed =
            self.lane_ended.load(Ordering::Acquire) && !self.drains.load(Ordering::Acquire);
        if failed { Err("a lane has failed") } else { Ok(()) }
    }

    fn is_ready(&self) -> Result<(), &'static str> {
        self.is_alive()?;
        if self.drains.load(Ordering::Acquire) {
            return Err("draining");
        }
        if self.accepts.load(Ordering::Acquire) { Ok(()) } else { Err("starting") }
    }
}

/// The operator's port, being served. Dropping it closes the port.
#[derive(Debug)]
pub(super) struct Admin {
    pub(super) address: SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The sources of all answers, and the number of clients being served.
struct AdminPages {
    health: Arc<Health>,
    exporter: Exporter,
    clients: AtomicUsize,
}

/// Binds the address of `--metrics`: `HOST:PORT`, or a port on loopback.
pub(super) fn bind(address: &str) -> Result<TcpListener, ServeError> {
    let with_host = if address.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("127.0.0.1:{address}")
    } else {
        address.to_owned()
    };
    let asked = resolve(&with_host).map_err(|why| {
        ServeError::Option(format!("--metrics {address}: {why}, or a port of this host, like 9901"))
    })?;
    TcpListener::bind(asked).map_err(|error| {
        ServeError::io(format_args!("--metrics {address}"), &error, bind_fix(&error))
    })
}

impl Admin {
    /// Serves the port on a new thread.
    pub(super) fn start(
        listener: TcpListener,
        health: Arc<Health>,
        exporter: Exporter,
    ) -> Result<Self, ServeError> {
        let refused = |error: io::Error| ServeError::io("--metrics", &error, THREAD_FIX);
        let address = listener.local_addr().map_err(refused)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let pages = Arc::new(AdminPages { health, exporter, clients: AtomicUsize::new(0) });
        let over = Arc::clone(&is_over);
        let thread = thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || accept(&listener, &pages, &over))
            .map_err(refused)?;
        Ok(Self { address, is_over, thread: Some(thread) })
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // The thread waits for a client, so this connects as a client. If that fails, the thread
        // ends after the next client.
        if TcpStream::connect_timeout(&self.address, PATIENCE).is_ok()
            && let Some(thread) = self.thread.take()
        {
            // Its panic has been reported, and a closed port needs nothing more.
            let _panicked = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, pages: &Arc<AdminPages>, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Acquire) {
        let client = match listener.accept() {
            Ok((client, _)) => client,
            Err(error) => {
                if error.kind() != io::ErrorKind::Interrupted {
                    thread::sleep(PAUSE);
                }
                continue;
            }
        };
        if pages.clients.fetch_add(1, Ordering::AcqRel) >= CLIENTS_MAX {
            pages.clients.fetch_sub(1, Ordering::AcqRel);
            continue;
        }
        let pages = Arc::clone(pages);
        let its_pages = Arc::clone(&pages);
        let serve = move || {
            // A client that has disconnected needs no answer.
            let _gone = answer(client, &its_pages);
            its_pages.clients.fetch_sub(1, Ordering::AcqRel);
        };
        if let Err(error) = thread::Builder::new().name("metrics-client".to_owned()).spawn(serve) {
            pages.clients.fetch_sub(1, Ordering::AcqRel);
            notice::warn(format_args!("--metrics: no thread for a client: {error}"));
            thread::sleep(PAUSE);
        }
    }
}

/// An HTTP answer: status, further header lines, content type and body.
struct HttpAnswer {
    status: &'static str,
    header: &'static str,
    content_type: &'static str,
    body: String,
}

impl HttpAnswer {
    fn text(status: &'static str, body: impl Into<String>) -> Self {
        Self {
            status,
            header: "",
            content_type: "text/plain; charset=utf-8",
            body: body.into() + "\n",
        }
    }

    fn of(state: Result<(), &'static str>) -> Self {
        match state {
            Ok(()) => Self::text("200 OK", "ok"),
            Err(why) => Self::text("503 Service Unavailable", why),
        }
    }
}

fn answer(mut client: TcpStream, pages: &AdminPages) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    let mut head = Vec::with_capacity(1024);
    let answer = loop {
        let mut bytes = [0; 1024];
        let count = read_until(&mut client, &mut bytes, until)?;
        head.extend_from_slice(&bytes[..count]);
        if let Some(answer) = parse(&head, pages) {
            break answer;
        }
        if count == 0 {
            return Ok(());
        }
    };
    // This also holds for a HEAD request that is wrong in other ways.
    let with_body = !head.starts_with(b"HEAD ");
    let HttpAnswer { status, header, content_type, body } = answer;
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\n{header}Content-Type: {content_type}\r\nContent-Length: \
        {length}\r\nConnection: close\r\n\r\n"
    );
    write_until(&mut client, head.as_bytes(), until)?;
    if with_body {
        write_until(&mut client, body.as_bytes(), until)?;
    }
    client.shutdown(std::net::Shutdown::Write)?;
    // The remaining bytes are read, because otherwise the kernel would reset the connection before
    // the client has read the answer.
    while read_until(&mut client, &mut [0; 1024], until)? > 0 {}
    Ok(())
}

/// The time until `until`, as a limit for one call.
fn time_left(until: Instant) -> io::Result<Duration> {
    let time = until.saturating_duration_since(Instant::now());
    if time.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(time) }
}

fn read_until(client: &mut TcpStream, bytes: &mut [u8], until: Instant) -> io::Result<usize> {
    loop {
        client.set_read_timeout(Some(time_left(until)?))?;
        match client.read(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// Writes all of `bytes` before `until`. With `write_all` the timeout would restart with each
/// piece, so a client that reads a piece now and then could hold the thread forever.
fn write_until(client: &mut TcpStream, mut bytes: &[u8], until: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        client.set_write_timeout(Some(time_left(until)?))?;
        match client.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            written => bytes = &bytes[written?..],
        }
    }
    Ok(())
}

/// The answer to a request whose head is complete or wrong; None if more bytes are needed.
fn parse(head: &[u8], pages: &AdminPages) -> Option<HttpAnswer> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(length)) if length <= HEAD_BYTES_MAX => {}
        Ok(httparse::Status::Partial) if head.len() <= HEAD_BYTES_MAX => return None,
        Ok(_) | Err(httparse::Error::TooManyHeaders) => {
            return Some(HttpAnswer::text(
                "431 Request Header Fields Too Large",
                "at most 8 KiB and 64 headers",
            ));
        }
        Err(error) => {
            return Some(HttpAnswer::text("400 Bad Request", format!("no HTTP request: {error}")));
        }
    }
    let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    if !["GET", "HEAD"].contains(&method) {
        let answer = HttpAnswer::text("405 Method Not Allowed", "GET or HEAD");
        return Some(HttpAnswer { header: "Allow: GET, HEAD\r\n", ..answer });
    }
    // A target may include the host, as in requests to a proxy.
    let path = target
        .strip_prefix("http://")
        .map_or(target, |after| after.find('/').map_or("/", |at| &after[at..]));
    let answer = match path.split('?').next().unwrap_or_default() {
        "/metrics" => match pages.exporter.text() {
            Some(body) => {
                HttpAnswer { content_type: OPENMETRICS, body, ..HttpAnswer::text("200 OK", "") }
            }
            None => HttpAnswer::text("500 Internal Server Error", "the figures can't be written"),
        },
        "/healthz" => HttpAnswer::of(pages.health.is_alive()),
        "/readyz" => HttpAnswer::of(pages.health.is_ready()),
        _ => HttpAnswer::text("404 Not Found", "there are /metrics, /healthz and /readyz"),
    };
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages() -> AdminPages {
        AdminPages {
            health: Arc::default(),
            exporter: Exporter::new(&[], &[], None),
            clients: AtomicUsize::new(0),
        }
    }

    fn status(request: &str, pages: &AdminPages) -> Option<&'static str> {
        parse(request.as_bytes(), pages).map(|answer| answer.status)
    }

    #[test]
    fn requests_are_answered_when_they_are_complete() {
        let pages = pages();
        for part in ["", "GET", "GET /healthz HTTP/1.1\r\n", "GET /healthz HTTP/1.1\r\nHost: a\r\n"]
        {
            assert_eq!(status(part, &pages), None, "{part}");
        }
        let long = format!("GET / HTTP/1.1\r\nA: {}", "b".repeat(HEAD_BYTES_MAX));
        let long_and_complete = format!("{long}\r\n\r\n");
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(HEADERS_MAX + 1));
        for (request, expected) in [
            ("GET /healthz HTTP/1.1\r\n\r\n", "200 OK"),
            ("GET /metrics?a=b HTTP/1.0\r\n\r\n", "200 OK"),
            ("HEAD /healthz HTTP/1.1\r\n\r\n", "200 OK"),
            ("GET http://host:9901/healthz HTTP/1.1\r\n\r\n", "200 OK"),
            ("GET http://host HTTP/1.1\r\n\r\n", "404 Not Found"),
            ("GET /readyz HTTP/1.1\r\n\r\n", "503 Service Unavailable"),
            ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
            ("GET /metrics/ HTTP/1.1\r\n\r\n", "404 Not Found"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
            ("\u{1}\u{0}\u{0}\u{0}vectors", "400 Bad Request"),
            (&long, "431 Request Header Fields Too Large"),
            (&long_and_complete, "431 Request Header Fields Too Large"),
            (&many, "431 Request Header Fields Too Large"),
        ] {
            assert_eq!(status(request, &pages), Some(expected), "{request:.40}");
        }
    }

    /// The answer that a client at the other end of a connection receives.
    fn answered(request: &str) -> String {
        let listener = bind("0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        answer(listener.accept().unwrap().0, &pages()).unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn head_is_answered_without_a_body() {
        for (request, status) in
            [("HEAD /healthz HTTP/1.1", "200"), ("HEAD / HTTP/1.1\r\n: a", "400")]
        {
            let text = answered(&format!("{request}\r\n\r\n"));
            assert!(
                text.starts_with(&format!("HTTP/1.1 {status} ")) && text.ends_with("\r\n\r\n"),
                "{text}"
            );
        }
        assert!(answered("GET /healthz HTTP/1.1\r\n\r\n").ends_with("\r\n\r\nok\n"));
    }

    /// The client reads a piece now and then, forever.
    #[test]
    fn a_client_that_reads_slowly_has_no_more_than_its_time() {
        let listener = bind("0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut served = listener.accept().unwrap().0;
        let reader = thread::spawn(move || {
            let mut piece = vec![0; 64 << 10];
            while client.read(&mut piece).is_ok_and(|count| count > 0) {
                thread::sleep(Duration::from_millis(20));
            }
        });
        let until = Instant::now() + Duration::from_millis(200);
        // Reading these bytes would take a minute.
        let written = write_until(&mut served, &vec![0; 256 << 20], until);
        assert!(written.is_err_and(|error| matches!(
            error.kind(),
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
        )));
        drop(served);
        reader.join().unwrap();
    }

    #[test]
    fn health_follows_the_service() {
        let pages = pages();
        let said = |path: &str| {
            let answer = parse(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes(), &pages).unwrap();
            format!("{} {}", &answer.status[..3], answer.body.trim_end())
        };
        let both = || [said("/healthz"), said("/readyz")];
        assert_eq!(both(), ["200 ok", "503 starting"]);
        pages.health.accepts.store(true, Ordering::Release);
        assert_eq!(both(), ["200 ok", "200 ok"]);
        pages.health.lane_ended.store(true, Ordering::Release);
        assert_eq!(both(), ["503 a lane has failed", "503 a lane has failed"]);
        pages.health.drains.store(true, Ordering::Release);
        assert_eq!(both(), ["200 ok", "503 draining"]);
    }

    #[test]
    fn an_address_is_a_port_or_has_a_host() {
        assert!(bind("0").is_ok_and(|listener| listener.local_addr().unwrap().ip().is_loopback()));
        assert!(bind("127.0.0.1:0").is_ok());
        for wrong in ["localhost", "127.0.0.1", "70000", "a:b", ""] {
            assert!(
                bind(wrong).is_err_and(|error| error.to_string().starts_with("--metrics ")),
                "{wrong}"
            );
        }
    }
}
