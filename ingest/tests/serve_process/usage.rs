//! Usage that is refused: exit code 2, and the option by its name.

use crate::support::process::{Place, refused, serve};

#[test]
fn what_no_memory_could_hold_is_usage() {
    let place = Place::new();
    let cases: [(&str, &[&str]); 9] = [
        // Smaller than one frame.
        ("--pool 512", &["--pool", "512"]),
        ("--pool 100KiB --max-vectors 65535", &["--pool", "102400"]),
        ("--slots 3", &["--slots", "3"]),
        ("--slots 1", &["--slots", "1"]),
        ("--window 1", &["--window", "1"]),
        ("--segment-bytes 0", &["--segment-bytes", "0"]),
        // The answers that a connection may be owed, and the scores of a ring.
        ("--in-flight 65536 --max-vectors 65535 --pool 64MiB", &["--in-flight", "--max-vectors"]),
        ("--slots 8388608 --max-vectors 65535 --in-flight 1 --pool 64MiB", &["--slots", "--max-vectors"]),
        ("--reclaim overwrite --slots 4096 --pool 64KiB", &["--pool", "at least"]),
    ];
    for (words, names) in cases {
        println!("{words}");
        refused(serve(&place.words(words)), 2, names);
    }
}
