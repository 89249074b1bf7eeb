//! The options of `slipring get`.

use std::path::PathBuf;
use std::time::Duration;

use slipring::class::AtLimit;
use slipring_objects::{
    BufferPoolOptions, CONCURRENCY_MAX, PartBufferOptions, RangeEngine, RangeOptions,
    ServerOptions, Stores,
};

use super::error::GetRunError;
use crate::client::Target;
use crate::units::{Size, at_least, parse_duration, whole};
use crate::wire::frames::VECTORS_MAX;

/// Requests in flight that the engine starts with. The number of objects under way follows from
/// them unless `--concurrency` is given.
const CONCURRENCY: usize = 32;
/// Requests in flight for each object under way.
const REQUESTS_PER_OBJECT: usize = 4;
/// Most objects under way unless `--parallel` is given: each needs a buffer of its size.
const OBJECTS_UNDER_WAY_MAX: usize = 16;

/// The objects, their destination, and the memory and requests used for them.
#[derive(Clone, Debug, clap::Args)]
pub struct GetOptions {
    /// Objects: s3://bucket/key, gs://bucket/key, az://container/key, http(s)://host/path,
    /// file:///path or the path of a file. In keys and file:// paths, %XX is decoded: %2F is a
    /// slash of the key, %3F a ?, %23 a #, %25 a %. An http(s) URL is sent as written, with its
    /// query, and its user and password as Basic auth
    #[arg(required = true, value_name = "URL")]
    pub urls: Vec<String>,
    /// Folder to write to, created if missing: one file per object, named by the last part of its
    /// key; existing files with these names are replaced
    #[arg(short, long, value_name = "DIR", conflicts_with = "ingest")]
    pub output: Option<PathBuf>,
    /// Service to send the vectors of .npy, .fvecs and Arrow IPC objects to [default without
    /// --output: fetching is only measured]
    #[arg(long, value_name = "HOST:PORT|PATH")]
    pub ingest: Option<Target>,
    /// Arrow column of the vectors [default: the one named vector, else the only fixed-size list of
    /// f32, else the only list of f32]
    #[arg(long, value_name = "NAME", requires = "ingest")]
    pub column: Option<String>,
    /// Arrow column of the ids, for a service that stores them (--columns id) [default: the one
    /// named id, of uint64]
    #[arg(long, value_name = "NAME", requires = "ingest")]
    pub id_column: Option<String>,
    /// For a service that stores ids: the id of a row is its number in the object, counted from N.
    /// Rows that are left out keep their numbers. For one object, of any format
    #[arg(long, value_name = "N", requires = "ingest", conflicts_with = "id_column",
        value_parser = at_least::<u64>(0))]
    pub number_rows_from: Option<u64>,
    /// Send components of f64, f16, int8 and uint8 as f32, and integers of other types than uint64
    /// as ids unless one is negative [default: they are refused]
    #[arg(long, requires = "ingest")]
    pub convert: bool,
    /// Most bytes of a record batch of an Arrow object, also once it is unpacked: it is held in
    /// memory, for each object under way, if it doesn't arrive in one part
    #[arg(long, value_name = "SIZE", default_value = "256MiB", requires = "ingest")]
    pub batch_max: Size,
    /// Maximum number of vectors per request; it must not exceed the service's --max-vectors
    #[arg(long, default_value_t = 64, value_parser = whole(1, VECTORS_MAX))]
    pub max_vectors: u32,
    /// Use buffers again: those of parts with --output and --ingest; else those of whole objects
    #[arg(long)]
    pub buffer_pool: bool,
    /// Maximum number of buffers, in use and unused; at the limit, a part or an object waits. Those
    /// of parts have --part-size bytes (8 MiB), and together they bound the memory, whatever the
    /// objects' sizes; of those of whole objects, this many of each size class (1, 4, 16, 64, 256
    /// MiB). Implies --buffer-pool [default: 16; for parts, --concurrency if that is given]
    #[arg(long, value_parser = at_least::<usize>(1))]
    pub buffer_pool_size: Option<usize>,
    /// Idle time after which unused buffers are freed, in whole seconds; 0s for never. Implies
    /// --buffer-pool [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub buffer_pool_shrink_after: Option<Duration>,
    /// Bytes per range request [default: depends on the object's size, 1 to 16 MiB; 8 at most for
    /// objects that arrive in buffers of parts]
    #[arg(long, value_name = "SIZE", conflicts_with = "no_ranges")]
    pub part_size: Option<Size>,
    /// Number of requests in flight over all objects [default: 32 at first, then adjusted for the
    /// highest rate]
    #[arg(long, value_parser = whole(1, CONCURRENCY_MAX))]
    pub concurrency: Option<usize>,
    /// Number of objects fetched in parallel, without --output and --ingest each into a buffer of
    /// its size; raise it for small objects far away [default: a quarter of --concurrency, 1 to 16]
    #[arg(long, value_name = "OBJECTS", value_parser = whole(1, CONCURRENCY_MAX))]
    pub parallel: Option<usize>,
    /// Fetch each object with one request
    #[arg(long)]
    pub no_ranges: bool,
    /// Follow redirects from https to http, where others can read and change the object
    #[arg(long)]
    pub allow_insecure_redirects: bool,
    /// Most bytes of an object whose length its server doesn't say; it is held in memory at first
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    pub unsized_max: Size,
    /// Maximum number of retries of a request after a temporary failure: a broken connection,
    /// status 429 or 5xx
    #[arg(long, default_value_t = 4, value_parser = at_least::<u32>(0))]
    pub retries: u32,
    /// Time limit of one request; bytes received by then aren't fetched again. With --ingest, also
    /// the time limit of a wait for the service
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    pub timeout: Duration,
    /// Time limit for fetching an object, retries included [default: none]
    #[arg(long, value_parser = parse_duration)]
    pub total_timeout: Option<Duration>,
    /// Print one line of JSON per object instead of a table
    #[arg(long)]
    pub json: bool,
}

