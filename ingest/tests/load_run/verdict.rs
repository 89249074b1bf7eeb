//! The verdict of a run: what fails it although every request was answered, in the report and as
//! the exit code of the binary.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use slipring_ingest::load::{LoadFailure, LoadOptions, LoadReport, run};
use slipring_ingest::wire::frames::{Mode, Status};

use super::options;
use super::server::{Conduct, LIMITS, start};

fn failures(report: &LoadReport) -> Vec<String> {
    report.failures().iter().map(ToString::to_string).collect()
}

/// The exit code, the one object on standard output, and standard error of `slipring load`.
fn load(conduct: Conduct, words: &str) -> (Option<i32>, Value, String) {
    let (to, _) = start(conduct, LIMITS);
    let line = format!("load --to {to} --dim 4 --json --mode count {words}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipring"));
    let output = command.args(line.split_whitespace()).output().unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code(), json, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_run_in_which_everything_was_refused_fails() {
    for mode in [Mode::Count, Mode::Header] {
        let (to, _) = start(Conduct::RefuseEvery(1, Status::Busy), LIMITS);
        // Not even a limit of errors excuses it.
        let options =
            LoadOptions { mode, verify: false, errors_max: Some(1000), ..options(to.clone()) };
        let report = run(&options).unwrap();
        let label = if mode == Mode::Count { "refused" } else { "busy" };
        assert_eq!(
            report.failures(),
            [LoadFailure::AllRefused { refused: 200, reason: label }],
            "{report}"
        );
    }
    // The latencies of refusals aren't shown as if something had been measured.
    let (to, _) = start(Conduct::RefuseEvery(1, Status::Busy), LIMITS);
    let report = run(&LoadOptions { verify: false, ..options(to) }).unwrap();
    let table = report.to_string();
    assert!(table.contains("no request was accepted while it was measured"), "{table}");
    assert_eq!(table.lines().next_back().unwrap().split_whitespace().collect::<String>(), "------");
    let json = report.to_json();
    assert_eq!((&json["latency_us"]["p50"], &json["vectors_per_s"]), (&Value::Null, &Value::Null));
    let (code, json, said) = load(Conduct::RefuseEvery(1, Status::Failed), "--count 10");
    assert_eq!((code, &json["refused"]["requests"]), (Some(1), &10.into()), "{said}");
    assert!(said.contains("Z error load: every request was refused, 10 of them"), "{said}");
    assert!(json["failures"][0].as_str().unwrap().starts_with("every request was refused"));
}

#[test]
fn good_vectors_may_be_refused_as_busy_only() {
    let report = |conduct, mode| {
        let (to, _) = start(conduct, LIMITS);
        run(&LoadOptions { mode, verify: false, connections: 1, ..options(to) }).unwrap()
    };
    let busy = report(Conduct::RefuseEvery(5, Status::Busy), Mode::Header);
    assert_eq!((busy.refusals.total(), busy.rejected, failures(&busy).len()), (40, 0, 0));
    // Count mode doesn't say why.
    for (mode, reason) in [(Mode::Header, "failed"), (Mode::Count, "refused")] {
        let failed = report(Conduct::RefuseEvery(5, Status::Failed), mode);
        assert_eq!(failed.failures(), [LoadFailure::Rejected { rejected: 40, sent: 200, reason }]);
    }
    let (code, json, said) = load(Conduct::RefuseEvery(5, Status::Failed), "--count 20");
    assert_eq!((code, &json["refused"]["rejected"]), (Some(1), &4.into()), "{said}");
}

#[test]
fn thresholds_say_by_how_much_they_were_crossed() {
    let refusing = Conduct::RefuseEvery(5, Status::Failed);
    // 4 connections with 5 requests each: the first of each is refused.
    let (code, json, said) = load(refusing, "--count 20 --errors-max 4");
    assert_eq!(
        (code, &json["failures"], &json["errors_max"]),
        (Some(0), &Value::Array(vec![]), &4.into()),
        "{said}"
    );
    let (code, json, said) = load(refusing, "--count 20 --errors-max 3");
    let text = "4 requests were refused, 1 more than --errors-max 3 allows, most often as refused";
    assert_eq!((code, &json["failures"][0]), (Some(1), &text.into()), "{said}");
    assert!(said.contains(text), "{said}");

    let (code, json, said) = load(Conduct::Right, "--count 20 --p99-max 1h");
    assert_eq!((code, &json["p99_max_us"]), (Some(0), &3.6e9.into()), "{said}");
    let (code, json, said) = load(Conduct::Right, "--count 20 --p99-max 1us");
    let text = json["failures"][0].as_str().unwrap();
    assert!(text.starts_with("p99 is ") && text.ends_with(" more than --p99-max 1 us allows"));
    assert!(code == Some(1) && said.contains(text), "{said}");
}

#[test]
fn a_rate_beyond_what_can_be_done_is_said() {
    // A second of a billion requests doesn't fit half a second.
    let (code, json, said) =
        load(Conduct::Right, "--rate 1000000000 --warmup 1s --duration 100ms --connections 1");
    let text = json["failures"][0].as_str().unwrap_or_default();
    assert!(
        text.starts_with("asked 1000000000/s, reached ")
            && text.contains("/s: nothing could be measured at that rate"),
        "{json}"
    );
    assert!(code == Some(1) && said.contains(text), "{said}");
    assert_eq!(
        (&json["latency_us"]["count"], &json["latency_us"]["p99"]),
        (&0.into(), &Value::Null)
    );
    assert_eq!(json["requests_per_s"], Value::Null);

    // Some of it is measured: a warning with the rate that was reached.
    for words in ["--warmup 0s --duration 300ms", "--count 200000"] {
        let (code, json, said) =
            load(Conduct::Right, &format!("--rate 1000000000 {words} --connections 1"));
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("Z warn load: asked 1000000000/s, reached "), "{words}: {said}");
        assert!(json["rate_reached"].as_f64().unwrap() > 0.0);
    }
    // With a count, the last of 200 requests at 1000/s is meant to be sent after 0.199 s.
    let (to, _) = start(Conduct::Right, LIMITS);
    let mut report = run(&LoadOptions { rate: Some(1000.0), ..options(to) }).unwrap();
    for (last_sent_seconds, is_short) in [(0.2, false), (0.29, false), (0.4, true)] {
        report.last_sent_seconds = last_sent_seconds;
        assert_eq!(report.shortfall().is_some(), is_short, "{last_sent_seconds}");
    }
    assert!((report.rate_reached() - 199.0 / 0.4).abs() < 1.0, "{}", report.rate_reached());
}

#[test]
fn a_run_that_ends_in_its_warm_up_measured_nothing() {
    let (to, _) = start(Conduct::Right, LIMITS);
    let warmup = Duration::from_secs(3600);
    let report = run(&LoadOptions { warmup: Some(warmup), ..options(to) }).unwrap();
    assert_eq!(report.failures(), [LoadFailure::NotMeasured { sent: 200, warmup }]);
    let table = report.to_string();
    assert!(table.ends_with("nothing was measured") && !table.contains("p99"), "{table}");
}

#[test]
fn window_is_a_former_name() {
    let (code, json, said) = load(Conduct::Right, "--count 20 --window 3");
    assert_eq!((code, &json["in_flight"]), (Some(0), &3.into()), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("--window is called --in-flight now"), "{said}");
    let (_, json, said) = load(Conduct::Right, "--count 20 --in-flight 5");
    assert_eq!((&json["in_flight"], said.as_str()), (&5.into(), ""));
}
