//! The way through an image, message by message, from its first byte to its last.

use arrow_ipc::reader::read_footer_length;
use arrow_ipc::{Footer, Message, root_as_footer, root_as_message};

use super::batch::BatchBody;
use super::column::VectorColumn;
use super::error::ArrowError;
use super::found::{ArrowRows, BatchColumns, FoundRows, WantedColumns};
use super::message::{ArrowMessage, StreamStep, bare_schema, message_at};

/// Bytes of a file's beginning: its magic number and two bytes of padding. More padding may follow,
/// in pieces of this length.
const FILE_START_BYTES: u64 = 8;
/// Length of the footer and magic, at the end of a file.
const TAIL_BYTES: usize = 10;

/// A position in an image that is read in order.
#[derive(Debug)]
pub(crate) struct ArrowWalk {
    /// Bytes of the image.
    image_bytes: u64,
    /// The most bytes of a message that has to be there as a whole, and of its unpacked rows.
    held_bytes_max: u64,
    at: u64,
    place: WalkPlace,
    is_file: bool,
    /// Metadata of the last schema.
    schema: Option<Vec<u8>>,
    /// Of all vectors; known with the first row, or by the schema.
    dim: Option<u32>,
    rows: u64,
    /// Where a file's batches are.
    batches: Vec<u64>,
}

/// What comes next.
#[derive(Debug)]
enum WalkPlace {
    /// The beginning of a file.
    FileStart,
    /// A message, or an end mark.
    Messages,
    /// Behind the end mark of a stream, here: another stream, zeros, or nothing.
    NextStream,
    /// Zeros to the end, since this byte.
    Zeros(u64),
    /// The footer of a file. The error is why there is no message instead.
    Footer(Option<ArrowError>),
    Nothing,
}

/// What is next, and what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ArrowStep {
    /// At least this many bytes.
    More(u64),
    /// This many bytes are passed, also where they aren't there yet.
    Pass(u64),
    /// A record batch of this many bytes, with this many rows. It isn't passed yet.
    Batch { bytes: u64, rows: u64 },
    /// The image is over.
    End,
}

impl ArrowWalk {
    /// At the first byte of an image.
    pub(crate) fn new(is_file: bool, image_bytes: u64, held_bytes_max: u64) -> ArrowWalk {
        let place = if is_file { WalkPlace::FileStart } else { WalkPlace::Messages };
        let (schema, dim, batches) = (None, None, Vec::new());
        let (at, rows) = (0, 0);
        ArrowWalk { image_bytes, held_bytes_max, at, place, is_file, schema, dim, rows, batches }
    }

    /// Bytes passed.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Components of all vectors, once they are known.
    pub(crate) fn dim(&self) -> Option<u32> {
        self.dim
    }

