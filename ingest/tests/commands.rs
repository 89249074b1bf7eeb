//! The command `demo`, `get` in a build without it, and all commands when their output can't be
//! written.

use std::fs;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use slipring_ingest::demo::{self, DemoError, DemoOptions};
use slipring_ingest::sink::read_segments;
use slipring_ingest::units::Size;

fn options(data: &Path) -> DemoOptions {
    DemoOptions { seconds: 600, bytes: Size(1 << 20), data: Some(data.to_owned()), json: false }
}

#[test]
fn a_small_run_is_verified_and_its_folder_stays() {
    let above = tempfile::tempdir().unwrap();
    // As `serve` does, it makes the folders above.
    let data = above.path().join("a/new");
    let mut output = Vec::new();
    let report = demo::run(&options(&data), &mut output, &AtomicBool::new(false)).unwrap();
    assert!(report.is_verified(), "{report}");
    assert_eq!((report.digits.accepted.vectors, report.digits.accepted.sum), (1797, 561_718.0));
    let most = 1u64 << 20;
    // At most one request per connection stays below the bound.
    assert!(
        (most - 4 * 2052..=most).contains(&report.mixed.sent.bytes),
        "{}",
        report.mixed.sent.bytes
    );
    // Read here again, and not only by the demonstration itself.
    let read = read_segments(&data).unwrap();
    assert_eq!(read.rows, 1797 + report.mixed.accepted.vectors);
    assert_eq!(read.sum, 561_718.0 + report.mixed.accepted.sum);
    let json = report.to_json();
    assert_eq!(
        (json["verified"].as_bool(), json["read"]["vectors"].as_u64()),
        (Some(true), Some(read.rows))
    );

    let text = format!("{}{report}", String::from_utf8(output).unwrap());
    assert!(text.lines().count() < 50, "{text}");
    let path = data
        .canonicalize()
        .unwrap()
        .join("lane=0/seg-00000000000000000000.arrow")
        .display()
        .to_string();
    assert!(path.len() > 90 || text.lines().all(|line| line.chars().count() <= 100), "{text}");
    for part in [
        "pinned: ",
        "pool of 64 MiB",
        "window of ",
        "p99.99",
        "Everything was checked and is right.",
        &path,
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn an_interruption_removes_the_folder() {
    let above = tempfile::tempdir().unwrap();
    let data = above.path().join("new");
    let long = DemoOptions { bytes: Size(64 << 20), ..options(&data) };
    let error = demo::run(&long, &mut Vec::new(), &AtomicBool::new(true)).unwrap_err();
    assert!(matches!(error, DemoError::Interrupted) && error.exit_code() == 130, "{error}");
    assert!(!data.exists());
}

#[test]
fn folders_that_exist_and_impossible_bounds_are_refused() {
    let above = tempfile::tempdir().unwrap();
    fs::write(above.path().join("file"), "mine").unwrap();
    let error =
        demo::run(&options(above.path()), &mut Vec::new(), &AtomicBool::new(false)).unwrap_err();
    assert!(error.to_string().contains("name a new folder") && error.exit_code() == 2, "{error}");
    assert!(above.path().join("file").exists(), "an existing folder isn't removed");

    let data = above.path().join("new");
    let tiny = DemoOptions { bytes: Size(1), ..options(&data) };
    let tiny = demo::run(&tiny, &mut Vec::new(), &AtomicBool::new(false)).unwrap_err();
    assert!(tiny.to_string().contains("--bytes is 1: at least") && tiny.exit_code() == 2, "{tiny}");
    assert!(!data.exists(), "it was refused before anything was created");
}

#[test]
fn the_exit_code_says_how_the_demo_ended() {
    let above = tempfile::tempdir().unwrap();
    let demo = |data: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slipring"));
        // Run from a folder outside of this repository.
        command
            .args(["demo", "--json", "--seconds", "600", "--data"])
            .arg(data)
            .current_dir(above.path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let good = demo(&above.path().join("good")).args(["--bytes", "1MiB"]).output().unwrap();
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    let json: serde_json::Value = serde_json::from_slice(&good.stdout).unwrap();
    assert_eq!(json["verified"], true);

    let stopped = above.path().join("stopped");
    let child = demo(&stopped).args(["--bytes", "1GiB"]).spawn().unwrap();
    // The record is written before the service accepts, and signals are handled before that.
    while !stopped.join(".slipring/record.json").exists() {
        thread::sleep(Duration::from_millis(2));
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
    assert!(!stopped.exists());
}

/// A quick sweep.
const SWEEP: &str = "sweep --pool 1MiB --payload 64 --windows 64KiB --slots 64 --batch 8 --events \
    100 --repeats 1 --stages inline";

/// A file to which every write fails with "no space left".
fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("Linux has it").into()
}

/// A pipe to which every write fails with "broken pipe".
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

fn run(words: &str, stdout: Stdio, stderr: Stdio) -> Output {
    run_in(Path::new("/"), words, stdout, stderr)
}

fn run_in(folder: &Path, words: &str, stdout: Stdio, stderr: Stdio) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipring"));
    command
        .args(words.split_whitespace())
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr);
    command.spawn().and_then(|child| child.wait_with_output()).expect("the binary can be started")
}

#[test]
fn a_result_that_cant_be_written_is_a_failure() {
    let folder = tempfile::tempdir().expect("a folder");
    let demo = "demo --seconds 1 --bytes 1MiB --data data --json".to_owned();
    for words in [SWEEP.to_owned(), format!("{SWEEP} --json"), demo] {
        for (stdout, why) in [(full(), "No space left"), (closed(), "Broken pipe")] {
            let output = run_in(folder.path(), &words, stdout, Stdio::piped());
            let _kept = std::fs::remove_dir_all(folder.path().join("data"));
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{words}: {said}");
            assert!(
                said.contains("standard output")
                    && said.contains(why)
                    && !said.contains("panicked"),
                "{said}"
            );
        }
    }
}

/// The error decides the exit code, even when its text can't be written.
#[test]
fn an_error_that_cant_be_written_has_the_same_exit_code() {
    for (words, code) in [
        ("serve --dim 4", 2),
        ("serve --dim 4 --sink null --unix /proc/nowhere", 1),
        ("serve --dim 4 --data /proc/nowhere --listen 127.0.0.1:0", 1),
        ("load --to 127.0.0.1:1 --dim 4 --count 1", 1),
        ("sweep --windows 0", 2),
        ("sweep --windows 64MiB --pool 32MiB", 2),
        ("demo --data /proc/nowhere", 2),
        ("get", 2),
    ] {
        let expected = run(words, Stdio::null(), Stdio::piped());
        assert_eq!(
            expected.status.code(),
            Some(code),
            "{words}: {}",
            String::from_utf8_lossy(&expected.stderr)
        );
        for (stdout, stderr) in
            [(Stdio::null(), full()), (Stdio::null(), closed()), (closed(), closed())]
        {
            assert_eq!(run(words, stdout, stderr).status.code(), Some(code), "{words}");
        }
    }
}

/// The standard descriptors are closed, not redirected. Their numbers are free, and the files
/// opened first must not get them.
#[test]
fn closed_descriptors_are_not_reused_for_our_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let line = format!("exec \"$0\" {SWEEP} >&- 2>&- <&-");
    let status = Command::new("sh")
        .args(["-c", &line, env!("CARGO_BIN_EXE_slipring")])
        .current_dir(folder.path())
        .status();
    assert_eq!(status.expect("a shell").code(), Some(0));
}

