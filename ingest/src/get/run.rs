//! The run: a few tasks, each with one object at a time.
//!
//! ```text
//!             ┌▶ engine.download_into ──▶ its parts ──▶ their places in a file ──▶ outcome
//! next object ┴▶ engine.get ──▶ its bytes ──▶ requests to the service ──────────▶ outcome
//!  (on the runtime's threads)      (on threads that may block)
//! ```
//! With `--output` the engine's part buffers bound the memory, whatever the objects' sizes. Without
//! it a task starts the next object after it has freed the previous one, so the number of tasks
//! bounds the memory.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use slipring::class::Ticker;
use slipring_objects::{Cause, DownloadError, RangeEngine};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::client::IngestClient;
use super::error::{ClientError, GetRunError, ObjectError, Sent};
use super::folder::{OutputFolder, blocking};
use super::ingest::{IngestService, RowStream};
use super::object::{GetObject, check_names};
use super::options::GetOptions;
use super::report::{DRAW_INTERVAL, GetOutcome, GetProgress, GetReport};
use crate::signals::SignalWait;

/// The interval at which the pool looks for unneeded buffers.
const TICK: Duration = Duration::from_secs(1);

/// Downloads the objects that the options name, and passes each outcome to `report` as the object
/// completes. Blocks until all have completed or failed, or until soon after `cancel` is cancelled.
///
/// # Errors
/// The cause that prevented the start, or an interruption. Errors of single objects are in the
/// returned report.
pub fn run(
    options: &GetOptions,
    cancel: &CancellationToken,
    report: impl FnMut(&GetOutcome),
) -> Result<GetReport, GetRunError> {
    let engine = options.engine()?;
    let objects = GetObject::open(&options.stores(), &options.urls)?;
    let all = objects.len();
    let interrupted = |done| GetRunError::Interrupted { done, all, others: options.others() };
    let (to, client) = match (&options.output, &options.ingest) {
        (Some(_), Some(to)) => {
            return Err(GetRunError::option("ingest", to, "leave it or --output out".to_owned()));
        }
        (Some(path), None) => {
            check_names(&objects)?;
            (Destination::Folder(OutputFolder::create(path)?), None)
        }
        (None, Some(target)) => {
            let service = IngestService {
                target: target.clone(),
                timeout: options.timeout,
                column: options.column.clone(),
                convert: options.convert,
                max_vectors: options.max_vectors,
            };
            // If the service is missing, this fails before anything is fetched.
            let client = service.connect(cancel).map_err(|error| match error {
                ClientError::Cancelled => interrupted(0),
                error => GetRunError::Service(error),
            })?;
            (Destination::Service(service), Some(client))
        }
        (None, None) => (Destination::Nowhere, None),
    };
    let no_threads = |error| GetRunError::System { what: "threads", error };
    let pools = [engine.part_pool(), engine.buffer_pool()].into_iter().flatten();
    let _tickers: Vec<Ticker> =
        pools.map(|pool| pool.ticker(TICK)).collect::<Result<_, _>>().map_err(no_threads)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(no_threads)?;
    let tasks = options.objects_under_way_max().min(all);
    let (progress, next, started) =
        (GetProgress::new(all, options.json), AtomicUsize::new(0), Instant::now());
    let run = GetRun { objects, engine, to, cancel: cancel.clone(), progress, next };
    let outcomes = runtime.block_on(run.get_all(tasks, client, report));
    let elapsed = started.elapsed();
    // A name look-up may still be running, which can take long and can't be cancelled.
    runtime.shutdown_background();
    let done = outcomes.iter().filter(|outcome| !outcome.is_cancelled()).count();
    if done < all {
        return Err(interrupted(done));
    }
    Ok(GetReport { outcomes, elapsed })
}

/// State shared by all tasks.
#[derive(Debug)]
struct GetRun {
    objects: Vec<GetObject>,
    engine: RangeEngine,
    to: Destination,
    cancel: CancellationToken,
    progress: GetProgress,
    /// Index of the next object to start.
    next: AtomicUsize,
}

/// The destination of the objects.
#[derive(Clone, Debug)]
enum Destination {
    Nowhere,
    Folder(OutputFolder),
    Service(IngestService),
}

impl GetRun {
    /// Downloads all objects with this number of tasks, and passes each outcome to `report`, except
    /// those of interrupted objects of which nothing was written or sent. `client` is for the first
    /// task.
    async fn get_all(
        self,
        tasks: usize,
        client: Option<IngestClient>,
        mut report: impl FnMut(&GetOutcome),
    ) -> Vec<GetOutcome> {
        let (send, mut arriving) = unbounded_channel();
        let run = Arc::new(self);
        let clients = std::iter::once(client).chain(std::iter::repeat_with(|| None));
        let mut working = JoinSet::new();
        for client in clients.take(tasks) {
            working.spawn(Arc::clone(&run).get_next_objects(client, send.clone()));
        }
        drop(send);
        let (mut outcomes, mut fetched_bytes) = (Vec::with_capacity(run.objects.len()), 0);
        loop {
            let outcome = match timeout(DRAW_INTERVAL, arriving.recv()).await {
                Ok(Some(outcome)) => outcome,
                Ok(None) => break,
                Err(_) => {
                    run.progress.show_downloads(&run.engine.stats());
                    continue;
                }
            };
            fetched_bytes += outcome.fetched.map_or(0, |stats| stats.bytes);
            if outcome.is_reported() {
                run.progress.count_outcome(&outcome, fetched_bytes, &mut report);
            }
            outcomes.push(outcome);
        }
        // A task that panicked has left an object without an outcome, so this panics too.
        working.join_all().await;
        run.progress.clear();
        outcomes
    }

