//! The rows of one object, sent while it arrives.
//!
//! The object is never in memory as a whole: [`RowStream`] takes its parts in order, and keeps only
//! what ends in a later part: a row of `.npy` and `.fvecs`, a record batch of Arrow. What can be
//! known from the object's size and its first bytes is checked before the first row is sent; what
//! is wrong further on is known when it arrives.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use object_store::ObjectMeta;
use slipring::class::PooledBuf;
use slipring_objects::PartSink;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use super::client::IngestClient;
use super::error::{ClientError, ObjectError, Sent};
use super::folder::blocking;
use super::ingest::IngestService;
use crate::vectors::{
    ArrowStep, ArrowWalk, FormatError, ImageStart, PieceLayout, RefusedRows, VectorImage,
    batch_image,
};
use crate::wire::frames::Limits;

/// The rows of one object, on their way to the service.
#[derive(Debug)]
pub(super) struct RowStream {
    /// Whose turn it is: the offset of the next part.
    next: watch::Sender<u64>,
    /// Locked by the part whose turn it is, also if the download is dropped meanwhile.
    state: Arc<Mutex<RowState>>,
}

/// How a stream of rows ended.
#[derive(Debug)]
pub(super) struct RowsEnded {
    pub(super) client: Option<IngestClient>,
    pub(super) sent: Sent,
    /// Rows from the first one on that are done with: sent, or left out.
    pub(super) rows: u64,
    pub(super) error: Option<ObjectError>,
}

#[derive(Debug)]
struct RowState {
    service: IngestService,
    client: Option<IngestClient>,
    name: String,
    cancel: CancellationToken,
    object_bytes: u64,
    source: RowSource,
    /// An unfinished header, row or message.
    rest: Vec<u8>,
    /// Number of the next row.
    row: u64,
    sent: Sent,
    not_finite: RefusedRows,
    /// The first refusal after which the others went on.
    refused: Option<ClientError>,
    error: Option<ObjectError>,
}

/// How the rows are found.
#[derive(Debug)]
enum RowSource {
    /// Not known yet.
    Start,
    Rows(PieceLayout),
    Arrow(MessageStream),
}

/// Where an Arrow object is being read.
#[derive(Debug)]
struct MessageStream {
    walk: ArrowWalk,
    /// Bytes to skip before the next message.
    skip: u64,
    /// Bytes that the unfinished message needs.
    needed: usize,
}

impl RowStream {
    pub(super) fn new(
        service: &IngestService,
        client: Option<IngestClient>,
        name: &str,
        cancel: &CancellationToken,
    ) -> RowStream {
        let state = RowState {
            service: service.clone(),
            client,
            name: name.to_owned(),
            cancel: cancel.clone(),
            object_bytes: 0,
            source: RowSource::Start,
            rest: Vec::new(),
            row: 0,
            sent: Sent::default(),
            not_finite: RefusedRows::default(),
            refused: None,
            error: None,
        };
        RowStream { next: watch::Sender::new(0), state: Arc::new(Mutex::new(state)) }
    }

    /// Waits for what is being sent. `is_complete` says whether the whole object arrived.
    pub(super) async fn end(self, is_complete: bool) -> RowsEnded {
        let mut state = Arc::clone(&self.state).lock_owned().await;
        if is_complete && state.error.is_none() {
            state.error = state.check_end().err();
        }
        let (client, sent) = (state.client.take(), state.sent.clone());
        RowsEnded { client, sent, rows: state.row, error: state.error.take() }
    }
}

impl PartSink for RowStream {
    async fn begin(&self, meta: &ObjectMeta) -> io::Result<()> {
        self.state.lock().await.object_bytes = meta.size;
        Ok(())
    }

    async fn put(&self, offset: u64, bytes: PooledBuf) -> io::Result<()> {
        let (end, mut turn) = (offset + bytes.len() as u64, self.next.subscribe());
        let next = turn.wait_for(|next| *next >= offset).await.map(|next| *next);
        if next.map_err(io::Error::other)? > offset {
            return Err(io::Error::other(
                "the object broke off after some of its vectors were sent, and nothing tells that what would come again is the same; give the server ETags",
            ));
        }
        let mut state = Arc::clone(&self.state).lock_owned().await;
        blocking(move || {
            let taken = state.take_part(&bytes);
            taken.map_err(|error| {
                state.error = Some(error);
                io::Error::other("its vectors can't be sent")
            })
        })
        .await?;
        self.next.send_replace(end);
        Ok(())
    }
}

