//! The load test as a command: its output and its exit statuses.

use std::process::{Command, Output};

fn load(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipring-compare"));
    command.arg("class-load").args(arguments).output().expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_warm_run_passes_without_the_heap() {
    // The share of first touches depends on how much a busy machine does in such a short time:
    // 99.9 % is for the real duration.
    let output = load(&["--workers", "4", "--duration", "200ms", "--min-hit-rate", "90", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lines: Vec<serde_json::Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let last = lines.last().expect("a verdict");
    assert_eq!(
        (&last["pass"], &last["heap_calls"], &last["corrupt"]),
        (&true.into(), &0.into(), &0.into())
    );
    assert!(
        last["ops"].as_u64() > Some(0) && last["hit_rate_percent"].as_f64() >= Some(90.0),
        "{last}"
    );
    let of_class = |bytes: u64| {
        lines.iter().find(|line| line["class_bytes"] == bytes).expect("a line per class")
    };
    for bytes in [2 << 10, 64 << 10] {
        let class = of_class(bytes);
        assert_eq!(
            class["gets"].as_u64(),
            Some(class["hits"].as_u64().unwrap() + class["misses"].as_u64().unwrap())
        );
        assert!(class["gets"].as_u64() > Some(0), "{class}");
    }
}

#[test]
fn a_cold_run_is_below_a_hundred_percent() {
    let output = load(&[
        "--workers",
        "2",
        "--duration",
        "20ms",
        "--sizes",
        "2KiB,64KiB",
        "--min-hit-rate",
        "100",
        "--cold",
    ]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stdout));
    assert!(
        text(&output.stderr).contains("below the 100 of --min-hit-rate"),
        "{}",
        text(&output.stderr)
    );
    assert!(text(&output.stdout).ends_with("fail\n"));
}

#[test]
fn wrong_options_are_named() {
    let wrong = [
        (["--workers", "0"], "--workers"),
        (["--duration", "10"], "`10` is no time"),
        (["--sizes", "3KiB"], "`3KiB` is no class"),
        (["--min-hit-rate", "101"], "`101` is no rate"),
        (["--operations-per-buffer", "0"], "--operations-per-buffer"),
        (["--case", "any"], "--case"),
    ];
    for (arguments, named) in wrong {
        let output = load(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(named), "{arguments:?}: {}", text(&output.stderr));
    }
}
