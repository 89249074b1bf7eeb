//! What the process holds in memory.

use std::fs;

/// Resident bytes of this process; 0 where the system doesn't tell.
pub fn resident_bytes() -> usize {
    of_status(&fs::read_to_string("/proc/self/status").unwrap_or_default())
}

fn of_status(status: &str) -> usize {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    kib.unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_it_in_kib() {
        assert_eq!(of_status("Name:\ta\nVmRSS:\t    1234 kB\nVmData:\t 1 kB\n"), 1234 << 10);
        assert_eq!((of_status(""), of_status("VmRSS: many")), (0, 0));
        assert!(resident_bytes() > 0);
    }
}
