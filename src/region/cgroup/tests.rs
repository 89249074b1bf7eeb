use super::*;
#[cfg(not(miri))]
use crate::region::fake::FakeMachine;

const V1_AND_EMPTY_V2: &str =
    "9:name=systemd:/\n8:pids:/\n4:memory:/batch/job-7\n3:cpuset:/\n0::/\n";

#[test]
fn memberships_of_both_versions() {
    assert_eq!(membership(V1_AND_EMPTY_V2), Membership { v1: Some("/batch/job-7"), v2: Some("/") });
    assert_eq!(membership("0::/system.slice/a:b.service\n").v2, Some("/system.slice/a:b.service"));
    assert_eq!(membership("5:cpu,memory:/x\n").v1, Some("/x"));
    assert_eq!(membership("nonsense\n7\n\n"), Membership { v1: None, v2: None });
    assert_eq!(membership("6:memory_recursive:/x\n"), Membership { v1: None, v2: None });
}

#[cfg(not(miri))]
#[test]
fn an_ancestor_can_be_the_tightest() {
    let machine = FakeMachine::new("cgroup-ancestor")
        .file("proc/self/cgroup", "0::/site/app/worker\n")
        .file("sys/fs/cgroup/site/memory.max", "1000000\n")
        .file("sys/fs/cgroup/site/memory.current", "900000\n")
        .file(
            "sys/fs/cgroup/site/memory.stat",
            "anon 1\ninactive_file 150000\nactive_file 50000\nslab 7\n",
        )
        .file("sys/fs/cgroup/site/app/memory.max", "max\n")
        .file("sys/fs/cgroup/site/app/memory.current", "12\n")
        .file("sys/fs/cgroup/site/app/worker/memory.max", "400000\n")
        .file("sys/fs/cgroup/site/app/worker/memory.current", "5000\n");
    let level = tightest(&machine.roots()).unwrap();
    assert_eq!(level.file, machine.sys("fs/cgroup/site/memory.max"));
    assert_eq!(
        (level.limit_bytes, level.used_bytes, level.room_bytes()),
        (1_000_000, 700_000, 300_000)
    );
}

#[cfg(not(miri))]
#[test]
fn version_1_has_its_own_names_and_word_for_unlimited() {
    let machine = FakeMachine::new("cgroup-v1")
        .file("proc/self/cgroup", V1_AND_EMPTY_V2)
        .file("sys/fs/cgroup/unified/cgroup.procs", "")
        .file("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
        .file("sys/fs/cgroup/memory/batch/memory.limit_in_bytes", "9223372036854771712\n")
        .file("sys/fs/cgroup/memory/batch/job-7/memory.limit_in_bytes", "500000\n")
        .file("sys/fs/cgroup/memory/batch/job-7/memory.usage_in_bytes", "90000\n")
        .file(
            "sys/fs/cgroup/memory/batch/job-7/memory.stat",
            "inactive_file 1\ntotal_inactive_file 30000\n",
        );
    let level = tightest(&machine.roots()).unwrap();
    assert_eq!(level.file, machine.sys("fs/cgroup/memory/batch/job-7/memory.limit_in_bytes"));
    assert_eq!(level.room_bytes(), 440_000);
}

#[cfg(not(miri))]
#[test]
fn in_a_container_the_mount_itself_is_the_limit() {
    for path in ["/docker/0123abcd", "/../../host.slice/other", "/"] {
        let machine = FakeMachine::new(&format!("cgroup-container-{}", path.len()))
            .file("proc/self/cgroup", &format!("4:memory:{path}\n0::{path}\n"))
            .file("sys/fs/cgroup/memory/memory.limit_in_bytes", "700000\n");
        let level = tightest(&machine.roots()).unwrap();
        assert_eq!((level.limit_bytes, level.used_bytes), (700_000, 0), "{path}");
    }
}

#[cfg(not(miri))]
#[test]
fn without_files_there_is_no_limit() {
    let machine = FakeMachine::new("cgroup-none").file("proc/self/cgroup", "0::/\n");
    assert_eq!(tightest(&machine.roots()), None);
    assert_eq!(tightest(&FakeMachine::new("cgroup-nothing").roots()), None);
}

#[cfg(not(miri))]
#[test]
fn more_in_use_than_allowed_is_no_room() {
    let machine = FakeMachine::new("cgroup-over")
        .file("proc/self/cgroup", "0::/a\n")
        .file("sys/fs/cgroup/a/memory.max", "1000\n")
        .file("sys/fs/cgroup/a/memory.current", "2000\n");
    assert_eq!(tightest(&machine.roots()).unwrap().room_bytes(), 0);
}
