//! A complete segment, opened for reading.
//!
//! It reads what the log writes: Arrow IPC files of two columns without compression and without
//! nulls. Every length and offset in the file is checked against the file before it is used, so a
//! damaged file is an error. Arrow's own reader trusts them, and may allocate or panic because of
//! them; it is for files that are known to be intact. There are no checksums: damage to a component
//! goes undetected.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use arrow_ipc::reader::read_footer_length;
use arrow_ipc::{Block, Footer, Precision, root_as_footer, root_as_message};

use super::SinkError;
use super::batch::{SEQUENCE, VECTOR};

/// Magic and footer length at the end of an Arrow IPC file.
const TAIL_BYTES: usize = 10;
/// Marker and length before the metadata of a record batch.
const PREFIX_BYTES: usize = 8;
/// The buffers of a record batch: validity and data of the sequences, validity of the vectors,
/// validity and data of their components.
const BUFFERS: usize = 5;
const SEQUENCE_DATA: usize = 1;
const COMPONENT_DATA: usize = 4;

/// The rows of a record batch.
#[derive(Default)]
pub(super) struct Columns {
    pub sequences: Vec<u64>,
    /// Component after component, row after row.
    pub values: Vec<f32>,
}

pub(super) struct SegmentReader {
    file: File,
    path: PathBuf,
    dim: usize,
    /// The positions of the record batches, all within the file.
    blocks: Vec<Block>,
}

impl SegmentReader {
    /// Opens a segment that should hold vectors of `dim` components.
    pub fn open(path: &Path, dim: u32) -> Result<Self, SinkError> {
        let file = File::open(path).map_err(SinkError::io("open", path))?;
        let mut reader = Self { file, path: path.into(), dim: dim as usize, blocks: Vec::new() };
        let file_bytes = reader.file.metadata().map_err(SinkError::io("read", path))?.len();
        let (footer, footer_at) = reader.read_footer(file_bytes)?;
        let footer = root_as_footer(&footer)
            .map_err(|error| reader.broken(format!("its footer: {error}")))?;
        match dim_of(&footer) {
            Some(recorded) if recorded == dim => {}
            Some(recorded) => {
                return Err(SinkError::OtherDimension { path: path.into(), recorded, asked: dim });
            }
            None => return Err(reader.broken("its columns aren't a sequence and a vector")),
        }
        reader.blocks = footer.recordBatches().into_iter().flatten().copied().collect();
        let outside = |block: &Block| range(block).is_none_or(|(_, _, end)| end > footer_at);
        if let Some(block) = reader.blocks.iter().find(|block| outside(block)) {
            return Err(reader.broken(format!("{block:?} lies outside of its {file_bytes} bytes")));
        }
        Ok(reader)
    }

    /// Record batches in the segment.
    pub fn batches(&self) -> usize {
        self.blocks.len()
    }

