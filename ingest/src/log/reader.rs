//! Reading the records of a file in order: of a live one, of what a crash left, of a sealed one.
//!
//! A record is valid if
//! 1. a message of ours begins at its place, of the columns of this log, that ends within the file;
//! 2. it says that this is its place, in a file of this epoch;
//! 3. its `before` is the checksum of the record before, or of the head;
//! 4. its first sequence follows the record before, or is the one in the file's name;
//! 5. its checksum is that of its bytes.
//!
//! Every length is compared with the file's before anything is read by it. Memory is one piece of
//! 1 MiB, or the file if it is smaller; a record is never held whole here.

use std::path::{Path, PathBuf};

use super::disk::{AlignedBytes, BLOCK_BYTES, DiskFile, read_enough};
use super::error::{LogError, RecordFault};
use super::header::{RecordHeader, decode_header, header_length};
use super::record::{RecordCrc, RecordView};
use super::shape::{
    BLOCK_BYTES_MAX, CONTINUATION, Head, HeadFault, PREFIX_BYTES, RowShape, block_named,
    decode_head,
};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 1 << 20;

/// What comes next in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextRecord {
    /// A valid record.
    Record(RecordHeader),
    /// The end of the records: that of the bytes to read, or a mark that a sealed file has.
    End,
    /// Something else. The reader stays before it.
    Fault(RecordFault),
}

/// Reads the records of a file in order, and checks each.
#[derive(Debug)]
pub struct RecordReader<'f, F> {
    pieces: Pieces<'f, F>,
    shape: RowShape,
    block_bytes: usize,
    /// Unknown until a record is found in a file whose head is damaged.
    epoch: Option<u64>,
    at: u64,
    /// None: the record before isn't known, so the chain begins anew.
    before: Option<u32>,
    /// The sequence that comes next, or the least that may.
    sequence: u64,
}

/// Where a reader is in its file, and what it knows of what comes next.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReaderPlace {
    pub block_bytes: usize,
    pub epoch: Option<u64>,
    pub at: u64,
    before: Option<u32>,
    sequence: u64,
}

impl<'f, F: DiskFile> RecordReader<'f, F> {
    /// A reader of the first `end` bytes of a file for rows of this shape, whose name says
    /// `first_sequence`.
    ///
    /// # Errors
    /// System errors, a file of a later version or of other rows, or one whose head isn't whole.
    pub fn new(
        file: &'f F,
        path: &Path,
        end: u64,
        first_sequence: u64,
        shape: RowShape,
    ) -> Result<Self, LogError> {
        match Self::with_head(file, path, end, first_sequence, shape)? {
            (reader, Ok(_)) => Ok(reader),
            (_, Err(HeadFault::Foreign)) => {
                Err(LogError::no_segment(path, "it has no head of this version"))
            }
            (_, Err(_)) => Err(LogError::no_segment(path, "its head is damaged")),
        }
    }

    /// The same, and what became of the head.
    pub(super) fn with_head(
        file: &'f F,
        path: &Path,
        end: u64,
        first_sequence: u64,
        shape: RowShape,
    ) -> Result<(Self, Result<Head, HeadFault>), LogError> {
        let mut pieces = Pieces { file, path: path.to_owned(), end, ..Pieces::empty(file) };
        let head = pieces.head()?;
        match head {
            Ok(head) if head.shape != shape => {
                let (recorded, asked) = (head.shape, shape);
                return Err(LogError::OtherShape { path: path.into(), recorded, asked });
            }
            Err(HeadFault::Newer(found)) => {
                let (path, known) = (path.into(), super::shape::FORMAT);
                return Err(LogError::NewerVersion { path, found, known });
            }
            _ => {}
        }
        let known = head.as_ref().ok();
        let block_bytes = known.map_or(BLOCK_BYTES, |head| head.block_bytes);
        let reader = Self {
            pieces,
            shape,
            block_bytes,
            epoch: known.map(|head| head.epoch),
            at: block_bytes as u64,
            before: known.map(|head| head.crc),
            sequence: first_sequence,
        };
        Ok((reader, head))
    }

    /// Another reader of the same file, which goes on where one was.
    pub(super) fn resume(
        file: &'f F,
        path: &Path,
        end: u64,
        shape: RowShape,
        place: &ReaderPlace,
    ) -> Self {
        let ReaderPlace { block_bytes, epoch, at, before, sequence } = *place;
        let pieces = Pieces { path: path.to_owned(), end, ..Pieces::empty(file) };
        Self { pieces, shape, block_bytes, epoch, at, before, sequence }
    }

    /// Where the reader is.
    pub(super) fn place(&self) -> ReaderPlace {
        let Self { block_bytes, epoch, at, before, sequence, .. } = *self;
        ReaderPlace { block_bytes, epoch, at, before, sequence }
    }