impl GetOptions {
    /// The defaults of the command line for these objects.
    pub fn new(urls: impl IntoIterator<Item = String>) -> GetOptions {
        GetOptions {
            urls: urls.into_iter().collect(),
            output: None,
            ingest: None,
            column: None,
            id_column: None,
            number_rows_from: None,
            convert: false,
            batch_max: Size(256 << 20),
            max_vectors: 64,
            buffer_pool: false,
            buffer_pool_size: None,
            buffer_pool_shrink_after: None,
            part_size: None,
            concurrency: None,
            parallel: None,
            no_ranges: false,
            allow_insecure_redirects: false,
            unsized_max: Size(ServerOptions::default().unsized_bytes_max),
            retries: 4,
            timeout: Duration::from_secs(30),
            total_timeout: None,
            json: false,
        }
    }

    /// The engine with its pool, or an error that names the first invalid option. Maps no memory
    /// yet.
    pub(super) fn engine(&self) -> Result<RangeEngine, GetRunError> {
        if !(1..=VECTORS_MAX).contains(&self.max_vectors) {
            return Err(GetRunError::option(
                "max-vectors",
                self.max_vectors,
                format!("give 1 to {VECTORS_MAX}"),
            ));
        }
        if self.batch_max.0 == 0 {
            return Err(GetRunError::option("batch-max", 0, "give at least 1".to_owned()));
        }
        if let Some(parallel) =
            self.parallel.filter(|parallel| !(1..=CONCURRENCY_MAX).contains(parallel))
        {
            return Err(GetRunError::option(
                "parallel",
                parallel,
                format!("give 1 to {CONCURRENCY_MAX}, or leave it out"),
            ));
        }
        let options = RangeOptions {
            enabled: !self.no_ranges,
            part_bytes: self.part_size.map(|size| size.0),
            concurrency: self.concurrency,
            retries: self.retries,
            request_timeout: self.timeout,
            total_timeout: self.total_timeout,
            ..RangeOptions::default()
        };
        let engine = RangeEngine::new(&options).map_err(GetRunError::from_engine)?;
        let pool = self.buffer_pool()?;
        let parts = self.part_buffers(&pool);
        let engine = if self.output.is_some() || self.ingest.is_some() {
            engine.with_part_buffers(&parts).map_err(GetRunError::from_engine)?
        } else {
            engine
        };
        if self.output.is_some() || self.ingest.is_some() {
            return Ok(engine);
        }
        Ok(match pool.build().map_err(GetRunError::from_engine)? {
            Some(pool) => engine.with_buffer_pool(pool),
            None => engine,
        })
    }

