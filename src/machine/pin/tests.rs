use super::*;

/// Runs `body` on a thread of its own, so that no other test inherits a pin. This thread reads the
/// mask first.
fn on_a_thread<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    CpuMask::read();
    std::thread::scope(|scope| scope.spawn(body).join().expect("the thread panicked"))
}

#[cfg(not(miri))]
#[test]
fn each_allowed_cpu_is_granted() {
    for &cpu in CpuMask::read().cpus() {
        let (report, seen) = on_a_thread(|| {
            (pin_current(cpu, PinPolicy::Require), core_affinity::get_core_ids().unwrap())
        });
        assert_eq!(report, Ok(PinReport { asked: Some(cpu), granted: Some(cpu), downgrade: None }));
        assert_eq!(seen, vec![CoreId { id: cpu }]);
    }
}

#[cfg(not(miri))]
#[test]
fn a_cpu_outside_the_mask_is_an_error_or_a_downgrade() {
    // 1024 and more would abort the process inside crate core_affinity.
    for cpu in [1023, 1024, 5000, MASK_CPUS_MAX, usize::MAX] {
        let allowed = CpuMask::read().cpus().to_vec();
        assert!(
            !allowed.contains(&cpu),
            "a machine with {cpu} CPUs: choose another id for this test"
        );
        let error = PinError::NoSuchCpu { cpu, allowed };
        assert_eq!(on_a_thread(|| pin_current(cpu, PinPolicy::Require)), Err(error.clone()));
        let report = on_a_thread(|| pin_current(cpu, PinPolicy::Prefer)).unwrap();
        assert_eq!((report.asked, report.granted), (Some(cpu), None));
        assert_eq!(report.downgrade, Some(PinDowngrade::Failed(error)));
        assert!(report.to_string().contains("choose one of them"), "{report}");
    }
}

#[cfg(not(miri))]
#[test]
fn the_kernel_refuses_a_cpu_that_the_mask_promised() {
    // A mask with CPUs that the machine doesn't have is like one that shrank after the start. Both
    // ways of pinning are tried.
    for cpu in [1000, 1030] {
        let stale = CpuMask { cpus: vec![cpu] };
        assert_eq!(
            on_a_thread(|| pin(cpu, &stale)),
            Err(PinError::Refused { cpu, errno: libc::EINVAL })
        );
    }
}

#[cfg(not(miri))]
#[test]
fn a_thread_inherits_a_pin_and_gets_the_mask_back() {
    let whole = CpuMask::read().cpus().to_vec();
    let (inherited, after) = on_a_thread(|| {
        pin_current(whole[0], PinPolicy::Require).unwrap();
        std::thread::scope(|scope| {
            let child = scope.spawn(|| {
                let inherited = cpus_of_current();
                assert!(unpin_current());
                (inherited, cpus_of_current())
            });
            child.join().unwrap()
        })
    });
    assert_eq!(inherited, vec![whole[0]]);
    assert_eq!(after, whole);
}

#[cfg(not(miri))]
#[test]
fn the_mask_is_what_it_was_before_the_pins() {
    let whole = CpuMask::read().clone();
    let seen = on_a_thread(|| {
        pin_current(whole.cpus()[0], PinPolicy::Require).unwrap();
        CpuMask::read().clone()
    });
    assert_eq!(seen, whole);
    assert!(whole.contains(whole.cpus()[0]) && !whole.contains(usize::MAX));
}

#[cfg(not(miri))]
#[test]
fn a_mask_that_is_too_short_grows() {
    assert_eq!(long_mask_of_current(WORD_BITS), CpuMask::read().cpus());
    assert_eq!(on_a_thread(|| long_mask_of_current(MASK_CPUS_MAX)), CpuMask::read().cpus());
    assert_eq!(long_mask_of_current(MASK_CPUS_MAX + 1), Vec::<usize>::new());
}

#[test]
fn masks_hold_what_is_put_in() {
    for cpus in [vec![0], vec![63, 64], vec![1, 1023, 1024, 4097]] {
        let words = mask_of(&cpus).unwrap();
        assert_eq!(words.len(), cpus.last().unwrap() / WORD_BITS + 1);
        assert_eq!(cpus_in(&words), cpus);
    }
    assert_eq!(mask_of(&[]), None);
    assert_eq!(mask_of(&[MASK_CPUS_MAX]), None);
    assert!(set_cpus_of_current(&[]).is_err());
}

#[cfg(miri)]
#[test]
fn under_miri_a_pin_is_a_downgrade() {
    let report = pin_current(0, PinPolicy::Require).unwrap();
    assert_eq!(report.downgrade, Some(PinDowngrade::NotUnderMiri));
    assert!(!unpin_current());
}

#[test]
fn reports_say_what_happened() {
    let granted = PinReport { asked: Some(2), granted: Some(2), downgrade: None };
    assert_eq!(granted.to_string(), "pinned: cpu 2");
    assert_eq!(PinReport::unpinned().to_string(), "pinned: no, not asked for");
    let error = PinError::NoSuchCpu { cpu: 9, allowed: vec![0, 1, 2, 5] };
    assert!(error.to_string().contains("cpu 9") && error.to_string().contains("0-2,5"), "{error}");
    let refused = PinError::Refused { cpu: 9, errno: libc::EPERM };
    assert!(refused.to_string().contains("allow sched_setaffinity"), "{refused}");
    assert_eq!(on_a_thread(|| CpuMask { cpus: vec![3, 4] }.to_string()), "3-4");
}
