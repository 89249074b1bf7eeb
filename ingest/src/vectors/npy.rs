//! `.npy` images, as `numpy.save` writes them: versions 1 and 2, little-endian f4, C order, two
//! axes. Everything else that the format allows is refused by name.

/// The first bytes of every image.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// Errors of a `.npy` image.
#[derive(Debug, thiserror::Error)]
pub enum NpyError {
    /// A version that numpy writes only for unusual types.
    #[error(".npy version {0}, 1 and 2 are read; write it again with numpy.save")]
    Version(u8),
    /// The header can't be read.
    #[error("its .npy header is cut off or damaged")]
    Header,
    /// Another type than little-endian f32.
    #[error("its type is {0}, only '<f4' is read; save array.astype('<f4')")]
    Type(String),
    /// Fortran order.
    #[error("it is in Fortran order; save numpy.ascontiguousarray(array)")]
    Order,
    /// One axis, or more than two.
    #[error("it has {0} axes, 2 are needed; save array.reshape(-1, dim)")]
    Axes(usize),
    /// Shape and size disagree.
    #[error(
        "its shape ({rows}, {dim}) doesn't fit its {bytes} bytes of components; it may be cut off"
    )]
    Size {
        /// First axis.
        rows: u64,
        /// Second axis.
        dim: u64,
        /// Bytes after the header.
        bytes: u64,
    },
}

/// The dimension, and the components of all rows. The image must begin with [`MAGIC`].
pub(super) fn parse(bytes: &[u8]) -> Result<(u64, &[u8]), NpyError> {
    let version = *bytes.get(MAGIC.len()).ok_or(NpyError::Header)?;
    let (length_at, length) = match version {
        1 => (10, bytes.get(8..10).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]])))),
        2 => (12, bytes.get(8..12).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)),
        _ => return Err(NpyError::Version(version)),
    };
    let header_end =
        length.and_then(|length| length.checked_add(length_at)).ok_or(NpyError::Header)?;
    let header = bytes.get(length_at..header_end).ok_or(NpyError::Header)?;
    let header = str::from_utf8(header).map_err(|_| NpyError::Header)?;
    let descr = value(header, "descr")?;
    if !descr.starts_with("'<f4'") && !descr.starts_with("\"<f4\"") {
        let shown =
            descr.split([',', '}']).next().unwrap_or(descr).trim().chars().take(20).collect();
        return Err(NpyError::Type(shown));
    }
    if !value(header, "fortran_order")?.starts_with("False") {
        return Err(NpyError::Order);
    }
    let (rows, dim) = shape(value(header, "shape")?)?;
    let components = &bytes[header_end..];
    let expected = rows.checked_mul(dim).and_then(|count| count.checked_mul(4));
    if expected != Some(components.len() as u64) {
        return Err(NpyError::Size { rows, dim, bytes: components.len() as u64 });
    }
    Ok((dim, components))
}

/// The text after `'key':` in the header, which is a Python dictionary literal.
fn value<'a>(header: &'a str, key: &str) -> Result<&'a str, NpyError> {
    let after_key =
        header.split_once(&format!("'{key}'")).or_else(|| header.split_once(&format!("\"{key}\"")));
    let (_, after_colon) =
        after_key.and_then(|(_, after)| after.split_once(':')).ok_or(NpyError::Header)?;
    Ok(after_colon.trim_start())
}

/// The two axes of `(rows, dim)`.
fn shape(text: &str) -> Result<(u64, u64), NpyError> {
    let inner =
        text.strip_prefix('(').and_then(|after| after.split_once(')')).ok_or(NpyError::Header)?.0;
    let axes: Vec<u64> = inner
        .split(',')
        .map(str::trim)
        .filter(|axis| !axis.is_empty())
        .map(|axis| axis.parse().map_err(|_| NpyError::Header))
        .collect::<Result<_, _>>()?;
    match axes[..] {
        [rows, dim] => Ok((rows, dim)),
        _ => Err(NpyError::Axes(axes.len())),
    }
}
