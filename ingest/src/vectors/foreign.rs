//! Formats that aren't read, recognised so that an error can say what the bytes are and what to do.

use std::fmt;

/// Bytes in which a text is looked for.
const TEXT_BYTES: usize = 512;
/// Where a tar archive has its magic.
const TAR_MAGIC_AT: usize = 257;

/// A format of files that holds no rows that can be sent as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignFormat {
    /// Apache Parquet.
    Parquet,
    /// A zip archive, which `numpy.savez` and `torch.save` write.
    Zip,
    /// gzip, as a file or as an object with `Content-Encoding: gzip`.
    Gzip,
    /// Zstandard.
    Zstd,
    /// LZ4 frames.
    Lz4,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// HDF5, and NetCDF 4 and MATLAB 7.3, which are HDF5.
    Hdf5,
    /// The first version of Feather.
    Feather,
    /// Apache ORC.
    Orc,
    /// Apache Avro.
    Avro,
    /// A SQLite database.
    Sqlite,
    /// A tar archive.
    Tar,
    /// A pickled object.
    Pickle,
    /// Tensors of `safetensors`.
    Safetensors,
    /// JSON, or a JSON value per line.
    Json,
    /// An HTML page.
    Html,
    /// An XML document, such as a store's error.
    Xml,
    /// The pointer that git LFS keeps in place of a file.
    LfsPointer,
    /// Numbers with commas, tabs, semicolons or spaces between them.
    Csv,
    /// `.bvecs`, by its name.
    Bvecs,
    /// `.ivecs`, by its name.
    Ivecs,
}

/// Magic numbers at the beginning. None of them begins as an `.fvecs` file of up to 65535
/// dimensions does.
const MAGICS: &[(&[u8], ForeignFormat)] = &[
    (b"PAR1", ForeignFormat::Parquet),
    (b"PARE", ForeignFormat::Parquet),
    (b"PK\x03\x04", ForeignFormat::Zip),
    (b"PK\x05\x06", ForeignFormat::Zip),
    (b"\x1f\x8b\x08", ForeignFormat::Gzip),
    (b"\x28\xb5\x2f\xfd", ForeignFormat::Zstd),
    (b"\x04\x22\x4d\x18", ForeignFormat::Lz4),
    (b"BZh", ForeignFormat::Bzip2),
    (b"\xfd7zXZ\x00", ForeignFormat::Xz),
    (b"\x89HDF\r\n\x1a\n", ForeignFormat::Hdf5),
    (b"FEA1", ForeignFormat::Feather),
    (b"ORC", ForeignFormat::Orc),
    (b"Obj\x01", ForeignFormat::Avro),
    (b"SQLite format 3\x00", ForeignFormat::Sqlite),
    (b"version https://git-lfs.github.com/", ForeignFormat::LfsPointer),
];

impl ForeignFormat {
    /// The format that these bytes, or for lack of a magic number this name, are of.
    pub(super) fn of(bytes: &[u8], name: &str) -> Option<ForeignFormat> {
        if let Some((_, format)) = MAGICS.iter().find(|(magic, _)| bytes.starts_with(magic)) {
            return Some(*format);
        }
        if bytes.get(TAR_MAGIC_AT..).is_some_and(|after| after.starts_with(b"ustar")) {
            return Some(ForeignFormat::Tar);
        }
        if is_safetensors(bytes) {
            return Some(ForeignFormat::Safetensors);
        }
        // A protocol's number, and then an operation, which is a letter or a frame's mark.
        if let [0x80, 2..=5, operation, ..] = bytes
            && (operation.is_ascii_graphic() || *operation == 0x95)
        {
            return Some(ForeignFormat::Pickle);
        }
        text(bytes).or_else(|| match name {
            _ if bytes.is_empty() => None,
            _ if has_ending(name, ".bvecs") => Some(ForeignFormat::Bvecs),
            _ if has_ending(name, ".ivecs") => Some(ForeignFormat::Ivecs),
            _ => None,
        })
    }

