//! What a lane's files hold when a log is opened, and making whole what a crash left.
//!
//! ```text
//!   sealed segment       name, length, footer                       read, never changed
//!   .part, torn tail     │ valid │ torn │  ──▶ cut behind the last valid record, sealed
//!   .part, damaged       │ valid │ bad │ valid │ ──▶ each valid run copied into a segment of its
//!                                                  own, sealed; the file is kept as .bad
//!   .part without rows                     ──▶ removed
//! ```
//! A torn tail is what a crash leaves: nothing valid follows it. Where a valid record of the same
//! epoch follows a bad one, bytes in between are lost: bit rot, a write that the disk didn't make,
//! or several writes under way at a crash. Then the records behind it aren't dropped: readers find
//! them in segments of their own, with a gap in the sequences where rows are missing, and the file
//! stays, for a person.
//!
//! Unfinished files are read from the disk, never from the page cache: after a failed sync the
//! cache shows bytes that no disk has. Every step may be the last before a crash: the next recovery
//! does the rest, and a copy that is there already isn't made again. No file that holds a valid
//! record is removed.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::buffer::RecordBuffer;
use super::disk::{AlignedBytes, Disk, DiskFile, ReadFrom};
use super::error::{LogError, RecordFault};
use super::footer::{SealedSegment, encode_end};
use super::header::{RecordHeader, RecordTemplate};
use super::names::{LogFolders, NEW, PART, SEALED, first_sequence};
use super::old::OldReader;
use super::producer_file::LogProducers;
use super::reader::{NextRecord, RecordReader};
use super::segment::{SegmentKind, SegmentWriter};
use super::shape::{Head, HeadFault, PREFIX_BYTES};

/// Bytes of vectors in a record that is made from an earlier version's rows.
const OLD_RECORD_BYTES: usize = 4 << 20;

/// What a lane's files hold.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// The sealed segments that were there, in ascending order.
    pub sealed: Vec<SealedSegment>,
    /// What became of unfinished and of damaged files.
    pub files: Vec<RecoveredFile>,
    /// Where the sequences go on: behind everything found, and behind a gap after an unclean end.
    pub next_sequence: u64,
    /// Whether the log had been closed, or is new.
    pub was_clean: bool,
    /// Bytes that were read of sealed segments.
    pub sealed_bytes_read: u64,
    /// Bytes that were read of other files.
    pub other_bytes_read: u64,
    /// Whether the file that says what is known of producers was damaged: those whose requests are
    /// in sealed segments alone aren't known any more.
    pub producers_lost: bool,
}

/// What became of a file that wasn't a whole segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredFile {
    /// The file as it was found.
    pub path: PathBuf,
    /// Bytes behind the last valid record that are no end of a file.
    pub torn_bytes: u64,
    /// The segments that its rows are in now.
    pub sealed: Vec<SealedSegment>,
    /// The file's name now, if it is kept.
    pub kept: Option<PathBuf>,
    /// Whether its rows have sequences that others have too, as an earlier version gave them: then
    /// their segment lies beside the kept file, where readers of the folder don't look.
    pub is_apart: bool,
    /// What was wrong, if more than its end.
    pub damage: Option<Damage>,
}

/// Damage before the end of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where the first bad bytes begin.
    pub at: u64,
    /// What is wrong there.
    pub why: String,
    /// Whether these bytes had been synced, as a later record says. Then the disk has lost them;
    /// otherwise a crash came while several writes were under way.
    pub was_durable: bool,
}

impl RecoveredFile {
    pub(super) fn at(path: &Path) -> Self {
        let path = path.to_owned();
        let (sealed, torn_bytes, kept, is_apart, damage) = (Vec::new(), 0, None, false, None);
        Self { path, torn_bytes, sealed, kept, is_apart, damage }
    }

    /// Rows that were found in it.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.sealed.iter().map(|sealed| sealed.next_sequence - sealed.first_sequence).sum()
    }

    /// Whether the row with this sequence was found in the file.
    #[must_use]
    pub fn holds(&self, sequence: u64) -> bool {
        self.sealed.iter().any(|sealed| sealed.holds(sequence))
    }
}

