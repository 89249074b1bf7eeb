//! The parts without sockets: files, schedules, references, options. tests/load_run runs the whole
//! against servers, right and wrong.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::draw::Draw;
use super::schedule::{Next, Schedule, requests_before};
use super::*;

/// A `.npy` image as numpy writes it: the header padded with spaces to 64 bytes, ending in a
/// newline.
fn npy(version: u8, descr: &str, fortran: &str, shape: &str, components: &[f32]) -> Vec<u8> {
    let mut header =
        format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}");
    let length_bytes = if version == 1 { 2 } else { 4 };
    let padding = 64 - (8 + length_bytes + header.len() + 1) % 64;
    header.push_str(&" ".repeat(padding));
    header.push('\n');
    let mut bytes = b"\x93NUMPY".to_vec();
    bytes.extend([version, 0]);
    bytes.extend(&(header.len() as u32).to_le_bytes()[..length_bytes]);
    bytes.extend(header.bytes());
    bytes.extend(components.iter().flat_map(|component| component.to_le_bytes()));
    bytes
}

fn fvecs(rows: &[&[f32]]) -> Vec<u8> {
    let row = |row: &&[f32]| {
        let mut bytes = (row.len() as u32).to_le_bytes().to_vec();
        bytes.extend(row.iter().flat_map(|component| component.to_le_bytes()));
        bytes
    };
    rows.iter().flat_map(row).collect()
}

fn options() -> LoadOptions {
    LoadOptions::new(Target::Tcp("127.0.0.1:9900".to_string()), 128)
}

#[test]
fn good_files_give_their_rows() {
    let components = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    for version in [1, 2] {
        let rows =
            Rows::from_npy(&npy(version, "'<f4'", "False", "(2, 3)", &components), 3).unwrap();
        assert_eq!((rows.count(), rows.dim()), (2, 3));
        assert_eq!(rows.components(1).collect::<Vec<_>>(), [4.0, 5.0, 6.0]);
    }
    let rows = Rows::from_fvecs(&fvecs(&[&components[..3], &components[3..]]), 3).unwrap();
    assert_eq!(rows.components(0).chain(rows.components(1)).collect::<Vec<_>>(), components);

    // Appending starts over after the last row, more than once if it must.
    let mut out = Vec::new();
    rows.append(1, 4, &mut out);
    let expected: Vec<u8> = [3, 0, 3, 0]
        .iter()
        .flat_map(|at| &components[*at..at + 3])
        .flat_map(|c| c.to_le_bytes())
        .collect();
    assert_eq!(out, expected);
}

#[test]
fn bad_files_say_what_to_do() {
    let two = [1.0, 2.0];
    let table = [
        (npy(1, "'<f4'", "False", "(1, 2)", &two), 3, "--dim 2"),
        (npy(1, "'>f4'", "False", "(1, 2)", &two), 2, "astype('<f4')"),
        (npy(1, "'<f8'", "False", "(1, 1)", &two), 1, "'<f8'"),
        (npy(1, "[('a', '<f4')]", "False", "(1, 2)", &two), 2, "astype"),
        (npy(1, "'<f4'", "True", "(1, 2)", &two), 2, "ascontiguousarray"),
        (npy(1, "'<f4'", "False", "(2,)", &two), 2, "reshape(-1, dim)"),
        (npy(1, "'<f4'", "False", "(1, 1, 2)", &two), 2, "3 axes"),
        (npy(1, "'<f4'", "False", "(2, 2)", &two), 2, "cut off"),
        (npy(1, "'<f4'", "False", "(18446744073709551615, 2)", &two), 2, "cut off"),
        (npy(1, "'<f4'", "False", "(0, 2)", &[]), 2, "holds no vector"),
        (npy(3, "'<f4'", "False", "(1, 2)", &two), 2, "version 3"),
        (npy(1, "'<f4'", "False", "(1, 2)", &two)[..30].to_vec(), 2, "cut off"),
        (b"PK\x03\x04 an npz file".to_vec(), 2, "neither"),
    ];
    for (bytes, dim, expected) in table {
        let message = Rows::from_npy(&bytes, dim).unwrap_err().to_string();
        assert!(message.contains(expected), "{message:?} should contain {expected:?}");
    }
    let table = [
        (fvecs(&[&two]), 3, "--dim 2"),
        (fvecs(&[&two])[..9].to_vec(), 2, "cut off"),
        (fvecs(&[&two[..1], &two[..0], &two[..0]]), 1, "row 1 has 0"),
        (Vec::new(), 2, "no vector"),
        (vec![0xff; 64], 2, "cut off"),
    ];
    for (bytes, dim, expected) in table {
        let message = Rows::from_fvecs(&bytes, dim).unwrap_err().to_string();
        assert!(message.contains(expected), "{message:?} should contain {expected:?}");
    }
}