    /// Looks at what is next. `bytes` are the image's from [`Self::at`] on, as far as they are
    /// there.
    pub(crate) fn step(
        &mut self,
        bytes: &[u8],
        wanted: &WantedColumns<'_>,
    ) -> Result<ArrowStep, ArrowError> {
        loop {
            let left = self.image_bytes.saturating_sub(self.at);
            let is_there = |needed: u64| bytes.len() as u64 >= needed;
            match &self.place {
                WalkPlace::FileStart if left < FILE_START_BYTES => {
                    return Err(ArrowError::NoFooter);
                }
                WalkPlace::FileStart if !is_there(FILE_START_BYTES) => {
                    return Ok(ArrowStep::More(FILE_START_BYTES));
                }
                WalkPlace::FileStart => {
                    let start = &bytes[..FILE_START_BYTES as usize];
                    if self.at == 0 || start.iter().all(|byte| *byte == 0) {
                        return Ok(self.pass(FILE_START_BYTES));
                    }
                    self.place = WalkPlace::Messages;
                }
                WalkPlace::Messages if left == 0 && self.is_file => {
                    return Err(ArrowError::NoFooter);
                }
                WalkPlace::Messages if left == 0 && self.schema.is_none() => {
                    return Err(ArrowError::NoSchema);
                }
                WalkPlace::Messages | WalkPlace::NextStream | WalkPlace::Zeros(_) if left == 0 => {
                    self.place = WalkPlace::Nothing;
                }
                WalkPlace::Messages => return self.message(bytes, left, wanted),
                WalkPlace::NextStream => match bytes {
                    _ if !is_there(left.min(8)) => return Ok(ArrowStep::More(left.min(8))),
                    _ if bytes.iter().take(8).all(|byte| *byte == 0) => {
                        self.place = WalkPlace::Zeros(self.at);
                    }
                    _ => match message_at(bytes, self.at, left) {
                        Ok(StreamStep::More(needed)) => return self.more(needed),
                        Ok(StreamStep::Message(message))
                            if message.head.header_as_schema().is_some() =>
                        {
                            self.place = WalkPlace::Messages;
                        }
                        _ => return Err(self.behind(self.at)),
                    },
                },
                WalkPlace::Zeros(from) if bytes.iter().any(|byte| *byte != 0) => {
                    return Err(self.behind(*from));
                }
                WalkPlace::Zeros(_) => return Ok(self.pass((bytes.len() as u64).min(left))),
                WalkPlace::Footer(None) if left > self.held_bytes_max => {
                    return Err(ArrowError::SeveralFiles { at: self.at, bytes: left });
                }
                WalkPlace::Footer(_) if !is_there(left) => return Ok(ArrowStep::More(left)),
                WalkPlace::Footer(_) => {
                    let place = std::mem::replace(&mut self.place, WalkPlace::Nothing);
                    let WalkPlace::Footer(no_message) = place else { continue };
                    self.check_footer(&bytes[..left as usize], no_message, wanted)?;
                    return Ok(self.pass(left));
                }
                WalkPlace::Nothing => return Ok(ArrowStep::End),
            }
        }
    }