    /// Reads a record batch into `columns`.
    pub fn read(&self, index: usize, columns: &mut Columns) -> Result<(), SinkError> {
        let (at, body_at, end) =
            self.blocks.get(index).and_then(range).ok_or_else(|| self.broken("too few batches"))?;
        let metadata = self.read_bytes(at, body_at - at)?;
        let message =
            metadata.get(PREFIX_BYTES..).and_then(|message| root_as_message(message).ok());
        let batch = message.as_ref().and_then(|message| message.header_as_record_batch());
        let batch =
            batch.ok_or_else(|| self.broken(format!("there is no record batch at byte {at}")))?;
        let buffers = batch.buffers().filter(|buffers| buffers.len() == BUFFERS);
        let nulls = batch.nodes().into_iter().flatten().any(|node| node.null_count() != 0);
        let plain = batch.compression().is_none() && !nulls;
        let (Some(buffers), true, Ok(rows)) = (buffers, plain, usize::try_from(batch.length()))
        else {
            return Err(
                self.broken(format!("the batch at byte {at} isn't laid out as the log does it"))
            );
        };
        let place = |index: usize, values: Option<usize>, size: usize| {
            let buffer = buffers.get(index);
            let start = body_at.checked_add(u64::try_from(buffer.offset()).ok()?)?;
            let bytes = u64::try_from(values?.checked_mul(size)?).ok()?;
            let fits =
                bytes <= u64::try_from(buffer.length()).ok()? && start.checked_add(bytes)? <= end;
            fits.then_some(start)
        };
        let sequences_at = place(SEQUENCE_DATA, Some(rows), size_of::<u64>());
        let values_at = place(COMPONENT_DATA, rows.checked_mul(self.dim), size_of::<f32>());
        let (Some(sequences_at), Some(values_at)) = (sequences_at, values_at) else {
            return Err(
                self.broken(format!("the batch at byte {at} has fewer than its {rows} rows"))
            );
        };
        columns.sequences.resize(rows, 0);
        columns.values.resize(rows * self.dim, 0.0);
        self.read_exact(bytemuck::cast_slice_mut(&mut columns.sequences), sequences_at)?;
        self.read_exact(bytemuck::cast_slice_mut(&mut columns.values), values_at)
    }

    /// The footer and where it begins.
    fn read_footer(&self, file_bytes: u64) -> Result<(Vec<u8>, u64), SinkError> {
        let before_tail = file_bytes
            .checked_sub(TAIL_BYTES as u64)
            .ok_or_else(|| self.broken("it is too short"))?;
        let mut tail = [0; TAIL_BYTES];
        self.read_exact(&mut tail, before_tail)?;
        let footer_bytes =
            read_footer_length(tail).map_err(|error| self.broken(error.to_string()))? as u64;
        let footer_at = before_tail
            .checked_sub(footer_bytes)
            .ok_or_else(|| self.broken("its footer is cut"))?;
        Ok((self.read_bytes(footer_at, footer_bytes)?, footer_at))
    }

    fn read_bytes(&self, at: u64, bytes: u64) -> Result<Vec<u8>, SinkError> {
        // Callers have checked the length against the file's.
        let mut read = vec![0; bytes as usize];
        self.read_exact(&mut read, at)?;
        Ok(read)
    }

    fn read_exact(&self, bytes: &mut [u8], at: u64) -> Result<(), SinkError> {
        self.file.read_exact_at(bytes, at).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.broken("it became shorter"),
            _ => SinkError::io("read", &self.path)(error),
        })
    }

    fn broken(&self, why: impl Into<String>) -> SinkError {
        SinkError::Segment { path: self.path.clone(), why: why.into() }
    }
}

/// Where a block begins, where its body begins and where it ends.
fn range(block: &Block) -> Option<(u64, u64, u64)> {
    let at = u64::try_from(block.offset()).ok()?;
    let body_at = at.checked_add(u64::try_from(block.metaDataLength()).ok()?)?;
    Some((at, body_at, body_at.checked_add(u64::try_from(block.bodyLength()).ok()?)?))
}

/// The dimension of a file's vectors, if its columns are those of a segment.
fn dim_of(footer: &Footer<'_>) -> Option<u32> {
    let fields = footer.schema()?.fields().filter(|fields| fields.len() == 2)?;
    let (sequence, vector) = (fields.get(0), fields.get(1));
    let integer = sequence.type_as_int()?;
    let item = vector.children().filter(|children| children.len() == 1)?.get(0);
    let named = sequence.name() == Some(SEQUENCE) && vector.name() == Some(VECTOR);
    let typed = integer.bitWidth() == 64 && !integer.is_signed();
    let single = item.type_as_floating_point()?.precision() == Precision::SINGLE;
    let dim =
        u32::try_from(vector.type_as_fixed_size_list()?.listSize()).ok().filter(|dim| *dim > 0)?;
    (named && typed && single).then_some(dim)
}
