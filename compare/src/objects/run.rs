//! Runs the chosen cases, each variant in a process of its own, and collects their figures.

use std::env;
use std::io::{BufRead, BufReader};
use std::num::NonZero;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use super::contender::{CONTENDERS, Contender, QUICK};
use super::corpus::{BUCKET, Corpus, Folder};
use super::options::{Options, Source, Variant};
use super::report::{Figures, Named, Report};
use super::source::upload;
use crate::choice::Wrong;

/// The hidden subcommands: a variant's process, and the server's.
pub const VARIANT: &str = "objects-variant";
pub const SERVER: &str = "objects-server";

const REPEATS_FULL: usize = 3;
const REPEATS_QUICK: usize = 3;
const OBJECTS_FULL: usize = 100;

/// A quick run starts no variant after this. A repeat of a case that isn't complete by then is left
/// out.
const QUICK_LONGEST: Duration = Duration::from_secs(50);

/// Runs the cases and prints them.
///
/// # Errors
/// A wrong option, a server that doesn't start, or a variant that failed.
pub fn run(options: &Options) -> Result<(), Wrong> {
    let (choice, began) = (&options.choice, Instant::now());
    let sources =
        if options.endpoint.is_some() { vec![Source::Endpoint] } else { Source::OWN.to_vec() };
    let cases = sources
        .into_iter()
        .map(|source| (source, source.case(&options.server, &options.plan)))
        .collect();
    let case_name = (|case| case.1.clone()) as fn(&(Source, String)) -> String;
    let contender_name = (|contender| contender.name) as fn(&Contender) -> &'static str;
    let selected =
        choice.select((cases, case_name), (CONTENDERS.to_vec(), contender_name), &QUICK)?;
    let Some((cases, contenders)) = selected else { return Ok(()) };
    let repeats = choice.repeats(REPEATS_QUICK, REPEATS_FULL);
    let objects = options.objects.map_or(
        if choice.quick { options.plan.parallel.get() } else { OBJECTS_FULL },
        NonZero::get,
    );
    let report = Report { as_json: choice.json };
    report.head(&options.plan, objects, repeats);
    let bench = Bench::prepare(options, &cases, objects)?;
    let mut results: Vec<Vec<Named>> = Vec::new();
    for _ in &cases {
        results.push(
            contenders.iter().map(|contender| (contender.name, Figures::default())).collect(),
        );
    }
    for repeat in 0..repeats {
        // The first repeat always runs to its end.
        let is_late = || repeat > 0 && choice.quick && began.elapsed() > QUICK_LONGEST;
        if !bench.repeat(&cases, &mut results, is_late)? {
            break;
        }
    }
    cases.iter().zip(&results).for_each(|((_, case), results)| report.results(case, results));
    Ok(())
}

/// What all variants of a run share.
struct Bench {
    /// A variant, without its contender's name and its source.
    common: Variant,
    server: Option<Server>,
    _folder: Option<Folder>,
}

impl Bench {
    /// Writes the objects and starts the server if the cases need them.
    fn prepare(
        options: &Options,
        cases: &[(Source, String)],
        objects: usize,
    ) -> Result<Self, Wrong> {
        let has = |wanted: Source| cases.iter().any(|(source, _)| *source == wanted);
        let corpus = Corpus::new(options.plan.object_size);
        let folder = if has(Source::S3) || has(Source::File) {
            let failed = |error| {
                Wrong::Case(format!(
                    "the objects can't be written to {}: {error}",
                    env::temp_dir().display()
                ))
            };
            let folder = Folder::new().map_err(failed)?;
            folder.fill(&corpus).map_err(failed)?;
            Some(folder)
        } else {
            None
        };
        let server = match &folder {
            Some(folder) if has(Source::S3) => Some(Server::start(folder).map_err(Wrong::Case)?),
            _ => None,
        };
        if let Some(endpoint) = &options.endpoint {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime =
                runtime.map_err(|error| Wrong::Case(format!("there is no runtime: {error}")))?;
            runtime.block_on(upload(endpoint, &options.bucket, &corpus)).map_err(Wrong::Case)?;
        }
        let common = Variant {
            plan: options.plan,
            contender: String::new(),
            objects: NonZero::new(objects).expect("an option that isn't zero, or a constant"),
            source: Source::Memory,
            endpoint: None,
            bucket: BUCKET.to_owned(),
            folder: folder.as_ref().map(|folder| folder.path().to_owned()),
            checksums: corpus.checksums(),
            server_process: None,
        };
        let common = match &options.endpoint {
            Some(endpoint) => Variant {
                endpoint: Some(endpoint.clone()),
                bucket: options.bucket.clone(),
                ..common
            },
            None => common,
        };
        Ok(Self { common, server, _folder: folder })
    }

    /// Runs every case and contender once more. Returns false if the time ran out before the end.
    fn repeat(
        &self,
        cases: &[(Source, String)],
        results: &mut [Vec<Named>],
        is_late: impl Fn() -> bool,
    ) -> Result<bool, Wrong> {
        for ((source, case), results) in cases.iter().zip(results) {
            let before = results.clone();
            for (contender, figures) in results.iter_mut() {
                if is_late() {
                    *results = before;
                    return Ok(false);
                }
                let failed = |why: String| Wrong::Case(format!("{case} of {contender}: {why}"));
                figures.add(&self.measure(*source, contender).map_err(failed)?).map_err(failed)?;
            }
        }
        Ok(true)
    }

    /// Runs one variant and returns its line.
    fn measure(&self, source: Source, contender: &str) -> Result<String, String> {
        let mut variant =
            Variant { source, contender: contender.to_owned(), ..self.common.clone() };
        if let (Source::S3, Some(server)) = (source, &self.server) {
            (variant.endpoint, variant.server_process) =
                (Some(server.url.clone()), Some(server.child.id()));
        }
        let output = this_program()?
            .arg(VARIANT)
            .args(variant.arguments())
            .stderr(Stdio::inherit())
            .output();
        let output = output.map_err(|error| format!("its process didn't start: {error}"))?;
        if !output.status.success() {
            return Err(format!("its process ended with {}", output.status));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

fn this_program() -> Result<Command, String> {
    env::current_exe()
        .map(Command::new)
        .map_err(|error| format!("this program's file isn't known: {error}"))
}

/// The built-in server. It runs as long as this value lives.
struct Server {
    child: Child,
    url: String,
    /// The server ends when this is closed.
    _stdin: ChildStdin,
}

impl Server {
    fn start(folder: &Folder) -> Result<Self, String> {
        let failed = |error| format!("the server didn't start: {error}");
        let mut command = this_program()?;
        command.arg(SERVER).arg(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let (stdin, stdout) =
            child.stdin.take().zip(child.stdout.take()).ok_or("the server has no pipes")?;
        let lines = BufReader::new(stdout).lines();
        let url = lines
            .map_while(Result::ok)
            .find_map(|line| Some(line.strip_prefix("ready ")?.to_owned()));
        let url = url.ok_or("the server ended before it was ready")?;
        Ok(Self { child, url, _stdin: stdin })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The server has no work to complete.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
