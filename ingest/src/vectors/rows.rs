//! The rows that a load sends: generated from a seed, or read from a file, in wire order.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::image::{FormatError, ImageFormat, ImageOptions, VectorImage};
use super::npy;

/// Most bytes of a file of vectors, which is held in memory.
pub const FILE_BYTES_MAX: u64 = 1 << 30;

/// Generated rows stay below this many bytes, so that the generator's cache misses don't count as
/// the server's latency.
const GENERATED_BYTES_MAX: usize = 512 << 10;

/// Errors of a file of vectors.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("{0}")]
    Read(io::Error),
    /// A folder, a pipe or a device.
    #[error("not a regular file")]
    NotAFile,
    /// Too many bytes to hold in memory.
    #[error("{bytes} bytes, at most {FILE_BYTES_MAX} are held in memory; cut it")]
    TooLarge {
        /// Size of the file.
        bytes: u64,
    },
    /// Neither of the two formats.
    #[error("neither a .npy file (by its first bytes) nor named .fvecs")]
    UnknownFormat,
    /// Another dimension than the option's.
    #[error("its vectors have {found} components, --dim is {dim}; pass --dim {found}")]
    Dimension {
        /// Dimension of the file.
        found: u32,
        /// Dimension of the option.
        dim: u32,
    },
    /// Its contents can't be read.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// Vectors of one dimension as the wire carries them: little-endian f32, row after row. At least
/// one row.
#[derive(Clone, Debug)]
pub struct VectorRows {
    dim: u32,
    bytes: Vec<u8>,
}

impl VectorRows {
    /// Rows drawn from `seed`: multiples of 1/64 in [-1, 1], whose sums are exact in f64 and, for
    /// usual dimensions, in f32 too.
    pub fn generated(dim: u32, seed: u64) -> VectorRows {
        let row_bytes = dim as usize * 4;
        let rows = (GENERATED_BYTES_MAX / row_bytes.max(1)).clamp(8, 1024);
        let mut draw = Draw::new(seed);
        let mut bytes = Vec::with_capacity(rows * row_bytes);
        for _ in 0..rows * dim as usize {
            let component = (draw.between(0, 128) as f32 - 64.0) / 64.0;
            bytes.extend_from_slice(&component.to_le_bytes());
        }
        VectorRows { dim, bytes }
    }

    /// Rows of a `.npy` or `.fvecs` file. Components of other types than f32 are refused, unless
    /// `convert` is set.
    pub fn from_file(path: &Path, dim: u32, convert: bool) -> Result<VectorRows, FileError> {
        let file = File::open(path).map_err(FileError::Read)?;
        let metadata = file.metadata().map_err(FileError::Read)?;
        if !metadata.is_file() {
            return Err(FileError::NotAFile);
        }
        // The file may grow while it is read: the limit applies to the bytes that were read.
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(FileError::Read)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(FileError::TooLarge { bytes: metadata.len() });
        }
        match ImageFormat::of(&bytes, &path.to_string_lossy()) {
            Ok(format @ (ImageFormat::Npy | ImageFormat::Fvecs)) => {
                VectorRows::from_image(format, &bytes, dim, convert)
            }
            Ok(_) | Err(FormatError::Unknown) => Err(FileError::UnknownFormat),
            Err(error) => Err(error.into()),
        }
    }

    /// Rows of a `.npy` image in memory: versions 1 to 3, `<f4`, C order, two axes.
    pub fn from_npy(bytes: &[u8], dim: u32) -> Result<VectorRows, FileError> {
        if !bytes.starts_with(npy::MAGIC) {
            return Err(FileError::UnknownFormat);
        }
        VectorRows::from_image(ImageFormat::Npy, bytes, dim, false)
    }

    /// Rows of an `.fvecs` image in memory: each row is its dimension (u32) and its components.
    pub fn from_fvecs(bytes: &[u8], dim: u32) -> Result<VectorRows, FileError> {
        VectorRows::from_image(ImageFormat::Fvecs, bytes, dim, false)
    }

    fn from_image(
        format: ImageFormat,
        bytes: &[u8],
        dim: u32,
        convert: bool,
    ) -> Result<VectorRows, FileError> {
        let options = ImageOptions { convert, ..ImageOptions::default() };
        let image = VectorImage::parse_as(format, bytes, &options)?;
        image.check_range()?;
        if image.dim() != dim {
            return Err(FileError::Dimension { found: image.dim(), dim });
        }
        let rows = image.rows();
        if rows == 0 || dim == 0 {
            return Err(FormatError::Empty.into());
        }
        let mut bytes = Vec::with_capacity(rows as usize * dim as usize * 4);
        image.cursor().append_rows(rows, &mut bytes);
        Ok(VectorRows { dim, bytes })
    }

    /// Components per row.
    pub fn dim(&self) -> u32 {
        self.dim
    }

    /// Number of rows.
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
    pub(crate) fn components(&self, row: usize) -> impl Iterator<Item = f32> + '_ {
        let at = row * self.row_bytes();
        self.bytes[at..at + self.row_bytes()]
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
    }

    /// Appends `count` rows from `first` on to `out`. After the last row comes the first one.
    pub(crate) fn append(&self, first: usize, count: usize, out: &mut Vec<u8>) {
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

/// Seeded random numbers, so that the same seed sends the same requests on every machine. This is
/// SplitMix64: it passes through every u64 once, so no seed is bad.
#[derive(Clone, Debug)]
pub(crate) struct Draw {
    state: u64,
}

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Draw { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `least` to `most`, both included. The multiplication's bias is below 2^-32 for
    /// u32 ranges.
    pub(crate) fn between(&mut self, least: u32, most: u32) -> u32 {
        let span = u64::from(most - least) + 1;
        least + (((self.next() >> 32) * span) >> 32) as u32
    }
}
