//! One fault at one part of an object and what has to come of it, as a row of a table; each row
//! runs over both clients.

use std::ops::Range;

use slipring_objects::{Cause, Download, DownloadError, RangeOptions};

use super::fault::Fault;
use super::site::{Client, KEY, OBJECT_BYTES, PART_BYTES, Site, in_time, options};

/// A row.
pub struct Case {
    pub name: &'static str,
    pub fault: Fault,
    pub at: At,
    /// Requests that have it; later ones have none.
    pub times: usize,
    pub ends: Ends,
}

/// Which part.
#[derive(Clone, Copy, Debug)]
pub enum At {
    First,
    Middle,
    Last,
}

/// What has to come of it, after how many retries.
#[derive(Clone, Copy, Debug)]
pub enum Ends {
    Right(u32),
    /// With the cause of this name.
    Error(&'static str, u32),
    /// An error, or the right bytes: what a client makes of it may depend on when it looks at its
    /// connection.
    Either,
}

/// On each of the requests.
pub const ALWAYS: usize = usize::MAX;

/// A case at each of the three parts, where all of them have to end in the same way.
pub fn everywhere(name: &'static str, fault: Fault, times: usize, ends: Ends) -> Vec<Case> {
    let case = |at| Case { name, fault: fault.clone(), at, times, ends };
    [At::First, At::Middle, At::Last].map(case).into()
}

impl At {
    fn part(self) -> Range<u64> {
        match self {
            Self::First => 0..PART_BYTES,
            Self::Middle => 4 * PART_BYTES..5 * PART_BYTES,
            Self::Last => 8 * PART_BYTES..OBJECT_BYTES as u64,
        }
    }

    /// The last byte of the part: whatever is asked for again still has it.
    fn position(self) -> u64 {
        self.part().end - 1
    }
}

/// The error of a download that must not succeed; the object isn't printed.
#[track_caller]
pub fn failed(got: Result<Download, DownloadError>, what: &str) -> DownloadError {
    got.map(|download| download.stats).expect_err(what)
}

/// The name of a cause's variant.
pub fn name(cause: &Cause) -> String {
    let text = format!("{cause:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

/// Runs all rows over one engine a client, with no more than two retries a range.
pub async fn run(cases: impl IntoIterator<Item = Case>) {
    run_with(&RangeOptions { retries: 2, ..options() }, cases).await;
}

pub async fn run_with(options: &RangeOptions, cases: impl IntoIterator<Item = Case>) {
    let sites = [Site::new(Client::Http, options).await, Site::new(Client::S3, options).await];
    for case in cases {
        for site in &sites {
            case.run(site).await;
        }
    }
}

impl Case {
    async fn run(&self, site: &Site) {
        let position = self.at.position();
        let what = format!("{}, {:?} part, {:?}", self.name, self.at, site.client);
        site.server.set_fault_at(position, self.fault.clone(), self.times);
        let ranged = site.engine.options().enabled;
        let before = site.versions(KEY);
        let got = in_time(site.get(KEY), &what).await;
        let seen = site.server.take_seen();
        let faulty = seen
            .iter()
            .filter(|seen| seen.request.method == "GET" && seen.fault == self.fault)
            .count();
        assert!(faulty > 0, "{what}: the fault never came");
        match (got, self.ends) {
            (Ok(download), Ends::Right(retries)) => {
                assert_eq!(download.stats.retries, retries, "{what}: retries");
                assert_right(&download, site, before.len(), &what);
            }
            (Ok(download), Ends::Either) => assert_right(&download, site, before.len(), &what),
            (Err(error), Ends::Error(cause, retries)) => {
                assert_eq!(name(&error.cause), cause, "{what}: {error}");
                assert_eq!(error.retries, retries, "{what}: {error}");
                self.assert_named(&error, ranged, &what);
            }
            (Err(error), Ends::Either) => self.assert_named(&error, ranged, &what),
            (Err(error), ends) => panic!("{what}: {ends:?} was expected, not: {error} ({error:?})"),
            (Ok(_), ends) => panic!("{what}: {ends:?} was expected, not an object"),
        }
        // One permit, one buffer or one retry that isn't given back would end this loop of cases.
        site.assert_sound(&what).await;
    }

    /// The error names object, part and cause.
    fn assert_named(&self, error: &DownloadError, ranged: bool, what: &str) {
        let text = error.to_string();
        assert!(text.contains("folder/an object.bin"), "{what}: no object in: {text}");
        assert!(text.ends_with(&error.cause.to_string()), "{what}: no cause in: {text}");
        // A request for the whole object has no range to name.
        let Some(range) = error.range.clone() else {
            assert!(!ranged, "{what}: no range in: {text}");
            return;
        };
        let part = if ranged { self.at.part() } else { 0..OBJECT_BYTES as u64 };
        assert_eq!(range, part, "{what}: {text}");
        assert!(
            text.contains(&format!("bytes {} to {}", range.start, range.end)),
            "{what}: no range in: {text}"
        );
    }
}

fn assert_right(download: &Download, site: &Site, before: usize, what: &str) {
    assert_eq!(
        site.versions(KEY).len(),
        before,
        "{what}: the object was replaced, and nobody noticed"
    );
    site.versions(KEY)[before - 1].assert_is(&download.bytes, what);
    assert_eq!(download.stats.bytes, OBJECT_BYTES as u64, "{what}");
}
