//! What the process holds in memory.

use std::fs;

/// Resident bytes of this process; 0 where the system doesn't tell.
pub fn resident_bytes() -> usize {
    of_status("VmRSS:", &fs::read_to_string("/proc/self/status").unwrap_or_default())
}

/// The most that this process ever held; 0 where the system doesn't tell.
pub fn peak_resident_bytes() -> usize {
    of_status("VmHWM:", &fs::read_to_string("/proc/self/status").unwrap_or_default())
}

fn of_status(name: &str, status: &str) -> usize {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    kib.unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_it_in_kib() {
        let status = "Name:\ta\nVmHWM:\t 1300 kB\nVmRSS:\t    1234 kB\nVmData:\t 1 kB\n";
        assert_eq!(
            (of_status("VmRSS:", status), of_status("VmHWM:", status)),
            (1234 << 10, 1300 << 10)
        );
        assert_eq!((of_status("VmRSS:", ""), of_status("VmRSS:", "VmRSS: many")), (0, 0));
        // The peak last: tests beside this one allocate meanwhile.
        let now = resident_bytes();
        assert!(now > 0 && peak_resident_bytes() >= now);
    }
}