    /// Refuses to number the rows of several objects from one number.
    pub(super) fn check_numbers(&self) -> Result<(), GetRunError> {
        match (self.number_rows_from, self.urls.len()) {
            (Some(first), objects @ 2..) => Err(GetRunError::option(
                "number-rows-from",
                first,
                format!(
                    "the rows of {objects} objects would have the same numbers; get one object in \
                    a run, each from where the one before ended"
                ),
            )),
            _ => Ok(()),
        }
    }

    /// The buffers of parts that go on, to files or as rows: as many as `--buffer-pool-size` says,
    /// else as requests may be in flight.
    fn part_buffers(&self, pool: &BufferPoolOptions) -> PartBufferOptions {
        let default = PartBufferOptions::default();
        let buffers = self.buffer_pool_size.or(self.concurrency).unwrap_or(default.buffers);
        PartBufferOptions {
            part_bytes: self.part_size.map_or(default.part_bytes, |size| size.0),
            buffers,
            reuse: pool.enabled,
            shrink_after_secs: pool.shrink_after_secs,
        }
    }

    /// The stores, with endpoint and credentials of the environment.
    pub(super) fn stores(&self) -> Stores {
        Stores::from_env().with_servers(ServerOptions {
            insecure_redirects: self.allow_insecure_redirects,
            unsized_bytes_max: self.unsized_max.0,
        })
    }

    /// The buffer pool, enabled if any of its options is given.
    fn buffer_pool(&self) -> Result<BufferPoolOptions, GetRunError> {
        let default = BufferPoolOptions::default();
        let (size, shrink_after) = (self.buffer_pool_size, self.buffer_pool_shrink_after);
        if let Some(odd) = shrink_after.filter(|time| time.subsec_nanos() > 0) {
            let fix = "give whole seconds, or 0s for never".to_owned();
            return Err(GetRunError::option("buffer-pool-shrink-after", format!("{odd:?}"), fix));
        }
        Ok(BufferPoolOptions {
            enabled: self.buffer_pool || size.is_some() || shrink_after.is_some(),
            max_buffers_per_class: size.unwrap_or(default.max_buffers_per_class),
            shrink_after_secs: shrink_after
                .map_or(default.shrink_after_secs, |time| time.as_secs()),
            // An object's buffer is dropped when the object is written or sent, so every waiting
            // object gets one, and memory is bounded.
            at_limit: AtLimit::Wait,
        })
    }

