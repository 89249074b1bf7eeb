//! Looking at the files of a log without changing them, while a service works there or not.
//!
//! ```text
//!   sealed   every record, and the end byte by byte: it follows from the records
//!   live     every record; what follows the last one is unfinished, unless it had been stored
//!            or a valid record of the same epoch comes behind it
//!   earlier  whole batches, by their bounds and sequences: they have no checksums
//! ```
//! Promises not to write, to allocate by nothing that a file says, and to find every byte of a
//! sealed file that isn't the one written, as far as a CRC32C can.

use std::path::{Path, PathBuf};

use super::disk::{AlignedBytes, Disk, DiskFile};
use super::durable::DurableMark;
use super::error::LogError;
use super::footer::{SealedSegment, encode_end};
use super::header::RecordHeader;
use super::names::{BAD, LogFolders, NEW, PART, SEALED, first_sequence};
use super::old::OldReader;
use super::reader::{NextRecord, RecordReader};
use super::shape::{Head, HeadFault, RowShape, segment_schema};

/// What the name of a lane's file says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileState {
    /// Sealed: complete, and where readers look.
    Sealed,
    /// Live, or what a crash left of it.
    Live,
    /// Damaged and kept; what is valid in it has been copied.
    Damaged,
    /// Left open by a crash of an earlier version.
    Torn,
    /// Rows of an earlier version whose sequences were given again.
    Apart,
    /// A copy that an interrupted recovery has left.
    Copy,
    /// Named like a segment, and not by us.
    Foreign,
}

/// A file in the folders of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneFile {
    /// Its path.
    pub path: PathBuf,
    /// What its name says.
    pub state: FileState,
    /// The sequence of its first row, by its name; 0 for one that isn't ours.
    pub first_sequence: u64,
}

impl LogFolders {
    /// The files of a lane in the order of their sequences. A folder that isn't there has none.
    ///
    /// # Errors
    /// System errors.
    pub fn files<D: Disk>(&self, disk: &D) -> Result<Vec<LaneFile>, LogError> {
        let mut files = Vec::new();
        // A segment that is sealed meanwhile is found twice, and not missed.
        for (folder, is_complete) in [(&self.open, false), (&self.complete, true)] {
            if is_complete && self.open == self.complete {
                continue;
            }
            let names = match disk.names(folder) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
                names => names.map_err(LogError::io("read the folder", folder))?,
            };
            let is_complete = is_complete || self.open == self.complete;
            files.extend(names.iter().filter_map(|name| {
                let (state, first_sequence) = state_of(name, is_complete)?;
                Some(LaneFile { path: folder.join(name), state, first_sequence })
            }));
        }
        files.sort_unstable_by_key(|file| (file.first_sequence, file.state, file.path.clone()));
        Ok(files)
    }
}

/// What a name says, in the folder of complete segments or in the other one.
fn state_of(name: &str, is_complete: bool) -> Option<(FileState, u64)> {
    let sealed = if is_complete { FileState::Sealed } else { FileState::Apart };
    let endings = [
        (SEALED, sealed),
        (PART, FileState::Live),
        (BAD, FileState::Damaged),
        (NEW, FileState::Copy),
        (".torn", FileState::Torn),
    ];
    for (ending, state) in endings {
        if let Some(first) = first_sequence(name, ending) {
            return Some((state, first));
        }
    }
    // Further copies have a number: seg-N.2.torn, seg-N.arrow.2.bad, seg-N.2.arrow.
    let digits = name.strip_prefix("seg-").and_then(|rest| rest.get(..20));
    let first = digits.and_then(|digits| digits.parse().ok());
    let ends = |ending: &str| name.ends_with(ending);
    match first {
        Some(first) if ends(".bad") => Some((FileState::Damaged, first)),
        Some(first) if ends(".torn") => Some((FileState::Torn, first)),
        Some(first) if ends(".arrow") && !is_complete => Some((FileState::Apart, first)),
        _ => (ends(".arrow") && is_complete).then_some((FileState::Foreign, 0)),
    }
}

/// A place in a file that isn't as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFault {
    /// Where the first bad bytes begin.
    pub at: u64,
    /// What is there.
    pub found: String,
}

