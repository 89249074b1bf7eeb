//! What lies in a data folder, row by row.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use slipring_ingest::sink::for_each_batch;

/// The rows of each lane, in sequence order; gaps and doubles are errors of the reader.
#[track_caller]
pub fn rows(data: &Path, dim: usize) -> BTreeMap<u32, Vec<Vec<f32>>> {
    let mut lanes: BTreeMap<u32, Vec<Vec<f32>>> = BTreeMap::new();
    let read = for_each_batch(data, |lane, _, values| {
        lanes.entry(lane).or_default().extend(values.chunks(dim).map(<[f32]>::to_vec));
    });
    read.unwrap_or_else(|error| panic!("{}: {error}", data.display()));
    lanes
}

/// The first components of all rows of lane 0: the ids of [`super::vector`].
#[track_caller]
pub fn ids(data: &Path, dim: usize) -> Vec<u32> {
    rows(data, dim).remove(&0).unwrap_or_default().iter().map(|row| row[0] as u32).collect()
}

/// Complete segments of a lane with their bytes, by name.
pub fn files(data: &Path, lane: u32) -> BTreeMap<PathBuf, Vec<u8>> {
    let folder = data.join(format!("lane-{lane}"));
    let entries =
        std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let complete = entries.filter(|path| path.extension().is_some_and(|ending| ending == "arrow"));
    complete.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}