impl RowState {
    /// Takes the object's next bytes, and sends the rows that they complete. Blocks.
    fn take_part(&mut self, bytes: &[u8]) -> Result<(), ObjectError> {
        match std::mem::replace(&mut self.source, RowSource::Start) {
            RowSource::Start => self.take_start(bytes),
            RowSource::Rows(layout) => self.take_rows(layout, bytes),
            RowSource::Arrow(stream) => self.take_messages(stream, bytes),
        }
    }

    fn take_start(&mut self, bytes: &[u8]) -> Result<(), ObjectError> {
        let mut start = Cow::Borrowed(bytes);
        if !self.rest.is_empty() {
            self.rest.extend_from_slice(bytes);
            start = Cow::Owned(std::mem::take(&mut self.rest));
        }
        let (options, max_vectors) = (self.service.image_options(), self.service.max_vectors());
        let found = PieceLayout::of(&start, self.object_bytes, &self.name, &options, max_vectors)?;
        match found {
            ImageStart::Unknown => {
                self.rest = start.into_owned();
                Ok(())
            }
            ImageStart::Rows(layout) => self.take_rows(layout, &start[layout.header_bytes..]),
            ImageStart::Arrow(walk) => {
                self.take_messages(MessageStream { walk, skip: 0, needed: 0 }, &start)
            }
        }
    }

    fn take_rows(&mut self, layout: PieceLayout, mut bytes: &[u8]) -> Result<(), ObjectError> {
        self.source = RowSource::Rows(layout);
        let row_bytes = layout.row_bytes();
        if row_bytes == 0 {
            return Ok(());
        }
        if !self.rest.is_empty() {
            let (missing, after) = bytes.split_at((row_bytes - self.rest.len()).min(bytes.len()));
            self.rest.extend_from_slice(missing);
            if self.rest.len() < row_bytes {
                return Ok(());
            }
            let row = std::mem::take(&mut self.rest);
            self.send_rows(&layout, &row)?;
            bytes = after;
        }
        let (rows, rest) = bytes.split_at(bytes.len() / row_bytes * row_bytes);
        self.send_rows(&layout, rows)?;
        self.rest.extend_from_slice(rest);
        Ok(())
    }

    /// Sends whole rows.
    fn send_rows(&mut self, layout: &PieceLayout, bytes: &[u8]) -> Result<(), ObjectError> {
        let rows = (bytes.len() / layout.row_bytes()) as u64;
        let first_row = self.row;
        self.send(rows, |service| layout.image(first_row, bytes, service.row_ids()))
    }

    /// Goes on through the messages of an Arrow object. One that crosses parts is gathered first;
    /// the others are read where they are.
    fn take_messages(
        &mut self,
        mut stream: MessageStream,
        mut bytes: &[u8],
    ) -> Result<(), ObjectError> {
        let mut gathered = std::mem::take(&mut self.rest);
        loop {
            bytes = &bytes[stream.skipped(bytes.len())..];
            let missing = stream.needed.saturating_sub(gathered.len());
            if !gathered.is_empty() && missing > 0 {
                let (now, after) = bytes.split_at(missing.min(bytes.len()));
                gathered.extend_from_slice(now);
                bytes = after;
            }
            if gathered.len() < stream.needed && bytes.is_empty() {
                break;
            }
            let is_gathered = !gathered.is_empty();
            let seen = if is_gathered { &gathered[..] } else { bytes };
            if seen.is_empty() {
                break;
            }
            let columns = self.service.image_options().columns();
            let step = stream.walk.step(seen, &columns).map_err(FormatError::from)?;
            let passed = match step {
                ArrowStep::More(needed) => {
                    stream.needed = needed as usize;
                    gathered.reserve_exact(stream.needed.saturating_sub(gathered.len()));
                    if !is_gathered {
                        gathered.extend_from_slice(bytes);
                        bytes = &[];
                    }
                    continue;
                }
                ArrowStep::Pass(passed) => passed,
                ArrowStep::Batch { bytes, rows } => {
                    self.send_batch(&mut stream.walk, &seen[..bytes as usize], rows)?;
                    bytes
                }
                ArrowStep::End => break,
            };
            stream.needed = 0;
            stream.skip = passed;
            let skipped = stream.skipped(gathered.len());
            gathered.drain(..skipped);
        }
        self.rest = gathered;
        self.source = RowSource::Arrow(stream);
        Ok(())
    }

