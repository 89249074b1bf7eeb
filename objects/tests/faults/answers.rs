//! Wrong answers. First bodies: too short, too long, of another range, or broken off. Then headers:
//! missing, or of another object than the first answer.

use std::time::Duration;

use slipring_objects::RangeOptions;

use super::fault::Fault;
use super::harness::{
    ALWAYS, At, Case, Client, Ends, KEY, OBJECT_BYTES, Site, everywhere, failed, name, options,
    run, run_with,
};

#[tokio::test]
async fn a_short_body_is_completed_or_an_error() {
    let mut cases = everywhere("short by a byte, once", Fault::Short { by: 1 }, 1, Ends::Right(1));
    cases.extend(everywhere("short by 9000, once", Fault::Short { by: 9000 }, 1, Ends::Right(1)));
    cases.extend(everywhere("empty, once", Fault::Short { by: usize::MAX }, 1, Ends::Right(1)));
    cases.extend(everywhere(
        "short by a byte, always",
        Fault::Short { by: 1 },
        ALWAYS,
        Ends::Error("Short", 2),
    ));
    cases.extend(everywhere(
        "empty, always",
        Fault::Short { by: usize::MAX },
        ALWAYS,
        Ends::Error("Short", 2),
    ));
    run(cases).await;
}

#[tokio::test]
async fn a_connection_that_ends_in_the_body_is_resumed_or_an_error() {
    let mut cases = Vec::new();
    for (once, always, fault) in [
        ("closed before the body, once", "closed before the body, always", Fault::Cut { after: 0 }),
        ("closed in the body, once", "closed in the body, always", Fault::Cut { after: 100 }),
        (
            "reset before the body, once",
            "reset before the body, always",
            Fault::ResetBody { after: 0 },
        ),
        ("reset in the body, once", "reset in the body, always", Fault::ResetBody { after: 100 }),
        ("closed in the header, once", "closed in the header, always", Fault::CutHeader),
        ("reset in the header, once", "reset in the header, always", Fault::ResetHeader),
        ("not HTTP, once", "not HTTP, always", Fault::Garbage),
    ] {
        cases.extend(everywhere(once, fault.clone(), 1, Ends::Right(1)));
        cases.extend(everywhere(always, fault, ALWAYS, Ends::Error("Connection", 2)));
    }
    run(cases).await;
}

#[tokio::test]
async fn a_long_body_is_an_error() {
    let mut cases = Vec::new();
    for (name, by) in [("long by a byte", 1), ("long by 9000", 9000), ("twice as long", usize::MAX)]
    {
        cases.extend(everywhere(name, Fault::Long { by }, 1, Ends::Error("Long", 0)));
    }
    // The client may find the remainder of the last answer on the connection before or after it
    // sends the next request.
    for (name, by) in [("a byte follows", 1), ("9000 bytes follow", 9000)] {
        cases.extend(everywhere(name, Fault::Trailing { by }, 1, Ends::Either));
    }
    run(cases).await;
}

#[tokio::test]
async fn a_shifted_range_is_an_error() {
    let mut cases = Vec::new();
    for (name, by) in
        [("shifted by a byte", 1), ("shifted by 9000", 9000), ("shifted by a part", 128 << 10)]
    {
        cases.extend(everywhere(name, Fault::Shifted { by }, 1, Ends::Error("Shifted", 0)));
    }
    run(cases).await;
}

#[tokio::test]
async fn a_range_that_is_ignored_is_the_whole_or_an_error() {
    // The first answer may have the whole object. Later ones may not: other parts are already
    // there or on their way.
    let case = |name, at, times, ends| Case { name, fault: Fault::Whole, at, times, ends };
    run([
        case("the whole, once", At::First, 1, Ends::Right(0)),
        case("the whole, always", At::First, ALWAYS, Ends::Right(0)),
        case("the whole", At::Middle, 1, Ends::Error("RangeIgnored", 0)),
        case("the whole", At::Last, 1, Ends::Error("RangeIgnored", 0)),
    ])
    .await;
}

