//! `objects` and `objects-pace` as a person starts them, with tiny objects: the lines that other
//! programs read; and what the record of downloads is made with, `objects-files` and `launch`.

use std::fs;
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

fn compare(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipring-compare"));
    command.args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    compare(arguments).output().expect("it starts")
}

fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const SMALL: [&str; 8] =
    ["--object-size", "2MiB", "--part-size", "512KiB", "--parallel", "2", "--objects", "3"];

#[test]
fn every_variant_has_the_promised_figures() {
    let lines = lines(&run(&[&["objects", "--json", "--repeats", "2"], &SMALL[..]].concat()));
    assert!(lines.iter().all(|line| line["bench"] == "objects"));
    assert!(lines[0]["machine"]["compiler"].is_string());
    assert_eq!(
        (&lines[0]["options"]["objects"], &lines[0]["options"]["object_bytes"]),
        (&3.into(), &(2 << 20).into())
    );
    let results = &lines[1..];
    let contenders = [
        "slipring",
        "slipring-roomy",
        "slipring-unpooled",
        "object_store",
        "object_store-parts",
        "object_store-get",
    ];
    let names = ["s3-2MiB-x2", "memory-2MiB-x2", "file-2MiB-x2"]
        .iter()
        .flat_map(|case| contenders.map(|who| (*case, who)));
    let found: Vec<_> = results
        .iter()
        .filter_map(|line| Some((line["case"].as_str()?, line["contender"].as_str()?)))
        .collect();
    assert_eq!(found, names.collect::<Vec<_>>());
    results.iter().for_each(check_figures);
}

/// What holds for each line of a result.
fn check_figures(result: &Value) {
    assert_eq!(result["repeats"], 2);
    for field in [
        "ns_per_op",
        "ns_min",
        "ns_q1",
        "ns_q3",
        "ns_max",
        "bytes_per_second",
        "peak_rss_bytes",
        "base_rss_bytes",
    ] {
        assert!(result[field].as_f64() > Some(0.0), "{field}: {result}");
    }
    let of = |name: &str| result[name].as_f64().unwrap_or_else(|| panic!("{name}: {result}"));
    assert!(
        of("cpu_seconds") >= 0.0
            && of("verify_cpu_seconds") >= 0.0
            && of("faults_per_object") >= 0.0
    );
    assert!(
        of("base_rss_bytes") <= of("warm_peak_rss_bytes")
            && of("warm_peak_rss_bytes") <= of("peak_rss_bytes")
    );
    assert!(
        of("end_rss_bytes") <= of("peak_rss_bytes")
            && of("large_allocations") <= of("large_allocations_total")
    );
    let contender = result["contender"].as_str().unwrap_or_default();
    assert_eq!(
        result["retries"].as_f64(),
        contender.starts_with("slipring").then_some(0.0),
        "{result}"
    );
    assert_eq!(
        result["server_cpu_seconds"].is_number(),
        result["case"] == "s3-2MiB-x2",
        "{result}"
    );
    match contender {
        // At most a buffer for each of two objects at once; from memory the second may be
        // wanted only behind the warm-up.
        "slipring" | "slipring-roomy" => {
            assert!(of("large_allocations_total") <= 2.0, "{result}")
        }
        "slipring-unpooled" => assert_eq!(of("large_allocations"), 3.0, "{result}"),
        "object_store" | "object_store-parts" => {
            assert!(of("large_allocations") >= 3.0, "{result}")
        }
        _ => {}
    }
}

#[test]
fn a_table_says_which_targets_are_met() {
    let output =
        run(&[&["objects", "--quick", "--case", "memory", "--repeats", "1"], &SMALL[..]].concat());
    let table = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for part in [
        "memory-2MiB-x2, medians of 1 repeats",
        "\nslipring-unpooled ",
        "large allocations after the warm-up",
        "target ≤ 0.7x: ",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    assert!(!table.contains("object_store-get") && !table.contains("s3-"), "{table}");
}

#[test]
fn wrong_options_are_named() {
    for (option, value, named) in [
        ("--case", "nothing-has-this-name", "no such case"),
        ("--only", "nothing-has-this-name", "no such contender"),
        ("--object-size", "0", "`0` is no size"),
        ("--parallel", "0", "--parallel"),
        ("--bucket", "b", "--endpoint"),
    ] {
        let output = run(&["objects", "--quick", option, value]);
        assert_eq!(output.status.code(), Some(2), "{option}");
        assert!(text(&output.stderr).contains(named), "{option}: {}", text(&output.stderr));
    }
    let list = text(&run(&["objects", "--list", "--quick"]).stdout);
    assert!(
        ["s3-64MiB-x32", "memory-64MiB-x32", "file-64MiB-x32", "  object_store\n"]
            .iter()
            .all(|name| list.contains(name)),
        "{list}"
    );
}

/// The built-in server, as another program would start it.
struct Server(Child, String);

impl Server {
    fn start(folder: &str) -> Self {
        let mut command = compare(&["objects-server", folder]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("a pipe"))
            .read_line(&mut line)
            .expect("a line");
        Self(child, line.trim().strip_prefix("ready ").expect("ready").to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its standard input ends, and so does it: that is tested by not waiting for ever.
        drop(self.0.stdin.take());
        self.0.wait().expect("it ends");
    }
}

#[test]
fn a_server_that_takes_no_objects_is_named() {
    let server = Server::start("/");
    let output = compare(&["objects", "--quick", "--endpoint", &server.1, "--object-size", "1MiB"])
        .env("AWS_ACCESS_KEY_ID", "any")
        .env("AWS_SECRET_ACCESS_KEY", "any")
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr)
            .contains(&format!("error: --endpoint {}, --bucket slipring: ", server.1)),
        "{}",
        text(&output.stderr)
    );
}

