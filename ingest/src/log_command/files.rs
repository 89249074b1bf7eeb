//! The files of a lane, opened while a service may give them other names.

use std::io;
use std::path::Path;

use crate::log::{Disk, FileState, LaneFile, LogError, RealDisk, RealFile};
use crate::sink::LaneView;

/// What a file is called in lists.
pub(super) fn state_label(state: FileState) -> &'static str {
    match state {
        FileState::Sealed => "sealed",
        FileState::Live => "live",
        FileState::Damaged => "damaged",
        FileState::Torn => "torn",
        FileState::Apart => "apart",
        FileState::Copy => "copy",
        FileState::Foreign => "foreign",
    }
}

/// The path below the data folder.
pub(super) fn short<'a>(data: &Path, path: &'a Path) -> std::path::Display<'a> {
    path.strip_prefix(data).unwrap_or(path).display()
}

/// Opens a file that was found in a lane's folders. One that has been sealed since is opened under
/// its new name, unless that was found too. None if it is gone.
pub(super) fn open_found(
    disk: &RealDisk,
    lane: &LaneView,
    file: &LaneFile,
    found: &[LaneFile],
) -> Result<Option<(RealFile, LaneFile)>, LogError> {
    let mut file = file.clone();
    loop {
        match disk.open_to_read(&file.path) {
            Ok(opened) => return Ok(Some((opened, file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = lane.folders.sealed(file.first_sequence);
                let is_known = found.iter().any(|other| other.path == path);
                if file.state != FileState::Live || is_known {
                    return Ok(None);
                }
                file = LaneFile { path, state: FileState::Sealed, ..file };
            }
            Err(source) => return Err(LogError::Io { action: "open", path: file.path, source }),
        }
    }
}
