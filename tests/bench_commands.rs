//! The commands in the documents that time and profile the ring pool. Every one names a benchmark
//! and flags that exist. The long loop to which cargo gives no test harness (`profile_buffer_pool`)
//! runs here with small counts.

#[path = "../benches/ring/laps.rs"]
#[allow(dead_code, reason = "the benchmarks use the other laps")]
mod laps;
#[path = "../profiling/buffer_pool/long_loop.rs"]
mod long_loop;
#[path = "../profiling/long_run.rs"]
mod long_run;

use std::collections::BTreeSet;
use std::{env, fs};

use long_loop::{NAME, ops, whole_run};
use long_run::Ended;

fn read(path: &str) -> String {
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo test sets it");
    fs::read_to_string(format!("{root}/{path}")).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn count(words: &str) -> Result<u64, Ended> {
    ops(&words.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
}

#[test]
fn a_small_run_is_verified_and_says_nanoseconds_per_operation() {
    for (count, held) in [(1, 1), (1000, 1000), (1024, 1024), (50_000, 1024)] {
        let said = whole_run(count).unwrap_or_else(|error| panic!("{count}: {error:?}"));
        assert!(
            said.starts_with(&format!("{count} operations, {held} slices held and verified; ")),
            "{said}"
        );
        assert!(said.ends_with(" ns/op"), "{said}");
    }
}

#[test]
fn one_count_is_the_only_argument() {
    let by_default = if cfg!(debug_assertions) { 100_000 } else { 100_000_000 };
    assert_eq!(
        [count(""), count("--bench"), count("1000000000"), count("--bench 7")].map(Result::unwrap),
        [by_default, by_default, 1_000_000_000, 7]
    );
    // What `target/release/deps/profile_buffer_pool-* 1000` expands to where there is also an older
    // build.
    let beside =
        format!("target/release/deps/{NAME}-0a1b.d target/release/deps/{NAME}-77ff {NAME}-77ff.d");
    assert_eq!((count(&beside), count(&format!("{beside} 1000"))), (Ok(by_default), Ok(1000)));
    for wrong in [
        "0",
        "-1",
        "many",
        "1.5",
        "--iterations",
        "1 2",
        "99999999999999999999",
        "--help",
        "./other-0a1b",
        NAME,
    ] {
        let named = wrong.split(' ').next_back().unwrap_or_default();
        assert!(matches!(count(wrong), Err(Ended::Usage(text)) if text.contains(named)), "{wrong}");
    }
}

#[test]
fn a_held_slice_with_other_bytes_is_found() {
    use slipring::ring::{RingOptions, RingPool};

    let pool = RingPool::new(&RingOptions {
        bytes: 1 << 20,
        max_slice_bytes: 64,
        ..RingOptions::default()
    })
    .unwrap();
    let mut slices = laps::Slices::<4>::new(pool, 8);
    assert_eq!(slices.verify(), (None, 0));
    slices.lap(&[64; 5]);
    assert_eq!(slices.verify(), (None, 5));
    slices.lap(&[64; 8]);
    // The first lap was short, so entries hold other operations than their places suggest.
    assert_eq!(slices.verify().1, 8);
    assert!(slices.verify().0.is_some());
}

/// The words after `cargo bench` in every command of a document.
fn bench_commands(document: &str) -> Vec<Vec<String>> {
    let commands =
        document.match_indices("cargo bench").map(|(at, found)| &document[at + found.len()..]);
    let ends = |text: &str| text.find(['`', '\n', '|', ';', '#']).unwrap_or(text.len());
    commands
        .map(|text| text[..ends(text)].split_whitespace().map(str::to_owned).collect())
        .collect()
}

/// The names of the benchmarks in a manifest.
fn benches(manifest: &str) -> BTreeSet<String> {
    let tables = manifest.split("[[bench]]").skip(1);
    tables
        .filter_map(|table| Some(table.split("name = \"").nth(1)?.split('"').next()?.to_owned()))
        .collect()
}

/// The page with all tables.
const REPORT: &str = "benches/record/REPORT.md";

#[test]
fn every_command_of_the_documents_exists() {
    let (manifest, source) = (read("Cargo.toml"), read("benches/buffer_pool_bench.rs"));
    let benches = benches(&manifest);
    assert!(benches.contains("buffer_pool_bench") && benches.contains(NAME), "{benches:?}");
    let mut seen = BTreeSet::new();
    for path in [
        "README.md",
        "PERFORMANCE.md",
        REPORT,
        "CONTRIBUTING.md",
        "profiling/README.md",
        "benches/ring.rs",
    ] {
        for words in bench_commands(&read(path)) {
            let flags = words.iter().skip_while(|word| *word != "--").skip(1);
            let own: Vec<_> = words.iter().take_while(|word| *word != "--").collect();
            match own[..] {
                [] => {}
                [flag] if flag == "--no-run" => {}
                [flag, name] if flag == "--bench" && benches.contains(name) => {}
                _ => panic!("{path}: cargo bench {words:?}"),
            }
            for flag in flags.filter(|flag| flag.ends_with("-sizes")) {
                assert!(
                    source.contains(&format!("(\"{flag}\", ")),
                    "{path}: {flag} is no flag of buffer_pool_bench"
                );
            }
            seen.insert(words.join(" "));
        }
    }
    for asked in [
        "--bench buffer_pool_bench -- --alloc-sizes",
        "--bench buffer_pool_bench -- --pool-sizes",
        "--no-run",
    ] {
        assert!(seen.contains(asked), "no document says cargo bench {asked}: {seen:?}");
    }
    for asked in [
        "target/release/deps/profile_buffer_pool-*`",
        "target/release/deps/profile_buffer_pool-* 1000000000`",
    ] {
        assert!(read(REPORT).contains(asked), "{REPORT}: {asked}");
    }
}
