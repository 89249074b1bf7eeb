//! The parts without sockets: schedules, references, options. tests/load_run runs whole loads
//! against right and wrong servers.

use std::time::Duration;

use proptest::prelude::*;

use super::plan::ExpectedRows;
use super::schedule::{NextSend, Schedule, requests_before};
use super::*;
use crate::client::Target;
use crate::vectors::VectorRows;

fn options() -> LoadOptions {
    LoadOptions::new(Target::Tcp("127.0.0.1:9900".to_string()), 128)
}

proptest! {
    /// The connections' shares of a count are all of it, without gap or overlap.
    #[test]
    fn shares_are_the_whole(count in 1u64..10_000, connections in 1u32..50) {
        let mut options = LoadOptions { count: Some(count), connections, ..options() };
        options.rate = Some(1e9);
        let mut before = 0;
        for connection in 0..connections {
            prop_assert_eq!(requests_before(count, connection, connections), before);
            let mut schedule = Schedule::new(&options, connection, false);
            while schedule.next(u64::MAX) != NextSend::Over {
                schedule.count_sent(516);
                before += 1;
            }
        }
        prop_assert_eq!(before, count);
    }
}

#[test]
fn a_rate_that_is_none_is_said_in_few_digits() {
    for rate in [0.0, -1.0, 1e-300, 1e10, 1e308, f64::NAN, f64::INFINITY] {
        let text = LoadOptions { rate: Some(rate), ..options() }.check().unwrap_err().to_string();
        assert!(text.contains("--rate is") && text.len() < 150, "{text}");
    }
    LoadOptions { rate: Some(1e9), ..options() }.check().unwrap();
}

#[test]
fn an_open_loop_keeps_its_intended_times() {
    let mut options = LoadOptions { connections: 2, rate: Some(1_000.0), ..options() };
    options.duration = Some(Duration::from_millis(10));
    options.warmup = Some(Duration::from_millis(4));
    let mut schedule = Schedule::new(&options, 1, false);
    // Connection 1 of 2 at 1000/s: 1 ms, 3 ms, 5 ms, ... 13 ms, until 14 ms.
    assert_eq!(schedule.next(0), NextSend::At(1_000_000));
    assert_eq!(schedule.next(1_000_000), NextSend::Now(1_000_000));
    schedule.count_sent(516);
    // A late look doesn't move the intended time: the stall is in the latency.
    assert_eq!(schedule.next(9_000_000), NextSend::Now(3_000_000));
    assert!(!schedule.is_measured(3_000_000) && schedule.is_measured(4_000_000));
    assert_eq!(schedule.next(14_000_000), NextSend::Over);
    assert_eq!(schedule.missed(), 6, "seven were meant before the end, one was sent");
}

#[test]
fn a_closed_loop_sends_immediately_until_its_end() {
    let schedule = Schedule::new(
        &LoadOptions { duration: Some(Duration::from_secs(1)), ..options() },
        0,
        false,
    );
    assert_eq!(schedule.next(5), NextSend::Now(5));
    assert_eq!(
        schedule.next(1_999_999_999),
        NextSend::Now(1_999_999_999),
        "a second of warm-up by default"
    );
    assert_eq!((schedule.next(2_000_000_000), schedule.missed()), (NextSend::Over, 0));
    let counted = Schedule::new(&LoadOptions { count: Some(3), ..options() }, 3, false);
    assert_eq!(
        counted.next(0),
        NextSend::Over,
        "three requests leave nothing for the fourth connection"
    );
}

#[test]
fn bytes_end_a_run_before_its_time() {
    let vectors = VectorRange { least: 1, most: 2 };
    // A request has up to 4 + 2 x 512 bytes; a share of 2 x 1028 + 100 ends when less than the
    // largest is left.
    let bounded =
        LoadOptions { vectors, connections: 3, bytes_max: Some(3 * (2 * 1028 + 100)), ..options() };
    bounded.check().unwrap();
    let mut schedule = Schedule::new(&bounded, 2, false);
    for bytes in [516, 516] {
        assert_eq!(schedule.next(0), NextSend::Now(0));
        schedule.count_sent(bytes);
    }
    assert_eq!(schedule.next(0), NextSend::Now(0), "1124 bytes are left");
    schedule.count_sent(516);
    assert_eq!(schedule.next(0), NextSend::Over, "608 bytes may not do for the next one");
    assert_eq!(
        Schedule::new(&bounded, 0, false).next(11_000_000_000),
        NextSend::Over,
        "the default duration still holds"
    );
}

fn one_row(components: &[f32]) -> VectorRows {
    let dim = components.len() as u32;
    let mut image = dim.to_le_bytes().to_vec();
    image.extend(components.iter().flat_map(|component| component.to_le_bytes()));
    VectorRows::from_fvecs(&image, dim).unwrap()
}

#[test]
fn references_allow_rounding_and_nothing_else() {
    let row = [0.1f32, 0.2, -0.3, 1e-3];
    let rows = one_row(&row);
    let sum: f32 = row.iter().sum();
    let weighted: f32 =
        row.iter().zip(1u16..).map(|(component, weight)| component * f32::from(weight)).sum();
    for (score, right) in [(Score::Sum, sum), (Score::Weighted, weighted), (Score::None, 0.0)] {
        let rows = ExpectedRows::new(rows.clone(), score);
        let row = rows.expected(0, 1).next().unwrap();
        assert!(row.accepts(right), "{score:?}");
        assert!(
            !row.accepts(right + 1e-4) && !row.accepts(f32::NAN) && !row.accepts(f32::INFINITY),
            "{score:?}"
        );
    }
    let generated = ExpectedRows::new(VectorRows::generated(8, 7), Score::Sum);
    let total: f64 = generated.expected(0, generated.count()).map(|row| row.sum).sum();
    assert_eq!(total * 64.0, (total * 64.0).round(), "generated sums are exact multiples of 1/64");
    let nan = ExpectedRows::new(one_row(&[1.0, f32::NAN]), Score::Sum);
    assert!(nan.expected(0, 1).all(|row| !row.finite && row.sum == 0.0));
}