proptest! {
    /// Damaged files are errors: any byte of a good one replaced, any end cut off.
    #[test]
    fn no_file_panics(at in 0usize..150, byte: u8, cut in 0usize..150, noise in vec(any::<u8>(), 0..60)) {
        let mut bytes = npy(1, "'<f4'", "False", "(1, 2)", &[1.0, 2.0]);
        let length = bytes.len();
        bytes[at % length] = byte;
        bytes.truncate(length - cut % length);
        let _ = Rows::from_npy(&bytes, 2);
        let _ = Rows::from_npy(&[b"\x93NUMPY\x01\x00", &noise[..]].concat(), 2);
        let _ = Rows::from_fvecs(&noise, 2);
    }

    /// The connections' shares of a count are all of it, without gap or overlap.
    #[test]
    fn shares_are_the_whole(count in 1u64..10_000, connections in 1u32..50) {
        let mut options = LoadOptions { count: Some(count), connections, ..options() };
        options.rate = Some(1e9);
        let mut before = 0;
        for connection in 0..connections {
            prop_assert_eq!(requests_before(count, connection, connections), before);
            let mut schedule = Schedule::new(&options, connection);
            while schedule.next(u64::MAX) != Next::Over {
                schedule.take(516);
                before += 1;
            }
        }
        prop_assert_eq!(before, count);
    }

    #[test]
    fn draws_stay_in_their_range(seed: u64, least in 1u32..70, span in 0u32..70) {
        let mut draw = Draw::new(seed);
        let drawn: Vec<u32> = (0..2_000).map(|_| draw.between(least, least + span)).collect();
        prop_assert!(drawn.iter().all(|n| (least..=least + span).contains(n)));
        prop_assert!(drawn.contains(&least) && drawn.contains(&(least + span)));
    }
}

#[test]
fn an_open_loop_keeps_its_intended_times() {
    let mut options = LoadOptions { connections: 2, rate: Some(1_000.0), ..options() };
    options.duration = Some(Duration::from_millis(10));
    options.warmup = Some(Duration::from_millis(4));
    let mut schedule = Schedule::new(&options, 1);
    // Connection 1 of 2 at 1000/s: 1 ms, 3 ms, 5 ms, ... 13 ms, until 14 ms.
    assert_eq!(schedule.next(0), Next::At(1_000_000));
    assert_eq!(schedule.next(1_000_000), Next::Now(1_000_000));
    schedule.take(516);
    // A late look doesn't move the intended time: the stall is in the latency.
    assert_eq!(schedule.next(9_000_000), Next::Now(3_000_000));
    assert!(!schedule.is_measured(3_000_000) && schedule.is_measured(4_000_000));
    assert_eq!(schedule.next(14_000_000), Next::Over);
    assert_eq!(schedule.missed(), 6, "seven were meant before the end, one was sent");
}