    /// What the format is called, and what to do with it.
    fn advice(self) -> (&'static str, &'static str) {
        let unpack = "unpack it first; a store may have kept it as it was uploaded, with \
                      Content-Encoding";
        let table = "write its column of vectors as Arrow IPC, in Python with \
                     pyarrow.feather.write_feather";
        let array = "load it in Python and write the array with numpy.save";
        match self {
            ForeignFormat::Parquet => ("Parquet", table),
            ForeignFormat::Feather => ("Feather of version 1", table),
            ForeignFormat::Orc => ("ORC", table),
            ForeignFormat::Avro => ("Avro", table),
            ForeignFormat::Sqlite => ("a SQLite database", table),
            ForeignFormat::Zip => (
                "a zip archive, as numpy.savez (.npz) and torch.save write; it may hold several \
                 arrays",
                "save one with numpy.save(file, archive[name])",
            ),
            ForeignFormat::Tar => ("a tar archive", "unpack it, and get the files in it"),
            ForeignFormat::Gzip => ("packed with gzip", unpack),
            ForeignFormat::Zstd => ("packed with zstd", unpack),
            ForeignFormat::Lz4 => ("packed with LZ4", unpack),
            ForeignFormat::Bzip2 => ("packed with bzip2", unpack),
            ForeignFormat::Xz => ("packed with xz", unpack),
            ForeignFormat::Hdf5 => ("HDF5", array),
            ForeignFormat::Pickle => ("a pickled Python object", array),
            ForeignFormat::Safetensors => ("safetensors", array),
            ForeignFormat::Json => ("JSON", array),
            ForeignFormat::Csv => (
                "text with a row of numbers per line",
                "read it with numpy.loadtxt, and numpy.save",
            ),
            ForeignFormat::Html => {
                ("an HTML page", "a page about the file or about an error; use the URL of the file")
            }
            ForeignFormat::Xml => {
                ("an XML document", "a store's error or listing, perhaps; use the URL of the file")
            }
            ForeignFormat::LfsPointer => (
                "a git LFS pointer and not the file itself",
                "run `git lfs pull`, or use the URL of the file",
            ),
            ForeignFormat::Bvecs => {
                ("named .bvecs, rows of uint8", "write them as .fvecs, or as .npy for --convert")
            }
            ForeignFormat::Ivecs => {
                ("named .ivecs, rows of int32, often numbers of neighbours", "write .fvecs of them")
            }
        }
    }
}

impl fmt::Display for ForeignFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, fix) = self.advice();
        write!(f, "it is {what}; {fix}")
    }
}

/// Whether it begins with the length of a header as a u64, and then that header, which is JSON. The
/// components of an `.fvecs` image may begin like that, but hardly go on as text.
fn is_safetensors(bytes: &[u8]) -> bool {
    let Some((length, header)) = bytes.split_first_chunk() else { return false };
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let start = &header[..length.min(TEXT_BYTES).min(header.len())];
    let is_json = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=0x7e | 0x80..);
    let is_cut = start.len() < length;
    bytes.get(4..8) == Some(&[0; 4])
        && (start.starts_with(b"{\"") || start == b"{}")
        && (is_cut || start.trim_ascii_end().ends_with(b"}"))
        && start.iter().all(is_json)
}

/// Whether the name has this ending, in capitals or not.
pub(super) fn has_ending(name: &str, ending: &str) -> bool {
    let start = name.len().checked_sub(ending.len());
    start.and_then(|start| name.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(ending))
}

/// The kind of a text, by how it begins.
fn text(bytes: &[u8]) -> Option<ForeignFormat> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let start = bytes.get(..TEXT_BYTES).unwrap_or(bytes);
    let is_text = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=0x7e | 0x80..);
    if !start.iter().all(is_text) {
        return None;
    }
    // The end of the piece may cut a character in two.
    let start = String::from_utf8_lossy(start);
    let start = start.trim_start();
    let lower = start.to_ascii_lowercase();
    if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
        Some(ForeignFormat::Html)
    } else if lower.starts_with("<?xml") || lower.starts_with("<error>") {
        Some(ForeignFormat::Xml)
    } else if start.starts_with(['{', '[']) {
        Some(ForeignFormat::Json)
    } else {
        is_table(start).then_some(ForeignFormat::Csv)
    }
}

