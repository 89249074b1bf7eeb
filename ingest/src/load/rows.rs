//! The vectors that are sent: rows of one dimension, in wire order.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::draw::Draw;
use super::{FileError, fvecs, npy};

/// Most bytes of a file of vectors: it is kept in memory.
pub const FILE_BYTES_MAX: u64 = 1 << 30;

/// Generated rows stay below this many bytes, so that the generator's cache misses don't count as
/// the server's latency.
const GENERATED_BYTES_MAX: usize = 512 << 10;

/// Vectors of one dimension as the wire carries them: little-endian f32, row after row. At least
/// one row.
#[derive(Clone, Debug)]
pub struct Rows {
    dim: u32,
    bytes: Vec<u8>,
}

impl Rows {
    /// Rows drawn from `seed`: multiples of 1/64 in [-1, 1], whose sums are exact in f64 and, for
    /// usual dimensions, in f32 too.
    pub fn generated(dim: u32, seed: u64) -> Rows {
        let row_bytes = dim as usize * 4;
        let rows = (GENERATED_BYTES_MAX / row_bytes.max(1)).clamp(8, 1024);
        let mut draw = Draw::new(seed);
        let mut bytes = Vec::with_capacity(rows * row_bytes);
        for _ in 0..rows * dim as usize {
            let component = (draw.between(0, 128) as f32 - 64.0) / 64.0;
            bytes.extend_from_slice(&component.to_le_bytes());
        }
        Rows { dim, bytes }
    }

    /// Rows of a `.npy` or `.fvecs` file.
    pub fn from_file(path: &Path, dim: u32) -> Result<Rows, FileError> {
        let file = File::open(path).map_err(FileError::Read)?;
        let metadata = file.metadata().map_err(FileError::Read)?;
        if !metadata.is_file() {
            return Err(FileError::NotAFile);
        }
        // The file may grow while it is read: the limit holds for what was read.
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(FileError::Read)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(FileError::TooLarge { bytes: metadata.len() });
        }
        if bytes.starts_with(npy::MAGIC) {
            Rows::from_npy(&bytes, dim)
        } else if path.extension().is_some_and(|ending| ending == "fvecs") {
            Rows::from_fvecs(&bytes, dim)
        } else {
            Err(FileError::UnknownFormat)
        }
    }

    /// Rows of a `.npy` image in memory: version 1 or 2, `<f4`, C order, two axes.
    pub fn from_npy(bytes: &[u8], dim: u32) -> Result<Rows, FileError> {
        let (found, payload) = npy::parse(bytes)?;
        Rows::from_parts(found, payload.to_vec(), dim)
    }

    /// Rows of an `.fvecs` image in memory: each row is its dimension (u32) and its components.
    pub fn from_fvecs(bytes: &[u8], dim: u32) -> Result<Rows, FileError> {
        let found = fvecs::parse(bytes)?;
        let mut components = Vec::with_capacity(bytes.len());
        fvecs::rows(bytes, found).for_each(|row| components.extend_from_slice(row));
        Rows::from_parts(u64::from(found), components, dim)
    }

    fn from_parts(found: u64, bytes: Vec<u8>, dim: u32) -> Result<Rows, FileError> {
        if found != u64::from(dim) {
            return Err(FileError::Dimension { found, dim });
        }
        if bytes.is_empty() {
            return Err(FileError::Empty);
        }
        Ok(Rows { dim, bytes })
    }

    /// Components of a row.
    pub fn dim(&self) -> u32 {
        self.dim
    }

    /// How many rows there are.
    pub fn count(&self) -> usize {
        self.bytes.len() / self.row_bytes()
    }

    fn row_bytes(&self) -> usize {
        self.dim as usize * 4
    }

    /// All rows as they are sent: little-endian f32.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The components of one row.
    pub(super) fn components(&self, row: usize) -> impl Iterator<Item = f32> + '_ {
        let at = row * self.row_bytes();
        self.bytes[at..at + self.row_bytes()]
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
    }

    /// Appends `count` rows from `first` on to `out`, starting over after the last one.
    pub(super) fn append(&self, first: usize, count: usize, out: &mut Vec<u8>) {
        let row_bytes = self.row_bytes();
        let mut at = first * row_bytes;
        let mut left = count * row_bytes;
        while left > 0 {
            let piece = left.min(self.bytes.len() - at);
            out.extend_from_slice(&self.bytes[at..at + piece]);
            left -= piece;
            at = 0;
        }
    }
}
