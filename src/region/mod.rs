//! stand-in until the region branch lands
#![allow(unsafe_code, missing_docs)]
use std::ptr::NonNull;
#[derive(Clone, Copy, Debug, Default)]
pub enum Pages {
    Small,
    #[default]
    PreferThp,
}
#[derive(Clone, Copy, Debug, Default)]
pub enum Lock {
    #[default]
    Off,
}
#[derive(Clone, Copy, Debug, Default)]
pub enum Numa {
    #[default]
    Local,
}
#[derive(Clone, Debug, Default)]
pub struct RegionOptions {
    pub bytes: usize,
    pub pages: Pages,
    pub lock: Lock,
    pub numa: Numa,
}
#[derive(Debug)]
pub struct Region {
    map: memmap2::MmapRaw,
    report: RegionReport,
}
#[derive(Debug)]
pub struct RegionReport;
#[derive(Debug)]
pub enum RegionError {
    Io(std::io::Error),
}
impl std::fmt::Display for RegionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}
impl std::error::Error for RegionError {}
impl Region {
    pub fn map(o: &RegionOptions) -> Result<Self, RegionError> {
        memmap2::MmapOptions::new()
            .len(o.bytes)
            .map_anon()
            .map(|m| Self { map: m.into(), report: RegionReport })
            .map_err(RegionError::Io)
    }
    pub fn bytes(&self) -> usize {
        self.map.len()
    }
    pub fn report(&self) -> &RegionReport {
        &self.report
    }
    pub(crate) fn base(&self) -> NonNull<u8> {
        NonNull::new(self.map.as_mut_ptr()).unwrap()
    }
}
pub struct Topology;
impl Topology {
    pub fn read() -> Self {
        Self
    }
    pub fn l3_bytes(&self) -> Option<usize> {
        Some(32 << 20)
    }
}
pub fn window_default_bytes(l3: Option<usize>, lanes: usize) -> usize {
    l3.map_or(4 << 20, |l| (l / 2 / lanes).min(4 << 20))
}
