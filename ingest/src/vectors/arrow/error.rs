//! Errors of an Arrow image, and what of Arrow isn't supported.

/// The most names that an error lists.
const LISTED_MAX: usize = 8;

/// Errors of an Arrow image, and unsupported features of Arrow.
#[derive(Debug, thiserror::Error)]
pub enum ArrowError {
    /// The end of a file isn't there.
    #[error("the file has no footer at its end; it may be cut off")]
    NoFooter,
    /// A stream without its first message.
    #[error("the stream doesn't begin with a schema")]
    NoSchema,
    /// A message that is longer than the image from there on.
    #[error(
        "the message at byte {at} goes beyond the {bytes} bytes that are there; it may be cut off"
    )]
    CutOff {
        /// Where the message begins.
        at: u64,
        /// Length of the image.
        bytes: u64,
    },
    /// Metadata that is empty or impossible.
    #[error("the message at byte {at} is damaged: {why}")]
    Damaged {
        /// Where the message begins.
        at: u64,
        /// The damage.
        why: String,
    },
    /// Bytes behind a stream's end mark that aren't a stream.
    #[error(
        "{bytes} bytes from byte {at} on, behind the end of the stream, aren't another stream; cut them off"
    )]
    Behind {
        /// Where they begin.
        at: u64,
        /// How many they are.
        bytes: u64,
    },
    /// A stream behind another, with other vectors.
    #[error(
        "the stream at byte {at} has vectors of {found}, the one before it of {first}; write them to files of their own"
    )]
    OtherStream {
        /// Where it begins.
        at: u64,
        /// Its vectors.
        found: String,
        /// The first stream's vectors.
        first: String,
    },
    /// Bytes of a file that its footer doesn't mention.
    #[error(
        "{bytes} bytes from byte {at} on are neither a batch nor the footer: these are several files, one after the other; write them to files of their own"
    )]
    SeveralFiles {
        /// Where they begin.
        at: u64,
        /// How many they are.
        bytes: u64,
    },
    /// A footer that says something else than the messages before it.
    #[error("the footer at byte {at} isn't this file's: {what}; write the file again")]
    OtherFooter {
        /// Where it begins.
        at: u64,
        /// The difference.
        what: &'static str,
    },
    /// A message that can't be held as a whole, or rows that can't be once they are unpacked.
    #[error(
        "the batch at byte {at} takes {bytes} bytes, at most {most} are held in memory: write smaller batches, with pyarrow by max_chunksize, or raise --batch-max"
    )]
    TooLarge {
        /// Where it begins.
        at: u64,
        /// Bytes that it takes.
        bytes: u64,
        /// The limit.
        most: u64,
    },
    /// Written by an Arrow before 0.8, or newer than this build knows.
    #[error("metadata of version V{}, V4 and V5 are read; write it again with an Arrow that writes V5", i32::from(*.0) + 1)]
    Version(i16),
    /// Written for another kind of machine.
    #[error("it is big-endian; write it again little-endian")]
    BigEndian,
    /// No column of that name holds vectors.
    #[error(
        "--column is {wanted}: no column of that name is a list of f32; such columns: {vectors}; others: {others}"
    )]
    NoColumn {
        /// The option.
        wanted: String,
        /// Names of the columns that hold vectors.
        vectors: String,
        /// Names and types of the other columns.
        others: String,
    },
    /// No column holds vectors.
    #[error(
        "no column is a fixed-size list of f32, but {others}; cast one, with pyarrow to pa.list_(pa.float32(), dim)"
    )]
    NoVectors {
        /// Names and types of the columns.
        others: String,
    },
    /// More than one column holds vectors, and none has the usual name.
    #[error(
        "several columns are {kind}, and none is named vector; choose with --column: {vectors}"
    )]
    Several {
        /// Their type.
        kind: String,
        /// Names of these columns.
        vectors: String,
    },
    /// Two columns of the name that was asked for, or of the usual one.
    #[error("{count} columns are named {name}; rename all but one")]
    SameName {
        /// The name.
        name: String,
        /// How many have it.
        count: usize,
    },
    /// A column of vectors whose components are sent only if a conversion was asked for.
    #[error(
        "column {column} is a {kind} of {element}, only f32 is sent; cast it, or let --convert do it"
    )]
    Convertible {
        /// Name of the column.
        column: String,
        /// The kind of list.
        kind: &'static str,
        /// The type of its components.
        element: &'static str,
    },
    /// A list of another length than the first one.
    #[error(
        "column {column}: row {row} has {found} components, the first row has {dim}; all must have the same"
    )]
    Lengths {
        /// Name of the column.
        column: String,
        /// Number of the row, counted from 0.
        row: u64,
        /// Length of its list.
        found: u64,
        /// Length of the first list.
        dim: u32,
    },
    /// Bodies packed in an unknown way, or in a way that this build can't unpack.
    #[error(
        "its batches are compressed ({codec}); write it without compression, or with LZ4 or ZSTD"
    )]
    Codec {
        /// The codec.
        codec: &'static str,
    },
    /// A body that can't be unpacked.
    #[error("the batch at byte {at} can't be unpacked ({codec}): {why}")]
    Unpack {
        /// Where the batch begins.
        at: u64,
        /// LZ4_FRAME or ZSTD.
        codec: &'static str,
        /// The cause.
        why: String,
    },
    /// No column of ids.
    #[error(
        "an id is needed for every vector, and no column is named {name}: name the column of the ids with --id-column, or say --number-rows-from 0 to take the numbers of the rows; columns: {others}"
    )]
    NoIds {
        /// The name that was looked for.
        name: String,
        /// Names and types of the columns.
        others: String,
    },
    /// A column of ids that aren't integers.
    #[error(
        "column {name} can't be ids, which are uint64: it is {found}; name another with --id-column, or say --number-rows-from 0"
    )]
    IdType {
        /// Name of the column.
        name: String,
        /// Its type.
        found: String,
    },
    /// A column of integers that are taken as ids only if a conversion was asked for.
    #[error("column {name} is {found}, and ids are uint64; cast it, or let --convert do it")]
    IdConvertible {
        /// Name of the column.
        name: String,
        /// Its type.
        found: String,
    },
    /// An integer that is no id.
    #[error("column {column}: row {row} has the id {id}, and no id is negative")]
    IdNegative {
        /// Name of the column.
        column: String,
        /// Number of the row, counted from 0.
        row: u64,
        /// The integer.
        id: i64,
    },
    /// A vector, a component or an id is null.
    #[error("column {column} holds a null in row {row}; drop or fill such rows")]
    Nulls {
        /// Name of the column.
        column: String,
        /// Number of the first such row, counted from 0.
        row: u64,
    },
}

/// Names for an error: the first ones, and how many more there are.
pub(super) fn listed<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    let names: Vec<S> = names.into_iter().collect();
    let shown: Vec<&str> = names.iter().take(LISTED_MAX).map(AsRef::as_ref).collect();
    match (shown.is_empty(), names.len() > LISTED_MAX) {
        (true, _) => "none".to_owned(),
        (_, false) => shown.join(", "),
        (_, true) => format!("{}, and {} more", shown.join(", "), names.len() - LISTED_MAX),
    }
}
