//! The hot path has no locked instruction, no exchange with memory, no fence and no division. The
//! test reads the machine code of a release build.
//!
//! ```text
//!   cargo build --release --lib ─▶ objdump of the .rlib ─▶ the named functions of src/lib.rs ─▶ every instruction, every function they call
//! ```
//!
//! Calls aren't followed, so each must call a function that is named here as cold. Any other call
//! is refused like a locked instruction. The test needs `objdump` of binutils, which comes with the
//! C linker that cargo needs.

mod hot_path {
    pub mod listing;
    pub mod verdict;
}

use std::path::PathBuf;
use std::process::Command;

use hot_path::listing::{Function, functions};
use hot_path::verdict::{complaints, target};
use slipring::class::{ClassOptions, ClassPool};
use slipring::pipeline::{LaneSpec, Outcome, StageSpec, Started, View};
use slipring::queue::{QueueOptions, queue};
use slipring::ring::{RingOptions, RingPool};
use slipring_instructions::{
    alloc_push, alloc_slice, class_drop, class_get, drop_slice, lane_claim_push, queue_dequeue,
    queue_enqueue, release,
};

const CRATE: &str = "slipring_instructions";

/// What each function of src/lib.rs may call, by the end of a path. Each is called once per chunk
/// or more rarely.
const COLD: &[(&str, &[&str])] = &[
    ("alloc_push", &["Owner::make_room"]),
    // A slice of another pool is returned to the caller, who drops it.
    ("push_slice", &["ChunkRef::last_holder_gone"]),
    ("release", &[]),
    ("alloc_slice", &["Owner::make_room"]),
    // The last slice of a pool that was dropped.
    ("drop_slice", &["ChunkRef::last_holder_gone"]),
    // When the known room is used up, the stages' progress is read. A panic drops the slice.
    (
        "lane_claim_push",
        &[
            "Owner::make_room",
            "LaneRing<M>::make_room",
            "LaneRing<M>::find_slot",
            "ChunkRef::last_holder_gone",
        ],
    ),
    // An empty bin is filled from the class's store. A buffer of no class is direct.
    ("class_get", &["get::get_far", "Bin::enter_fenced"]),
    ("class_drop", &["put::put_far", "Bin::enter_fenced", "memset"]),
    // The other end's count is read once per round of the ring. An end that sleeps is woken. The
    // end of the queue and a refusal are reported.
    (
        "queue_enqueue",
        &[
            "Enqueuer::refused",
            "Inlet<T>::notify_slow",
            "Inlet<T>::try_push_slow",
            "barrier::full_fence",
        ],
    ),
    (
        "queue_dequeue",
        &[
            "Dequeuer::ended",
            "Outlet<T>::at_empty",
            "drop_in_place",
            "Sleeper::wake",
            "barrier::full_fence",
        ],
    ),
];

/// The functions of the release build.
fn compiled() -> Vec<Function> {
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--locked",
            "--release",
            "--lib",
            "--message-format=json",
            "--package",
            "slipring-instructions",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs, it runs this test");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let messages = String::from_utf8_lossy(&built.stdout);
    let quoted = messages.split('"').filter(|text| text.ends_with(".rlib"));
    let library = quoted.map(PathBuf::from).find(|path| path.to_string_lossy().contains(CRATE));
    let library = library.expect("cargo names the library that it built");
    // Relocations name the called functions, which the linker hasn't placed yet.
    let listed = Command::new("objdump")
        .args(["--disassemble", "--reloc", "--demangle", "--wide", "--no-show-raw-insn"])
        .arg(&library)
        .env("LC_ALL", "C")
        .output()
        .unwrap_or_else(|error| panic!("objdump doesn't run ({error}): install binutils"));
    assert!(listed.status.success(), "objdump: {}", String::from_utf8_lossy(&listed.stderr));
    functions(&String::from_utf8_lossy(&listed.stdout))
}

#[test]
fn the_hot_path_is_plain() {
    let all = compiled();
    let mut complained = String::new();
    for (name, cold) in COLD {
        let of_name: Vec<&Function> =
            all.iter().filter(|function| function.is(CRATE, name)).collect();
        assert_eq!(of_name.len(), 1, "{name} is {} times in the listing", of_name.len());
        let function = of_name[0];
        assert!(
            function.instructions.iter().any(|one| one.mnemonic() == "ret"),
            "{name} isn't whole: {function}"
        );
        let mut called: Vec<String> =
            function.instructions.iter().filter_map(|one| target(function, one)).collect();
        called.sort_unstable();
        called.dedup();
        println!(
            "{name}: {} instructions, calls {}",
            function.instructions.len(),
            called.join(", ")
        );
        let found = complaints(function, cold);
        if !found.is_empty() {
            complained += &format!("{}\n{function}\n", found.join("\n"));
        }
    }
    assert!(complained.is_empty(), "\n{complained}");
}

#[test]
fn the_named_functions_do_what_they_say() {
    let options = RingOptions { bytes: 16 << 10, max_slice_bytes: 512, ..RingOptions::default() };
    let mut pool = RingPool::new(&options).expect("16 KiB fit");
    let mut held = None;
    for op in 0..100 {
        let pushed = alloc_push(&mut pool, 512, op).expect("all before is released");
        assert_eq!(pool.view(&pushed).expect("it isn't released")[..8], op.to_le_bytes());
        release(&mut pool, pushed.sequence());
        assert!(pool.view(&pushed).is_none());
        let slice = alloc_slice(&mut pool, 512, op).expect("all before is dropped");
        assert_eq!(slice[..8], op.to_le_bytes());
        held.replace(slice).into_iter().for_each(drop_slice);
    }
    let classes = ClassPool::new(&ClassOptions::default()).expect("the default options are good");
    let (mut enqueuer, mut dequeuer) =
        queue(&classes, QueueOptions { messages: 4, bytes: 1 << 20 }).expect("so are these");
    for op in 0..100_u64 {
        let mut buf = class_get(&classes, 512).expect("there is no limit");
        buf[..8].copy_from_slice(&op.to_le_bytes());
        queue_enqueue(&mut enqueuer, buf).expect("it is empty");
        let message = queue_dequeue(&mut dequeuer).expect("it is open").expect("it holds one");
        assert_eq!(message[..8], op.to_le_bytes());
        class_drop(message.into_buf());
    }
    let spec = LaneSpec::new(options, 16).layer([StageSpec::inline("read")]);
    let Started { mut lane, mut stages, .. } = spec.start::<u64>().expect("16 KiB fit");
    let read = |view: View<'_, u64>| {
        assert_eq!(view.bytes()[..8], view.meta().to_le_bytes());
        Outcome::Done
    };
    lane.attach(stages.remove("read").expect("it was specified"), read).expect("it is inline");
    for op in 0..100 {
        assert_eq!(lane_claim_push(&mut lane, 512, op), Ok(op as i64));
        assert_eq!((lane.flush(), lane.poll().processed), (1, 1));
    }
}
