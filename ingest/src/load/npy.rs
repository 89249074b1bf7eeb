//! `.npy` images, as `numpy.save` writes them: versions 1 and 2, little-endian f4, C order, two
//! axes.

use super::FileError;

pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";

/// The dimension and the components. Everything else that the format allows is refused by name.
pub(crate) fn parse(bytes: &[u8]) -> Result<(u64, &[u8]), FileError> {
    let version =
        *bytes.strip_prefix(MAGIC).and_then(|rest| rest.first()).ok_or(FileError::UnknownFormat)?;
    let (length_at, length) = match version {
        1 => (10, bytes.get(8..10).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]])))),
        2 => (12, bytes.get(8..12).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)),
        _ => return Err(FileError::NpyVersion(version)),
    };
    let header_end =
        length.and_then(|length| length.checked_add(length_at)).ok_or(FileError::NpyHeader)?;
    let header = bytes.get(length_at..header_end).ok_or(FileError::NpyHeader)?;
    let header = str::from_utf8(header).map_err(|_| FileError::NpyHeader)?;
    let descr = value(header, "descr")?;
    if !descr.starts_with("'<f4'") && !descr.starts_with("\"<f4\"") {
        let shown =
            descr.split([',', '}']).next().unwrap_or(descr).trim().chars().take(20).collect();
        return Err(FileError::NpyType(shown));
    }
    if !value(header, "fortran_order")?.starts_with("False") {
        return Err(FileError::NpyOrder);
    }
    let (rows, dim) = shape(value(header, "shape")?)?;
    let payload = &bytes[header_end..];
    let expected = rows.checked_mul(dim).and_then(|components| components.checked_mul(4));
    if expected != Some(payload.len() as u64) {
        return Err(FileError::NpySize { rows, dim, bytes: payload.len() as u64 });
    }
    Ok((dim, payload))
}

/// What follows `'key':` in the header, which is a Python dictionary literal.
fn value<'a>(header: &'a str, key: &str) -> Result<&'a str, FileError> {
    let after_key =
        header.split_once(&format!("'{key}'")).or_else(|| header.split_once(&format!("\"{key}\"")));
    let (_, after_colon) =
        after_key.and_then(|(_, rest)| rest.split_once(':')).ok_or(FileError::NpyHeader)?;
    Ok(after_colon.trim_start())
}

/// The two axes of `(rows, dim)`.
fn shape(text: &str) -> Result<(u64, u64), FileError> {
    let inner =
        text.strip_prefix('(').and_then(|rest| rest.split_once(')')).ok_or(FileError::NpyHeader)?.0;
    let axes: Vec<u64> = inner
        .split(',')
        .map(str::trim)
        .filter(|axis| !axis.is_empty())
        .map(|axis| axis.parse().map_err(|_| FileError::NpyHeader))
        .collect::<Result<_, _>>()?;
    match axes[..] {
        [rows, dim] => Ok((rows, dim)),
        _ => Err(FileError::NpyAxes(axes.len())),
    }
}