#[tokio::test]
async fn a_slow_body_is_right() {
    let slow = Fault::Slow { bytes: 1024, pause: Duration::from_millis(1) };
    let mut cases = everywhere("slow", slow, 1, Ends::Right(0));
    // A few bytes at a time, in the last part only, because it is short.
    let fault = Fault::Slow { bytes: 16, pause: Duration::from_micros(1) };
    cases.push(Case { name: "slow in drops", fault, at: At::Last, times: 1, ends: Ends::Right(0) });
    run(cases).await;
}

#[tokio::test]
async fn one_request_for_the_whole_object_is_resumed_too() {
    let whole = RangeOptions { enabled: false, retries: 2, ..options() };
    let case = |name, fault, times, ends| Case { name, fault, at: At::Last, times, ends };
    let mut cases = Vec::new();
    for (name, fault) in [
        ("closed", Fault::Cut { after: 300_000 }),
        ("reset", Fault::ResetBody { after: 300_000 }),
        ("closed in the header", Fault::CutHeader),
        ("throttled", Fault::status(503)),
    ] {
        cases.push(case(name, fault, 1, Ends::Right(1)));
    }
    cases.push(case("chunked", Fault::Chunked, 1, Ends::Right(0)));
    cases.push(case("to the end", Fault::NoLength, 1, Ends::Right(0)));
    cases.push(case(
        "without its first byte",
        Fault::Shifted { by: 1 },
        1,
        Ends::Error("Status", 0),
    ));
    run_with(&whole, cases).await;
}

fn case(name: &'static str, fault: Fault, at: At, ends: Ends) -> Case {
    Case { name, fault, at, times: 1, ends }
}

#[tokio::test]
async fn an_object_that_changes_is_an_error() {
    run([
        // No case for the first part: a download that starts with the new object is right.
        case("replaced", Fault::Replaced, At::Middle, Ends::Error("Changed", 0)),
        case("replaced", Fault::Replaced, At::Last, Ends::Error("Changed", 0)),
        case("another ETag", Fault::OtherEtag, At::Middle, Ends::Error("Changed", 0)),
        case("another ETag", Fault::OtherEtag, At::Last, Ends::Error("Changed", 0)),
        case("no ETag any more", Fault::NoEtag, At::Middle, Ends::Error("Changed", 0)),
        case("no ETag any more", Fault::NoEtag, At::Last, Ends::Error("Changed", 0)),
        case("a weak ETag", Fault::WeakEtag, At::Middle, Ends::Error("Changed", 0)),
        case("another length", Fault::Resized { by: 1 }, At::Middle, Ends::Error("Changed", 0)),
        case("another length", Fault::Resized { by: 1 }, At::Last, Ends::Error("Changed", 0)),
    ])
    .await;
}

#[tokio::test]
async fn an_object_that_changes_after_its_first_part_is_an_error() {
    for client in [Client::Http, Client::S3] {
        for first in [Fault::OtherEtag, Fault::NoEtag, Fault::WeakEtag, Fault::Resized { by: 1 }] {
            let site = Site::new(client, &options()).await;
            site.server.set_fault_at(0, first.clone(), 1);
            let error = failed(site.get(KEY).await, "the other parts are of another object");
            assert_eq!(name(&error.cause), "Changed", "{client:?}, {first:?}: {error}");
            assert!(error.range.is_some() && error.retries == 0, "{client:?}, {first:?}: {error}");
            site.assert_sound(&format!("{client:?}, {first:?}")).await;
        }
    }
}

#[tokio::test]
async fn an_object_that_changes_while_a_part_is_resumed_is_an_error() {
    for client in [Client::Http, Client::S3] {
        for second in [Fault::OtherEtag, Fault::NoEtag, Fault::Replaced] {
            let site = Site::new(client, &options()).await;
            // The first answer breaks off, and what is missing of it comes from another object.
            let mut faults = vec![second.clone(), Fault::Cut { after: 100 }];
            site.server.set_plan(move |request| match request.covers(1000) {
                true => faults.pop().unwrap_or(Fault::None),
                false => Fault::None,
            });
            let error = failed(site.get(KEY).await, "halves of two objects");
            assert_eq!(name(&error.cause), "Changed", "{client:?}, {second:?}: {error}");
            site.assert_sound(&format!("{client:?}, {second:?}")).await;
        }
    }
}

