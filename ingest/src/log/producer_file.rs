//! The file that keeps what a lane knows of producers: `producers`.
//!
//! Marks in records say what each record holds. Recovery reads no sealed segment, and one may be
//! moved away, so this file says what all of them hold together. It is replaced as a whole after a
//! segment is on the disk and before it gets its final name: so it never knows of a row that isn't
//! there, and no name hides a mark that it doesn't know.
//!
//! ```text
//! 0          8        12     16          24
//! │ slipprod │ format │ crc  │ producers │ producer │ floor │ requests │ requests ...  │ ...
//!                                          one request: sequence │ row │ rows u32 │ lane u32
//! ```

use std::io;
use std::ops::Range;

use super::buffer::ProducerMark;
use super::disk::{Disk, DiskFile, read_enough};
use super::error::LogError;
use super::fields::crc32c;
use super::names::{LogFolders, replace};
use super::producers::{
    FILE_HEAD_BYTES, KnownRequest, PRODUCER_REQUESTS_MAX, PRODUCERS_MAX, ProducerLimits,
    ProducerTable, REQUEST_BYTES,
};

/// What a log knows of producers, and whether its file says the same.
#[derive(Debug)]
pub(super) struct LogProducers {
    table: ProducerTable,
    lane: u32,
    /// Marks noted so far: what time is for this table.
    noted: u64,
    is_written: bool,
}

impl LogProducers {
    /// What the file of a lane says, and whether it is whole.
    pub fn open<D: Disk>(
        disk: &D,
        folders: &LogFolders,
        limits: ProducerLimits,
        lane: u32,
    ) -> Result<(Self, bool), LogError> {
        let found = read(disk, folders, limits)?;
        let is_whole = found.is_some();
        let table = found.unwrap_or_else(|| ProducerTable::new(limits));
        let noted = table.len() as u64;
        Ok((Self { table, lane, noted, is_written: true }, is_whole))
    }

    pub fn table(&self) -> &ProducerTable {
        &self.table
    }

    /// Notes what a record holds.
    pub fn note(&mut self, marks: impl Iterator<Item = ProducerMark>) {
        for ProducerMark { request, row, rows } in marks {
            let known = KnownRequest { sequence: request.sequence, row, rows, lane: self.lane };
            self.noted += 1;
            self.table.note(request.producer, known, self.noted);
            self.is_written = false;
        }
    }

    /// Forgets requests whose rows aren't in the log.
    pub fn forget(&mut self, rows: Range<u64>) {
        if rows.start < rows.end {
            self.table.forget_rows(self.lane, &rows);
        }
    }

    /// Replaces the file, if it doesn't say all of this. Everything that is noted must be on the
    /// disk.
    pub fn write<D: Disk>(&mut self, disk: &D, folders: &LogFolders) -> Result<(), LogError> {
        if !self.is_written {
            let path = folders.producers();
            replace(disk, folders, &path, &folders.producers_new(), &encode(&self.table))?;
            self.is_written = true;
        }
        Ok(())
    }
}

pub(super) const MAGIC: [u8; 8] = *b"slipprod";
const FORMAT: u32 = 1;
/// Where the checksum ends, which covers all behind it.
const CRC_END: usize = 16;

/// What a lane's file says: None if it is damaged, an empty table if there is none.
fn read<D: Disk>(
    disk: &D,
    folders: &LogFolders,
    limits: ProducerLimits,
) -> Result<Option<ProducerTable>, LogError> {
    let path = folders.producers();
    let file = match disk.open_to_read(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Some(ProducerTable::new(limits)));
        }
        Err(error) => return Err(LogError::io("open", &path)(error)),
    };
    let length = file.len().map_err(LogError::io("look at", &path))?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > bytes_max(limits) {
        return Ok(None);
    }
    let mut bytes = vec![0; length];
    let read = read_enough(&file, &mut bytes, 0, length).map_err(LogError::io("read", &path))?;
    let bytes = &bytes[..read];
    match bytes
        .get(8..12)
        .map(|format| u32::from_le_bytes([format[0], format[1], format[2], format[3]]))
    {
        Some(found) if bytes.starts_with(&MAGIC) && found > FORMAT => {
            Err(LogError::NewerVersion { path, found, known: FORMAT })
        }
        _ => Ok(decode(bytes, limits)),
    }
}

/// More than any of our files has.
fn bytes_max(limits: ProducerLimits) -> usize {
    let producer = FILE_HEAD_BYTES + limits.requests.max(PRODUCER_REQUESTS_MAX) * REQUEST_BYTES;
    FILE_HEAD_BYTES + 16 * limits.producers.max(PRODUCERS_MAX) * producer
}

pub(super) fn encode(table: &ProducerTable) -> Vec<u8> {
    let windows = table.windows();
    let mut bytes = [&MAGIC[..], &FORMAT.to_le_bytes(), &[0; 4]].concat();
    let mut put = |value: u64| bytes.extend_from_slice(&value.to_le_bytes());
    put(windows.len() as u64);
    for (producer, window) in windows {
        [producer, window.floor, window.known.len() as u64].into_iter().for_each(&mut put);
        for known in &window.known {
            put(known.sequence);
            put(known.row);
            put(u64::from(known.rows) | u64::from(known.lane) << 32);
        }
    }
    let crc = crc32c(&bytes[CRC_END..]);
    bytes[CRC_END - 4..CRC_END].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Reads a file's bytes; None if they aren't whole.
pub(super) fn decode(bytes: &[u8], limits: ProducerLimits) -> Option<ProducerTable> {
    let crc = bytes.get(CRC_END - 4..CRC_END)?;
    let is_whole = bytes.starts_with(&MAGIC)
        && bytes[8..12] == FORMAT.to_le_bytes()
        && crc == crc32c(&bytes[CRC_END..]).to_le_bytes();
    let mut numbers =
        bytes.get(CRC_END..)?.as_chunks().0.iter().map(|number| u64::from_le_bytes(*number));
    let mut table = ProducerTable::new(limits);
    let producers = numbers.next().filter(|_| is_whole)?;
    for now in 0..producers {
        let (producer, floor, requests) = (numbers.next()?, numbers.next()?, numbers.next()?);
        table.restore(producer, floor, now);
        for _ in 0..requests {
            let (sequence, row, last) = (numbers.next()?, numbers.next()?, numbers.next()?);
            let request =
                KnownRequest { sequence, row, rows: last as u32, lane: (last >> 32) as u32 };
            table.note(producer, request, now);
        }
    }
    numbers.next().is_none().then_some(table)
}
