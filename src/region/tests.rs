//! Regions of every page kind, mapped on the machine that runs the tests, whatever it grants, and
//! on made-up machines.

use super::map::Mapping;
use super::report::granted;
use super::*;
#[cfg(not(miri))]
use crate::machine::fake::{FakeMachine, PAGE_BYTES};
use crate::machine::kernel::Roots;
use crate::machine::page_bytes;

#[cfg(not(miri))]
const MIB: usize = 1 << 20;

fn options(bytes: usize, pages: Pages) -> RegionOptions {
    RegionOptions { bytes, pages, ..RegionOptions::default() }
}

/// The downgrades that mean the same on any kernel and any number of nodes: not how the pages were
/// touched, nor on which node they are.
#[cfg(not(miri))]
fn granted_less(report: &RegionReport) -> Vec<Downgrade> {
    let elsewhere = |downgrade: &&Downgrade| {
        matches!(
            downgrade,
            Downgrade::TouchedByLoop | Downgrade::Elsewhere { .. } | Downgrade::Unbound { .. }
        )
    };
    report.downgrades.iter().filter(|downgrade| !elsewhere(downgrade)).cloned().collect()
}

/// The line `VmFlags` of a region.
#[cfg(not(miri))]
fn flags(region: &Region) -> Vec<String> {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let opening = format!("{:x}-", region.base().addr());
    let lines = smaps.lines().skip_while(|line| !line.starts_with(&opening));
    let line = lines.map(|line| line.strip_prefix("VmFlags:")).find(Option::is_some);
    line.flatten().expect("no flags").split_whitespace().map(str::to_owned).collect()
}

#[test]
fn sizes_that_cannot_be_are_errors() {
    assert_eq!(Region::map(&options(0, Pages::Small)).unwrap_err(), RegionError::ZeroBytes);
    for asked_bytes in [usize::MAX, isize::MAX as usize, usize::MAX - 4095] {
        let error = Region::map(&options(asked_bytes, Pages::Small)).unwrap_err();
        assert_eq!(error, RegionError::TooLarge { asked_bytes });
        assert!(error.to_string().contains("ask for less"), "{error}");
    }
}

#[test]
fn a_length_is_rounded_up_to_a_page() {
    let page = page_bytes();
    for (asked, usable) in [(1, page), (page, page), (page + 1, 2 * page)] {
        let region = Region::map(&options(asked, Pages::Small)).unwrap();
        assert_eq!(region.bytes(), usable);
        assert_eq!((region.report().asked_bytes, region.report().mapped_bytes), (asked, usable));
        assert_eq!(region.report().pages.small_bytes, usable);
        assert!(region.base().addr().get().is_multiple_of(page));
    }
}

#[test]
fn a_region_may_be_used_and_dropped_on_another_thread() {
    fn is_send_and_sync<T: Send + Sync>(_: &T) {}
    let region = Region::map(&options(64 << 10, Pages::Small)).unwrap();
    is_send_and_sync(&region);
    let bytes = std::thread::spawn(move || {
        let bytes = region.bytes();
        drop(region);
        bytes
    });
    assert_eq!(bytes.join().unwrap(), 64 << 10);
}

#[test]
fn page_words_are_read_back() {
    for word in ["4k", "prefer-thp", "prefer-2m", "prefer-1g", "require-2m", "require-1g"] {
        assert_eq!(word.parse::<Pages>().unwrap().to_string(), word);
    }
    let error = "2M".parse::<Pages>().unwrap_err();
    assert!(error.to_string().contains("\"2M\" isn't one of 4k, prefer-thp"), "{error}");
}

#[cfg(not(miri))]
#[test]
fn small_pages_are_all_small() {
    let region = Region::map(&options(4 * MIB, Pages::Small)).unwrap();
    let report = region.report();
    assert_eq!(report.pages, PagesGranted { small_bytes: 4 * MIB, ..PagesGranted::default() });
    assert_eq!(granted_less(report), vec![]);
    assert!(report.touch_ns > 0);
    assert!(report.to_string().contains("pages: 4 MiB in base pages"), "{report}");
}