/// Whether the first line, or the second one below a heading, is two or more numbers.
fn is_table(start: &str) -> bool {
    let is_row = |line: &str| {
        let fields =
            line.split([',', ';', '\t', ' ']).map(str::trim).filter(|field| !field.is_empty());
        let numbers: Vec<bool> = fields.map(|field| field.parse::<f64>().is_ok()).collect();
        numbers.len() > 1 && numbers.iter().filter(|is| **is).count() * 2 > numbers.len()
    };
    start.lines().take(2).any(is_row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_their_first_bytes() {
        let mut tar = vec![0; 600];
        tar[..5].copy_from_slice(b"a.npy");
        tar[257..262].copy_from_slice(b"ustar");
        let cases: &[(&[u8], ForeignFormat)] = &[
            (b"PAR1\x15\x04", ForeignFormat::Parquet),
            (b"PK\x03\x04\x14\0", ForeignFormat::Zip),
            (b"\x1f\x8b\x08\x08", ForeignFormat::Gzip),
            (b"\x28\xb5\x2f\xfd\x04", ForeignFormat::Zstd),
            (b"\x04\x22\x4d\x18\x64", ForeignFormat::Lz4),
            (b"BZh91AY", ForeignFormat::Bzip2),
            (b"\x89HDF\r\n\x1a\n\0", ForeignFormat::Hdf5),
            (&tar, ForeignFormat::Tar),
            (b"\x80\x04\x95\x10\0", ForeignFormat::Pickle),
            (b"\x80\x02cnumpy", ForeignFormat::Pickle),
            (b"\x40\0\0\0\0\0\0\0{\"a\":", ForeignFormat::Safetensors),
            (b"{\"vector\": [1, 2]}", ForeignFormat::Json),
            (b" [[1.0, 2.0]]", ForeignFormat::Json),
            (b"<!DOCTYPE html>\n<html>", ForeignFormat::Html),
            (b"\xef\xbb\xbf<html lang=en>", ForeignFormat::Html),
            (b"<?xml version=\"1.0\"?><Error>", ForeignFormat::Xml),
            (b"version https://git-lfs.github.com/spec/v1\noid", ForeignFormat::LfsPointer),
            (b"1.0,2.0\n3.0,4.0\n", ForeignFormat::Csv),
            (b"id\tx\ty\r\n7\t0.5\t-1e3\r\n", ForeignFormat::Csv),
        ];
        for (bytes, format) in cases {
            for name in ["object", "a.fvecs", "a.npy", "a.bvecs"] {
                assert_eq!(ForeignFormat::of(bytes, name), Some(*format), "{bytes:?}");
            }
            assert!(format.to_string().starts_with("it is ") && format.to_string().contains("; "));
        }
        assert_eq!(
            ForeignFormat::of(&[4, 0, 0, 0, 1, 2, 3, 4], "a.bvecs"),
            Some(ForeignFormat::Bvecs)
        );
        assert_eq!(
            ForeignFormat::of(&[1, 0, 0, 0, 1, 0, 0, 0], "a.ivecs"),
            Some(ForeignFormat::Ivecs)
        );
        for other in [&b""[..], b"\x89PNG\r\n", b"a note", b"\x80\x04\0\0\0\0\0\0"] {
            assert_eq!(ForeignFormat::of(other, "object"), None, "{other:?}");
        }
    }

    #[test]
    fn rows_that_begin_as_a_header_are_rows() {
        let mut image = 4_u32.to_le_bytes().to_vec();
        image.extend(0_f32.to_le_bytes());
        image.extend(*b"{\"\x80\x3f");
        image.extend(0.5_f32.to_le_bytes().repeat(2));
        assert_eq!(ForeignFormat::of(&image, "a.fvecs"), None);
        assert_eq!(
            ForeignFormat::of(b"\x02\0\0\0\0\0\0\0{}", "a"),
            Some(ForeignFormat::Safetensors)
        );
    }

    /// An `.fvecs` image has no magic number: its first bytes are the dimension.
    #[test]
    fn no_dimension_of_fvecs_is_a_magic_number() {
        for dim in 1..=u32::from(u16::MAX) {
            let mut image = dim.to_le_bytes().to_vec();
            image.extend(0.5_f32.to_le_bytes().repeat(2));
            assert_eq!(ForeignFormat::of(&image, "a.fvecs"), None, "{dim}");
        }
    }
}
