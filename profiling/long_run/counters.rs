//! Whether perf can count cycles, instructions and cache misses here, or only read a clock.

use std::path::Path;

/// The line about perf that a program prints before it runs. `devices` is the kernel's folder of
/// event sources.
pub fn line(devices: &Path) -> &'static str {
    if has_hardware_counters(devices) {
        "hardware counters: yes; perf record counts cycles by default"
    } else {
        "hardware counters: none (perf stat says <not supported>, as in most virtual machines): use perf record -e cpu-clock, or callgrind"
    }
}

/// The CPU's own event source is called `cpu` on x86-64, `cpu_core` beside `cpu_atom` where there
/// are two kinds, and `armv8_...` on ARM.
fn has_hardware_counters(devices: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(devices) else { return false };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.into_iter().any(|name| name == "cpu" || name == "cpu_core" || name.starts_with("armv8_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_counters_is_told_what_to_use() {
        let folder = std::env::temp_dir().join(format!("slipring-counters-{}", std::process::id()));
        for (name, counts) in [("software", false), ("cpu_atom_of_old", false), ("cpu", true)] {
            std::fs::create_dir_all(folder.join(name)).unwrap();
            assert_eq!(has_hardware_counters(&folder), counts, "{name}");
            assert_eq!(line(&folder).contains("cpu-clock"), !counts);
        }
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(!has_hardware_counters(&folder), "hidden by a container");
    }
}