/// Whatever this machine grants, all of it is resident, and what it didn't grant is in the
/// downgrades.
#[cfg(not(miri))]
#[test]
fn every_preference_is_granted_or_reported() {
    for (pages, bytes) in
        [(Pages::PreferThp, 3 * MIB), (Pages::Prefer2M, 3 * MIB), (Pages::Prefer1G, 3 * MIB)]
    {
        let region = Region::map(&options(bytes, pages)).unwrap();
        let report = region.report();
        assert_eq!(region.bytes(), bytes, "{pages}");
        assert_eq!(report.pages.total_bytes(), report.mapped_bytes, "{pages}: {report}");
        let granted = match pages {
            Pages::PreferThp => report.pages.thp_bytes,
            Pages::Prefer2M => report.pages.huge_2m_bytes,
            _ => report.pages.huge_1g_bytes,
        };
        assert_eq!(
            granted < report.mapped_bytes,
            !granted_less(report).is_empty(),
            "{pages}: {report}"
        );
        for downgrade in &report.downgrades {
            assert!(report.to_string().contains(&format!("\ndowngrade: {downgrade}")), "{report}");
        }
    }
}

#[cfg(not(miri))]
#[test]
fn transparent_huge_pages_are_mapped_aligned_and_whole() {
    let region = Region::map(&options(5 * MIB, Pages::PreferThp)).unwrap();
    assert!(region.base().addr().get().is_multiple_of(2 * MIB));
    assert_eq!((region.bytes(), region.report().mapped_bytes), (5 * MIB, 6 * MIB));
    let unknown = |downgrade: &Downgrade| {
        matches!(
            downgrade,
            Downgrade::SmallPages { cause: SmallPagesCause::Unsupported { .. }, .. }
        )
    };
    let advised = flags(&region).contains(&"hg".to_owned());
    assert!(advised != region.report().downgrades.iter().any(unknown), "{}", region.report());
}

#[cfg(not(miri))]
#[test]
fn required_pages_that_are_not_reserved_are_an_error() {
    let machine = FakeMachine::new("region-unreserved")
        .file("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "1\n")
        .file("proc/meminfo", "MemAvailable: 100000000 kB\n");
    for (pages, kib) in [(Pages::Require2M, 2048), (Pages::Require1G, 1_048_576)] {
        let error = Region::map_within(&options(1 << 31, pages), &machine.roots()).unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, RegionError::HugePages { .. } | RegionError::NoHugePages { .. }),
            "{pages} was refused for another reason: {text}"
        );
        assert!(
            text.contains(&format!("hugepages-{kib}kB/nr_hugepages"))
                && text.contains("prefer-thp"),
            "{text}"
        );
    }
}