    /// The fate of incomplete objects after an interruption, as text.
    pub(super) fn others(&self) -> &'static str {
        match (&self.output, &self.ingest) {
            (Some(_), _) => "unfinished files are removed",
            (None, Some(_)) => "the service may have vectors of those that were being sent",
            (None, None) => "the others are discarded",
        }
    }

    /// The most objects under way: `--parallel`, else a quarter of the requests in flight, from 1
    /// to 16; 8 without `--concurrency`.
    pub fn objects_under_way_max(&self) -> usize {
        let quarter = self.concurrency.unwrap_or(CONCURRENCY) / REQUESTS_PER_OBJECT;
        self.parallel.unwrap_or(quarter.clamp(1, OBJECTS_UNDER_WAY_MAX))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[derive(Parser)]
    struct GetCommandLine {
        #[command(flatten)]
        options: GetOptions,
    }

    fn parsed(words: &str) -> GetOptions {
        GetCommandLine::try_parse_from(["get"].into_iter().chain(words.split_whitespace()))
            .unwrap()
            .options
    }

    #[test]
    fn the_defaults_are_those_of_the_command_line() {
        let urls = ["s3://bucket/a", "b"].map(str::to_owned);
        assert_eq!(
            format!("{:?}", parsed("s3://bucket/a b")),
            format!("{:?}", GetOptions::new(urls))
        );
        assert_eq!(GetOptions::new([]).retries, RangeOptions::default().retries);
        assert_eq!(GetOptions::new([]).timeout, RangeOptions::default().request_timeout);
        // These figures are in the help text.
        let BufferPoolOptions { max_buffers_per_class, shrink_after_secs, .. } =
            BufferPoolOptions::default();
        assert_eq!((max_buffers_per_class, shrink_after_secs), (16, 10));
    }

    #[test]
    fn each_option_of_the_pool_is_a_pool() {
        let pool = |words: &str| {
            parsed(words).engine().unwrap().buffer_pool().map(|pool| pool.options().clone())
        };
        assert!(pool("a").is_none());
        let is = |words: &str, buffers, shrink_after: Option<u64>| {
            let options = pool(words).expect("it implies --buffer-pool");
            let expected = (buffers, shrink_after.map(Duration::from_secs), AtLimit::Wait);
            assert_eq!(
                (options.limit.buffers, options.shrink_after, options.at_limit),
                expected,
                "{words}"
            );
        };
        is("a --buffer-pool", 16, Some(10));
        is("a --buffer-pool-size 3", 3, Some(10));
        is("a --buffer-pool-shrink-after 2m", 16, Some(120));
        is("a --buffer-pool-shrink-after 0s", 16, None);
        is("a --buffer-pool --buffer-pool-size 1 --buffer-pool-shrink-after 1s", 1, Some(1));
        let odd = parsed("a --buffer-pool-shrink-after 1500ms").engine().unwrap_err().to_string();
        assert!(
            odd.contains("--buffer-pool-shrink-after is 1.5s") && odd.contains("whole seconds"),
            "{odd}"
        );
    }

    #[test]
    fn files_are_written_from_buffers_of_parts() {
        let parts = |words: &str| {
            let options = parsed(words);
            options.engine().unwrap();
            options.part_buffers(&options.buffer_pool().unwrap())
        };
        let is = |words: &str, part_bytes, buffers, reuse| {
            let found = parts(words);
            let expected = (part_bytes, buffers, reuse);
            assert_eq!((found.part_bytes, found.buffers, found.reuse), expected, "{words}");
        };
        is("a -o b", 8 << 20, 16, false);
        is("a -o b --buffer-pool --part-size 1MiB", 1 << 20, 16, true);
        is("a -o b --concurrency 64", 8 << 20, 64, false);
        is("a -o b --concurrency 64 --buffer-pool-size 3", 8 << 20, 3, true);
        let shrink = parts("a -o b --buffer-pool-shrink-after 2m");
        assert_eq!((shrink.shrink_after_secs, shrink.reuse), (120, true));
        let error = parsed("a -o b --part-size 2GiB").engine().unwrap_err().to_string();
        assert!(error.starts_with("--part-size is 2147483648: give 1024 to"), "{error}");
        let none = GetOptions { buffer_pool_size: Some(0), ..parsed("a -o b") };
        let error = none.engine().unwrap_err().to_string();
        assert!(error.starts_with("--buffer-pool-size is 0: give 1 to"), "{error}");
        for words in ["a --timeout 0s", "a --total-timeout 0s"] {
            let error = parsed(words).engine().unwrap_err().to_string();
            assert!(error.contains(" is 0s: "), "{error}");
        }
        let engine = parsed("a -o b --buffer-pool").engine().unwrap();
        assert!(engine.part_pool().is_some() && engine.buffer_pool().is_none());
    }

    #[test]
    fn the_engine_has_what_was_asked_for() {
        let words = "a --part-size 8MiB --concurrency 32 --no-ranges";
        assert!(
            GetCommandLine::try_parse_from(["get"].into_iter().chain(words.split_whitespace()))
                .is_err()
        );
        let engine = parsed("a --part-size 8MiB --concurrency 32 --retries 0 --total-timeout 2m")
            .engine()
            .unwrap();
        let options = engine.options();
        assert_eq!(
            (options.enabled, options.part_bytes, options.concurrency),
            (true, Some(8 << 20), Some(32))
        );
        assert_eq!((options.retries, options.total_timeout), (0, Some(Duration::from_secs(120))));
        assert!(!parsed("a --no-ranges").engine().unwrap().options().enabled);
    }

    #[test]
    fn objects_go_to_one_place() {
        let (output, ingest) = (Some("out".into()), Some("127.0.0.1:1".parse().unwrap()));
        let both = GetOptions { output, ingest, ..GetOptions::new(["a".to_owned()]) };
        let error = crate::get::run(&both, &CancellationToken::new(), |_| ()).unwrap_err();
        assert!(
            error.to_string().contains("leave it or --output out") && error.exit_code() == 2,
            "{error}"
        );
    }

    #[test]
    fn objects_under_way_follow_the_requests() {
        let most = |words: &str| parsed(words).objects_under_way_max();
        assert_eq!(most("a"), 8);
        assert_eq!(most("a --concurrency 4 --parallel 100"), 100);
        assert_eq!(
            [1, 4, 32, 1024].map(|requests| most(&format!("a --concurrency {requests}"))),
            [1, 1, 8, 16]
        );
    }
}
