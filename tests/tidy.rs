//! The rules of this repository that a reader's eye would miss, held by a test: each is a function
//! over the source files that returns its complaints, and each is shown by a small wrong example to
//! be able to fail.
//!
//! It reads every `.rs` file below the repository's root but builds nothing; what a file means to
//! the compiler is clippy's business.

mod tidy {
    pub mod circles;
    pub mod memory;
    pub mod names;
    pub mod proofs;
    pub mod shape;
    pub mod source;
    pub mod twins;
    pub mod width;
    pub mod words;
}

use tidy::source::{Source, pages, read, tree};
use tidy::{circles, memory, names, proofs, shape, twins, width, words};

/// The files that may hold `unsafe`: those that mint memory, call the kernel, or count allocations.
/// Extend it on purpose.
const UNSAFE_FILES: &[&str] = &[
    "compare/src/heap.rs",
    "compare/src/memory.rs",
    "compare/src/objects/server/sendfile.rs",
    "compare/src/objects/usage.rs",
    "compare/src/ring/allocators.rs",
    "compare/src/ring/byte_rings.rs",
    "compare/src/two_threads/arc_ring.rs",
    "compare/src/two_threads/chunks.rs",
    "ingest/src/heap.rs",
    "ingest/src/io/queued.rs",
    "ingest/tests/serve_alloc.rs",
    "src/barrier.rs",
    "src/class/buffer.rs",
    "src/class/global.rs",
    "src/class/memory.rs",
    "src/class/put.rs",
    "src/class/threads.rs",
    "src/machine/kernel.rs",
    "src/machine/pin.rs",
    "src/pipeline/column.rs",
    "src/pipeline/slice_ring.rs",
    "src/pipeline/syscalls.rs",
    "src/pipeline/view.rs",
    "src/process.rs",
    "src/queue/ring.rs",
    "src/region/holes.rs",
    "src/region/holes/tests.rs",
    "src/region/map.rs",
    "src/region/map/tests.rs",
    "src/region/reserve.rs",
    "src/ring/grant.rs",
    "src/ring/memory.rs",
    "src/ring/owner.rs",
    "src/ring/pool.rs",
    "src/ring/rows.rs",
    "src/ring/slice.rs",
    "tests/class_no_alloc.rs",
    "tests/class_print.rs",
    "tests/class_zeroed.rs",
    "tests/lane_fork.rs",
    "tests/lane_no_alloc.rs",
    "tests/support/src/fork.rs",
    "tests/support/src/membarrier.rs",
];

#[track_caller]
fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn each(rule: impl Fn(&Source) -> Vec<String>) -> Vec<String> {
    tree().iter().flat_map(rule).collect()
}

#[test]
fn twins_apply() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/twins");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let twins: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "twin")).collect();
    let name = |path: &std::path::Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    let stale = |path: &std::path::PathBuf| {
        twins::stale(&name(path), &std::fs::read_to_string(path).unwrap(), read)
    };
    let complaints: Vec<String> = twins.iter().flat_map(stale).collect();
    assert!(twins.len() > 100 && complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn the_tree_is_found() {
    let files = tree();
    for expected in [
        "src/lib.rs",
        "ingest/src/main.rs",
        "compare/src/main.rs",
        "tests/tidy.rs",
        "tests/tidy/source.rs",
    ] {
        assert!(files.iter().any(|file| file.path == expected), "{expected} wasn't found");
    }
}

#[test]
fn atomics_stand_in_sync_only() {
    assert_none(&each(memory::atomics));
}

#[test]
fn statics_hold_no_locks() {
    assert_none(&each(memory::static_locks));
}

#[test]
fn unsafe_stands_in_the_named_files_only() {
    assert_none(&memory::unsafe_files(&tree(), UNSAFE_FILES));
}

#[test]
fn unsafe_is_argued_by_invariants() {
    let (numbers, mut complaints) = memory::invariants(&read("docs/INVARIANTS.md"));
    complaints.extend(each(|file| memory::safety_comments(file, &numbers)));
    assert_none(&complaints);
}

#[test]
fn files_are_short() {
    assert_none(&each(shape::file_length));
    let files = tree();
    let medians = ["src/", "ingest/src/", "objects/src/", "compare/src/"];
    let complaints = medians.iter().flat_map(|prefix| shape::median_length(&files, prefix));
    assert_none(&complaints.collect::<Vec<_>>());
}

#[test]
fn functions_are_short() {
    assert_none(&each(shape::function_length));
}

#[test]
fn comments_and_pages_are_narrow() {
    let pages = pages();
    assert!(pages.iter().any(|path| path == "docs/INVARIANTS.md"), "{pages:?}");
    assert_none(&each(width::of_comments));
    let wrong = |path: &String| {
        let text = read(path);
        [width::of_page(path, &text), width::leading_markers(path, &text)].concat()
    };
    assert_none(&pages.iter().flat_map(wrong).collect::<Vec<_>>());
}

#[test]
fn files_form_no_circle() {
    assert_none(&circles::circles(&tree()));
}

#[test]
fn one_name_is_one_type() {
    assert_none(&names::doubled(&tree()));
}

#[test]
fn names_and_comments_say_what_is_done() {
    assert_none(&each(names::identifiers));
    assert_none(&each(names::phrases));
    let page = |path: &String| names::phrases_of_page(path, &read(path));
    assert_none(
        &pages()
            .iter()
            .filter(|path| *path != "docs/ORIGINS.md")
            .flat_map(page)
            .collect::<Vec<_>>(),
    );
}

#[test]
fn promises_name_tests_that_exist() {
    let files = tree();
    let semantics = read("docs/SEMANTICS.md");
    let rows = semantics.lines().filter(|line| line.contains(".rs: ")).count();
    assert!(rows >= 10, "{rows} failures have a test");
    let wrong = |path: &String| proofs::of_page(path, &read(path), &files);
    assert_none(&pages().iter().flat_map(wrong).collect::<Vec<_>>());
}

#[test]
fn no_file_is_dead() {
    assert_none(&shape::dead_files(&tree()));
}

#[test]
fn nothing_is_left_open() {
    assert_none(&each(words::forbidden));
}
