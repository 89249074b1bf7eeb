//! The run: a few workers, each with one object at a time.
//!
//! ```text
//! next object ──▶ engine.get ──▶ its bytes ──▶ file, or frames to the service ──▶ outcome
//!  (on the runtime's threads)      (on threads that may block)
//! ```
//! A worker takes the next object after it has freed the previous one, so the number of workers
//! bounds the memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use slipring_objects::{Cause, DownloadError, RangeEngine};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::ingest::{Client, ClientError, Sent, Vectors};
use super::object::Object;
use super::output::Folder;
use super::progress::{Progress, TURN};
use super::{ObjectError, Outcome};
use crate::load::Target;

/// What the workers share.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) objects: Vec<Object>,
    pub(super) engine: RangeEngine,
    pub(super) to: To,
    pub(super) cancel: CancellationToken,
    pub(super) progress: Progress,
    /// The next object that isn't started.
    pub(super) next: AtomicUsize,
}

/// Where objects go.
#[derive(Clone, Debug)]
pub(super) enum To {
    Nowhere,
    Folder(Folder),
    Service(Service),
}

/// How vectors go to a service.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) target: Target,
    pub(super) timeout: Duration,
    pub(super) column: Option<String>,
    pub(super) max_vectors: u32,
}

impl Run {
    /// Downloads all objects with `workers` tasks and reports each outcome to `told` as it
    /// completes, except those of interrupted objects that haven't been written or sent anywhere.
    /// `client` is for the first worker.
    pub(super) async fn all(
        self,
        workers: usize,
        client: Option<Client>,
        mut told: impl FnMut(&Outcome),
    ) -> Vec<Outcome> {
        let (send, mut arriving) = unbounded_channel();
        let run = Arc::new(self);
        let clients = std::iter::once(client).chain(std::iter::repeat_with(|| None));
        let mut working = JoinSet::new();
        for client in clients.take(workers) {
            working.spawn(Arc::clone(&run).work(client, send.clone()));
        }
        drop(send);
        let (mut outcomes, mut fetched_bytes) = (Vec::with_capacity(run.objects.len()), 0);
        loop {
            let outcome = match timeout(TURN, arriving.recv()).await {
                Ok(Some(outcome)) => outcome,
                Ok(None) => break,
                Err(_) => {
                    run.progress.shows(&run.engine.stats());
                    continue;
                }
            };
            fetched_bytes += outcome.fetched.map_or(0, |stats| stats.bytes);
            if outcome.is_to_be_told() {
                run.progress.ended(&outcome, fetched_bytes, &mut told);
            }
            outcomes.push(outcome);
        }
        // A worker that panicked has left an object without an outcome, so this panics too.
        working.join_all().await;
        run.progress.end();
        outcomes
    }

    async fn work(self: Arc<Self>, mut client: Option<Client>, outcomes: UnboundedSender<Outcome>) {
        while !self.cancel.is_cancelled() {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(object) = self.objects.get(index) else { break };
            let outcome = self.bring(object, &mut client).await;
            // Only a run that panics receives no more.
            let _gone = outcomes.send(outcome);
        }
    }

    async fn bring(&self, object: &Object, client: &mut Option<Client>) -> Outcome {
        let (line, started) = (self.progress.begin(&object.url), Instant::now());
        let outcome = |fetched, sent, retries, elapsed, error| {
            let url = object.url.clone();
            Outcome { url, fetched, sent, retries, elapsed, error }
        };
        let download = match self
            .engine
            .get_cancellable(&*object.store, &object.path, &self.cancel)
            .await
        {
            Ok(download) => download,
            Err(error) => {
                return outcome(None, None, error.retries, started.elapsed(), Some(failed(error)));
            }
        };
        let (bytes, stats) = (download.bytes, download.stats);
        let (sent, ended) = match &self.to {
            To::Nowhere => (None, Ok(())),
            To::Folder(folder) => {
                line.says("writing");
                (None, self.write(object, folder, bytes).await)
            }
            To::Service(service) => {
                line.says("sending its vectors");
                let (sent, ended) = self.ingest(object, service, bytes, client).await;
                (Some(sent), ended)
            }
        };
        outcome(Some(stats), sent, stats.retries, stats.elapsed, ended.err())
    }

    async fn write(
        &self,
        object: &Object,
        folder: &Folder,
        bytes: Bytes,
    ) -> Result<(), ObjectError> {
        let (folder, name, cancel) =
            (folder.clone(), object.name().to_owned(), self.cancel.clone());
        blocking(move || folder.write(&name, &bytes, &cancel)).await
    }

    async fn ingest(
        &self,
        object: &Object,
        service: &Service,
        bytes: Bytes,
        client: &mut Option<Client>,
    ) -> (Sent, Result<(), ObjectError>) {
        let (service, name, cancel) =
            (service.clone(), object.name().to_owned(), self.cancel.clone());
        let mut held = client.take();
        let (held, sent, ended) = blocking(move || {
            let mut sent = Sent::default();
            let ended = service.send(&mut held, &name, &bytes, &cancel, &mut sent);
            (held, sent, ended)
        })
        .await;
        *client = held;
        (sent, ended)
    }
}

impl Service {
    /// Sends an object's vectors over the kept connection or a new one, and keeps it if it can be
    /// used again. Blocks.
    fn send(
        &self,
        held: &mut Option<Client>,
        name: &str,
        bytes: &Bytes,
        cancel: &CancellationToken,
        sent: &mut Sent,
    ) -> Result<(), ObjectError> {
        let vectors = Vectors::parse(bytes, name, self.column.as_deref(), self.max_vectors)?;
        let mut client = match held.take().and_then(Client::if_open) {
            Some(client) => client,
            None => self.connect(cancel).map_err(|error| match error {
                ClientError::Cancelled => ObjectError::Cancelled,
                error => error.into(),
            })?,
        };
        match client.send(&vectors, self.max_vectors, cancel, sent) {
            Err(ClientError::Cancelled) => Err(ObjectError::CancelledSending(sent.clone())),
            // All was answered.
            ended @ (Ok(()) | Err(ClientError::NotFinite { .. })) => {
                *held = Some(client);
                Ok(ended?)
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn connect(&self, cancel: &CancellationToken) -> Result<Client, ClientError> {
        Client::connect(&self.target, self.timeout, cancel)
    }
}

fn failed(error: DownloadError) -> ObjectError {
    match error.cause {
        Cause::Cancelled => ObjectError::Cancelled,
        _ => ObjectError::Download(Box::new(error)),
    }
}

/// The result of what may block, on a thread that may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(done) => done,
        // Nobody aborts it, so it has panicked.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
