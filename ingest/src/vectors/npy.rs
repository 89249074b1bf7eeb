//! `.npy` images, as `numpy.save` writes them: versions 1 to 3, little-endian f4, C order, two
//! axes; on request also f8, f2, i1 and u1, which are converted. Everything else that the format
//! allows is refused by name.

use super::element::Element;

/// The first bytes of every image.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";
/// Characters of an unknown type that an error shows.
const TYPE_SHOWN_MAX: usize = 20;

/// Errors of a `.npy` image.
#[derive(Debug, thiserror::Error)]
pub enum NpyError {
    /// A version that numpy doesn't write.
    #[error(".npy version {0}, 1 to 3 are read; write it again with numpy.save")]
    Version(u8),
    /// The header can't be read.
    #[error("its .npy header is cut off or damaged")]
    Header,
    /// A type that isn't sent.
    #[error("its type is {0}, only '<f4' is read; save array.astype('<f4')")]
    Type(String),
    /// A type that is sent only if a conversion was asked for.
    #[error(
        "its type is {0}, only '<f4' is read; save array.astype('<f4'), or let --convert do it"
    )]
    Convertible(String),
    /// Fortran order.
    #[error("it is in Fortran order; save numpy.ascontiguousarray(array)")]
    Order,
    /// One axis, or more than two.
    #[error("it has {0} axes, 2 are needed; save array.reshape(-1, dim)")]
    Axes(usize),
    /// Fewer bytes than the shape says.
    #[error(
        "its shape ({rows}, {dim}) doesn't fit its {bytes} bytes of components; it may be cut off"
    )]
    CutOff {
        /// First axis.
        rows: u64,
        /// Second axis.
        dim: u64,
        /// Bytes after the header.
        bytes: u64,
    },
    /// More bytes than the shape says.
    #[error(
        "more than its shape ({rows}, {dim}) says: {extra} bytes behind the {expected} that the shape says{}; save each array to a file of its own",
        if *.is_array { ", and they are another array" } else { "" }
    )]
    Behind {
        /// First axis.
        rows: u64,
        /// Second axis.
        dim: u64,
        /// Bytes of components that the shape says.
        expected: u64,
        /// Bytes behind them.
        extra: u64,
        /// Whether they begin as a `.npy` image does.
        is_array: bool,
    },
}

/// Rows of components, one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct NpyArray<'a> {
    pub(super) element: Element,
    pub(super) dim: u64,
    pub(super) components: &'a [u8],
}

/// What a header says.
#[derive(Clone, Copy, Debug)]
pub(super) struct NpyHead {
    pub(super) element: Element,
    pub(super) rows: u64,
    pub(super) dim: u64,
}

/// The array of an image, which must begin with [`MAGIC`]. Types other than f32 are read with
/// `convert` only.
pub(super) fn parse(bytes: &[u8], convert: bool) -> Result<NpyArray<'_>, NpyError> {
    let header_end = header_end(bytes)?;
    let head = parse_head(bytes.get(..header_end).ok_or(NpyError::Header)?, convert)?;
    let components = &bytes[header_end..];
    head.check_bytes(components.len() as u64, |expected| {
        components[expected as usize..].starts_with(MAGIC)
    })?;
    Ok(NpyArray { element: head.element, dim: head.dim, components })
}

/// Bytes before the components.
pub(super) fn header_end(bytes: &[u8]) -> Result<usize, NpyError> {
    let (length_at, length) = header_length(bytes)?;
    length.and_then(|length| length.checked_add(length_at)).ok_or(NpyError::Header)
}

/// Where the header's text begins, and its length if these bytes have it.
fn header_length(bytes: &[u8]) -> Result<(usize, Option<usize>), NpyError> {
    let version = *bytes.get(MAGIC.len()).ok_or(NpyError::Header)?;
    Ok(match version {
        1 => (10, bytes.get(8..10).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]])))),
        2 | 3 => {
            let length = bytes.get(8..12);
            (12, length.map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize))
        }
        _ => return Err(NpyError::Version(version)),
    })
}

/// Reads all bytes before the components.
pub(super) fn parse_head(bytes: &[u8], convert: bool) -> Result<NpyHead, NpyError> {
    let (length_at, _) = header_length(bytes)?;
    let header = bytes.get(length_at..).ok_or(NpyError::Header)?;
    // Names of fields aren't always UTF-8, and types with fields are refused by name.
    let header = String::from_utf8_lossy(header);
    let element = element(value(&header, "descr")?, convert)?;
    if !value(&header, "fortran_order")?.starts_with("False") {
        return Err(NpyError::Order);
    }
    let (rows, dim) = shape(value(&header, "shape")?)?;
    Ok(NpyHead { element, rows, dim })
}

impl NpyHead {
    /// Checks that the shape needs this many bytes. `is_array` says whether those from an index on
    /// are another array.
    pub(super) fn check_bytes(
        &self,
        bytes: u64,
        is_array: impl FnOnce(u64) -> bool,
    ) -> Result<(), NpyError> {
        let NpyHead { element, rows, dim } = *self;
        let element_bytes = element.bytes() as u64;
        let expected = rows.checked_mul(dim).and_then(|count| count.checked_mul(element_bytes));
        match expected.filter(|expected| *expected <= bytes) {
            Some(expected) if expected == bytes => Ok(()),
            Some(expected) => {
                let (extra, is_array) = (bytes - expected, is_array(expected));
                Err(NpyError::Behind { rows, dim, expected, extra, is_array })
            }
            None => Err(NpyError::CutOff { rows, dim, bytes }),
        }
    }
}

/// The type that a header's `descr` names.
fn element(descr: &str, convert: bool) -> Result<Element, NpyError> {
    let named = descr.split([',', '}']).next().unwrap_or(descr).trim();
    let shown = || named.chars().take(TYPE_SHOWN_MAX).collect();
    let element = match named.trim_matches(['\'', '"']) {
        "<f4" => return Ok(Element::F32),
        "<f8" => Element::F64,
        "<f2" => Element::F16,
        "|i1" => Element::I8,
        "|u1" => Element::U8,
        _ => return Err(NpyError::Type(shown())),
    };
    if convert { Ok(element) } else { Err(NpyError::Convertible(shown())) }
}

/// The text after `'key':` in the header, which is a Python dictionary literal.
fn value<'a>(header: &'a str, key: &str) -> Result<&'a str, NpyError> {
    let after_key =
        header.split_once(&format!("'{key}'")).or_else(|| header.split_once(&format!("\"{key}\"")));
    let (_, after_colon) =
        after_key.and_then(|(_, after)| after.split_once(':')).ok_or(NpyError::Header)?;
    Ok(after_colon.trim_start())
}

/// The two axes of `(rows, dim)`, or of `(3L, 4L)`, as numpy under Python 2 wrote long ones.
fn shape(text: &str) -> Result<(u64, u64), NpyError> {
    let inner =
        text.strip_prefix('(').and_then(|after| after.split_once(')')).ok_or(NpyError::Header)?.0;
    let axes: Vec<u64> = inner
        .split(',')
        .map(str::trim)
        .filter(|axis| !axis.is_empty())
        .map(|axis| axis.strip_suffix('L').unwrap_or(axis).parse().map_err(|_| NpyError::Header))
        .collect::<Result<_, _>>()?;
    match axes[..] {
        [rows, dim] => Ok((rows, dim)),
        _ => Err(NpyError::Axes(axes.len())),
    }
}
