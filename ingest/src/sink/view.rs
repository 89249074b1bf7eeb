//! A data folder as it is: nothing is created, locked or changed, and a service may work in it.
//!
//! What is recorded says what rows hold. Where nothing is, as in a copy of the lanes alone, the
//! files say it. Folders of earlier versions are found under their names.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::record::{self, Record};
use super::{DataMode, SinkError, files, layout, migrate};
use crate::log::{Disk, LogFolders, RealDisk, RowShape, shape_in};

/// The folders of a lane.
#[derive(Clone, Debug)]
pub struct LaneView {
    /// Its number.
    pub lane: u32,
    /// Its folders, which may be missing. An earlier version has one for all files.
    pub folders: LogFolders,
}

/// A data folder as it is.
#[derive(Clone, Debug)]
pub struct FolderView {
    /// Its path.
    pub path: PathBuf,
    /// What rows hold; None if no file says it, so that there are no rows.
    pub shape: Option<RowShape>,
    /// Whether an earlier version wrote it, and none of this one since.
    pub is_old: bool,
    /// Its lanes, in ascending order.
    pub lanes: Vec<LaneView>,
}

impl FolderView {
    /// Looks at the folder at `path`.
    ///
    /// # Errors
    /// No data folder, two folders of one lane, a record of another version, one of our names that
    /// is something else, and system errors.
    pub fn look(path: &Path) -> Result<Self, SinkError> {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SinkError::Missing { path: path.into() });
            }
            Err(error) if error.kind() != io::ErrorKind::NotADirectory => {
                return Err(SinkError::io("look at", path)(error));
            }
            _ => return Err(SinkError::NotAFolder { path: path.into() }),
        }
        let lanes = lanes(path)?;
        let recorded = record::read(path)?;
        if recorded.is_none() && lanes.is_empty() {
            let why = "there is no record here, and no lane's folder".to_owned();
            return Err(SinkError::Record { path: layout::record(path), why });
        }
        let shape = match recorded {
            Some(Record { dim, columns }) => Some(RowShape { dim, columns }),
            None => shape_of_files(&lanes),
        };
        let is_old = migrate::is_old(path)?;
        Ok(Self { path: path.into(), shape, is_old, lanes })
    }
}

fn lanes(path: &Path) -> Result<Vec<LaneView>, SinkError> {
    let own = layout::own(path);
    let open = if files::is_there(&own)? { layout::lanes(&own)? } else { Vec::new() };
    let complete = layout::lanes(path)?;
    for (_, folder) in open.iter().chain(&complete) {
        files::check_folder(folder)?;
    }
    let mut numbers: Vec<u32> = open.iter().chain(&complete).map(|(lane, _)| *lane).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let found = |folders: &[(u32, PathBuf)], lane| {
        folders.iter().find(|(number, _)| *number == lane).map(|(_, folder)| folder.clone())
    };
    let view = |lane| {
        let complete_folder = found(&complete, lane);
        let of_lane = layout::lane_folder(path, lane);
        let complete = complete_folder.unwrap_or_else(|| of_lane.clone());
        let open = found(&open, lane).unwrap_or_else(|| match complete == of_lane {
            true => layout::open_folder(path, lane),
            false => complete.clone(),
        });
        LaneView { lane, folders: LogFolders { open, complete } }
    };
    Ok(numbers.into_iter().map(view).collect())
}

/// What the first file says that says anything.
fn shape_of_files(lanes: &[LaneView]) -> Option<RowShape> {
    let disk = RealDisk::new(DataMode::default());
    let files = lanes.iter().flat_map(|lane| lane.folders.files(&disk).unwrap_or_default());
    files.into_iter().find_map(|file| shape_in(&disk.open_to_read(&file.path).ok()?, &file.path))
}