/// The made-up pool promises pages. If the real pool has them, they must be granted. If it doesn't,
/// the kernel's refusal must become a step down or the error.
#[cfg(not(miri))]
#[test]
fn reserved_pages_are_granted_or_refused_by_the_kernel() {
    let machine = FakeMachine::new("region-pool")
        .file("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "512\n")
        .file("sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages", "0\n");
    let map = |pages| Region::map_within(&options(3 * MIB, pages), &machine.roots_with_real_proc());
    match map(Pages::Require2M) {
        Ok(region) => {
            let pages = PagesGranted { huge_2m_bytes: 4 * MIB, ..PagesGranted::default() };
            assert_eq!((region.report().pages, region.report().locked_bytes), (pages, 4 * MIB));
            assert_eq!(granted_less(region.report()), vec![]);
        }
        Err(cause) => {
            let kind = PageKind::Huge2M;
            // A kernel without reserved pages has another number for it.
            assert!(
                matches!(cause, RegionError::Map { mapped_bytes, .. } if mapped_bytes == 4 * MIB),
                "{cause}"
            );
            let report = map(Pages::Prefer2M).unwrap().report().clone();
            assert_eq!(
                report.downgrades.first(),
                Some(&Downgrade::Pages { wanted: kind, cause }),
                "{report}"
            );
            assert_eq!(report.pages.total_bytes(), 4 * MIB, "{report}");
        }
    }
}

#[cfg(not(miri))]
#[test]
fn neighbours_of_one_kind_are_reported_apart() {
    let regions: Vec<Region> = (0..4)
        .map(|_| {
            Region::map(&RegionOptions { fork: true, dump: true, ..options(MIB, Pages::Small) })
                .unwrap()
        })
        .collect();
    for region in &regions {
        assert_eq!(region.report().pages.small_bytes, MIB, "{}", region.report());
    }
}

#[cfg(not(miri))]
#[test]
fn dumps_and_forks_leave_the_region_out_unless_asked() {
    for (dump, fork) in [(false, false), (false, true), (true, false), (true, true)] {
        let region =
            Region::map(&RegionOptions { dump, fork, ..options(64 << 10, Pages::Small) }).unwrap();
        let flags = flags(&region);
        assert_eq!(flags.contains(&"dd".to_owned()), !dump, "dump {dump}: {flags:?}");
        let (wiped, left_out) =
            (flags.contains(&"wf".to_owned()), flags.contains(&"dc".to_owned()));
        assert_eq!(wiped || left_out, !fork, "fork {fork}: {flags:?}");
    }
}

#[cfg(not(miri))]
#[test]
fn a_lock_is_reported_or_its_refusal_is() {
    let preferred =
        Region::map(&RegionOptions { lock: Lock::Prefer, ..options(MIB, Pages::Small) }).unwrap();
    let report = preferred.report();
    let refused = granted_less(report);
    match refused.as_slice() {
        [] => assert_eq!(report.locked_bytes, MIB, "{report}"),
        [Downgrade::Unlocked { .. }] => assert_eq!(report.locked_bytes, 0, "{report}"),
        _ => panic!("{report}"),
    }
    let required =
        Region::map(&RegionOptions { lock: Lock::Require, ..options(MIB, Pages::Small) });
    assert_eq!(required.is_ok(), refused.is_empty());
    let off = Region::map(&options(MIB, Pages::Small)).unwrap();
    assert_eq!(off.report().locked_bytes, 0);
}

#[cfg(not(miri))]
#[test]
fn a_lock_past_its_limit_is_an_error_or_a_downgrade() {
    let machine = FakeMachine::new("region-lock")
        .file("proc/self/limits", "Max locked memory         65536      65536      bytes\n")
        .file("proc/self/status", "VmLck:\t   0 kB\nCapEff:\t0000000000000000\n");
    let cause = RegionError::LockedMemory { asked_bytes: MIB, limit_bytes: 65536, used_bytes: 0 };
    let map = |lock| {
        Region::map_within(&RegionOptions { lock, ..options(MIB, Pages::Small) }, &machine.roots())
    };
    assert_eq!(map(Lock::Require).unwrap_err(), cause);
    let report = map(Lock::Prefer).unwrap().report().clone();
    // The made-up machine has no smaps either, so nothing could be read back.
    assert_eq!(granted_less(&report), vec![Downgrade::Unlocked { cause }, Downgrade::Unread]);
    assert!(report.to_string().contains("pages: unknown"), "{report}");
    assert!(map(Lock::Off).is_ok());
}

#[cfg(not(miri))]
#[test]
fn a_region_past_the_cgroup_limit_is_refused_before_it_is_mapped() {
    let machine = FakeMachine::new("region-cgroup")
        .file("proc/self/cgroup", "0::/site/app\n")
        .file("sys/fs/cgroup/site/memory.max", "8388608\n")
        .file("sys/fs/cgroup/site/memory.current", "4194304\n");
    // Not the reserved kinds: a machine that has such pages grants them, because this limit doesn't
    // count them.
    for pages in [Pages::Small, Pages::PreferThp] {
        let error = Region::map_within(&options(6 * MIB, pages), &machine.roots()).unwrap_err();
        assert!(
            matches!(error, RegionError::Cgroup { limit_bytes, .. } if limit_bytes == 8 * MIB),
            "{error}"
        );
        assert!(
            error.to_string().contains("site/memory.max allows 8 MiB, of which 4 MiB are in use"),
            "{error}"
        );
    }
    assert!(Region::map_within(&options(3 * MIB, Pages::Small), &machine.roots()).is_ok());
}

/// With every size of base pages that this machine can represent, whatever is asked for is mapped,
/// touched and reported.
#[cfg(not(miri))]
#[test]
fn regions_are_mapped_on_machines_with_larger_pages() {
    for page in PAGE_BYTES.into_iter().filter(|page| *page >= page_bytes()) {
        let machine = FakeMachine::new(&format!("region-pages-{page}")).pages_of(page);
        for (pages, bytes) in
            [(Pages::Small, 1), (Pages::Small, 3 * page + 1), (Pages::PreferThp, 5 * MIB)]
        {
            let region =
                Region::map_within(&options(bytes, pages), &machine.roots_with_real_proc())
                    .unwrap();
            assert_eq!(region.bytes(), bytes.next_multiple_of(page), "{pages} of {page}");
            let report = region.report();
            assert_eq!(
                report.pages.total_bytes(),
                report.mapped_bytes,
                "{pages} of {page}: {report}"
            );
            assert!(
                report.mapped_bytes.is_multiple_of(page)
                    && region.base().addr().get().is_multiple_of(page)
            );
        }
    }
}

#[test]
fn a_touch_by_loop_supplies_every_page() {
    let mapping = Mapping::new(PageKind::Small, 1 << 16, page_bytes()).unwrap();
    mapping.touch_by_loop();
    if cfg!(miri) {
        // Miri checked that the writes stay inside; it has no pages to count.
        return;
    }
    let smaps = Roots::system().read_proc("self/smaps").unwrap();
    let granted = granted(&smaps, mapping.addresses()).unwrap();
    assert_eq!(granted.pages.total_bytes(), 1 << 16);
}

/// The test starts itself again from a shell that limits the address space. There it must get our
/// error and not the kernel's, and must still map what fits.
#[cfg(not(miri))]
#[test]
fn a_process_with_little_address_space_is_refused_with_the_figures() {
    const ROLE: &str = "SLIPRING_TEST_CHILD";
    const LIMIT_BYTES: usize = 2 << 30;
    if std::env::var_os(ROLE).is_some() {
        let error = Region::map(&options(4 << 30, Pages::PreferThp)).unwrap_err();
        let RegionError::AddressSpace { asked_bytes, limit_bytes, used_bytes } = error else {
            panic!("{error}")
        };
        assert!(
            asked_bytes > 4 << 30
                && limit_bytes == LIMIT_BYTES
                && used_bytes > 0
                && used_bytes < LIMIT_BYTES
        );
        assert_eq!(
            Mapping::new(PageKind::Small, 4 << 30, page_bytes()).err(),
            Some(libc::ENOMEM),
            "the limit is real"
        );
        assert!(Region::map(&options(4 * MIB, Pages::PreferThp)).is_ok());
        return;
    }
    let test = std::env::current_exe().unwrap();
    let name = "region::tests::a_process_with_little_address_space_is_refused_with_the_figures";
    let child = std::process::Command::new("sh")
        .args([
            "-c",
            "ulimit -v \"$1\" && exec \"$2\" --exact \"$3\" --nocapture --test-threads=1",
            "sh",
        ])
        .args([&(LIMIT_BYTES >> 10).to_string(), test.to_str().unwrap(), name])
        .env(ROLE, "1")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && output.contains("1 passed"),
        "{output}{}",
        String::from_utf8_lossy(&child.stderr)
    );
}
