//! Bodies that are too short, too long, of another range, or that break off.

use std::time::Duration;

use slipring_objects::RangeOptions;

use super::case::{ALWAYS, At, Case, Ends, everywhere, run, run_with};
use super::fault::Fault;
use super::site::options;

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
    // The client may find the rest of the last answer on the connection before it asks again, or
    // after.
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
    // The first request may as well be of the whole; when it was one of many parts, it is too late
    // for that.
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
    // Byte by byte: only of the last part, which is short.
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
    cases.push(case("chunked", Fault::Chunked, 1, Ends::Error("Store", 0)));
    cases.push(case(
        "without its first byte",
        Fault::Shifted { by: 1 },
        1,
        Ends::Error("Status", 0),
    ));
    run_with(&whole, cases).await;
}
