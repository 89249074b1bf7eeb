//! Answers without the object: which of them are tried again, how often, and when.

use std::time::Duration;

use slipring::class::AtLimit;
use slipring_objects::{Cause, DownloadError, RangeOptions};

use super::fault::{Fault, RetryAfter};
use super::harness::{
    ALWAYS, At, Case, Client, Ends, KEY, OBJECT_BYTES, PART_BYTES, Site, everywhere, failed,
    in_time, name, options, pool, run,
};
use super::object::Object;
use super::server::Seen;

#[tokio::test]
async fn what_cannot_pass_is_not_tried_again() {
    let mut cases = Vec::new();
    for (name, status, cause) in [
        ("forbidden", 403, "Denied"),
        ("unauthorized", 401, "Unauthenticated"),
        ("bad request", 400, "Store"),
        ("a teapot", 418, "Store"),
    ] {
        cases.extend(everywhere(name, Fault::status(status), 1, Ends::Error(cause, 0)));
    }
    // The first answer had the object. If a later answer doesn't have it, it has changed.
    for (name, fault, cause) in [
        ("not found", Fault::status(404), "NotFound"),
        ("no such range", Fault::status(416), "Status"),
        ("elsewhere", Fault::Redirect { to: "nowhere".to_owned() }, "NotFound"),
    ] {
        let case = |at, cause| Case {
            name,
            fault: fault.clone(),
            at,
            times: 1,
            ends: Ends::Error(cause, 0),
        };
        cases.extend([
            case(At::First, cause),
            case(At::Middle, "Changed"),
            case(At::Last, "Changed"),
        ]);
    }
    run(cases).await;
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let mut cases = Vec::new();
    for (once, twice, always, status, cause) in [
        ("408 once", "408 twice", "408 always", 408, "Status"),
        ("429 once", "429 twice", "429 always", 429, "Throttled"),
        ("500 once", "500 twice", "500 always", 500, "Status"),
        ("503 once", "503 twice", "503 always", 503, "Throttled"),
    ] {
        cases.extend(everywhere(once, Fault::status(status), 1, Ends::Right(1)));
        cases.extend(everywhere(twice, Fault::status(status), 2, Ends::Right(2)));
        cases.extend(everywhere(always, Fault::status(status), ALWAYS, Ends::Error(cause, 2)));
    }
    let garbage = Fault::Status { status: 503, retry_after: RetryAfter::Garbage };
    cases.push(Case {
        name: "come again soon",
        fault: garbage,
        at: At::Middle,
        times: 1,
        ends: Ends::Right(1),
    });
    run(cases).await;
}

#[tokio::test]
async fn a_redirect_is_followed() {
    for client in [Client::Http, Client::S3] {
        let copy = Object::new("bucket/copy", 5, OBJECT_BYTES);
        let other = Object::new("bucket/other", 6, OBJECT_BYTES);
        let objects = [Object::new(KEY, 5, OBJECT_BYTES), copy, other];
        let site = Site::with_objects(client, &options(), pool(2, AtLimit::Refuse), objects).await;
        let to = |key: &str| Fault::Redirect { to: key.to_owned() };
        site.server.set_fault_at(600_000, to("bucket/copy"), 1);
        let download = site.get(KEY).await.unwrap();
        site.versions(KEY)[0].assert_is(&download.bytes, "a redirect to a copy");
        site.server.set_fault_at(600_000, to("bucket/other"), 1);
        let error = failed(site.get(KEY).await, "a part of another object");
        assert_eq!(name(&error.cause), "Changed", "{client:?}: {error}");
    }
}

#[tokio::test]
async fn an_empty_object_is_no_refusal() {
    for client in [Client::Http, Client::S3] {
        let objects = [Object::new(KEY, 5, OBJECT_BYTES), Object::new("bucket/empty", 1, 0)];
        let site = Site::with_objects(client, &options(), pool(2, AtLimit::Refuse), objects).await;
        let empty = site.get("bucket/empty").await.unwrap();
        assert!(empty.bytes.is_empty() && empty.meta.size == 0, "{client:?}: {empty:?}");
        assert_eq!((empty.stats.ranges, empty.stats.retries), (0, 0), "{client:?}: {empty:?}");
        // An answer without bytes shows it, not a HEAD: some servers answer 0 to every HEAD.
        let seen = site.server.take_seen();
        assert!(
            seen.len() == 2 && seen.iter().all(|seen| seen.request.method == "GET"),
            "{client:?}: {seen:?}"
        );
        let mut busy = Some(Fault::status(503));
        site.server.set_plan(move |request| match request.range {
            Some(_) => Fault::None,
            None => busy.take().unwrap_or(Fault::None),
        });
        let empty =
            site.get("bucket/empty").await.unwrap_or_else(|error| panic!("{client:?}: {error}"));
        assert_eq!((empty.bytes.len(), empty.stats.retries), (0, 1), "{client:?}: {empty:?}");
    }
}

