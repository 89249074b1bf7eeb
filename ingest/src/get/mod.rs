//! Objects from storage, `slipring get`: fetched by ranges into reusable buffers, and then written,
//! forwarded, or only measured.
//!
//! The life cycle: options and names are checked, the folder is created or the service is connected
//! to, a few workers download the objects ([`Outcome`]), and the run ends with a [`Report`].
//!
//! It promises: nothing is fetched before everything that can be checked is checked; a failed
//! object doesn't stop the others; a file is complete or absent; with `--ingest` every answer is
//! checked; memory is bounded by the objects in progress ([`GetOptions::objects_at_once`]) and, in
//! the pool's classes, by its buffers. An interruption ends the run quickly and leaves no
//! unfinished file.
//!
//! It doesn't list buckets, doesn't resume an interrupted run, and keeps no order between objects.
#![forbid(unsafe_code)]

mod error;
mod ingest;
mod interrupt;
mod object;
mod options;
mod output;
mod progress;
mod report;
mod run;

pub use error::{GetError, ObjectError};
pub use ingest::{ArrowError, ClientError, FormatError, Sent};
pub use interrupt::cancel_on_signals;
pub use options::GetOptions;
pub use report::{Outcome, Report};

use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use object::Object;
use output::Folder;
use progress::Progress;
use run::{Run, Service, To};

/// The interval at which the pool looks for unneeded buffers.
const TICK: Duration = Duration::from_secs(1);

/// Downloads the objects that the options name, and reports each outcome to `told` as it completes.
/// Blocks until all have ended, or until soon after `cancel` is cancelled.
///
/// # Errors
/// Whatever prevented the start, and an interruption. The outcomes of single objects are in the
/// report.
pub fn run(
    options: &GetOptions,
    cancel: &CancellationToken,
    told: impl FnMut(&Outcome),
) -> Result<Report, GetError> {
    let engine = options.engine()?;
    let objects = Object::open(&options.urls)?;
    let all = objects.len();
    let interrupted = |done| GetError::Interrupted { done, all, others: options.others() };
    let (to, client) = match (&options.output, &options.ingest) {
        (Some(_), Some(to)) => {
            return Err(GetError::option("ingest", to, "leave it or --output out".to_owned()));
        }
        (Some(path), None) => {
            object::check_names(&objects)?;
            (To::Folder(Folder::create(path)?), None)
        }
        (None, Some(target)) => {
            let service = Service {
                target: target.clone(),
                timeout: options.timeout,
                column: options.column.clone(),
                max_vectors: options.max_vectors,
            };
            // A missing service is noticed before anything is fetched.
            let client = service.connect(cancel).map_err(|error| match error {
                ClientError::Cancelled => interrupted(0),
                error => GetError::Service(error),
            })?;
            (To::Service(service), Some(client))
        }
        (None, None) => (To::Nowhere, None),
    };
    let no_threads = |error| GetError::System { what: "threads", error };
    let _ticker =
        engine.buffer_pool().map(|pool| pool.ticker(TICK)).transpose().map_err(no_threads)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(no_threads)?;
    let workers = options.objects_at_once().min(all);
    let (progress, next, started) =
        (Progress::new(all, options.json), AtomicUsize::new(0), Instant::now());
    let run = Run { objects, engine, to, cancel: cancel.clone(), progress, next };
    let outcomes = runtime.block_on(run.all(workers, client, told));
    let elapsed = started.elapsed();
    // A name look-up may remain, which can take long and can't be cancelled.
    runtime.shutdown_background();
    let done = outcomes.iter().filter(|outcome| !outcome.is_cancelled()).count();
    if done < all {
        return Err(interrupted(done));
    }
    Ok(Report { outcomes, elapsed })
}
