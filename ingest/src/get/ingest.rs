//! The service of `--ingest`, and the streams of rows that go there.
//!
//! The rows of `.npy` and `.fvecs` objects (by their names) are sent while the object arrives, so
//! the object is never in memory as a whole: [`RowStream`] takes its parts in order, and keeps only
//! a row that ends in the next part. What can be known from the object's size and its first bytes
//! is checked before the first row is sent; what is wrong further on is known when it arrives.

use std::borrow::Cow;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use object_store::ObjectMeta;
use slipring::class::PooledBuf;
use slipring_objects::PartSink;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use super::client::IngestClient;
use super::error::{ClientError, ObjectError, Sent};
use super::folder::blocking;
use super::options::GetOptions;
use crate::client::Target;
use crate::vectors::{
    FormatError, ImageOptions, ImageStart, PieceLayout, RefusedRows, RowIds, VectorImage,
    has_ending,
};

/// The service, and how vectors are sent to it.
#[derive(Clone, Debug)]
pub(super) struct IngestService {
    target: Target,
    timeout: Duration,
    column: Option<String>,
    id_column: Option<String>,
    number_rows_from: Option<u64>,
    convert: bool,
    max_vectors: u32,
    /// Set once the service has said that it stores ids.
    asks_for_ids: Arc<OnceLock<()>>,
}

impl IngestService {
    pub(super) fn new(target: &Target, options: &GetOptions) -> IngestService {
        IngestService {
            target: target.clone(),
            timeout: options.timeout,
            column: options.column.clone(),
            id_column: options.id_column.clone(),
            number_rows_from: options.number_rows_from,
            convert: options.convert,
            max_vectors: options.max_vectors,
            asks_for_ids: Arc::default(),
        }
    }

    /// Sends an object's vectors. Uses the open connection if there is one, else a new one, and
    /// leaves it open in `client` if it can be used again. Blocks.
    pub(super) fn send(
        &self,
        client: &mut Option<IngestClient>,
        name: &str,
        bytes: &[u8],
        cancel: &CancellationToken,
        sent: &mut Sent,
    ) -> Result<(), ObjectError> {
        let read = || {
            let vectors = VectorImage::parse(bytes, name, &self.image_options())?;
            vectors.check_limits(self.max_vectors)?;
            Ok(vectors)
        };
        self.send_rows(client, read, cancel, sent)
    }

    /// Sends the rows that `read` finds, with their ids if the service stores ids. Only its answer
    /// to a hello says so, which carries the dimension: the rows found before it are read again.
    fn send_rows<'a>(
        &self,
        client: &mut Option<IngestClient>,
        read: impl Fn() -> Result<VectorImage<'a>, FormatError>,
        cancel: &CancellationToken,
        sent: &mut Sent,
    ) -> Result<(), ObjectError> {
        let mut vectors = read()?;
        let mut open_client =
            self.greeted(client.take(), vectors.dim(), cancel).map_err(|error| match error {
                ClientError::Cancelled => ObjectError::Cancelled,
                error => error.into(),
            })?;
        if open_client.sends_ids() && !vectors.has_ids() {
            vectors = match read() {
                Ok(vectors) => vectors,
                Err(error) => {
                    *client = Some(open_client);
                    return Err(error.into());
                }
            };
        }
        match open_client.send(&vectors, cancel, sent) {
            Err(ClientError::Cancelled) => Err(ObjectError::CancelledSending(sent.clone())),
            // Every request was answered.
            result
            @ (Ok(()) | Err(ClientError::NotFinite { .. } | ClientError::NotSent { .. })) => {
                *client = Some(open_client);
                Ok(result?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The open connection if it can be used, else a new one, after the hello.
    fn greeted(
        &self,
        client: Option<IngestClient>,
        dim: u32,
        cancel: &CancellationToken,
    ) -> Result<IngestClient, ClientError> {
        let mut client = match client.and_then(IngestClient::if_usable) {
            Some(client) if client.is_greeted() => return Ok(client),
            Some(client) => client,
            None => self.connect(cancel)?,
        };
        let ids = self.row_ids() != RowIds::None;
        match client.greet(dim, ids, cancel) {
            Err(error) if !ids && error.asks_for_ids() => {
                // Only the first one to know it sets it.
                let _ = self.asks_for_ids.set(());
                client = self.connect(cancel)?;
                client.greet(dim, true, cancel)?;
            }
            greeted => greeted?,
        }
        Ok(client)
    }

    /// Where ids come from: as an option says, or from the usual column if the service has asked
    /// for ids.
    fn row_ids(&self) -> RowIds<'_> {
        match (self.number_rows_from, &self.id_column) {
            (Some(first), _) => RowIds::NumbersFrom(first),
            (None, Some(name)) => RowIds::Column(Some(name)),
            (None, None) if self.asks_for_ids.get().is_some() => RowIds::Column(None),
            (None, None) => RowIds::None,
        }
    }

    pub(super) fn connect(&self, cancel: &CancellationToken) -> Result<IngestClient, ClientError> {
        IngestClient::connect(&self.target, self.max_vectors, self.timeout, cancel)
    }

    fn image_options(&self) -> ImageOptions<'_> {
        let (column, convert) = (self.column.as_deref(), self.convert);
        ImageOptions { column, convert, ids: self.row_ids() }
    }
}

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
    pub(super) error: Option<ObjectError>,
    /// Nothing was sent, because the object has to be read as a whole.
    pub(super) is_whole: bool,
}