impl fmt::Display for RecoveredFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, rows, torn) = (self.path.display(), self.rows(), self.torn_bytes);
        match (&self.damage, torn) {
            (Some(damage), _) => {
                let was = if damage.was_durable { "had been stored" } else { "wasn't stored yet" };
                let (at, why, segments) = (damage.at, &damage.why, self.sealed.len());
                write!(
                    f,
                    "{path} is damaged at byte {at}, which {was}: {why}; {rows} vectors were \
                     found around the damage and are in {segments} segments, others are lost"
                )?;
            }
            (None, 0) => write!(f, "{path} was left open; all of its {rows} vectors are sealed")?,
            (None, _) => write!(
                f,
                "{path} was left open; its {rows} whole vectors are sealed, {torn} torn bytes \
                 behind them are not"
            )?,
        }
        if let Some(kept) = &self.kept {
            write!(f, "; the file is kept as {}", kept.display())?;
        }
        if let Some(sealed) = self.sealed.first().filter(|_| self.is_apart) {
            let apart = sealed.path.display();
            write!(f, "; their sequences were given again, so they are apart in {apart}")?;
        }
        Ok(())
    }
}

/// The files of a lane, and what they should hold.
pub(super) struct LaneFiles<'a, D: Disk> {
    pub disk: &'a D,
    pub folders: &'a LogFolders,
    pub kind: &'a SegmentKind,
    pub producers: &'a mut LogProducers,
}

/// What a walk over a file has found.
struct Walked {
    head: Result<Head, HeadFault>,
    /// Records that follow each other, run after run.
    runs: Vec<Vec<RecordHeader>>,
    /// The first place where a valid record should be and isn't.
    fault: Option<(u64, RecordFault)>,
    /// Behind the last valid record.
    end: u64,
    /// Whether nothing but an unfinished end of a file follows.
    is_whole: bool,
    is_zero: bool,
}

