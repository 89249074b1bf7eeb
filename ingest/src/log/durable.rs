//! How far the live segment is durable, for readers of it: the lane's file `durable`.
//!
//! A record's header says how far its file was durable when the record was made, so the last
//! records of a lane that has become idle are never named there. This file names them. It is
//! written over in place, not synced, and a while after the sync it tells of: a reader may be shown
//! less than what is durable, and never more. Its checksum tells a reader that has met a write to
//! read again, and its epoch what an earlier start left.
//!
//! In place, because a new file with its rename would bring blocks and names into the journal that
//! the next sync of the log has to wait for.

use std::io;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::disk::{Disk, ReadFrom, read_enough, write_on};
use super::error::LogError;
use super::fields::crc32c;
use super::names::LogFolders;

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurableMark {
    /// The epoch of the start that wrote the segment.
    pub epoch: u64,
    /// The first sequence of the segment.
    pub segment: u64,
    /// Bytes of its file that are durable.
    pub file_bytes: u64,
}

const FORMAT: u64 = 1;
/// The text is filled up to this length, so that one write replaces all of it.
const TEXT_BYTES: usize = 256;
/// How often a text with a wrong checksum is read again, and the pause before.
const READS: usize = 3;
const PAUSE: Duration = Duration::from_millis(1);

impl DurableMark {
    /// What a lane's file says; None if it isn't there or isn't whole.
    ///
    /// # Errors
    /// System errors.
    pub fn read<D: Disk>(disk: &D, folders: &LogFolders) -> Result<Option<Self>, LogError> {
        let path = folders.durable();
        let file = match disk.open_to_read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LogError::io("open", &path)(error)),
        };
        for _ in 0..READS {
            let mut bytes = [0; TEXT_BYTES];
            let read = read_enough(&file, &mut bytes, 0, TEXT_BYTES);
            let read = read.map_err(LogError::io("read", &path))?;
            if let Some(mark) = Self::of_text(&bytes[..read]) {
                return Ok(Some(mark));
            }
            thread::sleep(PAUSE);
        }
        Ok(None)
    }

    pub(super) fn of_text(text: &[u8]) -> Option<Self> {
        let value = serde_json::from_slice::<Value>(text).ok()?;
        let epoch = u64::from_str_radix(value["epoch"].as_str()?, 16).ok()?;
        let (segment, file_bytes) = (value["segment"].as_u64()?, value["bytes"].as_u64()?);
        let mark = Self { epoch, segment, file_bytes };
        (value["format"] == FORMAT && value["crc"] == mark.checksum()).then_some(mark)
    }

    fn text(&self) -> String {
        let value = serde_json::json!({
            "format": FORMAT,
            "epoch": format!("{:016x}", self.epoch),
            "segment": self.segment,
            "bytes": self.file_bytes,
            "crc": self.checksum(),
        });
        format!("{value:<width$}\n", value = value.to_string(), width = TEXT_BYTES - 1)
    }

    fn checksum(&self) -> String {
        let text = format!("{FORMAT} {:016x} {} {}", self.epoch, self.segment, self.file_bytes);
        format!("{:08x}", crc32c(text.as_bytes()))
    }
}

/// The file, as its writer holds it.
#[derive(Debug)]
pub(super) struct MarkFile<D: Disk> {
    /// The open file, and the segment for which it was opened.
    open: Option<(u64, D::File)>,
    last: Option<DurableMark>,
}

impl<D: Disk> MarkFile<D> {
    pub fn new() -> Self {
        Self { open: None, last: None }
    }

    /// Whether this was the last to be written, or to be tried.
    pub fn is_last(&self, mark: &DurableMark) -> bool {
        self.last.as_ref() == Some(mark)
    }

    /// Writes what is durable now. A disk that refuses keeps readers from seeing it, and the log
    /// from nothing.
    pub fn write(&mut self, disk: &D, folders: &LogFolders, mark: DurableMark) {
        self.last = Some(mark);
        // Somebody may have removed the file: a new segment opens it anew.
        if self.open.as_ref().is_none_or(|(segment, _)| *segment != mark.segment) {
            self.open = open(disk, folders).ok().map(|file| (mark.segment, file));
        }
        if let Some((_, file)) = &self.open
            && write_on(file, mark.text().as_bytes(), 0, &mut 0).is_err()
        {
            self.open = None;
        }
    }
}

fn open<D: Disk>(disk: &D, folders: &LogFolders) -> io::Result<D::File> {
    let path = folders.durable();
    match disk.open(&path, ReadFrom::Cache) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => disk.create_new(&path),
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::RealDisk;
    use crate::sink::DataMode;

    #[test]
    fn marks_are_read_as_they_are_written_and_only_whole_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let folders = LogFolders { open: path.clone(), complete: path };
        let disk = RealDisk::new(DataMode::default());
        assert_eq!(DurableMark::read(&disk, &folders).unwrap(), None);
        let mut file = MarkFile::new();
        let marks = [(0, 0, 0), (7, 5, 4096), (u64::MAX, u64::MAX, u64::MAX), (1, 2, 3)];
        for (epoch, segment, file_bytes) in marks {
            let mark = DurableMark { epoch, segment, file_bytes };
            assert!(!file.is_last(&mark));
            file.write(&disk, &folders, mark);
            assert!(file.is_last(&mark));
            assert_eq!(DurableMark::read(&disk, &folders).unwrap(), Some(mark));
            assert_eq!(std::fs::metadata(folders.durable()).unwrap().len(), TEXT_BYTES as u64);
        }
        let text = std::fs::read_to_string(folders.durable()).unwrap();
        for damaged in [text.replace("\"bytes\":3", "\"bytes\":4"), text[..40].into(), "".into()] {
            std::fs::write(folders.durable(), damaged).unwrap();
            assert_eq!(DurableMark::read(&disk, &folders).unwrap(), None);
        }
        std::fs::remove_file(folders.durable()).unwrap();
        file.write(&disk, &folders, DurableMark { epoch: 1, segment: 9, file_bytes: 1 });
        assert!(folders.durable().exists(), "a new segment makes it again");
    }
}