#[test]
fn bad_options_name_field_limit_and_fix() {
    let table: [(LoadOptions, &str); 19] = [
        (LoadOptions { in_flight: 0, ..options() }, "--in-flight is 0: 1 to 65536"),
        (LoadOptions { in_flight: 65_537, ..options() }, "--in-flight is 65537"),
        (LoadOptions { connections: 0, ..options() }, "--connections is 0"),
        (
            LoadOptions { connections: 65_536, in_flight: 65_536, ..options() },
            "lower --connections",
        ),
        (LoadOptions { vectors: VectorRange { least: 0, most: 0 }, ..options() }, "--vectors is 0"),
        (
            LoadOptions { vectors: VectorRange { least: 8, most: 1 }, ..options() },
            "--vectors is 8-1",
        ),
        (
            LoadOptions { vectors: VectorRange { least: 1, most: 70_000 }, ..options() },
            "max-vectors is 70000",
        ),
        (LoadOptions { dim: 0, ..options() }, "--dim is 0"),
        (
            LoadOptions {
                dim: 65_535,
                vectors: VectorRange { least: 1, most: 65_535 },
                ..options()
            },
            "lower",
        ),
        (
            LoadOptions { count: Some(1), duration: Some(Duration::from_secs(1)), ..options() },
            "leave one out",
        ),
        (LoadOptions { count: Some(0), ..options() }, "--count is 0"),
        (LoadOptions { duration: Some(Duration::ZERO), ..options() }, "--duration is 0s"),
        (LoadOptions { duration: Some(Duration::MAX), ..options() }, "at most a year"),
        (LoadOptions { threads: 5, ..options() }, "--threads is 5: 1 to 4"),
        (LoadOptions { rate: Some(0.0), ..options() }, "--rate is 0"),
        (LoadOptions { rate: Some(f64::NAN), ..options() }, "--rate is NaN"),
        (LoadOptions { timeout: Duration::ZERO, ..options() }, "--timeout is 0s"),
        (LoadOptions { bytes_max: Some(2_143), ..options() }, "--bytes is 2143: at least 2144"),
        (
            LoadOptions { bytes_max: Some(1 << 20), rate: Some(1.0), ..options() },
            "not together with --rate",
        ),
    ];
    for (options, expected) in table {
        let error = options.check().unwrap_err();
        assert!(error.to_string().contains(expected), "{error} should contain {expected:?}");
        assert_eq!(error.exit_code(), 2);
    }
    assert!(options().check().is_ok());
}

/// The struct as a command line of its own, as the binary mounts it.
#[derive(Debug, clap::Parser)]
struct LoadCommandLine {
    #[command(flatten)]
    options: LoadOptions,
}

#[test]
fn the_command_line_is_read() {
    use clap::Parser;
    let read =
        |line: &str| LoadCommandLine::try_parse_from(line.split(' ')).map(|line| line.options);
    let defaults = read("load --to 127.0.0.1:9900 --dim 128").unwrap();
    assert_eq!(format!("{defaults:?}"), format!("{:?}", options()), "both lists of defaults agree");
    let all = "load --to /tmp/s.sock --dim 64 --vectors 1-8 --connections 2 --in-flight 4 --duration 500ms --warmup 2m --file v.npy \
               --mode header --verify --json --score weighted --threads 2 --rate 1000.5 --seed 9 --timeout 1h";
    let all = read(&all.split_whitespace().collect::<Vec<_>>().join(" ")).unwrap();
    assert_eq!(all.to, Target::Unix("/tmp/s.sock".into()));
    assert_eq!((all.vectors, all.score), (VectorRange { least: 1, most: 8 }, Score::Weighted));
    assert_eq!(
        (all.duration, all.warmup),
        (Some(Duration::from_millis(500)), Some(Duration::from_secs(120)))
    );
    assert_eq!((all.timeout, all.rate), (Duration::from_secs(3600), Some(1000.5)));
    for bad in [
        "--vectors 8-1",
        "--vectors 0",
        "--vectors 1-70000",
        "--mode resp",
        "--duration 10",
        "--duration 9999999h",
    ] {
        let error = read(&format!("load --to 127.0.0.1:9900 --dim 128 {bad}")).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{bad}");
    }
    for bad in [":9900", "host:", "host:0", "host:70000"] {
        assert!(bad.parse::<Target>().is_err(), "{bad}");
    }
    // A name alone may be a host or a file: the error has both spellings.
    let bare = "localhost".parse::<Target>().unwrap_err();
    assert!(bare.contains("localhost:9900") && bare.contains("./localhost"), "{bare}");
    let long = format!("/tmp/{}", "x".repeat(103)).parse::<Target>().unwrap_err();
    assert!(long.contains("108 bytes") && long.contains("at most 107"), "{long}");
    assert!(format!("/tmp/{}", "x".repeat(102)).parse::<Target>().is_ok());
    assert_eq!("[::1]:9900".parse(), Ok(Target::Tcp("[::1]:9900".to_string())));
    assert_eq!("./slipring.sock".parse(), Ok(Target::Unix("./slipring.sock".into())));
}