impl<D: Disk> LaneFiles<'_, D> {
    /// Looks at all files of the lane and makes whole what isn't.
    pub fn recover(&mut self) -> Result<Recovery, LogError> {
        let mut recovery = Recovery::default();
        self.remove_copies()?;
        let complete = self.names(&self.folders.complete, SEALED)?;
        let mut opened = BTreeMap::new();
        for (first, path) in &complete {
            match self.read_sealed(*first, path) {
                Ok((sealed, bytes_read)) => {
                    recovery.sealed_bytes_read += bytes_read;
                    recovery.note(sealed.next_sequence);
                    recovery.sealed.push(sealed);
                }
                // Its end is damaged: it is made whole as one that was left open is.
                Err(LogError::NoSegment { .. }) => {
                    let part = self.reopen(*first, path)?;
                    opened.insert(part, path.clone());
                }
                Err(error) => return Err(error),
            }
        }
        for (first, part) in self.names(&self.folders.open, PART)? {
            let (mut file, bytes_read) = self.recover_file(first, &part)?;
            recovery.other_bytes_read += bytes_read;
            if let Some(path) = opened.remove(&part) {
                file.path = path;
            }
            recovery.note(first);
            file.sealed.iter().for_each(|sealed| recovery.note(sealed.next_sequence));
            recovery.files.push(file);
        }
        self.recover_torn(&mut recovery)?;
        Ok(recovery)
    }

    /// Salvages what earlier versions have set aside as `.torn`.
    fn recover_torn(&self, recovery: &mut Recovery) -> Result<(), LogError> {
        let open = &self.folders.open;
        for name in self.disk.names(open).map_err(LogError::io("read the folder", open))? {
            let Some(first) = first_of_torn(&name) else { continue };
            let path = open.join(&name);
            // Its sequences were given again if any segment has them.
            let is_apart = recovery.next_sequence > first;
            let file = match self.recover_old(first, &path, is_apart)? {
                Some(file) => file,
                None => {
                    let kept = Some(self.rename_bad(first, &path)?);
                    let (at, was_durable, why) = (0, false, "it holds no whole vector".to_owned());
                    let damage = Some(Damage { at, why, was_durable });
                    RecoveredFile { kept, damage, ..RecoveredFile::at(&path) }
                }
            };
            file.sealed.iter().for_each(|sealed| recovery.note(sealed.next_sequence));
            recovery.files.push(file);
        }
        Ok(())
    }

    /// Copies the whole batches of an earlier version's file into a segment of this version, and
    /// keeps the file. None if it isn't one.
    fn recover_old(
        &self,
        first: u64,
        path: &Path,
        is_apart: bool,
    ) -> Result<Option<RecoveredFile>, LogError> {
        let file = self.disk.open_to_read(path).map_err(LogError::io("open", path))?;
        let length = file.len().map_err(LogError::io("look at", path))?;
        let shape = self.kind.shape;
        let Some(mut reader) = OldReader::new(&file, path, length, first, shape)? else {
            return Ok(None);
        };
        let target = match is_apart {
            true => path.with_extension("arrow"),
            false => self.folders.sealed(first),
        };
        // What an interrupted recovery has made is whole.
        let is_made = self.is_there(&target)?;
        let paths = (self.folders.copy(first), target.clone());
        let kind = self.kind.clone();
        let mut segment = SegmentWriter::create(self.disk, self.folders, paths, first, kind)?;
        let template = RecordTemplate::new(shape);
        let rows_max = (OLD_RECORD_BYTES / shape.vector_bytes()).max(1);
        let mut buffer = RecordBuffer::new(&template, self.kind.block_bytes, rows_max, 0)?;
        while let Some(mut batch) = reader.next_batch()?.filter(|_| !is_made) {
            let mut is_more = true;
            while is_more {
                buffer.clear();
                is_more = batch.copy(shape, &mut buffer)?;
                segment.place(&mut buffer)?;
                segment.write(&mut buffer)?;
            }
        }
        let mut sealed = segment.seal()?;
        if is_made {
            sealed = Some(self.read_sealed(first, &target)?.0);
        }
        let torn_bytes = if is_made { 0 } else { length - reader.at() };
        let kept = Some(self.rename_bad(first, path)?);
        let sealed = sealed.into_iter().collect();
        let file = RecoveredFile { torn_bytes, sealed, kept, is_apart, ..RecoveredFile::at(path) };
        Ok(Some(file))
    }

    /// Makes a file whole that isn't a sealed segment. Returns also the number of bytes read.
    pub fn recover_file(
        &mut self,
        first: u64,
        path: &Path,
    ) -> Result<(RecoveredFile, u64), LogError> {
        let file = self.disk.open(path, ReadFrom::Disk).map_err(LogError::io("open", path))?;
        let length = file.len().map_err(LogError::io("look at", path))?;
        let (mut reader, head) =
            RecordReader::with_head(&file, path, length, first, self.kind.shape)?;
        if head == Err(HeadFault::Foreign)
            && let Some(old) = self.recover_old(first, path, false)?
        {
            return Ok((old, length));
        }
        let walked = self.walk(&mut reader, head)?;
        self.note_marks(&reader, &walked)?;
        let bytes_read = reader.bytes_read();
        let torn_bytes = if walked.is_whole { 0 } else { length - walked.end };
        let is_free = !self.is_there(&self.folders.sealed(first))?;
        let sealed = match (&walked.head, &walked.fault) {
            (Ok(head), None) if is_free => {
                let records = walked.runs.first().map_or(&[][..], Vec::as_slice);
                let sealed = self.cut_and_seal(first, (path, file), head, walked.end, records)?;
                sealed.into_iter().collect()
            }
            (Err(_), _) if walked.is_zero => {
                self.disk.remove(path).map_err(LogError::io("remove", path))?;
                Vec::new()
            }
            _ => return Ok((self.keep_as_bad(first, path, &reader, &walked)?, bytes_read)),
        };
        let file = RecoveredFile { torn_bytes, sealed, ..RecoveredFile::at(path) };
        Ok((file, bytes_read))
    }

    /// What producers have in a file is known before the file gets a name under which nobody looks
    /// for it.
    fn note_marks(
        &mut self,
        reader: &RecordReader<'_, D::File>,
        walked: &Walked,
    ) -> Result<(), LogError> {
        let mut memory = AlignedBytes::default();
        for header in walked.runs.iter().flatten().filter(|header| header.has_marks()) {
            self.producers.note(reader.load(header, &mut memory)?.marks());
        }
        self.producers.write(self.disk, self.folders)
    }

    fn read_sealed(&self, first: u64, path: &Path) -> Result<(SealedSegment, u64), LogError> {
        let file = self.disk.open_to_read(path).map_err(LogError::io("open", path))?;
        let (sealed, _, read) = SealedSegment::read(&file, path, first, self.kind.shape)?;
        Ok((sealed, read))
    }

    fn walk(
        &self,
        reader: &mut RecordReader<'_, D::File>,
        head: Result<Head, HeadFault>,
    ) -> Result<Walked, LogError> {
        let mut walked =
            Walked { runs: Vec::new(), fault: None, end: 0, is_whole: false, is_zero: false, head };
        let mut run = Vec::new();
        let mut fault = match walked.head {
            Ok(_) => None,
            Err(_) => Some((0, RecordFault::Header("the file's head isn't whole".to_owned()))),
        };
        walked.is_zero = fault.is_some() && reader.is_zero_from(0)?;
        loop {
            if fault.is_none() {
                match reader.next_record()? {
                    NextRecord::Record(header) => {
                        run.push(header);
                        continue;
                    }
                    NextRecord::End => {}
                    NextRecord::Fault(found) => fault = Some((reader.at(), found)),
                }
            }
            walked.end =
                if fault.as_ref().is_some_and(|(at, _)| *at == 0) { 0 } else { reader.at() };
            walked.runs.extend(Some(std::mem::take(&mut run)).filter(|run| !run.is_empty()));
            let Some(found) = fault.take() else { break };
            let Some(later) = reader.find_later()? else {
                // Nothing valid behind it: a torn tail, unless it is the head that is bad.
                walked.fault = walked.fault.or(Some(found).filter(|(at, _)| *at == 0));
                break;
            };
            walked.fault.get_or_insert(found);
            run.push(later);
        }
        walked.is_whole = self.is_end(reader, &walked)?;
        Ok(walked)
    }

    /// Whether what follows the last valid record is the end that sealing writes, or a beginning
    /// of it.
    fn is_end(
        &self,
        reader: &mut RecordReader<'_, D::File>,
        walked: &Walked,
    ) -> Result<bool, LogError> {
        let records: Vec<_> = walked.runs.last().into_iter().flatten().map(|r| r.place()).collect();
        let end = encode_end(&self.kind.schema, &records);
        let tail = reader.tail(end.len() + 1)?;
        let same = tail.iter().zip(&end).take_while(|(found, written)| found == written).count();
        // A record begins with the same bytes as the mark, up to its length.
        let is_marked = same >= PREFIX_BYTES;
        // An end that a crash tore is zero behind the tear.
        let is_begun = same == tail.len() || reader.is_zero_from(reader.at() + same as u64)?;
        Ok(tail.is_empty() || is_marked && is_begun)
    }

    /// Cuts a file behind its last valid record and seals it. Without records it is removed.
    fn cut_and_seal(
        &self,
        first: u64,
        (path, file): (&Path, D::File),
        head: &Head,
        end: u64,
        records: &[RecordHeader],
    ) -> Result<Option<SealedSegment>, LogError> {
        file.truncate(end).map_err(LogError::io("cut", path))?;
        let kind =
            SegmentKind { epoch: head.epoch, block_bytes: head.block_bytes, ..self.kind.clone() };
        let found = (path.to_owned(), file);
        SegmentWriter::found(self.disk, self.folders, found, kind, first, records).seal()
    }

    /// Copies the valid runs of a damaged file into segments of their own, and keeps the file.
    fn keep_as_bad(
        &self,
        first: u64,
        path: &Path,
        reader: &RecordReader<'_, D::File>,
        walked: &Walked,
    ) -> Result<RecoveredFile, LogError> {
        // What an interrupted recovery has copied isn't copied again, whatever the runs are now.
        let last = walked.runs.iter().flatten().last();
        let made = self.sealed_between(first, last.map_or(first, RecordHeader::next_sequence))?;
        let is_made = |record: &RecordHeader| {
            let holds = |s: &SealedSegment| s.holds(record.first_sequence());
            made.iter().any(holds)
        };
        let mut sealed = made.clone();
        for run in walked.runs.iter().flat_map(|run| run.split(is_made)) {
            sealed.extend(self.copy_run(run, reader)?);
        }
        sealed.sort_unstable_by_key(|sealed| sealed.first_sequence);
        let kept = self.rename_bad(first, path)?;
        let (at, why) = match &walked.fault {
            Some((at, fault)) => (*at, fault.to_string()),
            None => (0, "there is a sealed segment of its name".to_owned()),
        };
        let was_durable = walked.runs.iter().flatten().any(|record| record.durable_bytes() > at);
        let damage = Some(Damage { at, why, was_durable });
        Ok(RecoveredFile { sealed, kept: Some(kept), damage, ..RecoveredFile::at(path) })
    }

    /// The sealed segments that begin within these sequences.
    fn sealed_between(&self, first: u64, end: u64) -> Result<Vec<SealedSegment>, LogError> {
        let mut found = Vec::new();
        for (first, path) in self.names(&self.folders.complete, SEALED)?.range(first..end) {
            match self.read_sealed(*first, path) {
                Ok((sealed, _)) => found.push(sealed),
                Err(LogError::NoSegment { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Copies a run of records into a segment of its own.
    fn copy_run(
        &self,
        run: &[RecordHeader],
        reader: &RecordReader<'_, D::File>,
    ) -> Result<Option<SealedSegment>, LogError> {
        let Some(first_record) = run.first() else { return Ok(None) };
        let first = first_record.first_sequence();
        let target = self.folders.sealed(first);
        let copy = self.folders.copy(first);
        let kind = SegmentKind { epoch: first_record.epoch(), ..self.kind.clone() };
        let mut segment =
            SegmentWriter::create(self.disk, self.folders, (copy, target), first, kind)?;
        let mut memory = AlignedBytes::default();
        for header in run {
            segment.adopt(reader.load_bytes(header, &mut memory)?, header)?;
        }
        segment.seal()
    }

    /// Gives a sealed file whose end is damaged the name of an open one.
    fn reopen(&self, first: u64, path: &Path) -> Result<PathBuf, LogError> {
        let part = self.folders.part(first);
        match self.disk.rename_new(path, &part) {
            Ok(()) => self.sync_folders().map(|()| part),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(LogError::Exists { path: part })
            }
            Err(error) => Err(LogError::io("rename", path)(error)),
        }
    }

    /// Renames a damaged file to a name that isn't used yet, and returns that.
    fn rename_bad(&self, first: u64, path: &Path) -> Result<PathBuf, LogError> {
        for taken in 0.. {
            let kept = self.folders.bad(first, taken);
            match self.disk.rename_new(path, &kept) {
                Ok(()) => {
                    self.sync_folders()?;
                    return Ok(kept);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(LogError::io("rename", path)(error)),
            }
        }
        unreachable!("names don't end")
    }

    fn sync_folders(&self) -> Result<(), LogError> {
        [&self.folders.complete, &self.folders.open].into_iter().try_for_each(|folder| {
            self.disk.sync_folder(folder).map_err(LogError::io("sync the folder", folder))
        })
    }

    /// Removes copies that an interrupted recovery has left: what they were made from is there.
    fn remove_copies(&self) -> Result<(), LogError> {
        for (_, path) in self.names(&self.folders.open, NEW)? {
            self.disk.remove(&path).map_err(LogError::io("remove", &path))?;
        }
        Ok(())
    }

    fn is_there(&self, path: &Path) -> Result<bool, LogError> {
        let folder = path.parent().unwrap_or(path);
        let names = self.disk.names(folder).map_err(LogError::io("read the folder", folder))?;
        Ok(path.file_name().is_some_and(|name| names.iter().any(|found| name == found.as_str())))
    }

    fn names(&self, folder: &Path, ending: &str) -> Result<BTreeMap<u64, PathBuf>, LogError> {
        let names = self.disk.names(folder).map_err(LogError::io("read the folder", folder))?;
        let ours = names
            .iter()
            .filter_map(|name| Some((first_sequence(name, ending)?, folder.join(name))));
        Ok(ours.collect())
    }
}

/// The first sequence in a name that an earlier version gave a torn segment.
fn first_of_torn(name: &str) -> Option<u64> {
    let stem = name.strip_suffix(".torn")?;
    let (digits, copy) = stem.strip_prefix("seg-")?.split_at_checked(20)?;
    let is_ours =
        copy.is_empty() || copy.strip_prefix('.').is_some_and(|n| n.parse::<u32>().is_ok());
    first_sequence(&format!("seg-{digits}.torn"), ".torn").filter(|_| is_ours)
}

impl Recovery {
    fn note(&mut self, next_sequence: u64) {
        self.next_sequence = self.next_sequence.max(next_sequence);
    }
}
