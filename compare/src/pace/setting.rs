//! What is compared: settings of the range engine, fixed ones and those that it chooses by itself.

use slipring_objects::RangeOptions;

/// A contender.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub name: &'static str,
    part_bytes: Option<u64>,
    concurrency: Option<usize>,
}

const MIB: u64 = 1 << 20;

/// The engine's default first; then one of the two fixed, then both.
pub const SETTINGS: [Setting; 9] = [
    Setting { name: "default", part_bytes: None, concurrency: None },
    Setting { name: "auto-x32", part_bytes: None, concurrency: Some(32) },
    Setting { name: "8MiB-auto", part_bytes: Some(8 * MIB), concurrency: None },
    Setting { name: "4MiB-x8", part_bytes: Some(4 * MIB), concurrency: Some(8) },
    Setting { name: "4MiB-x32", part_bytes: Some(4 * MIB), concurrency: Some(32) },
    Setting { name: "4MiB-x128", part_bytes: Some(4 * MIB), concurrency: Some(128) },
    Setting { name: "16MiB-x8", part_bytes: Some(16 * MIB), concurrency: Some(8) },
    Setting { name: "16MiB-x32", part_bytes: Some(16 * MIB), concurrency: Some(32) },
    Setting { name: "16MiB-x128", part_bytes: Some(16 * MIB), concurrency: Some(128) },
];

impl Setting {
    /// Retries are the defaults: a setting that the store refuses too often fails, as it would for
    /// a user.
    pub fn options(&self) -> RangeOptions {
        RangeOptions {
            part_bytes: self.part_bytes,
            concurrency: self.concurrency,
            ..RangeOptions::default()
        }
    }

    /// Whether the engine chooses nothing by itself.
    pub fn is_fixed(&self) -> bool {
        self.part_bytes.is_some() && self.concurrency.is_some()
    }
}
