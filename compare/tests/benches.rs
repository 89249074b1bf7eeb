//! `class` and `queue` as commands: the lines that other programs read.

use std::process::{Command, Output};

fn compare(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_slipring-compare"))
        .args(arguments)
        .output()
        .expect("it starts")
}

fn lines(output: &Output) -> Vec<serde_json::Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn results_have_the_promised_fields() {
    for (bench, case) in [("class", "get-drop-4KiB-1t"), ("queue", "queue-512B")] {
        let small = ["--quick", "--json", "--repeats", "1", "--ops", "1000"];
        let lines =
            lines(&compare(&[&[bench, "--case", case, "--only", "slipring"], &small[..]].concat()));
        assert!(
            lines[0]["machine"]["compiler"].is_string()
                && lines.iter().all(|line| line["bench"] == bench)
        );
        let result = lines.iter().find(|line| line["case"] == case).expect("a result");
        assert_eq!((&result["contender"], &result["repeats"]), (&"slipring".into(), &1.into()));
        for field in ["ns_per_op", "ns_min", "ns_q1", "ns_q3", "ns_max"] {
            assert!(result[field].as_f64() > Some(0.0), "{field}: {result}");
        }
    }
}

/// One case per moment and pool, with a figure of every variant.
#[test]
fn pretouch_has_its_quick_form() {
    let lines = lines(&compare(&["pretouch", "--quick", "--json"]));
    for case in
        ["pretouch-map-2MiB", "pretouch-first-2MiB", "pretouch-steady-2MiB", "pretouch-first-4MiB"]
    {
        let results: Vec<_> = lines.iter().filter(|line| line["case"] == case).collect();
        assert_eq!(results.len(), 6, "{case}");
        assert!(
            results.iter().all(|line| line["ns_per_op"].as_f64() > Some(0.0)),
            "{case}: {results:?}"
        );
        assert!(
            results.iter().any(|line| line["contender"] == "arc-ring-4KiB-pages-untouched"),
            "{case}"
        );
    }
}

/// They run at a small size in the unit tests.
#[test]
fn allocation_sizes_are_a_sweep() {
    let output = compare(&["ring", "--sweep", "alloc-sizes", "--list"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    for vectors in [1, 2, 4, 8, 16, 32, 64] {
        assert!(text.contains(&format!("  touch8-{vectors}v-128x1024-fit\n")), "{text}");
    }
    for contender in ["slipring", "slipring-raii", "arc-ring", "jemalloc"] {
        assert!(text.contains(&format!("  {contender}\n")), "{text}");
    }
}

#[test]
fn lists_and_wrong_names() {
    for (bench, case, contender) in
        [("class", "cross-drop-64KiB", "tls-vec"), ("queue", "queue-32KiB", "mutex-queue")]
    {
        let output = compare(&[bench, "--list", "--quick"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && text.contains(case) && text.contains(contender),
            "{text}"
        );
        for (option, what) in [("--case", "case"), ("--only", "contender")] {
            let output = compare(&[bench, "--quick", option, "nothing-has-this-name"]);
            assert_eq!(output.status.code(), Some(2));
            assert!(String::from_utf8_lossy(&output.stderr).contains(&format!("no such {what}")));
        }
    }
}