    /// The rows of the record batch that [`Self::step`] has found in these bytes, behind those that
    /// were `found` before.
    pub(crate) fn read_batch<'a>(
        &self,
        bytes: &'a [u8],
        wanted: &WantedColumns<'_>,
        found: &mut FoundRows<'a>,
    ) -> Result<(), ArrowError> {
        let columns = self.columns(wanted)?;
        let StreamStep::Message(message) = message_at(bytes, self.at, bytes.len() as u64)? else {
            return Err(no_batch(self.at));
        };
        let head = message.head.header_as_record_batch().ok_or_else(|| no_batch(self.at))?;
        let body = bytes.get(message.body_at..).unwrap_or_default();
        let bytes_max = usize::try_from(self.held_bytes_max).unwrap_or(usize::MAX);
        found.add(&columns, &BatchBody { head, body, at: self.at, bytes_max })
    }

    /// Passes a batch, with the rows that it had and their dimension.
    pub(crate) fn pass_batch(&mut self, bytes: u64, rows: u64, dim: Option<u32>) {
        if self.is_file {
            self.batches.push(self.at);
        }
        self.at += bytes;
        (self.rows, self.dim) = (self.rows.saturating_add(rows), self.dim.or(dim));
    }

    /// The rows that were found, by the last schema.
    pub(super) fn rows<'a>(
        &self,
        found: FoundRows<'a>,
        wanted: &WantedColumns<'_>,
    ) -> Result<ArrowRows<'a>, ArrowError> {
        let columns = self.columns(wanted)?;
        let (element, ids) = (columns.vectors.element, columns.ids.is_some().then_some(found.ids));
        Ok(ArrowRows { dim: found.dim.or(self.dim()), element, batches: found.batches, ids })
    }

    fn pass(&mut self, bytes: u64) -> ArrowStep {
        self.at += bytes;
        ArrowStep::Pass(bytes)
    }

    /// Asks for the bytes of a message that has to be there as a whole.
    fn more(&self, needed: u64) -> Result<ArrowStep, ArrowError> {
        if needed > self.held_bytes_max {
            let (bytes, most) = (needed, self.held_bytes_max);
            return Err(ArrowError::TooLarge { at: self.at, bytes, most });
        }
        Ok(ArrowStep::More(needed))
    }

    fn behind(&self, from: u64) -> ArrowError {
        ArrowError::Behind { at: from, bytes: self.image_bytes - from }
    }

    /// What is next where messages are.
    fn message(
        &mut self,
        bytes: &[u8],
        left: u64,
        wanted: &WantedColumns<'_>,
    ) -> Result<ArrowStep, ArrowError> {
        let message = match message_at(bytes, self.at, left) {
            Err(error) if self.is_file && self.schema.is_none() => match bare_schema(bytes, left) {
                Some(StreamStep::Message(message)) => message,
                Some(StreamStep::More(needed)) => return self.more(needed),
                _ => return Err(error),
            },
            Err(error) if self.is_file && left <= self.held_bytes_max => {
                // A file may have no end mark: then this must be its footer.
                self.place = WalkPlace::Footer(Some(error));
                return Ok(ArrowStep::Pass(0));
            }
            Err(error) => return Err(error),
            Ok(StreamStep::More(needed)) => return self.more(needed),
            Ok(StreamStep::EndMark(_)) if self.schema.is_none() => {
                return Err(ArrowError::NoSchema);
            }
            Ok(StreamStep::EndMark(bytes)) => {
                self.place =
                    if self.is_file { WalkPlace::Footer(None) } else { WalkPlace::NextStream };
                return Ok(self.pass(bytes));
            }
            Ok(StreamStep::Message(message)) => message,
        };
        if message.head.header_as_schema().is_some() {
            self.take_schema(&message, wanted)?;
        } else if self.schema.is_none() {
            return Err(ArrowError::NoSchema);
        } else if let Some(batch) = message.head.header_as_record_batch() {
            let negative = |_| self.damaged("its length is negative");
            let rows = u64::try_from(batch.length()).map_err(negative)?;
            // Also where it is there: what is refused doesn't depend on where parts end.
            let whole = self.more(message.bytes)?;
            let is_there = bytes.len() as u64 >= message.bytes;
            let batch = ArrowStep::Batch { bytes: message.bytes, rows };
            return Ok(if is_there { batch } else { whole });
        } else if message.head.header_as_dictionary_batch().is_none() {
            return Err(no_batch(self.at));
        }
        // Dictionaries come between the record batches and belong to other columns.
        Ok(self.pass(message.bytes))
    }

    /// Keeps a schema, whose vectors must be of the kind of those before it.
    fn take_schema(
        &mut self,
        message: &ArrowMessage<'_>,
        wanted: &WantedColumns<'_>,
    ) -> Result<(), ArrowError> {
        let before = match self.schema {
            Some(_) => Some(self.columns(wanted)?),
            None => None,
        };
        self.schema = Some(message.metadata.to_vec());
        let next = self.columns(wanted)?;
        if let Some(before) = before {
            self.check_same(&before.vectors, &next.vectors)?;
        }
        self.dim = self.dim.or(next.vectors.list.fixed_dim());
        Ok(())
    }

    /// The columns by the last schema.
    fn columns(&self, wanted: &WantedColumns<'_>) -> Result<BatchColumns, ArrowError> {
        let head = self.schema_message()?;
        let schema = head.header_as_schema().ok_or(ArrowError::NoSchema)?;
        wanted.find(&schema, head.version())
    }

    fn schema_message(&self) -> Result<Message<'_>, ArrowError> {
        let metadata = self.schema.as_ref().ok_or(ArrowError::NoSchema)?;
        root_as_message(metadata).map_err(|error| self.damaged(&error.to_string()))
    }

    /// Refuses a stream whose vectors are of another kind than those before it. Lists without a
    /// fixed size are compared row by row.
    fn check_same(&self, before: &VectorColumn, next: &VectorColumn) -> Result<(), ArrowError> {
        let next_dim = next.list.fixed_dim();
        let same_dim = self.dim.zip(next_dim).is_none_or(|(before, next)| before == next);
        if same_dim && before.element == next.element {
            return Ok(());
        }
        let shown = |dim: Option<u32>, column: &VectorColumn| {
            let dim = dim.map_or_else(String::new, |dim| format!("{dim} "));
            format!("{dim}components of {}", column.element.name())
        };
        let (found, first) = (shown(next_dim, next), shown(self.dim, before));
        Err(ArrowError::OtherStream { at: self.at, found, first })
    }

    fn damaged(&self, why: &str) -> ArrowError {
        ArrowError::Damaged { at: self.at, why: why.to_owned() }
    }

    /// Checks that a file's end is the footer of what was passed. `no_message` is why no message is
    /// there.
    fn check_footer(
        &self,
        end: &[u8],
        no_message: Option<ArrowError>,
        wanted: &WantedColumns<'_>,
    ) -> Result<(), ArrowError> {
        let length = end.split_last_chunk::<TAIL_BYTES>().and_then(|(before, tail)| {
            let footer_bytes = read_footer_length(*tail).ok()?;
            Some((before, before.len().checked_sub(footer_bytes)?))
        });
        let Some((before_tail, footer_at)) = length else {
            return Err(no_message.unwrap_or(ArrowError::NoFooter));
        };
        let (between, footer) = before_tail.split_at(footer_at);
        // An end mark, and padding.
        if between.iter().any(|byte| !matches!(byte, 0 | 0xff)) {
            let (at, bytes) = (self.at, between.len() as u64);
            return Err(no_message.unwrap_or(ArrowError::SeveralFiles { at, bytes }));
        }
        let at = self.at + footer_at as u64;
        let footer = root_as_footer(footer)
            .map_err(|error| ArrowError::Damaged { at, why: error.to_string() })?;
        self.check_footer_content(&footer, at, wanted)
    }

    fn check_footer_content(
        &self,
        footer: &Footer<'_>,
        at: u64,
        wanted: &WantedColumns<'_>,
    ) -> Result<(), ArrowError> {
        let other = |what| ArrowError::OtherFooter { at, what };
        let schema = footer.schema().ok_or_else(|| other("it has no schema"))?;
        // The footer's version is its own: pyarrow writes 5 behind messages of version 4.
        let version = self.schema_message()?.version();
        if wanted.find(&schema, version)? != self.columns(wanted)? {
            return Err(other("its schema is another one"));
        }
        let listed = footer.recordBatches().into_iter().flatten();
        let listed = listed.map(|block| u64::try_from(block.offset()));
        if !listed.eq(self.batches.iter().map(|at| Ok(*at))) {
            return Err(other("it lists other batches"));
        }
        Ok(())
    }
}

/// For images that arrive piece by piece.
#[cfg(feature = "objects")]
impl ArrowWalk {
    /// Rows of the batches that were passed.
    pub(crate) fn rows_passed(&self) -> u64 {
        self.rows
    }

    /// After the last byte: whether the image was whole.
    pub(crate) fn check_end(&mut self, wanted: &WantedColumns<'_>) -> Result<(), ArrowError> {
        match self.step(&[], wanted)? {
            ArrowStep::End => Ok(()),
            _ => Err(ArrowError::CutOff { at: self.at, bytes: self.image_bytes }),
        }
    }

    /// No rows yet, behind those of the batches that were passed.
    pub(crate) fn found<'a>(&self) -> FoundRows<'a> {
        FoundRows { dim: self.dim, rows: self.rows, ..FoundRows::default() }
    }
}

fn no_batch(at: u64) -> ArrowError {
    ArrowError::Damaged { at, why: "there is no record batch".to_owned() }
}