    async fn get_next_objects(
        self: Arc<Self>,
        mut client: Option<IngestClient>,
        outcomes: UnboundedSender<GetOutcome>,
    ) {
        while !self.cancel.is_cancelled() {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(object) = self.objects.get(index) else { break };
            let outcome = self.get_object(object, &mut client).await;
            // The receiver is gone only if the run panics.
            let _gone = outcomes.send(outcome);
        }
    }

    /// Downloads one object, and writes it or sends its vectors.
    async fn get_object(
        &self,
        object: &GetObject,
        client: &mut Option<IngestClient>,
    ) -> GetOutcome {
        let (line, started) = (self.progress.add_line(&object.url), Instant::now());
        match &self.to {
            Destination::Folder(folder) => return self.write(object, folder, started).await,
            Destination::Service(service) if RowStream::is_for(object.name()) => {
                let streamed = self.stream_rows(object, service, started, client).await;
                if let Some(outcome) = streamed {
                    return outcome;
                }
            }
            Destination::Service(_) | Destination::Nowhere => {}
        }
        let fetched = self.engine.get_cancellable(&*object.store, &object.path, &self.cancel).await;
        let download = match fetched {
            Ok(download) => download,
            Err(error) => return GetOutcome::not_fetched(&object.url, error, started.elapsed()),
        };
        let mut outcome =
            GetOutcome::fetched(&object.url, download.stats, download.content_encoding);
        if let Destination::Service(service) = &self.to {
            line.set_step("sending its vectors");
            let (sent, result) = self.ingest(object, service, download.bytes, client).await;
            (outcome.sent, outcome.error) = (Some(sent), result.err());
        }
        outcome
    }

    /// Downloads one object part by part into its file.
    async fn write(
        &self,
        object: &GetObject,
        folder: &OutputFolder,
        started: Instant,
    ) -> GetOutcome {
        let file = match folder.file(object.name()).await {
            Ok(file) => file,
            Err(error) => return GetOutcome::failed(&object.url, error, 0, started.elapsed()),
        };
        let (store, path) = (&*object.store, &object.path);
        let streamed =
            self.engine.download_into_cancellable(store, path, &file, &self.cancel).await;
        let mut outcome = match streamed {
            Ok(streamed) => {
                let (stats, encoding) = (streamed.stats, streamed.content_encoding);
                let mut outcome = GetOutcome::fetched(&object.url, stats, encoding);
                outcome.error = file.give_name().await.err();
                outcome
            }
            Err(DownloadError { cause: Cause::Sink(error), retries, .. }) => {
                GetOutcome::failed(&object.url, file.failed(error), retries, started.elapsed())
            }
            Err(error) => GetOutcome::not_fetched(&object.url, error, started.elapsed()),
        };
        outcome.part_buffers = Some(self.engine.part_stats());
        outcome
    }

    /// Downloads one object part by part, and sends its rows meanwhile. None if it has to be read
    /// as a whole.
    async fn stream_rows(
        &self,
        object: &GetObject,
        service: &IngestService,
        started: Instant,
        client: &mut Option<IngestClient>,
    ) -> Option<GetOutcome> {
        let rows = RowStream::new(service, client.take(), object.name(), &self.cancel);
        let (store, path) = (&*object.store, &object.path);
        let streamed =
            self.engine.download_into_cancellable(store, path, &rows, &self.cancel).await;
        let ended = rows.end(streamed.is_ok()).await;
        *client = ended.client;
        if ended.is_whole {
            return None;
        }
        let elapsed = started.elapsed();
        let mut outcome = match streamed {
            Ok(streamed) => {
                let (stats, encoding) = (streamed.stats, streamed.content_encoding);
                GetOutcome::fetched(&object.url, stats, encoding)
            }
            Err(error) => GetOutcome::not_fetched(&object.url, error, elapsed),
        };
        let is_cancelled = matches!(outcome.error, Some(ObjectError::Cancelled));
        outcome.error = match ended.error {
            None if is_cancelled && ended.sent != Sent::default() => {
                Some(ObjectError::CancelledSending(ended.sent.clone()))
            }
            error => error.or(outcome.error),
        };
        outcome.part_buffers = Some(self.engine.part_stats());
        outcome.sent = Some(ended.sent);
        Some(outcome)
    }

    async fn ingest(
        &self,
        object: &GetObject,
        service: &IngestService,
        bytes: Bytes,
        client: &mut Option<IngestClient>,
    ) -> (Sent, Result<(), ObjectError>) {
        let (service, name, cancel) =
            (service.clone(), object.name().to_owned(), self.cancel.clone());
        let mut moved_client = client.take();
        let (moved_client, sent, result) = blocking(move || {
            let mut sent = Sent::default();
            let result = service.send(&mut moved_client, &name, &bytes, &cancel, &mut sent);
            (moved_client, sent, result)
        })
        .await;
        *client = moved_client;
        (sent, result)
    }
}

/// A token that the first SIGINT or SIGTERM cancels. A second one ends the process immediately with
/// code 130.
///
/// # Errors
/// The system refuses the handler or the thread.
pub fn cancel_on_signals() -> io::Result<CancellationToken> {
    let signals = SignalWait::new(130, None)?;
    let token = CancellationToken::new();
    let cancel = token.clone();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        signals.wait(|| ());
        cancel.cancel();
    })?;
    Ok(token)
}
