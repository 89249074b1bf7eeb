//! The memory that a service may come to hold, as one sum of its bounds, and whether the machine
//! has it.
//!
//! Each part is the bound that an option sets. The kernel's socket buffers and what the process
//! itself needs aren't in it.

use std::fmt;
use std::path::Path;

use super::options::ServeError;
use crate::units::Rounded;

/// One bound: what it is of, its bytes over all lanes, and the option that lowers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MemoryPart {
    pub(super) what: &'static str,
    pub(super) bytes: u64,
    pub(super) option: &'static str,
}

/// All bounds of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MemoryBounds {
    /// The largest first.
    parts: Vec<MemoryPart>,
    sum: u64,
}

/// What there is: bytes, and what limits them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MachineMemory {
    bytes: u64,
    of: String,
}

impl MemoryBounds {
    pub(super) fn new(mut parts: Vec<MemoryPart>) -> Self {
        parts.sort_by_key(|part| std::cmp::Reverse(part.bytes));
        // A sum beyond 64 bits is too large for any machine.
        let sum = parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.bytes));
        Self { parts, sum }
    }

    /// Refuses a sum that is more than there is.
    pub(super) fn check(&self, machine: &MachineMemory) -> Result<(), ServeError> {
        if self.sum <= machine.bytes {
            return Ok(());
        }
        let options: Vec<&str> = self.parts.iter().take(3).map(|part| part.option).collect();
        Err(ServeError::Refused(format!(
            "the service may come to hold {self}; {} has {}; lower {}",
            machine.of,
            Rounded(machine.bytes as usize),
            options.join(", ")
        )))
    }
}

impl fmt::Display for MemoryBounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of memory at most", Rounded(self.sum as usize))?;
        for (number, part) in self.parts.iter().filter(|part| part.bytes > 0).enumerate() {
            let before = if number == 0 { ": " } else { ", " };
            let MemoryPart { what, bytes, option } = part;
            write!(f, "{before}{} of {what} ({option})", Rounded(*bytes as usize))?;
        }
        Ok(())
    }
}

impl MachineMemory {
    /// This machine's memory, or what the process's control groups leave of it. None if neither is
    /// known.
    pub(super) fn read() -> Option<Self> {
        Self::read_at(Path::new("/proc"), Path::new("/sys/fs/cgroup"))
    }

    #[cfg(test)]
    pub(super) fn of(bytes: u64) -> Self {
        Self { bytes, of: "the machine".to_owned() }
    }

    fn read_at(proc: &Path, cgroups: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(proc.join("meminfo")).unwrap_or_default();
        let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kib: Option<u64> =
            total.and_then(|total| total.trim().trim_end_matches(" kB").parse().ok());
        let machine = kib
            .map(|kib| Self { bytes: kib.saturating_mul(1 << 10), of: "the machine".to_owned() });
        let groups = std::fs::read_to_string(proc.join("self/cgroup")).unwrap_or_default();
        let limits = groups.lines().flat_map(|line| group_limits(line, cgroups));
        limits.chain(machine).min_by_key(|memory| memory.bytes)
    }
}

/// The limits of one line of `/proc/self/cgroup`, from the group up to the mount. Inside a
/// container the mount may be the group itself, so folders that aren't there are skipped.
fn group_limits(line: &str, cgroups: &Path) -> Vec<MachineMemory> {
    let mut parts = line.splitn(3, ':');
    let (Some(_), Some(controllers), Some(group)) = (parts.next(), parts.next(), parts.next())
    else {
        return Vec::new();
    };
    let (mount, file) = if controllers.is_empty() {
        (cgroups.to_owned(), "memory.max")
    } else if controllers.split(',').any(|name| name == "memory") {
        (cgroups.join("memory"), "memory.limit_in_bytes")
    } else {
        return Vec::new();
    };
    let inside = group.trim_start_matches('/');
    let leaf = if inside.contains("..") { mount.clone() } else { mount.join(inside) };
    let folders = leaf.ancestors().take_while(|folder| folder.starts_with(&mount));
    let limit = |folder: &Path| {
        let path = folder.join(file);
        // "max" is no limit, and so is what version 1 writes for it, which is beyond any machine.
        let bytes = std::fs::read_to_string(&path).ok()?.trim().parse().ok()?;
        Some(MachineMemory { bytes, of: path.display().to_string() })
    };
    folders.filter_map(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(what: &'static str, bytes: u64, option: &'static str) -> MemoryPart {
        MemoryPart { what, bytes, option }
    }

    #[test]
    fn a_sum_that_is_too_large_names_its_parts() {
        let bounds = MemoryBounds::new(vec![
            part("pools", 64 << 20, "--pool"),
            part("answers", 3 << 30, "--output-bytes"),
            part("sinks", 0, "--data"),
            part("rings", 2 << 20, "--slots"),
        ]);
        assert!(bounds.check(&MachineMemory::of(4 << 30)).is_ok());
        let refused = bounds.check(&MachineMemory::of(2 << 30)).unwrap_err();
        assert_eq!(refused.exit_code(), 1);
        assert_eq!(
            refused.to_string(),
            "the service may come to hold 3.1 GiB of memory at most: 3 GiB of answers \
            (--output-bytes), 64 MiB of pools (--pool), 2 MiB of rings (--slots); the machine has \
            2 GiB; lower --output-bytes, --pool, --slots"
        );
    }

    #[test]
    fn a_sum_beyond_64_bits_is_too_large() {
        let bounds = MemoryBounds::new(vec![
            part("pools", u64::MAX, "--pool"),
            part("answers", u64::MAX, "--output-bytes"),
        ]);
        assert!(bounds.check(&MachineMemory::of(1 << 60)).is_err());
    }

    #[test]
    fn the_tightest_limit_counts() {
        let folder = tempfile::tempdir().unwrap();
        let (proc, cgroups) = (folder.path().join("proc"), folder.path().join("cgroup"));
        let write = |path: std::path::PathBuf, text: &str| {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let bytes = || MachineMemory::read_at(&proc, &cgroups).map(|memory| memory.bytes);
        assert_eq!(bytes(), None);
        write(proc.join("meminfo"), "MemTotal:        2048 kB\nMemFree: 1 kB\n");
        assert_eq!(bytes(), Some(2 << 20));
        write(proc.join("self/cgroup"), "5:cpu,memory:/old\n0::/a/b\n");
        assert_eq!(bytes(), Some(2 << 20));
        write(cgroups.join("a/b/memory.max"), "max\n");
        write(cgroups.join("a/memory.max"), "1048576\n");
        assert_eq!(bytes(), Some(1 << 20));
        write(cgroups.join("memory/old/memory.limit_in_bytes"), "4096\n");
        let found = MachineMemory::read_at(&proc, &cgroups).unwrap();
        assert!(found.bytes == 4096 && found.of.ends_with("memory.limit_in_bytes"), "{found:?}");
    }
}