    /// Where the next record begins, or should.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The sequence that comes next.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.sequence
    }

    /// Bytes that have been read so far.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.pieces.bytes_read
    }

    /// The next record. After a fault the same is found again.
    ///
    /// # Errors
    /// System errors.
    pub fn next_record(&mut self) -> Result<NextRecord, LogError> {
        if self.at >= self.pieces.end {
            return Ok(NextRecord::End);
        }
        let prefix = self.pieces.fetch(self.at, PREFIX_BYTES)?;
        if prefix.len() == PREFIX_BYTES && prefix[..4] == CONTINUATION && prefix[4..] == [0; 4] {
            return Ok(NextRecord::End);
        }
        let found = match self.read_header()? {
            Ok(header) => self.check_place(&header).and(Ok(header)),
            Err(fault) => Err(fault),
        };
        let header = match found {
            Ok(header) => header,
            Err(fault) => return Ok(NextRecord::Fault(fault)),
        };
        if let Err(fault) = self.check_crc(&header)? {
            return Ok(NextRecord::Fault(fault));
        }
        self.step_over(&header);
        Ok(NextRecord::Record(header))
    }

    /// Looks behind a fault for the next place where a valid record begins, whatever came before,
    /// and steps over that record.
    ///
    /// # Errors
    /// System errors.
    pub(super) fn find_later(&mut self) -> Result<Option<RecordHeader>, LogError> {
        let block = self.block_bytes as u64;
        let (fault_at, before) = (self.at, self.before.take());
        self.at = self.at.max(block);
        while self.at < self.pieces.end {
            if let Ok(header) = self.read_header()?
                && self.check_later(&header)
                && self.check_crc(&header)?.is_ok()
            {
                self.epoch = Some(header.epoch());
                self.step_over(&header);
                return Ok(Some(header));
            }
            self.at += block;
        }
        (self.at, self.before) = (fault_at, before);
        Ok(None)
    }

    /// Reads a record that was found into `memory`, and checks it again.
    ///
    /// # Errors
    /// System errors, and bytes that aren't those that were found.
    pub fn load<'m>(
        &self,
        header: &RecordHeader,
        memory: &'m mut AlignedBytes,
    ) -> Result<RecordView<'m>, LogError> {
        let bytes = self.load_bytes(header, memory)?;
        RecordView::decode(bytes, self.shape, self.block_bytes)
            .map_err(|fault| LogError::no_segment(&self.pieces.path, fault.to_string()))
    }

    pub(super) fn load_bytes<'m>(
        &self,
        header: &RecordHeader,
        memory: &'m mut AlignedBytes,
    ) -> Result<&'m mut [u8], LogError> {
        // Checked against the file's length when it was found.
        let bytes = header.record_bytes() as usize;
        memory.grow(bytes);
        let path = &self.pieces.path;
        let read = read_enough(self.pieces.file, &mut memory[..bytes], header.offset(), bytes);
        match read.map_err(LogError::io("read", path))? {
            read if read == bytes => Ok(&mut memory[..bytes]),
            _ => Err(LogError::no_segment(path, "it became shorter")),
        }
    }

    fn step_over(&mut self, header: &RecordHeader) {
        self.at += header.record_bytes();
        self.before = Some(header.crc);
        self.sequence = header.next_sequence();
    }

    fn read_header(&mut self) -> Result<Result<RecordHeader, RecordFault>, LogError> {
        let left = self.pieces.end - self.at;
        let header_bytes = match header_length(self.pieces.fetch(self.at, PREFIX_BYTES)?) {
            Ok(header_bytes) => header_bytes,
            Err(fault) => return Ok(Err(fault)),
        };
        let header = self.pieces.fetch(self.at, header_bytes)?;
        if header.len() < header_bytes {
            return Ok(Err(RecordFault::Cut { needed: header_bytes as u64, left }));
        }
        Ok(decode_header(header, left, self.shape, self.block_bytes))
    }

    fn check_place(&self, header: &RecordHeader) -> Result<(), RecordFault> {
        let stamp = &header.stamp;
        let same = |field, found: u64, expected: u64| match found == expected {
            true => Ok(()),
            false => Err(RecordFault::Other { field, found, expected }),
        };
        same("offset", stamp.offset, self.at)?;
        same("epoch", stamp.epoch, self.epoch.unwrap_or(stamp.epoch))?;
        let before = u64::from(stamp.before);
        same("checksum of the record before", before, self.before.map_or(before, u64::from))?;
        same("first sequence", stamp.first_sequence, self.sequence)
    }

    /// A record behind a fault: the chain is broken there, and sequences are missing.
    fn check_later(&self, header: &RecordHeader) -> bool {
        let stamp = &header.stamp;
        stamp.offset == self.at
            && self.epoch.is_none_or(|epoch| stamp.epoch == epoch)
            && stamp.first_sequence >= self.sequence
    }

    /// Reads the whole record and compares its checksum.
    fn check_crc(&mut self, header: &RecordHeader) -> Result<Result<(), RecordFault>, LogError> {
        let bytes = self.pieces.fetch(self.at, header.header_bytes)?;
        let mut crc = RecordCrc::of_header(bytes, header.crc_at);
        let (mut at, end) = (self.at + header.header_bytes as u64, self.at + header.record_bytes());
        while at < end {
            let piece = self.pieces.some(at)?;
            if piece.is_empty() {
                return Err(LogError::no_segment(&self.pieces.path, "it became shorter"));
            }
            let piece = &piece[..piece.len().min((end - at) as usize)];
            crc.update(piece);
            at += piece.len() as u64;
        }
        let (found, expected) = (header.crc, crc.value());
        Ok(if found == expected { Ok(()) } else { Err(RecordFault::Checksum { found, expected }) })
    }

    /// The bytes from the reader's place to the end of the file, `most` at most.
    pub(super) fn tail(&mut self, most: usize) -> Result<Vec<u8>, LogError> {
        let left = (self.pieces.end.saturating_sub(self.at)).min(most as u64) as usize;
        let mut tail = Vec::with_capacity(left);
        while tail.len() < left {
            let piece = self.pieces.some(self.at + tail.len() as u64)?;
            if piece.is_empty() {
                break;
            }
            tail.extend_from_slice(&piece[..piece.len().min(left - tail.len())]);
        }
        Ok(tail)
    }

    /// Whether all bytes from `at` to the end of the file are zero.
    pub(super) fn is_zero_from(&mut self, at: u64) -> Result<bool, LogError> {
        let mut at = at;
        while at < self.pieces.end {
            let piece = self.pieces.some(at)?;
            if piece.is_empty() {
                break;
            }
            if piece.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += piece.len() as u64;
        }
        Ok(true)
    }
}