#[derive(Debug)]
struct RowState {
    service: IngestService,
    client: Option<IngestClient>,
    name: String,
    cancel: CancellationToken,
    object_bytes: u64,
    layout: Option<PieceLayout>,
    /// An unfinished header or row.
    rest: Vec<u8>,
    /// Number of the next row.
    row: u64,
    sent: Sent,
    not_finite: RefusedRows,
    /// The first refusal after which the others went on.
    refused: Option<ClientError>,
    error: Option<ObjectError>,
    is_whole: bool,
}

impl RowStream {
    /// Whether an object of this name is sent row by row.
    pub(super) fn is_for(name: &str) -> bool {
        [".npy", ".fvecs"].iter().any(|ending| has_ending(name, ending))
    }

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
            layout: None,
            rest: Vec::new(),
            row: 0,
            sent: Sent::default(),
            not_finite: RefusedRows::default(),
            refused: None,
            error: None,
            is_whole: false,
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
        RowsEnded { client, sent, error: state.error.take(), is_whole: state.is_whole }
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
        if let Some(layout) = self.layout {
            return self.take_rows(&layout, bytes);
        }
        let mut start = Cow::Borrowed(bytes);
        if !self.rest.is_empty() {
            self.rest.extend_from_slice(bytes);
            start = Cow::Owned(std::mem::take(&mut self.rest));
        }
        let (options, max_vectors) = (self.service.image_options(), self.service.max_vectors);
        let found = PieceLayout::of(&start, self.object_bytes, &self.name, &options, max_vectors)?;
        match found {
            ImageStart::Unknown => self.rest = start.into_owned(),
            ImageStart::Whole => {
                self.is_whole = true;
                return Err(FormatError::Unknown.into());
            }
            ImageStart::Rows(layout) => {
                self.layout = Some(layout);
                self.take_rows(&layout, &start[layout.header_bytes..])?;
            }
        }
        Ok(())
    }

    fn take_rows(&mut self, layout: &PieceLayout, mut bytes: &[u8]) -> Result<(), ObjectError> {
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
            self.send(layout, &row)?;
            bytes = after;
        }
        let (rows, rest) = bytes.split_at(bytes.len() / row_bytes * row_bytes);
        self.send(layout, rows)?;
        self.rest.extend_from_slice(rest);
        Ok(())
    }

    /// Sends whole rows. Rows that the service refuses one by one don't stop the others.
    fn send(&mut self, layout: &PieceLayout, rows: &[u8]) -> Result<(), ObjectError> {
        if rows.is_empty() {
            return Ok(());
        }
        let read = || layout.image(self.row, rows, self.service.row_ids());
        let mut sent = Sent::default();
        let ended = self.service.send_rows(&mut self.client, read, &self.cancel, &mut sent);
        self.row += (rows.len() / layout.row_bytes()) as u64;
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
        let Some(layout) = self.layout else {
            // Too short for a header.
            let options = self.service.image_options();
            return VectorImage::parse(&self.rest, &self.name, &options)
                .map(drop)
                .map_err(ObjectError::from);
        };
        let all = layout.rows;
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
