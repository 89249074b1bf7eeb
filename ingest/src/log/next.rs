//! The file that keeps a lane's sequences from being given twice: `next`.
//!
//! It says that no sequence below `next` is free, whatever became of the segments that held them,
//! and whether the log was closed: then none was given beyond. It is replaced as a whole, by a file
//! that is synced before it gets its name. One whose bytes are damaged says that the end was
//! unclean.
//!
//! `next.kept` is a copy that is made before the last sealed segment of a lane is removed for its
//! age: with the segments gone, one damaged file must not lose the sequences.

use std::io;
use std::path::PathBuf;

use serde_json::Value;

use super::disk::{Disk, read_enough};
use super::error::LogError;
use super::fields::crc32c;
use super::names::{LogFolders, replace};

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NextFile {
    pub next_sequence: u64,
    /// Whether the log was closed, with everything sealed.
    pub is_clean: bool,
}

const FORMAT: u64 = 1;
const BYTES_MAX: usize = 4096;

impl NextFile {
    const DAMAGED: Self = Self { next_sequence: 0, is_clean: false };

    /// What a lane's file says, if it is there, and no less than the copy says.
    pub fn read<D: Disk>(disk: &D, folders: &LogFolders) -> Result<Option<Self>, LogError> {
        let read = |path: PathBuf| -> Result<_, LogError> {
            Ok(Self::read_at(disk, path)?.map(|said| said.unwrap_or(Self::DAMAGED)))
        };
        let said = read(folders.next())?;
        let Some(kept) = read(folders.next_kept())? else { return Ok(said) };
        let said = said.unwrap_or(Self::DAMAGED);
        Ok(Some(Self { next_sequence: said.next_sequence.max(kept.next_sequence), ..said }))
    }

    /// What one of the files says, if it is there; None inside for one that is damaged.
    fn read_at<D: Disk>(disk: &D, path: PathBuf) -> Result<Option<Option<Self>>, LogError> {
        let file = match disk.open_to_read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LogError::io("open", &path)(error)),
        };
        let mut bytes = [0; BYTES_MAX];
        let read = read_enough(&file, &mut bytes, 0, BYTES_MAX);
        let read = read.map_err(LogError::io("read", &path))?;
        let value = serde_json::from_slice::<Value>(&bytes[..read]).unwrap_or_default();
        if let Some(found) = value["format"].as_u64().filter(|found| *found > FORMAT) {
            let found = u32::try_from(found).unwrap_or(u32::MAX);
            return Err(LogError::NewerVersion { path, found, known: FORMAT as u32 });
        }
        let said = value["next"].as_u64().zip(value["clean"].as_bool());
        let said = said.map(|(next_sequence, is_clean)| Self { next_sequence, is_clean });
        Ok(Some(said.filter(|said| value["crc"] == said.checksum())))
    }

    /// Replaces a lane's file. Returns once the new one is on the disk.
    pub fn write<D: Disk>(&self, disk: &D, folders: &LogFolders) -> Result<(), LogError> {
        self.write_at(disk, folders, folders.next())
    }

    /// Makes the copy that stays when the last segment goes, which ends before `next_sequence`.
    pub fn write_kept<D: Disk>(
        disk: &D,
        folders: &LogFolders,
        next_sequence: u64,
    ) -> Result<(), LogError> {
        let said = Self::read(disk, folders)?.map_or(0, |said| said.next_sequence);
        let kept = Self { next_sequence: said.max(next_sequence), is_clean: false };
        kept.write_at(disk, folders, folders.next_kept())
    }

    fn write_at<D: Disk>(
        &self,
        disk: &D,
        folders: &LogFolders,
        path: PathBuf,
    ) -> Result<(), LogError> {
        let new = folders.next_new();
        let text = serde_json::json!({
            "format": FORMAT,
            "next": self.next_sequence,
            "clean": self.is_clean,
            "crc": self.checksum(),
        });
        replace(disk, folders, &path, &new, format!("{text}\n").as_bytes())
    }

    fn checksum(&self) -> String {
        let text = format!("{FORMAT} {} {}", self.next_sequence, self.is_clean);
        format!("{:08x}", crc32c(text.as_bytes()))
    }
}

impl LogFolders {
    /// The lane's file of the next sequence, or its copy, if one of them is damaged.
    ///
    /// # Errors
    /// System errors, and a file of a later version.
    pub fn damaged_next<D: Disk>(&self, disk: &D) -> Result<Option<PathBuf>, LogError> {
        for path in [self.next(), self.next_kept()] {
            if NextFile::read_at(disk, path.clone())? == Some(None) {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }
}