/// The bytes of a file up to `end`, of which one piece is in memory.
#[derive(Debug)]
struct Pieces<'f, F> {
    file: &'f F,
    path: PathBuf,
    end: u64,
    memory: AlignedBytes,
    /// Where the piece in memory begins, and its length.
    at: u64,
    len: usize,
    bytes_read: u64,
}

impl<'f, F: DiskFile> Pieces<'f, F> {
    fn empty(file: &'f F) -> Self {
        let (path, memory) = (PathBuf::new(), AlignedBytes::default());
        Self { file, path, end: 0, memory, at: 0, len: 0, bytes_read: 0 }
    }

    fn head(&mut self) -> Result<Result<Head, HeadFault>, LogError> {
        let first = self.fetch(0, BLOCK_BYTES.min(BLOCK_BYTES_MAX))?;
        let block = block_named(first).unwrap_or(BLOCK_BYTES);
        Ok(decode_head(self.fetch(0, block)?))
    }

    /// The `bytes` bytes at `at`, or fewer at the end; few enough for a piece.
    fn fetch(&mut self, at: u64, bytes: usize) -> Result<&[u8], LogError> {
        let bytes = (self.end.saturating_sub(at)).min(bytes as u64) as usize;
        let held = self.at <= at && at + bytes as u64 <= self.at + self.len as u64;
        if !held {
            self.read(at)?;
        }
        let from = (at - self.at) as usize;
        let to = (from + bytes).min(self.len);
        Ok(self.memory.get(from..to).unwrap_or(&[]))
    }

    /// Some bytes at `at`; none at the end.
    fn some(&mut self, at: u64) -> Result<&[u8], LogError> {
        if !(self.at..self.at + self.len as u64).contains(&at) && at < self.end {
            self.read(at)?;
        }
        let from = usize::try_from(at.saturating_sub(self.at)).unwrap_or(usize::MAX);
        Ok(self.memory.get(from..self.len).unwrap_or(&[]))
    }

    fn read(&mut self, at: u64) -> Result<(), LogError> {
        let at = at - at % BLOCK_BYTES as u64;
        let left = self.end.saturating_sub(at).min(PIECE_BYTES as u64) as usize;
        let whole = left.next_multiple_of(BLOCK_BYTES);
        self.memory.grow(whole);
        (self.at, self.len) = (at, 0);
        let read = read_enough(self.file, &mut self.memory[..whole], at, left)
            .map_err(LogError::io("read", &self.path))?;
        self.bytes_read += read as u64;
        self.len = read.min(left);
        Ok(())
    }
}
