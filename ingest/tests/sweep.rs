//! The command `sweep`, the real binary: tiny sizes, what it prints, and what it refuses. A binary
//! of its own, because its spinning threads would slow down other tests beside them.

use std::process::{Command, Output, Stdio};

use serde_json::Value;
use slipring::machine::{CpuMask, PinPolicy, pin_current};

/// Sizes for a quick run. Options given later replace these.
const TINY: &str = "--pool 1MiB --payload 64 --windows 64KiB-256KiB --slots 64 --batch 8 --events \
    2000 --repeats 3";

fn sweep(words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipring"));
    command.arg("sweep").args(words.split_whitespace()).stdin(Stdio::null());
    command.output().expect("the binary can be started")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it prints UTF-8")
}

/// The standard output of a run that must succeed.
#[track_caller]
fn good(words: &str) -> String {
    let output = sweep(words);
    assert_eq!(output.status.code(), Some(0), "{words}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[track_caller]
fn json(words: &str) -> Vec<Value> {
    good(words)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is an object"))
        .collect()
}

#[track_caller]
fn refused(words: &str, names: &[&str]) {
    let output = sweep(words);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{words}: {said}");
    assert!(output.stdout.is_empty() && !said.contains("panicked"), "{words}: {said}");
    for name in names {
        assert!(said.contains(name), "{words}: {name:?} isn't named in {said:?}");
    }
}

#[track_caller]
fn check_lines(lines: &[Value], windows: &[u64]) {
    let (result, tried) = lines.split_last().expect("a result");
    assert!(lines.iter().all(|line| line["bench"] == "sweep"), "{lines:?}");
    assert_eq!(
        tried.iter().filter_map(|line| line["window_bytes"].as_u64()).collect::<Vec<_>>(),
        windows
    );
    for line in tried {
        let ns = |name: &str| line[name].as_f64().expect("a figure");
        assert!(
            0.0 < ns("ns_min")
                && ns("ns_min") <= ns("ns_per_event")
                && ns("ns_per_event") <= ns("ns_max"),
            "{line}"
        );
        assert_eq!(line["repeats"], 3);
    }
    assert!(windows.contains(&result["best_window_bytes"].as_u64().expect("a window")), "{result}");
    // The pool of 1 MiB bounds the default.
    assert!(
        (65536..=1 << 20).contains(&result["default_window_bytes"].as_u64().expect("a window")),
        "{result}"
    );
    for name in ["l2_bytes", "l3_bytes"] {
        assert!(
            result.get(name).is_some_and(|bytes| bytes.is_u64() || bytes.is_null()),
            "{result}"
        );
    }
}

#[test]
fn every_window_is_tried_and_one_is_best() {
    let windows = [65536, 131_072, 262_144];
    let inline = json(&format!("{TINY} --stages inline --json"));
    check_lines(&inline, &windows);
    assert_eq!(inline[3]["stages"], "inline");
    if CpuMask::read().cpus().len() >= 2 {
        let threads = json(&format!("{TINY} --json"));
        check_lines(&threads, &windows);
        assert_eq!(threads[3]["stages"], "threads");
    }
}

#[test]
fn the_setting_is_printed() {
    let output = sweep(&format!("{TINY} --stages inline"));
    let said = text(&output.stdout);
    // This machine may be too busy for a recommendation.
    let is_setting = |line: &str| line.starts_with("best: --window ") && line.contains("fastest");
    let mut settings = said.lines().filter(|line| is_setting(line) || line.contains("too noisy: "));
    assert!(settings.next().is_some() && settings.next().is_none(), "{said}");
    let progress = text(&output.stderr);
    for part in ["info sweep: 3 windows, 3 repeats", "repeat 1 of 3 is done", "repeat 3 of 3"] {
        assert!(progress.contains(part), "{progress}");
    }
    assert!(
        said.contains("64KiB ") && said.contains("256KiB ") && said.contains("\ndefault: "),
        "{said}"
    );
}

/// A pool smaller than what the ring can hold is always full, odd sizes leave remainders, and small
/// payloads have no room for their number.
#[test]
fn full_pools_and_odd_payloads_arrive() {
    for words in [
        "--pool 8KiB --windows 8KiB --payload 1000 --slots 1024 --batch 64",
        "--payload 1",
        "--payload 7 --batch 1",
        "--payload 4096 --windows 64KiB",
        "--payload 520 --batch 64 --slots 64",
        "--events 1 --repeats 1",
    ] {
        for stages in ["inline", "threads"].iter().take(CpuMask::read().cpus().len().min(2)) {
            // clap accepts these options once only, so those named here are removed from the
            // defaults.
            let named: Vec<&str> =
                words.split_whitespace().filter(|word| word.starts_with("--")).collect();
            let pairs: Vec<&str> = TINY.split_whitespace().collect();
            let others = pairs.chunks(2).filter(|pair| !named.contains(&pair[0])).flatten();
            let others = others.copied().collect::<Vec<_>>().join(" ");
            good(&format!("{others} {words} --stages {stages}"));
        }
    }
}

#[test]
fn bad_usage_names_the_option_and_the_fix() {
    refused("--windows 0", &["--windows", "0 bytes"]);
    refused("--windows 64KiB,x", &["--windows", "\"x\" isn't a size"]);
    refused("--repeats -1", &["--repeats", "a whole number from 1 to 65536"]);
    refused("--windows 64MiB --pool 32MiB", &["64MiB", "--pool 32MiB"]);
    refused("--windows 4KiB --payload 4KiB", &["--windows", "4KiB", "at least 16KiB"]);
    refused("--payload 1GiB", &["--payload", "from 1 to"]);
    refused("--payload 64MiB --pool 64MiB", &["--pool is 64MiB", "256MiB"]);
    for (option, names) in [
        ("--payload 0", "--payload"),
        ("--pool 0", "--pool"),
        ("--batch 0", "--batch"),
        ("--batch 128 --slots 64", "--batch"),
        ("--slots 0", "--slots"),
        ("--slots 100", "--slots"),
        ("--events 0", "--events"),
        ("--repeats 0", "--repeats"),
        ("--cpus 60000", "no CPU 60000"),
        ("--cpus 0,0", "two different CPUs"),
        ("--stages none", "--stages"),
    ] {
        refused(option, &[names]);
    }
}

#[test]
fn one_cpu_means_inline_or_a_refusal() {
    let run = || {
        let cpu = *CpuMask::read().cpus().first().expect("this process runs somewhere");
        // Processes that this thread starts may use only this CPU.
        pin_current(cpu, PinPolicy::Require).expect("it may run there");
        let output = sweep(&format!("{TINY} --json"));
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(
            text(&output.stderr).contains("one CPU only: the stage runs inline"),
            "{}",
            text(&output.stderr)
        );
        assert!(text(&output.stdout).contains("\"stages\":\"inline\""));
        refused(
            &format!("{TINY} --stages threads"),
            &["--stages threads needs two CPUs", "--stages inline"],
        );
    };
    std::thread::spawn(run).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}
