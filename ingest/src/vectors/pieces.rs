//! Images that are read piece by piece, in order: `.npy` and `.fvecs`, whose rows follow each other
//! from the header to the end, and Arrow, whose messages do.

use std::borrow::Cow;

use super::arrow::{self, ArrowWalk};
use super::element::Element;
use super::fvecs::{self, FvecsError};
use super::ids::RowIds;
use super::image::{FormatError, ImageFormat, ImageOptions, VectorImage};
use super::npy::{self, NpyError};
use crate::wire::frames::Limits;

/// The longest header that is waited for; numpy itself reads no longer one unasked.
const HEADER_BYTES_MAX: usize = 1 << 20;

/// What the first bytes of an image say.
#[derive(Debug)]
pub(crate) enum ImageStart {
    /// Nothing yet: more bytes are needed.
    Unknown,
    /// Where its rows are.
    Rows(PieceLayout),
    /// That it is read message by message.
    Arrow(ArrowWalk),
}

/// Where the rows of an image are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PieceLayout {
    pub(crate) dim: u32,
    /// Bytes before the first row.
    pub(crate) header_bytes: usize,
    /// All rows of the image.
    pub(crate) rows: u64,
    element: Element,
    is_fvecs: bool,
}

/// The rows of a record batch that `walk` has found in these bytes.
pub(crate) fn batch_image<'a>(
    walk: &ArrowWalk,
    bytes: &'a [u8],
    options: &ImageOptions<'_>,
    max_vectors: u32,
) -> Result<VectorImage<'a>, FormatError> {
    let rows = arrow::batch_rows(walk, bytes, &options.columns())?;
    let image = VectorImage::of_arrow(rows, walk.rows_passed(), options)?;
    image.check_limits(max_vectors)?;
    Ok(image)
}

impl PieceLayout {
    /// The layout of an image of `image_bytes` bytes that begins with `start`. Requests of up to
    /// `max_vectors` must be able to carry its rows.
    pub(crate) fn of(
        start: &[u8],
        image_bytes: u64,
        name: &str,
        options: &ImageOptions<'_>,
        max_vectors: u32,
    ) -> Result<ImageStart, FormatError> {
        if start.len() < npy::MAGIC.len() && (start.len() as u64) < image_bytes {
            return Ok(ImageStart::Unknown);
        }
        let layout = match ImageFormat::of(start, name)? {
            ImageFormat::Npy => match npy::header_end(start) {
                Ok(end) if end <= start.len() => Self::of_npy(start, image_bytes, end, options)?,
                Ok(end) if end > HEADER_BYTES_MAX => return Err(NpyError::Header.into()),
                Ok(_) | Err(NpyError::Header) if (start.len() as u64) < image_bytes => {
                    return Ok(ImageStart::Unknown);
                }
                Ok(_) => return Err(NpyError::Header.into()),
                Err(error) => return Err(error.into()),
            },
            ImageFormat::Fvecs => {
                options.check_bare_rows(".fvecs")?;
                let (dim, rows) = fvecs::layout(start, image_bytes)?;
                Self { dim, header_bytes: 0, rows, element: Element::F32, is_fvecs: true }
            }
            format @ (ImageFormat::ArrowFile | ImageFormat::ArrowStream) => {
                let is_file = format == ImageFormat::ArrowFile;
                let walk = ArrowWalk::new(is_file, image_bytes, options.batch_bytes_max);
                return Ok(ImageStart::Arrow(walk));
            }
        };
        Limits::new(layout.dim, max_vectors).check().map_err(FormatError::Limits)?;
        Ok(ImageStart::Rows(layout))
    }

    fn of_npy(
        start: &[u8],
        image_bytes: u64,
        header_bytes: usize,
        options: &ImageOptions<'_>,
    ) -> Result<PieceLayout, FormatError> {
        options.check_bare_rows(".npy")?;
        let head = npy::parse_head(&start[..header_bytes], options.convert)?;
        head.check_bytes(image_bytes - header_bytes as u64, |_| false)?;
        let dim = u32::try_from(head.dim).unwrap_or(u32::MAX);
        let (rows, element) = (head.rows, head.element);
        Ok(PieceLayout { dim, header_bytes, rows, element, is_fvecs: false })
    }

    /// Bytes of a row in the image.
    pub(crate) fn row_bytes(&self) -> usize {
        let before = if self.is_fvecs { fvecs::DIM_BYTES } else { 0 };
        before + self.dim as usize * self.element.bytes()
    }

    /// Whole rows of the image, the first of which has this number.
    pub(crate) fn image<'a>(
        &self,
        first_row: u64,
        bytes: &'a [u8],
        ids: RowIds<'_>,
    ) -> Result<VectorImage<'a>, FormatError> {
        let format = if self.is_fvecs { ".fvecs" } else { ".npy" };
        let ids = ids.of_bare_rows(format).map_err(FormatError::NoIds)?;
        ids.check(self.rows).map_err(FormatError::Numbers)?;
        if !self.is_fvecs {
            let components = vec![Cow::Borrowed(bytes)];
            return VectorImage::packed(self.dim, self.element, components, first_row)
                .with_ids(ids);
        }
        match fvecs::parse_rows(bytes, self.dim) {
            Ok(()) => VectorImage::of_fvecs(self.dim, bytes, first_row).with_ids(ids),
            Err((row, found)) => {
                Err(FvecsError::Row { row: first_row + row, found, dim: self.dim }.into())
            }
        }
    }
}