/// `objects-files` as a rival of `slipring get`, from the built-in server.
fn files(server: &Server, output: &Path, urls: &[&str]) -> Output {
    let mut command = compare(&["objects-files", "-o", output.to_str().expect("text")]);
    command.args(urls).env("AWS_ENDPOINT", &server.1).env("AWS_ALLOW_HTTP", "true");
    for key in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        command.env(key, "any");
    }
    command.env("AWS_REGION", "us-east-1").output().expect("it starts")
}

#[test]
fn objects_become_files_or_the_error_names_one() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("objects-files");
    let (store, output) = (folder.join("store/b/x"), folder.join("to"));
    let _ = fs::remove_dir_all(&folder);
    for made in [&store, &output] {
        fs::create_dir_all(made).expect("a folder");
    }
    let objects = [("empty", 0), ("one", 1), ("large", 5_000_001)];
    for (name, len) in objects {
        let bytes: Vec<u8> = (0..len).map(|at: u32| (at * 7 % 251) as u8).collect();
        fs::write(store.join(name), bytes).expect("a file");
    }
    let server = Server::start(folder.join("store").to_str().expect("text"));
    let urls = objects.map(|(name, _)| format!("s3://b/x/{name}"));
    let done = files(&server, &output, &urls.each_ref().map(String::as_str));
    assert!(done.status.success(), "{}", text(&done.stderr));
    for (name, _) in objects {
        let of = |folder: &Path| fs::read(folder.join(name)).expect("a file");
        assert!(of(&output) == of(&store), "{name}");
    }
    for (output, url, code, named) in [
        (&output, "s3://b/x/none", 1, "error: x/none: "),
        (&folder.join("none"), "s3://b/x/one", 1, "none/one: "),
        (&output, "b/x/one", 2, "error: b/x/one: write s3://BUCKET/KEY"),
    ] {
        let done = files(&server, output, &[url]);
        assert_eq!(done.status.code(), Some(code), "{url}");
        assert!(text(&done.stderr).contains(named), "{url}: {}", text(&done.stderr));
    }
}

#[test]
fn the_peak_of_a_program_is_its_own() {
    const MIB: u64 = 1 << 10;
    // Resident in this process, and not in what it measures.
    let ours = black_box(vec![1_u8; 128 << 20]);
    let small = lines(&run(&["launch", "--", "true"])).remove(0);
    let large = ["launch", "dd", "if=/dev/zero", "of=/dev/null", "bs=96M", "count=1"];
    let large = lines(&run(&large)).remove(0);
    let of = |line: &Value, name: &str| line[name].as_u64().expect(name);
    assert!(of(&small, "peak_kib") < 64 * MIB && of(&small, "launcher_peak_kib") < 64 * MIB);
    assert!((96 * MIB..128 * MIB).contains(&of(&large, "peak_kib")), "{large}");
    assert!(large["seconds"].as_f64() > Some(0.0) && large["cpu_seconds"].as_f64() > Some(0.0));
    drop(black_box(ours));
    for (command, named) in [
        (&["launch", "sh", "-c", "exit 3"][..], "error: sh: it ended with exit status: 3"),
        (&["launch", "/no/such/program"], "error: /no/such/program: "),
    ] {
        let done = run(command);
        assert_eq!(done.status.code(), Some(1), "{command:?}");
        assert!(text(&done.stderr).contains(named), "{}", text(&done.stderr));
    }
}

#[test]
fn a_variant_that_gets_another_object_fails() {
    let sums = ["--checksums=1,2,3,4", "--bucket=b", "--contender=slipring", "--source=memory"];
    let output = run(&[&["objects-variant"], &sums[..], &SMALL[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("it isn't the object"), "{}", text(&output.stderr));
}

#[test]
fn settings_are_compared_by_a_paused_clock() {
    let small = ["--quick", "--objects", "64", "--case", "far-4MiB,near-4MiB,throttling-4MiB"];
    let lines = lines(&run(&[
        &["objects-pace", "--json", "--only", "default,4MiB-x8,4MiB-x128"],
        &small[..],
    ]
    .concat()));
    assert_eq!((lines.len(), &lines[0]["options"]["clock"]), (1 + 3 * 3, &"paused".into()));
    let of = |case: &str, contender: &str, field: &str| {
        let result =
            lines.iter().find(|line| line["case"] == case && line["contender"] == contender);
        result
            .and_then(|line| line[field].as_f64())
            .unwrap_or_else(|| panic!("{field} of {contender} in {case}"))
    };
    for contender in ["default", "4MiB-x8", "4MiB-x128"] {
        for shape in ["far", "near"] {
            let case = format!("{shape}-4MiB-x64");
            assert_eq!(
                (of(&case, contender, "failed"), of(&case, contender, "refused")),
                (0.0, 0.0)
            );
            assert!(of(&case, contender, "ns_per_op") >= of(&case, contender, "ns_min"));
        }
        assert!(of("throttling-4MiB-x64", contender, "in_flight_most") <= 16.0);
    }
    // Eight requests of 40 MiB/s at most, and with 64 of them the store's own 800: the clock is the
    // shape's.
    assert!(
        (150.0..320.0).contains(&(of("far-4MiB-x64", "4MiB-x8", "bytes_per_second") / 1048576.0))
    );
    assert!(
        (500.0..801.0).contains(&(of("far-4MiB-x64", "4MiB-x128", "bytes_per_second") / 1048576.0))
    );
    assert_eq!(of("throttling-4MiB-x64", "4MiB-x8", "refused"), 0.0);
    assert!(of("throttling-4MiB-x64", "4MiB-x128", "refused") > 0.0);
}