#[tokio::test]
async fn later_requests_ask_for_the_object_of_the_first_answer() {
    for client in [Client::Http, Client::S3] {
        let site = Site::new(client, &options()).await;
        drop(site.get(KEY).await.unwrap());
        let etag = &site.versions(KEY)[0].etag;
        let seen = site.server.take_seen();
        assert_eq!(seen.len(), 9);
        for seen in &seen {
            let asked = (seen.request.first() > 0).then_some(etag);
            assert_eq!(seen.request.if_match.as_ref(), asked, "{client:?}: {seen:?}");
        }
        // A weak ETag never matches, so a request with one would be refused.
        site.server.set_plan(|_| Fault::WeakEtag);
        drop(site.get(KEY).await.unwrap());
        assert!(
            site.server.take_seen().iter().all(|seen| seen.request.if_match.is_none()),
            "{client:?}"
        );
    }
}

#[tokio::test]
async fn a_size_that_no_memory_has_is_an_error() {
    for client in [Client::Http, Client::S3] {
        for by in [1 << 60, u64::MAX - 2 * OBJECT_BYTES as u64] {
            let site = Site::new(client, &options()).await;
            site.server.set_fault_at(0, Fault::Resized { by }, 1);
            let error = failed(site.get(KEY).await, "an absurd size");
            assert_eq!(name(&error.cause), "Buffer", "{client:?}, {by}: {error}");
            site.assert_sound("an absurd size").await;
        }
    }
}

#[tokio::test]
async fn a_header_that_has_to_be_there_is_missed() {
    let mut cases = everywhere("no Content-Length", Fault::NoLength, 1, Ends::Right(0));
    cases.extend(everywhere("chunks", Fault::Chunked, 1, Ends::Right(0)));
    cases.extend(everywhere("no Content-Range", Fault::NoContentRange, 1, Ends::Error("Store", 0)));
    cases.extend(everywhere("no Last-Modified", Fault::NoLastModified, ALWAYS, Ends::Right(0)));
    run(cases).await;
}

#[tokio::test]
async fn a_server_that_never_says_what_may_be_left_out_is_believed() {
    for client in [Client::Http, Client::S3] {
        for fault in [Fault::NoEtag, Fault::WeakEtag, Fault::NoLastModified] {
            let site = Site::new(client, &options()).await;
            let always = fault.clone();
            site.server.set_plan(move |_| always.clone());
            let download = site
                .get(KEY)
                .await
                .unwrap_or_else(|error| panic!("{client:?}, {fault:?}: {error}"));
            site.versions(KEY)[0].assert_is(&download.bytes, &format!("{client:?}, {fault:?}"));
        }
    }
}

#[tokio::test]
async fn without_an_etag_the_date_tells_of_a_change() {
    for client in [Client::Http, Client::S3] {
        let site = Site::new(client, &options()).await;
        let mut replace = Some(site.server.replacer(KEY));
        site.server.set_plan(move |request| {
            if request.covers(600_000)
                && let Some(replace) = replace.take()
            {
                replace();
            }
            Fault::NoEtag
        });
        let error = failed(site.get(KEY).await, "halves of two objects");
        assert_eq!(name(&error.cause), "Changed", "{client:?}: {error}");
        assert!(error.to_string().contains("Last-Modified was"), "{client:?}: {error}");
    }
}

#[tokio::test]
async fn what_has_no_name_comes_in_one_answer_or_again_from_its_start() {
    for client in [Client::Http, Client::S3] {
        let site = Site::new(client, &options()).await;
        site.server.set_plan(|_| Fault::Nameless);
        let download = site.get(KEY).await.unwrap();
        site.versions(KEY)[0].assert_is(&download.bytes, "without a name");
        assert_eq!((download.stats.ranges, download.stats.retries), (1, 0));
        drop(download);
        // Between the answer that broke off and the next one, the object is replaced.
        let mut faults =
            vec![Fault::Nameless, Fault::Replaced, Fault::Cut { after: 500_000 }, Fault::Nameless];
        site.server.set_plan(move |_| faults.pop().unwrap_or(Fault::Nameless));
        match site.get(KEY).await {
            Ok(download) => site.versions(KEY)[1].assert_is(&download.bytes, "the new object"),
            Err(error) => assert_eq!(name(&error.cause), "Changed", "{client:?}: {error}"),
        }
        site.assert_sound("without a name").await;
    }
}