/// What a look at a file has found.
#[derive(Clone, Debug, Default)]
pub struct FileCheck {
    /// Its valid records, in order; none of an earlier version's file.
    pub records: Vec<RecordHeader>,
    /// Valid records, or batches of an earlier version.
    pub record_count: u64,
    /// Valid rows.
    pub rows: u64,
    /// The sequence after the last valid row; the name's without any.
    pub next_sequence: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes of it that are known to be durable.
    pub durable_bytes: u64,
    /// Bytes behind the last valid record that a start would cut.
    pub torn_bytes: u64,
    /// Whether an earlier version wrote it: there is nothing to check the rows against.
    pub is_old: bool,
    /// What isn't as it was written.
    pub faults: Vec<FileFault>,
}

impl FileCheck {
    fn note(&mut self, record: RecordHeader) {
        self.record_count += 1;
        self.rows += record.rows();
        self.next_sequence = record.next_sequence();
        self.records.push(record);
    }

    fn fault(&mut self, at: u64, found: impl Into<String>) {
        self.faults.push(FileFault { at, found: found.into() });
    }

    /// Valid rows that are known to be durable.
    #[must_use]
    pub fn durable_rows(&self) -> u64 {
        let durable = self.records.iter().filter(|record| self.is_durable(record));
        durable.map(RecordHeader::rows).sum()
    }

    /// Whether a record is known to be durable.
    #[must_use]
    pub fn is_durable(&self, record: &RecordHeader) -> bool {
        record.offset() + record.record_bytes() <= self.durable_bytes
    }
}

/// The shape of the rows of a file, as it says itself; None if it doesn't.
pub(crate) fn shape_in<F: DiskFile>(file: &F, path: &Path) -> Option<RowShape> {
    // No file has it, so each says what it has.
    let none = RowShape { dim: 0, columns: crate::sink::Columns::default() };
    let end = file.len().ok()?;
    let of = |error| match error {
        LogError::OtherShape { recorded, .. } => Some(recorded),
        _ => None,
    };
    RecordReader::with_head(file, path, end, 0, none)
        .err()
        .and_then(of)
        .or_else(|| SealedSegment::read(file, path, 0, none).err().and_then(of))
        .or_else(|| OldReader::new(file, path, end, 0, none).err().and_then(of))
}

/// Checks a sealed file of a lane; None if an earlier version wrote it.
///
/// # Errors
/// System errors, and a file of a later version or of other rows.
pub fn check_sealed<F: DiskFile>(
    file: &F,
    path: &Path,
    first: u64,
    (shape, lane): (RowShape, u32),
) -> Result<Option<FileCheck>, LogError> {
    let length = file.len().map_err(LogError::io("look at", path))?;
    let (mut reader, head) = RecordReader::with_head(file, path, length, first, shape)?;
    if head == Err(HeadFault::Foreign)
        && SealedSegment::read(file, path, first, shape).is_ok_and(|(sealed, ..)| sealed.is_old)
    {
        return Ok(None);
    }
    let mut check = FileCheck { file_bytes: length, durable_bytes: length, ..FileCheck::default() };
    check.next_sequence = first;
    find_records(&mut reader, head, &mut check)?;
    if check.faults.is_empty() {
        let places: Vec<_> = check.records.iter().map(RecordHeader::place).collect();
        let end = encode_end(&segment_schema(shape, lane), &places);
        let found = reader.tail(end.len() + 1)?;
        let same = found.iter().zip(&end).take_while(|(found, written)| found == written).count();
        if same < end.len() || found.len() > end.len() {
            let why = "the end of the file isn't the one of its records and of this lane";
            check.fault(reader.at() + same as u64, why);
        }
    }
    if check.records.is_empty() && check.faults.is_empty() {
        check.fault(0, "it has no records");
    }
    Ok(Some(check))
}