/// The requests of this download for the byte at `position`.
fn of(seen: &[Seen], position: u64) -> Vec<&Seen> {
    seen.iter().filter(|seen| seen.request.covers(position)).collect()
}

async fn assert_waits(client: Client, status: u16, retry_after: RetryAfter, at_least: Duration) {
    let site = Site::new(client, &options()).await;
    let position = 2 * PART_BYTES;
    site.server.set_fault_at(position, Fault::Status { status, retry_after }, 1);
    let download = site.get(KEY).await.unwrap();
    site.versions(KEY)[0].assert_is(&download.bytes, "after a wait");
    assert_eq!(download.stats.retries, 1);
    let seen = site.server.take_seen();
    let waited = match of(&seen, position)[..] {
        [first, second] => second.at - first.at,
        ref other => panic!("{} requests instead of two", other.len()),
    };
    assert!(
        waited >= at_least,
        "{client:?}, {status}, {retry_after:?}: came back after {waited:?}"
    );
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    let second = Duration::from_secs(1);
    tokio::join!(
        assert_waits(Client::Http, 503, RetryAfter::Seconds(1), second),
        assert_waits(Client::Http, 429, RetryAfter::Seconds(1), second),
        assert_waits(Client::S3, 503, RetryAfter::Seconds(1), second),
        // A date has whole seconds, so two seconds from now may be hardly more than one.
        assert_waits(Client::S3, 429, RetryAfter::Date(2), second),
        assert_waits(Client::Http, 503, RetryAfter::Date(2), second),
    );
}

#[tokio::test]
async fn a_server_that_asks_for_too_much_patience_has_refused() {
    let options = RangeOptions { retry_after_max: Duration::from_secs(2), ..options() };
    for client in [Client::Http, Client::S3] {
        for retry_after in [RetryAfter::Seconds(100), RetryAfter::Date(100)] {
            let site = Site::new(client, &options).await;
            site.server.set_fault_at(600_000, Fault::Status { status: 503, retry_after }, 1);
            let error = failed(in_time(site.get(KEY), "100 s").await, "100 s are too long");
            let Cause::Throttled { status: 503, retry_after: Some(asked) } = error.cause else {
                panic!("{client:?}: {error}");
            };
            assert!(asked > Duration::from_secs(90) && error.retries == 0, "{client:?}: {error}");
            assert!(error.to_string().contains("retry after"), "{client:?}: {error}");
            site.assert_sound("too long a wait").await;
        }
    }
}

fn budget_of(error: DownloadError) -> (u32, String) {
    match error.cause {
        Cause::Budget { retry_budget, last } => (retry_budget, name(&last)),
        _ => panic!("the budget should be spent, not: {error}"),
    }
}

#[tokio::test]
async fn a_spent_budget_ends_retries_and_fills_again() {
    let options = RangeOptions { retries: 10, retry_budget: 3, concurrency: Some(1), ..options() };
    let site = Site::new(Client::Http, &options).await;
    site.server.set_plan(|_| Fault::status(503));
    let error = failed(site.get(KEY).await, "nothing ever comes");
    assert_eq!(error.retries, 3, "{error}");
    assert_eq!(budget_of(error), (3, "Throttled".to_owned()));
    assert_eq!(site.server.take_seen().len(), 4, "one request and three retries");
    // The budget is the engine's, so it is spent for the next download too.
    let error = failed(site.get(KEY).await, "nothing ever comes");
    assert_eq!((error.retries, site.server.take_seen().len()), (0, 1), "{error}");
    assert_eq!(budget_of(error), (3, "Throttled".to_owned()));
    // Nine ranges that arrive give back all of the budget, and no more than that.
    site.assert_sound("a spent budget").await;
    site.server.set_plan(|_| Fault::status(500));
    let error = failed(site.get(KEY).await, "nothing ever comes");
    assert_eq!(error.retries, 3, "{error}");
    assert_eq!(budget_of(error), (3, "Status".to_owned()));
}

#[tokio::test]
async fn retries_that_help_do_not_spend_the_budget() {
    let options = RangeOptions { retries: 1, retry_budget: 2, concurrency: Some(1), ..options() };
    let site = Site::new(Client::S3, &options).await;
    let mut last = None;
    // Each part fails once: nine retries out of a budget of two.
    site.server.set_plan(move |request| match last.replace(request.first()) {
        seen if seen == Some(request.first()) => Fault::None,
        _ => Fault::status(503),
    });
    let download = site.get(KEY).await.unwrap();
    site.versions(KEY)[0].assert_is(&download.bytes, "nine retries");
    assert_eq!(download.stats.retries, 9);
    assert_eq!(site.engine.stats().retries, 9);
}