#[test]
fn a_closed_loop_sends_at_once_until_its_end() {
    let schedule =
        Schedule::new(&LoadOptions { duration: Some(Duration::from_secs(1)), ..options() }, 0);
    assert_eq!(schedule.next(5), Next::Now(5));
    assert_eq!(
        schedule.next(1_999_999_999),
        Next::Now(1_999_999_999),
        "a second of warm-up by default"
    );
    assert_eq!((schedule.next(2_000_000_000), schedule.missed()), (Next::Over, 0));
    let counted = Schedule::new(&LoadOptions { count: Some(3), ..options() }, 3);
    assert_eq!(
        counted.next(0),
        Next::Over,
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
    let mut schedule = Schedule::new(&bounded, 2);
    for bytes in [516, 516] {
        assert_eq!(schedule.next(0), Next::Now(0));
        schedule.take(bytes);
    }
    assert_eq!(schedule.next(0), Next::Now(0), "1124 bytes are left");
    schedule.take(516);
    assert_eq!(schedule.next(0), Next::Over, "608 bytes may not do for the next one");
    assert_eq!(
        Schedule::new(&bounded, 0).next(11_000_000_000),
        Next::Over,
        "the default duration still holds"
    );
}

#[test]
fn references_allow_rounding_and_nothing_else() {
    let row = [0.1f32, 0.2, -0.3, 1e-3];
    let rows = Rows::from_npy(&npy(1, "'<f4'", "False", "(1, 4)", &row), 4).unwrap();
    let sum: f32 = row.iter().sum();
    let weighted: f32 =
        row.iter().zip(1u16..).map(|(component, weight)| component * f32::from(weight)).sum();
    for (score, right) in [(Score::Sum, sum), (Score::Weighted, weighted), (Score::None, 0.0)] {
        let source = Source::new(rows.clone(), score);
        let row = source.expected(0, 1).next().unwrap();
        assert!(row.accepts(right), "{score:?}");
        assert!(
            !row.accepts(right + 1e-4) && !row.accepts(f32::NAN) && !row.accepts(f32::INFINITY),
            "{score:?}"
        );
    }
    let generated = Source::new(Rows::generated(8, 7), Score::Sum);
    let total: f64 = generated.expected(0, generated.count()).map(|row| row.sum).sum();
    assert_eq!(total * 64.0, (total * 64.0).round(), "generated sums are exact multiples of 1/64");
    let nan = Rows::from_npy(&npy(1, "'<f4'", "False", "(1, 2)", &[1.0, f32::NAN]), 2).unwrap();
    let nan = Source::new(nan, Score::Sum);
    assert!(nan.expected(0, 1).all(|row| !row.finite && row.sum == 0.0));
}

#[test]
fn bad_options_name_field_limit_and_fix() {
    let table: [(LoadOptions, &str); 19] = [
        (LoadOptions { window: 0, ..options() }, "--window is 0: 1 to 65536"),
        (LoadOptions { window: 65_537, ..options() }, "--window is 65537"),
        (LoadOptions { connections: 0, ..options() }, "--connections is 0"),
        (LoadOptions { connections: 65_536, window: 65_536, ..options() }, "lower --connections"),
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
        (LoadOptions { bytes_max: Some(2_063), ..options() }, "--bytes is 2063: at least 2064"),
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
struct Line {
    #[command(flatten)]
    options: LoadOptions,
}

#[test]
fn the_command_line_is_read() {
    use clap::Parser;
    let read = |line: &str| Line::try_parse_from(line.split(' ')).map(|line| line.options);
    let defaults = read("load --to 127.0.0.1:9900 --dim 128").unwrap();
    assert_eq!(format!("{defaults:?}"), format!("{:?}", options()), "both lists of defaults agree");
    let all = "load --to /tmp/s.sock --dim 64 --vectors 1-8 --connections 2 --window 4 --duration 500ms --warmup 2m --file v.npy \
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
    assert_eq!("[::1]:9900".parse(), Ok(Target::Tcp("[::1]:9900".to_string())));
    assert_eq!("slipring.sock".parse(), Ok(Target::Unix("slipring.sock".into())));
}