    /// Sends the rows of a record batch, and passes it.
    fn send_batch(
        &mut self,
        walk: &mut ArrowWalk,
        bytes: &[u8],
        rows: u64,
    ) -> Result<(), ObjectError> {
        let mut dim = walk.dim();
        if rows > 0 {
            let max_vectors = self.service.max_vectors();
            let read = |service: &IngestService| {
                batch_image(walk, bytes, &service.image_options(), max_vectors)
            };
            if dim.is_none() {
                dim = Some(read(&self.service)?.dim());
            }
            self.send(rows, read)?;
        }
        walk.pass_batch(bytes.len() as u64, rows, dim);
        Ok(())
    }

    /// Sends rows, of which there are as many as said. Rows that the service refuses one by one
    /// don't stop the others.
    fn send<'a>(
        &mut self,
        rows: u64,
        read: impl Fn(&IngestService) -> Result<VectorImage<'a>, FormatError>,
    ) -> Result<(), ObjectError> {
        if rows == 0 {
            return Ok(());
        }
        let mut sent = Sent::default();
        let ended = self.service.send(&mut self.client, read, &self.cancel, &mut sent);
        if let Ok(())
        | Err(ObjectError::Service(
            ClientError::NotSent { .. } | ClientError::NotFinite { .. },
        )) = ended
        {
            self.row += rows;
        }
        self.sent.vectors += sent.vectors;
        self.sent.answered += sent.answered;
        self.sent.refused += sent.refused;
        self.sent.not_finite += sent.not_finite;
        match ended {
            Err(ObjectError::Service(ClientError::NotSent { rows, .. })) => {
                self.not_finite.append(&rows);
                Ok(())
            }
            Err(ObjectError::Service(error @ ClientError::NotFinite { .. })) => {
                self.refused.get_or_insert(error);
                Ok(())
            }
            Err(ObjectError::Cancelled) if self.sent.vectors == 0 => Err(ObjectError::Cancelled),
            Err(ObjectError::Cancelled | ObjectError::CancelledSending(_)) => {
                Err(ObjectError::CancelledSending(self.sent.clone()))
            }
            ended => ended,
        }
    }

    /// After the whole object: what was left out, or what is missing.
    fn check_end(&mut self) -> Result<(), ObjectError> {
        let options = self.service.image_options();
        match &mut self.source {
            RowSource::Start => {
                // Too short for a header.
                VectorImage::parse(&self.rest, &self.name, &options)?;
            }
            RowSource::Rows(_) => {}
            RowSource::Arrow(stream) => {
                stream.walk.check_end(&options.columns()).map_err(FormatError::from)?;
                // A stream without rows may not say how long they would be.
                let dim = stream.walk.dim().ok_or(FormatError::Empty)?;
                let limits = Limits::new(dim, self.service.max_vectors());
                limits.check().map_err(FormatError::Limits)?;
            }
        }
        let all = self.row;
        match self.refused.take() {
            Some(ClientError::NotFinite { to, rows, .. }) => {
                let refused = self.sent.refused;
                Err(ClientError::NotFinite { to, refused, all, rows }.into())
            }
            _ if self.not_finite.count() > 0 => {
                let rows = std::mem::take(&mut self.not_finite);
                Err(ClientError::NotSent { rows, all }.into())
            }
            _ => Ok(()),
        }
    }
}

impl MessageStream {
    /// How many of the next `bytes` are to be skipped.
    fn skipped(&mut self, bytes: usize) -> usize {
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes);
        self.skip -= skipped as u64;
        skipped
    }
}