#[test]
fn the_version_names_commit_and_features() {
    let said = |word: &str| {
        let output = run(word, Stdio::piped(), Stdio::piped());
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let short = format!("slipring {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(said("-V"), short);
    let long = said("--version");
    let (first, others) = long.split_once('\n').unwrap();
    assert_eq!(format!("{first}\n"), short);
    let (commit, features) = others.trim_end().split_once('\n').unwrap();
    let commit = commit.strip_prefix("commit: ").unwrap();
    let hash = commit.strip_suffix("-dirty").unwrap_or(commit);
    assert!(
        commit == "unknown"
            || hash.len() >= 12 && hash.chars().all(|digit| digit.is_ascii_hexdigit()),
        "{long}"
    );
    let objects = if cfg!(feature = "objects") { "objects" } else { "none" };
    assert_eq!(features, format!("features: {objects}"));
}

/// The build script finds its commit, or says that it doesn't know it; it never fails.
#[test]
fn the_commit_is_found_or_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut compile = Command::new(rustc);
    compile.args(["--edition", "2024", "-o"]).arg(&script).arg(source);
    assert!(compile.status().unwrap().success());
    let commit = |package: &Path, path: &str| {
        let mut command = Command::new(&script);
        command.env("CARGO_MANIFEST_DIR", package).env("CARGO_FEATURE_SOME_NAME", "1");
        command.env("PATH", path).env_remove("CARGO_FEATURE_OBJECTS");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("cargo::rustc-env=SLIPRING_FEATURES=some-name\n"), "{text}");
        let watched = text.lines().filter_map(|line| line.strip_prefix("cargo::rerun-if-changed="));
        assert!(watched.clone().all(|path| Path::new(path).exists()), "{text}");
        let found = text.lines().find_map(|line| line.strip_prefix("cargo::rustc-env=SLIPRING_C"));
        found.and_then(|name| name.strip_prefix("OMMIT=")).unwrap().to_owned()
    };
    let path = std::env::var("PATH").unwrap();
    // Neither git nor a repository.
    let package = folder.path().join("package");
    fs::create_dir(&package).unwrap();
    fs::write(package.join("build.rs"), "").unwrap();
    assert_eq!(commit(&package, ""), "unknown");
    assert_eq!(commit(&package, &path), "unknown");
    // A package of `cargo package`.
    let info = package.join(".cargo_vcs_info.json");
    fs::write(&info, r#"{"git": {"sha1": "0123456789abcdef0123456789abcdef01234567"}}"#).unwrap();
    assert_eq!(commit(&package, ""), "0123456789ab");
    fs::write(&info, r#"{"git": {"sha1": 7}}"#).unwrap();
    assert_eq!(commit(&package, ""), "unknown");
    fs::remove_file(&info).unwrap();

    let git = |words: &str| {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(words.split(' '));
        let output = command.current_dir(&package).output().unwrap();
        assert!(output.status.success(), "{words}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    };
    if Command::new("git").arg("--version").output().is_err() {
        return;
    }
    // A package that lies in somebody's repository isn't part of it until it is added.
    git("init --quiet");
    git("commit --quiet --allow-empty -m theirs");
    assert_eq!(commit(&package, &path), "unknown");
    git("add build.rs");
    git("commit --quiet -m ours");
    let head = git("rev-parse --short=12 HEAD");
    assert_eq!(commit(&package, &path), head);
    git("checkout --quiet --detach");
    assert_eq!(commit(&package, &path), head);
    fs::create_dir(package.join("src")).unwrap();
    fs::write(package.join("src/main.rs"), "").unwrap();
    assert_eq!(commit(&package, &path), format!("{head}-dirty"));
}

/// What is wrong with the command line is said plainly; every other line has time and level.
#[test]
fn errors_of_usage_are_plain() {
    for (words, code, starts) in [
        ("serve --dim 4", 2, "slipring: serve: --data is missing"),
        ("load --to localhost --dim 4", 2, "error: invalid value 'localhost' for '--to"),
        ("load --to 127.0.0.1:1 --dim 4 --count 1 --window 2", 1, "slipring: load: --window is"),
    ] {
        let output = run(words, Stdio::null(), Stdio::piped());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(code) && said.starts_with(starts), "{said}");
        assert_eq!(said.matches("--window is called --in-flight").count(), code as usize % 2);
        let refused = "Z error load: connection 0 to 127.0.0.1:1: ";
        assert_eq!(said.contains(refused) && said.contains("no service listens there"), code == 1);
    }
}

#[cfg(not(feature = "objects"))]
#[test]
fn it_says_how_to_build_it() {
    for words in [
        &["s3://bucket/key", "-o", "out", "--buffer-pool-size", "4"][..],
        &[],
        &["--json"],
        &["-x"],
    ] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_slipring")).arg("get").args(words).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{said}");
        assert!(
            said.contains("cargo build --release -p slipring-ingest --features objects"),
            "{said}"
        );
    }
    let output =
        Command::new(env!("CARGO_BIN_EXE_slipring")).args(["get", "--help"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("--features objects"), "{said}");
}
