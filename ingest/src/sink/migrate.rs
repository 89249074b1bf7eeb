//! Folders of earlier versions get this version's names.
//!
//! ```text
//!   each lane:  lane-K/*.part, *.torn ──▶ .slipring/lane=K/    then  lane-K ──▶ lane=K
//!   then:       .slipring/record.json written    slipring.json removed    slipring.lock removed
//! ```
//! Every step is one rename, one file written or one file removed, and a later step begins when the
//! earlier ones are on the disk. So a crash between two of them leaves a folder that can be read,
//! and that the next start continues to migrate. The caller holds both locks.

use std::fs;
use std::io;
use std::path::Path;

use super::files::{self, DataMode};
use super::record::{self, Record};
use super::{SinkError, layout};

/// Whether anything in the folder has the name that an earlier version gave it.
pub(super) fn is_old(dir: &Path) -> Result<bool, SinkError> {
    Ok(files::is_there(&layout::old_record(dir))?
        || files::is_there(&layout::old_lock(dir))?
        || !layout::old_lanes(dir)?.is_empty())
}

/// Migrates a folder. Calls `before_step` before each change, for tests: an error from it stops the
/// migration there, as a crash would.
pub(super) fn migrate(
    dir: &Path,
    record: &Record,
    mode: DataMode,
    before_step: &mut dyn FnMut() -> Result<(), SinkError>,
) -> Result<(), SinkError> {
    for (lane, old) in layout::old_lanes(dir)? {
        move_lane(dir, lane, &old, mode, before_step)?;
    }
    before_step()?;
    record::write(dir, record, mode)?;
    for path in [layout::old_record_new(dir), layout::old_record(dir), layout::old_lock(dir)] {
        before_step()?;
        remove(&path)?;
        files::sync_folder(dir)?;
    }
    Ok(())
}

fn move_lane(
    dir: &Path,
    lane: u32,
    old: &Path,
    mode: DataMode,
    before_step: &mut dyn FnMut() -> Result<(), SinkError>,
) -> Result<(), SinkError> {
    let (new, open) = (layout::lane_folder(dir, lane), layout::open_folder(dir, lane));
    files::check_folder(old)?;
    if files::is_there(&new)? {
        return Err(SinkError::TwoFolders { path: old.into(), other: new });
    }
    before_step()?;
    files::create_folder(&open, mode)?;
    let mut unfinished = files::names(old)?;
    unfinished.retain(|name| layout::is_unfinished(name));
    for name in unfinished {
        before_step()?;
        let (from, to) = (old.join(&name), open.join(&name));
        if files::is_there(&to)? {
            return Err(SinkError::Exists { path: to });
        }
        fs::rename(&from, &to).map_err(SinkError::io("rename", &from))?;
    }
    files::sync_folder(&open)?;
    files::sync_folder(old)?;
    before_step()?;
    fs::rename(old, &new).map_err(SinkError::io("rename", old))?;
    files::sync_folder(dir)
}

fn remove(path: &Path) -> Result<(), SinkError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(SinkError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