/// Checks a live file, of this or of an earlier version. What a service writes meanwhile isn't
/// looked at.
///
/// # Errors
/// As [`check_sealed`].
pub fn check_live<D: Disk>(
    disk: &D,
    folders: &LogFolders,
    file: &D::File,
    path: &Path,
    first: u64,
    shape: RowShape,
) -> Result<FileCheck, LogError> {
    // Before the length: what it says is in the bytes that are read then.
    let mark = DurableMark::read(disk, folders)?;
    let length = file.len().map_err(LogError::io("look at", path))?;
    let (mut reader, head) = RecordReader::with_head(file, path, length, first, shape)?;
    if head == Err(HeadFault::Foreign)
        && let Some(check) = check_old(file, path, first, shape)?
    {
        return Ok(check);
    }
    let epoch = head.as_ref().ok().map(|head| head.epoch);
    let mut check = FileCheck { file_bytes: length, next_sequence: first, ..FileCheck::default() };
    find_records(&mut reader, head, &mut check)?;
    let epoch = epoch.or_else(|| check.records.first().map(RecordHeader::epoch));
    let is_of_it =
        |mark: &DurableMark| mark.segment == first && epoch.is_none_or(|epoch| mark.epoch == epoch);
    let said = mark.filter(is_of_it);
    let said = said.map_or(0, |mark| mark.file_bytes);
    check.durable_bytes =
        check.records.iter().map(RecordHeader::durable_bytes).max().unwrap_or(0).max(said);
    let end = check.records.last().map_or(0, |last| last.offset() + last.record_bytes());
    // Nothing valid comes behind the last fault: it is an end that isn't finished.
    let is_unfinished = |fault: &FileFault| fault.at >= end && fault.at >= check.durable_bytes;
    if check.faults.last().is_some_and(is_unfinished) {
        check.faults.pop();
        check.torn_bytes = length - end;
    }
    let (durable, at) = (check.durable_bytes, reader.at());
    if check.faults.is_empty() && durable > at {
        check.fault(at, format!("it ends there, and {durable} bytes of it had been stored"));
    }
    Ok(check)
}

/// Checks an unfinished file of an earlier version; None if it isn't one.
///
/// # Errors
/// System errors, and a file of other rows.
pub fn check_old<F: DiskFile>(
    file: &F,
    path: &Path,
    first: u64,
    shape: RowShape,
) -> Result<Option<FileCheck>, LogError> {
    let length = file.len().map_err(LogError::io("look at", path))?;
    let Some(mut reader) = OldReader::new(file, path, length, first, shape)? else {
        return Ok(None);
    };
    let mut check = FileCheck { file_bytes: length, is_old: true, ..FileCheck::default() };
    while reader.next_batch()?.is_some() {
        check.record_count += 1;
    }
    check.next_sequence = reader.next_sequence();
    check.rows = check.next_sequence - first;
    check.torn_bytes = length - reader.at();
    Ok(Some(check))
}

/// Reads all valid records of a file, also those behind damage, and what is wrong between them.
fn find_records<F: DiskFile>(
    reader: &mut RecordReader<'_, F>,
    head: Result<Head, HeadFault>,
    check: &mut FileCheck,
) -> Result<(), LogError> {
    let mut memory = AlignedBytes::default();
    let mut is_lost = head.is_err();
    if is_lost {
        check.fault(0, "its head isn't one, or isn't whole");
    }
    loop {
        let record = match is_lost {
            true => match reader.find_later()? {
                Some(record) => record,
                None => return Ok(()),
            },
            false => match reader.next_record()? {
                NextRecord::Record(record) => record,
                NextRecord::End => return Ok(()),
                NextRecord::Fault(fault) => {
                    check.fault(reader.at(), fault.to_string());
                    is_lost = true;
                    continue;
                }
            },
        };
        is_lost = false;
        // Its checksum is right: what is wrong now was wrong when it was written.
        match reader.load(&record, &mut memory) {
            Ok(_) => {}
            Err(LogError::NoSegment { why, .. }) => check.fault(record.offset(), why),
            Err(error) => return Err(error),
        }
        check.note(record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_files_are() {
        use FileState::{Apart, Copy, Damaged, Foreign, Live, Sealed, Torn};
        let digits = "seg-00000000000000000007";
        for (name, open, complete) in [
            (".arrow", Some(Apart), Some(Sealed)),
            (".2.arrow", Some(Apart), Some(Foreign)),
            (".arrow.part", Some(Live), Some(Live)),
            (".arrow.bad", Some(Damaged), Some(Damaged)),
            (".arrow.2.bad", Some(Damaged), Some(Damaged)),
            (".torn", Some(Torn), Some(Torn)),
            (".2.torn", Some(Torn), Some(Torn)),
            (".arrow.new", Some(Copy), Some(Copy)),
            (".txt", None, None),
        ] {
            let name = format!("{digits}{name}");
            let states = [false, true].map(|is| state_of(&name, is).map(|(state, _)| state));
            assert_eq!(states, [open, complete], "{name}");
        }
        assert_eq!(state_of("mine.arrow", true), Some((Foreign, 0)));
        assert_eq!(state_of("mine.arrow", false), None);
        assert_eq!(state_of("next", false), None);
    }
}
